"""uvicorn, with bounds on what a client may take its time for: a request's head, and taking what it is sent."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services import metrics

HEAD_BYTES = 32 * 1024
"""Of a request's line and headers together, where they come in pieces."""
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_NO_REQUEST = "Invalid HTTP request received."
"""As uvicorn says of whatever is no request."""
_OFFER = frozenset({b"connection", b"upgrade", b"http2-settings"})


class Bounded(HttpToolsProtocol):
    """uvicorn bounds the time between requests, not that within a head, nor its length, nor the time of a client who does not read.

    Attributes:
        head_s: a request's line and headers have so long to come, from the connection's beginning or the last answer's end.
        stall_s: a client that takes nothing of what waits for it is cut off after so long.
    """

    head_s: float
    stall_s: float
    _head: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_body = False

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

    def data_received(self, data: bytes) -> None:
        """Take in what came; a head that grows too long is refused, an offer to speak something else passed over."""
        if not self._in_body:  # else a head may begin amid it, whose length is not known
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response(_NO_REQUEST)
            return
        if self._in_body:
            self._head_bytes = 0
        elif self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(_NO_REQUEST)

    def on_headers_complete(self) -> None:
        """A head that is whole is waited for no longer."""
        if self.parser.should_upgrade():
            return  # it is read again, without the offer
        super().on_headers_complete()
        self._in_body = True
        if self._head is not None:
            self._head.cancel()

    def on_message_complete(self) -> None:
        """What comes now is a head."""
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._in_body, self._head_bytes = False, 0

    def on_response_complete(self) -> None:
        """Begin to wait for the next head, where it is not there already."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._await_head()

    def pause_writing(self) -> None:
        """The client takes less than it is sent: so for a while, then it is cut off."""
        super().pause_writing()
        self._stall = self.loop.call_later(self.stall_s, self._cut, "stalled")

    def resume_writing(self) -> None:
        """The client took what waited for it."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()

    def _feed(self, data: bytes) -> None:
        """Let the parser read; it reads no body of a request that offers another protocol, so such a head is read again without."""
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = self._without_offer() + data[offer.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
            else:
                return

    def _without_offer(self) -> bytes:
        """The head that was read last, as if the client had offered nothing (RFC 9110, section 7.8: a server may ignore it)."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserInvalidMethodError(_NO_REQUEST)
        closing = (
            [(b"connection", b"close")] if any(b"close" in v for n, v in self.headers if n == b"connection") else []
        )
        kept = [pair for pair in self.headers if pair[0] not in _OFFER] + closing
        lines = [b"%b %b HTTP/1.1" % (method, self.url), *(b"%b: %b" % pair for pair in kept)]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _await_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
        self._head = self.loop.call_later(self.head_s, self._cut, "slow head")

    def _cut(self, why: str) -> None:
        metrics.GATEWAY_CUT.labels(why).inc()
        if self.transport.is_closing():
            self.transport.abort()  # it waits for a client to take the last bytes
        elif why == "stalled" or self._in_body:
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
