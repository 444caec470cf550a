"""A command that makes a run, killed and started again: it ends with the bytes of an undisturbed one."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

LONGEST_WAIT_S = 120


def digests(folder: Path) -> dict[str, str]:
    """Hash per file of a run."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def begun(command: Sequence[object], out: Path) -> "subprocess.Popen[bytes]":
    """`stratagem COMMAND --out OUT` in a process of its own, one thread."""
    whole = [sys.executable, "-m", "services.cli", *map(str, command), "--out", str(out)]
    return subprocess.Popen(
        whole, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def has_checkpoint(partial: Path) -> bool:
    """Whether a run in the making can be gone on with."""
    return any((partial / "checkpoints").glob("*.pt"))


def killed_and_resumed(command: Sequence[object], folder: Path, *ripe: Callable[[Path], bool]) -> tuple[Path, str]:
    """Run undisturbed, and again, killed each time the run in the making is the next of `ripe`; every file must be the same.

    Args:
        ripe: none is its first checkpoint.

    Returns:
        The undisturbed run's folder, and what the command said of its progress.
    """
    undisturbed = begun(command, folder / "whole")
    _, said = undisturbed.communicate(timeout=LONGEST_WAIT_S)
    assert undisturbed.returncode in (0, 1), said.decode()
    written = {_killed(command, folder, moment) for moment in ripe or (has_checkpoint,)}
    again = begun(command, folder / "killed")
    again.communicate(timeout=LONGEST_WAIT_S)
    assert again.returncode == undisturbed.returncode
    assert digests(folder / "killed") == digests(folder / "whole")
    written.add((folder / "killed" / "run.json").stat().st_mtime_ns)
    assert len(written) == 1, "it began anew instead of going on"
    assert not list(folder.glob(".killed.*"))
    return folder / "whole", said.decode()


def _killed(command: Sequence[object], folder: Path, ripe: Callable[[Path], bool]) -> int:
    """Start it and kill it as soon as it is ripe: when its run began, in nanoseconds."""
    killed = begun(command, folder / "killed")
    until = time.monotonic() + LONGEST_WAIT_S
    while not ripe(folder / ".killed.partial") and killed.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (folder / "killed").exists()
    return (folder / ".killed.partial" / "run.json").stat().st_mtime_ns
