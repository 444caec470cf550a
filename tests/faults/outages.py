"""What the tests of outages share: a moment to do something at, a process's own words, HTTP answers."""

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.faults.bench import FaultWorld
from tests.faults.processes import Agents

SMALL = "20"
"""Records per fetch, so that a run has many batches and a fault falls amid them."""

_HELD = """
def _hold():
    import asyncio
    from pathlib import Path
    from {module} import {owner}
    real, left = {owner}.{method}, {after}

    async def held(self, *args, **kwargs):
        nonlocal left
        left -= 1
        if left == 0:
            Path({at!r}).touch()
            while not Path({go!r}).exists():
                await asyncio.sleep(0.05)
        return await real(self, *args, **kwargs)

    {owner}.{method} = held

_hold()
"""


class Moment:
    """A call inside the agents that waits until the test has done something."""

    def __init__(self, folder: Path, module: str, owner: str, method: str, after: int) -> None:
        """Hold the `after`-th call of a method."""
        self._at, self._go = folder / f"{method}.at", folder / f"{method}.go"
        self.trap = _HELD.format(
            module=module, owner=owner, method=method, after=after, at=str(self._at), go=str(self._go)
        )

    def reached(self) -> bool:
        """Whether the call waits."""
        return self._at.exists()

    def go_on(self) -> None:
        """Let it go on."""
        self._go.touch()


def publication(world: FaultWorld, after: int = 12) -> Moment:
    """Rows and outbox are written, nothing of this batch is published."""
    return Moment(world.log.parent, "streaming.outbox", "Outbox", "publish", after)


def applied_share(world: FaultWorld, share: float) -> Callable[[], bool]:
    """Whether at least this share of the input was applied."""
    wanted = share * sum(world.ends_of.values())
    return lambda: applied(world) >= wanted


def applied(world: FaultWorld) -> int:
    """How many records of the input were applied."""
    return sum(sum(each.values()) for each in world.books().offsets.values())


def health(world: FaultWorld, process: Agents, path: str) -> tuple[int, str]:
    """The status and the words at `/-/healthy` or `/-/ready`."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{world.ports[process.pid]}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()
    except OSError:
        return 0, "does not answer"


def words(world: FaultWorld) -> str:
    """The log of the world's processes."""
    return world.log.read_text("utf-8", "replace")


def amid(world: FaultWorld, trap: str = "") -> Agents:
    """Start agents that fetch little at a time, and wait until they are at work."""
    process = world.fork(trap, MAX_POLL_RECORDS=SMALL)
    world.wait(applied_share(world, 0.2), "a fifth of the input")
    return process


def redis_is_waited_for(world: FaultWorld, process: Agents) -> None:
    """Wait until a process says that it waits for Redis."""
    world.wait(lambda: world.metrics(process).get("waiting") == 1, "a sign of the wait for Redis")
    assert world.metrics(process)["redis_errors_total"] > 0
