"""What the gateway hears of strategies: told to the callers who wait for an answer, and to those who listen to all of them.

For one thread, the event loop's.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
from msgspec import Struct

from services import metrics
from services.gateway_problems import refusal
from services.records import Record
from streaming.contracts.codec import UNREADABLE
from streaming.contracts.errors import Unavailable
from streaming.contracts.topics import REQUESTS, STRATEGIES


class _Of(Struct):
    """The part of a request, strategy or suppression that says what it belongs to."""

    request_id: str


_OF = msgspec.json.Decoder(_Of)


class Expected:
    """What a caller waits for.

    Args:
        request: the record that was sent to the worker, once it is.
        answer: the bytes of a `Strategy` or of a `Suppression`.
    """

    def __init__(self) -> None:
        """Nothing came yet."""
        self.request: Record | None = None
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()


class Listener:
    """One client of the stream: what it has still to be sent.

    Args:
        limit: strategies that may wait for it; one that is further behind is cut off.
        begins: partition → the first offset that it hears.
        over: nothing more comes.
    """

    def __init__(self, limit: int, begins: dict[int, int]) -> None:
        """Nothing waits."""
        self._limit, self._items, self._more = limit, deque[Record](), asyncio.Event()
        self.begins, self.over = begins, False

    def push(self, record: Record) -> None:
        """One more, unless there are too many."""
        if len(self._items) >= self._limit:
            metrics.GATEWAY_STREAMS_CUT.inc()
            self._items.clear()
            self.end()
        elif not self.over:
            self._items.append(record)
            self._more.set()

    def end(self) -> None:
        """Nothing more comes."""
        self.over = True
        self._more.set()

    async def next(self, timeout_s: float) -> Record | None:
        """The next record, None when there was none for so long, or nothing more comes."""
        if not self._items and not self.over:
            self._more.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._more.wait()
            except TimeoutError:
                return None
        return self._items.popleft() if self._items else None


class Hub:
    """Who waits for what.

    Args:
        streams: clients of the stream at once, at most.
        buffer: strategies that may wait for each of them.
        retry_after_s: what one too many is told.
    """

    def __init__(self, streams: int, buffer: int, retry_after_s: int) -> None:
        """Nobody waits, and nothing is followed yet."""
        self._streams, self._buffer, self._retry_after_s = streams, buffer, retry_after_s
        self._expected: dict[str, list[Expected]] = {}
        self._listeners: set[Listener] = set()
        self._over = False
        self.positions: dict[int, int] = {}
        """Partition of `strategies` → the next offset to be heard; empty before the topics are followed."""

    def begin(self, positions: dict[int, int]) -> None:
        """The topics are followed, strategies from these offsets."""
        self.positions |= positions

    def lost(self) -> None:
        """The topics are followed no more: nobody may wait for what does not come."""
        self.positions.clear()
        self.end()

    @contextmanager
    def expect(self, request_id: str) -> Iterator[Expected]:
        """Hear of a request until the end of the context.

        Raises:
            Unavailable: the topics are not followed yet.
        """
        self._check_followed()
        expected = Expected()
        self._expected.setdefault(request_id, []).append(expected)
        try:
            yield expected
        finally:
            others = self._expected[request_id]
            others.remove(expected)
            if not others:
                del self._expected[request_id]

    @contextmanager
    def listen(self) -> Iterator[Listener]:
        """Hear every strategy from now on, until the end of the context.

        Raises:
            Refused: there are as many listeners as there may be.
            Unavailable: the topics are not followed yet.
        """
        self._check_followed()
        if len(self._listeners) >= self._streams:
            raise refusal("busy", f"{self._streams} clients listen already", retry_after_s=self._retry_after_s)
        listener = Listener(self._buffer, dict(self.positions))
        if self._over:
            listener.end()
        self._listeners.add(listener)
        metrics.GATEWAY_STREAMS.set(len(self._listeners))
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            metrics.GATEWAY_STREAMS.set(len(self._listeners))

    def _check_followed(self) -> None:
        if not self.positions:
            raise Unavailable("Kafka: the topics of strategies are not followed")

    def end(self) -> None:
        """Let every listener come to its end, those who come later too."""
        self._over = True
        for listener in self._listeners:
            listener.end()

    async def hear(self, records: Sequence[Record]) -> None:
        """Tell whom it concerns."""
        for record in records:
            if record.topic == STRATEGIES.name:
                self.positions[record.partition] = record.offset + 1
                for listener in self._listeners:
                    listener.push(record)
            if self._expected and record.value:
                self._tell(record, record.value)

    def _tell(self, record: Record, value: bytes) -> None:
        try:
            request_id = _OF.decode(value).request_id
        except UNREADABLE:
            return  # a stranger's record: whoever reads the topic to work on it reports it
        for expected in self._expected.get(request_id, ()):
            if record.topic == REQUESTS.name:
                expected.request = record
            elif not expected.answer.done():
                expected.answer.set_result(value)
