"""`GET /v1/strategies/stream`: strategies as server-sent events, from now on or from where a client stood.

An event's id is where the client stands behind it: the next offset of each partition. So any gateway can resume any client.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from services.gateway_following import Backlog
from services.gateway_hub import Hub, Listener
from services.gateway_problems import refusal
from services.records import Record
from services.settings_gateway import GatewaySettings

QUIET_S = 10.0
"""After so long without a strategy a comment is sent, so that a client that is gone is noticed."""
READING_BACK = 2
"""Clients for whom Kafka is read back at once; the others wait for their turn."""
_ID = re.compile(r"\d{1,5}:\d{1,18}(,\d{1,5}:\d{1,18})*")
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Accel-Buffering": "no"}


def id_of(positions: Mapping[int, int]) -> str:
    """The id of an event behind which a client stands there."""
    return ",".join(f"{number}:{offset}" for number, offset in sorted(positions.items()))


def positions_of(last_id: str) -> dict[int, int]:
    """Partition → next offset.

    Raises:
        Refused: it is no id of this stream.
    """
    if not _ID.fullmatch(last_id):
        raise refusal("malformed", "`Last-Event-ID` is no id of this stream")
    pairs = (part.split(":") for part in last_id.split(","))
    return {int(number): int(offset) for number, offset in pairs}


def frame(record: Record, positions: Mapping[int, int]) -> bytes:
    """One strategy as an event."""
    data = b"\ndata: ".join((record.value or b"").splitlines())
    return b"id: %b\nevent: strategy\ndata: %b\n\n" % (id_of(positions).encode(), data)


class Streams:
    """Makes a response for each client."""

    def __init__(self, settings: GatewaySettings, hub: Hub) -> None:
        """Nothing is read back yet."""
        self._settings, self._hub = settings, hub
        self._reading_back = asyncio.Semaphore(READING_BACK)

    def open(self, last_id: str) -> StreamingResponse:
        """The stream of a client that stood at `last_id`; empty: from now on.

        Raises:
            Refused: the id is none, or too many listen.
            Unavailable: Kafka does not answer yet.
        """
        stood = positions_of(last_id) if last_id else None
        with ExitStack() as entered:
            listener = entered.enter_context(self._hub.listen())
            return _Stream(self._frames(listener, stood), entered.pop_all())

    async def _frames(self, listener: Listener, stood: dict[int, int] | None) -> AsyncIterator[bytes]:
        positions = dict(listener.begins) if stood is None else stood
        yield b"retry: 1000\nid: %b\n\n" % id_of(positions).encode()
        async for record in self._missed(listener, positions):
            yield b":\n\n" if record is None else self._passed(record, positions)
        while True:
            record = await listener.next(QUIET_S)
            if record is None:
                if listener.over:
                    return
                yield b":\n\n"
            elif record.offset >= positions.get(record.partition, 0):
                yield self._passed(record, positions)

    async def _missed(self, listener: Listener, positions: dict[int, int]) -> AsyncIterator[Record | None]:
        """What the client did not get before it listened; None now and then where it takes long."""
        begins = {n: at for n, end in listener.begins.items() if (at := positions.get(n, 0)) < end}
        if not begins:
            return
        backlog = Backlog(self._settings, begins, listener.begins)
        try:
            async with self._reading_back:
                while (records := await asyncio.to_thread(backlog.read)) is not None and not listener.over:
                    for record in records or (None,):
                        yield record
        finally:
            asyncio.get_running_loop().run_in_executor(None, backlog.close)

    @staticmethod
    def _passed(record: Record, positions: dict[int, int]) -> bytes:
        positions[record.partition] = record.offset + 1
        return frame(record, positions)


class _Stream(StreamingResponse):
    """Gives the listener's place back however it ends, a client that never took the first byte included."""

    def __init__(self, frames: AsyncIterator[bytes], entered: ExitStack) -> None:
        super().__init__(frames, headers=_HEADERS, media_type="text/event-stream")
        self._entered = entered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._entered:
            await super().__call__(scope, receive, send)
