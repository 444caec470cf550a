"""Child processes: their logs, their deaths, and that they never outlive us."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from services.local.process import ChildProcess, ProcessDied

ROOT = Path(__file__).parents[3]
GIVE_UP_S = 30.0  # a bound against hanging, not a claim about speed


def gone(pid: int) -> bool:
    """Tell whether a process has ended (a zombie that nobody has waited for has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def eventually(fact: Callable[[], bool]) -> bool:
    """Wait for a fact, within a bound."""
    give_up_s = time.monotonic() + GIVE_UP_S
    while time.monotonic() < give_up_s:
        if fact():
            return True
        time.sleep(0.02)
    return False


def python(code: str) -> list[str]:
    """Return the command that runs a piece of Python."""
    return [sys.executable, "-c", textwrap.dedent(code)]


def test_output_goes_to_the_log(tmp_path: Path) -> None:
    """What a child prints, on either stream, is in its log, and only the last lines are in its tail."""
    command = python("""
        import sys
        for n in range(50): print(n, flush=True)
        print("last words", file=sys.stderr)
    """)
    with ChildProcess("child", command, log=tmp_path / "child.log") as child:
        assert child.wait(GIVE_UP_S) == 0
        assert child.tail(3).splitlines() == ["48", "49", "last words"]


def test_a_crash_is_raised_with_its_last_words(tmp_path: Path) -> None:
    """A child that ends by itself makes `check` raise its status and the end of its log."""
    with ChildProcess("child", python("raise SystemExit('out of cheese')"), log=tmp_path / "child.log") as child:
        child.wait(GIVE_UP_S)
        with pytest.raises(ProcessDied, match="out of cheese") as caught:
            child.check()
    assert (caught.value.name, caught.value.status) == ("child", 1)


def test_death_by_signal_is_seen(tmp_path: Path) -> None:
    """A child killed by somebody else is seen, with 128 + the signal as its status."""
    with ChildProcess("child", ["sleep", "1000"], log=tmp_path / "child.log") as child:
        child.check()
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait(GIVE_UP_S) == 128 + signal.SIGKILL
        with pytest.raises(ProcessDied):
            child.check()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Starting a program that does not exist raises at once and names it."""
    with pytest.raises(ProcessDied, match="no-such-program"):
        ChildProcess("child", ["/no-such-program"], log=tmp_path / "child.log")


def test_stopping_is_no_crash(tmp_path: Path) -> None:
    """After `stop` the child is gone, `check` stays silent, and stopping again is harmless."""
    child = ChildProcess("child", ["sleep", "1000"], log=tmp_path / "child.log")
    child.stop()
    assert gone(child.pid)
    child.check()
    child.stop()


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """A child deaf to SIGTERM is killed after its grace period."""
    command = python("""
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("deaf", flush=True)
        time.sleep(1000)
    """)
    child = ChildProcess("child", command, log=tmp_path / "child.log", grace_s=0.2)
    assert eventually(lambda: child.tail() == "deaf")
    child.stop()
    assert gone(child.pid)


def test_a_child_started_from_a_thread_outlives_the_thread(tmp_path: Path) -> None:
    """The end of the thread that started a child does not end the child (PR_SET_PDEATHSIG alone would)."""
    children: list[ChildProcess] = []
    thread = threading.Thread(
        target=lambda: children.append(ChildProcess("child", ["sleep", "1000"], log=tmp_path / "child.log"))
    )
    thread.start()
    thread.join()
    with children[0] as child:
        assert child.wait(1.0) is None


def start_family(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a parent with a child and a grandchild; return the parent and the ids of guard, child and grandchild."""
    code = f"""
        import sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from services.local.process import ChildProcess
        child = ChildProcess("sh", ["sh", "-c", "sleep 1000 & echo $!; wait"], log=Path({str(tmp_path / "child.log")!r}))
        while not child.tail(): time.sleep(0.01)
        print(child._guard.pid, child.pid, child.tail(), flush=True)
        time.sleep(1000)
    """
    parent = subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    return parent, [int(pid) for pid in parent.stdout.readline().split()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_killed_parent(tmp_path: Path, number: signal.Signals) -> None:
    """When the parent is killed, even by SIGKILL, guard, child and grandchild end."""
    parent, family = start_family(tmp_path)
    with parent:
        parent.send_signal(number)
        parent.wait(GIVE_UP_S)
        assert eventually(lambda: all(gone(pid) for pid in family))


def test_no_command_outlives_a_killed_guard(tmp_path: Path) -> None:
    """When the guard itself is killed, its command dies with it and the death is seen."""
    with ChildProcess("child", ["sleep", "1000"], log=tmp_path / "child.log") as child:
        os.kill(child._guard.pid, signal.SIGKILL)
        assert eventually(lambda: gone(child.pid))
        assert child.wait(GIVE_UP_S) is not None
        with pytest.raises(ProcessDied):
            child.check()
