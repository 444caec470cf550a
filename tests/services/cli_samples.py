"""Commands as at a terminal: each in a process of its own, so that its clients' logs are seen and nothing of them stays."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120


class Said(NamedTuple):
    """How a command ended."""

    code: int
    output: str


def start(command: str, environ: Mapping[str, str]) -> "subprocess.Popen[str]":
    """`stratagem` with these words and none of our own settings; both outputs in one."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STRATAGEM_")}
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", *command.split()],
        cwd=ROOT,
        env=clean | dict(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> Said:
    """Its end, waited for."""
    output, _ = process.communicate(timeout=TIMEOUT_S)
    return Said(process.returncode, output)


def run_all(commands: Iterable[str], environ: Mapping[str, str]) -> dict[str, Said]:
    """Several commands at once."""
    running = {command: start(command, environ) for command in commands}
    return {command: ended(process) for command, process in running.items()}
