"""Runs one command and makes sure that it never outlives the process which asked for it.

Started as a script of its own by `services.local.process`, with nothing but the standard library, so that it costs
ten milliseconds and no dependency. Why a process in between, and not `PR_SET_PDEATHSIG` in the parent: the kernel sends
that signal when the *thread* that forked exits, so a child started from a worker thread would die with the thread; and
it reaches no grandchildren. The guard forks from its only thread, holds the command in a session of its own, and kills
that whole session when the parent is gone (even by SIGKILL), when it is asked to stop, or when the command itself ends.

Protocol: standard input is a pipe held open by the parent (end of file = stop), standard output gets one line
(`pid N` or `error TEXT`), standard error is the log of the command. Exit status: the command's, or 128 + signal.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
PARENT_POLL_S = 0.5  # a forked sibling may hold the pipe open: the parent's death is then seen by its process id


def dies_with(guard_pid: int) -> Callable[[], None]:
    """Return what the child runs between fork and exec: should the guard itself be killed, so is the command."""
    libc = ctypes.CDLL(None, use_errno=True)

    def between_fork_and_exec() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard_pid:  # the guard died before the line above
            os._exit(1)

    return between_fork_and_exec


def stop(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ask the command to end; after `grace_s` seconds, end it."""
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_s)


def kill_session(child: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the command's session: itself and its descendants."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def watch(child: subprocess.Popen[bytes], parent_pid: int, wake: int, asked: list[int]) -> None:
    """Return when the command has ended, the parent is gone, or a stop was asked for."""
    while child.poll() is None and not asked and os.getppid() == parent_pid:
        ready, _, _ = select.select([0, wake], [], [], PARENT_POLL_S)
        if 0 in ready and not os.read(0, 1):
            return
        if wake in ready:
            os.read(wake, 64)


def main() -> int:
    """Run `guard.py PARENT_PID GRACE_S COMMAND...` and return the exit status."""
    parent_pid, grace_s, argv = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    wake, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=2,
            stderr=2,
            start_new_session=True,
            preexec_fn=dies_with(os.getpid()),  # noqa: PLW1509  safe here: this process has one thread
        )
    except OSError as error:
        os.write(1, f"error {error}\n".encode())
        return 127
    os.write(1, f"pid {child.pid}\n".encode())
    os.close(1)
    watch(child, parent_pid, wake, asked)
    if child.poll() is None:
        stop(child, grace_s)
    kill_session(child)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main())
