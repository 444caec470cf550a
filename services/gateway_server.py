"""uvicorn, with bounds on what a client may take its time for: a request's head, and taking what it is sent."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from services import metrics

_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Bounded(H11Protocol):
    """uvicorn bounds the time between requests, not that within a head, nor that of a client who does not read.

    Attributes:
        head_s: a request's line and headers have so long to come, from the connection's beginning or the last answer's end.
        stall_s: a client that takes nothing of what waits for it is cut off after so long.
    """

    head_s: float
    stall_s: float
    _head: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a head."""
        super().connection_made(transport)
        # asyncio sets it only where the listening socket named its protocol; without it an answer's body waits for the
        # acknowledgement of its head, 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        for timer in (self._head, self._stall):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Take in what came; a head that is whole is waited for no longer."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and self._head is not None:
            self._head.cancel()

    def on_response_complete(self) -> None:
        """Begin to wait for the next head."""
        self._await_head()
        super().on_response_complete()  # may begin a request that waits already

    def pause_writing(self) -> None:
        """The client takes less than it is sent: so for a while, then it is cut off."""
        super().pause_writing()
        self._stall = self.loop.call_later(self.stall_s, self._cut, "stalled")

    def resume_writing(self) -> None:
        """The client took what waited for it."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()

    def _await_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
        self._head = self.loop.call_later(self.head_s, self._cut, "slow head")

    def _cut(self, why: str) -> None:
        metrics.GATEWAY_CUT.labels(why).inc()
        if self.transport.is_closing():
            self.transport.abort()  # it waits for a client to take the last bytes
        elif why == "stalled" or self.conn.our_state is not h11.IDLE:
            self.transport.abort()
        else:
            self.transport.write(_TOO_SLOW)
            self.transport.close()


def bounded(head_s: float, stall_s: float) -> type[asyncio.Protocol]:
    """The protocol with these bounds, seconds."""
    return type("Bounded", (Bounded,), {"head_s": head_s, "stall_s": stall_s})


class Server(uvicorn.Server):
    """Ends what would not end by itself before it waits for the rest."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        """`ending`: told when no more connections are taken."""
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: Any = None) -> None:
        """As uvicorn's."""
        self._ending()
        await super().shutdown(sockets)
