"""Training gives way to serving: the real commands' niceness and threads, as their settings say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.sharing import THREADS, bound_threads

NOWHERE = {"STRATAGEM_KAFKA_BOOTSTRAP": "127.0.0.1:9", "STRATAGEM_REDIS_URL": "redis://127.0.0.1:9"}
"""Nobody answers there: a service waits, and can be looked at."""


def niceness_of(child: "subprocess.Popen[bytes]") -> int:
    """Of the process, relative to ours."""
    return os.getpriority(os.PRIO_PROCESS, child.pid) - os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.skipif(not hasattr(os, "nice"), reason="a system without niceness")
@pytest.mark.parametrize(
    ("command", "setting", "wanted"), [("updater", "", 10), ("updater", "3", 3), ("updater", "0", 0), ("worker", "", 0)]
)
def test_the_updater_steps_back_and_the_worker_does_not(
    command: str, setting: str, wanted: int, tmp_path: Path
) -> None:
    """`stratagem updater` runs at its niceness beside a worker at none."""
    environ = {**os.environ, **NOWHERE, "STRATAGEM_HOME": str(tmp_path), "STRATAGEM_METRICS_PORT": "0"}
    environ |= {"STRATAGEM_NICENESS": setting} if setting else {}
    command_line = [sys.executable, "-m", "services.cli", command]
    with subprocess.Popen(command_line, env=environ, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        try:
            assert child.stderr.readline()  # it is at work: it says which base it has, or that nobody answers
            assert niceness_of(child) == min(wanted, 19 - os.getpriority(os.PRIO_PROCESS, 0))
        finally:
            child.kill()


def test_libraries_use_as_many_threads_as_the_setting_says() -> None:
    """What an operator has set already stands; in a fresh process NumPy and torch then start no more."""
    environ = {"OMP_NUM_THREADS": "3"}
    bound_threads(environ, 2)
    assert environ == {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    code = (
        "import os; from services.sharing import bound_threads; bound_threads(os.environ, 1)\n"
        "import numpy, torch; a = numpy.ones((900, 900)); a @ a; b = torch.ones(900, 900); b @ b\n"
        "print(torch.get_num_threads(), len(os.listdir('/proc/self/task')))"
    )
    bare = {name: value for name, value in os.environ.items() if name not in THREADS}
    done = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]
