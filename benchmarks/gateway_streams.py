"""Many open streams of strategies at one gateway, while a worker decides: each must see every strategy once.

From the broker's time of a strategy to the moment it was read from a client's socket.
"""

import asyncio
import os
import statistics
import time
from pathlib import Path

import msgspec

from benchmarks.doors import Door, cpu_s, gateway_door
from benchmarks.live import Live
from benchmarks.telling import say
from services.settings_gateway import GatewaySettings

_OPENING = 50
"""Connections being opened at once."""
_DATA = b"data: "


class Streamed(msgspec.Struct, frozen=True):
    """What the clients saw.

    Args:
        missed: strategies that a client did not see, over all clients; repeated: those that one saw twice.
        cpu_ms: of the gateway, per strategy (sent to every client).
    """

    clients: int
    strategies: int
    missed: int
    repeated: int
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    load: float


class Client:
    """One reader: strategy id → when it was read, seconds; and how many came again."""

    def __init__(self) -> None:
        """Nothing was read."""
        self.seen: dict[str, float] = {}
        self.repeated = 0

    async def read(self, door: Door, opened: asyncio.Event) -> None:
        """Read until cancelled; `opened` is set once the server says where the stream begins."""
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1 << 20)
        head = f"GET /v1/strategies/stream HTTP/1.1\r\nHost: bench\r\nAuthorization: {door.headers['Authorization']}\r\n\r\n"
        try:
            writer.write(head.encode())
            while line := await reader.readline():
                if line.startswith(b"id: "):
                    opened.set()
                elif line.startswith(_DATA):
                    self._saw(msgspec.json.decode(line[len(_DATA) :], type=_Named).strategy_id)
        finally:
            writer.close()

    def _saw(self, strategy: str) -> None:
        self.repeated += strategy in self.seen
        self.seen.setdefault(strategy, time.time())


class _Named(msgspec.Struct):
    strategy_id: str


def measured(folder: Path, clients: int, rate: float, seconds: float, seed: int) -> Streamed:
    """One run on a stack of its own."""
    with Live(folder, seed=seed) as live:
        settings = msgspec.convert(_common(live), GatewaySettings)
        with gateway_door(settings, folder) as door:
            return asyncio.run(_watched(live, door, clients, rate, seconds))


def _common(live: Live) -> dict[str, object]:
    given = live.settings
    return {"home": given.home, "kafka_bootstrap": given.kafka_bootstrap, "redis_url": given.redis_url}


async def _watched(live: Live, door: Door, clients: int, rate: float, seconds: float) -> Streamed:
    readers = [Client() for _ in range(clients)]
    tasks = await _opened(readers, door)
    say(f"{clients} streams are open")
    cpu = cpu_s(door.process.pid)
    asked = await asyncio.to_thread(live.ask, rate, seconds)
    assert await asyncio.to_thread(live.settled, asked), "requests were not answered"
    await _quiet(readers, asked)
    cpu = cpu_s(door.process.pid) - cpu
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    late_ms = [
        1000 * (at - live.answers[one][2]) for reader in readers for one, at in reader.seen.items() if one in asked
    ]
    return Streamed(
        clients,
        len(asked),
        sum(one not in reader.seen for reader in readers for one in asked),
        sum(reader.repeated for reader in readers),
        statistics.median(late_ms),
        statistics.quantiles(late_ms, n=100)[98],
        1000 * cpu / len(asked),
        os.getloadavg()[0],
    )


async def _opened(readers: list[Client], door: Door) -> list["asyncio.Task[None]"]:
    tasks = list["asyncio.Task[None]"]()
    for at in range(0, len(readers), _OPENING):
        opened = [asyncio.Event() for _ in readers[at : at + _OPENING]]
        tasks += [
            asyncio.create_task(reader.read(door, event))
            for reader, event in zip(readers[at : at + _OPENING], opened, strict=True)
        ]
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in opened)), 60)
    return tasks


async def _quiet(readers: list[Client], asked: list[str], patience_s: float = 30.0) -> None:
    """Until every client has seen everything, or time is up."""
    give_up = time.monotonic() + patience_s
    while time.monotonic() < give_up and not all(reader.seen.keys() >= set(asked) for reader in readers):  # noqa: ASYNC110 -- it is other tasks that read
        await asyncio.sleep(0.2)
