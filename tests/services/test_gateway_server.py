"""What the server does to a connection: before any request is read, between requests, and to heads without an end."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.server import ServerState

from services.gateway import listening
from services.gateway_server import HEAD_BYTES, Bounded, bounded

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


async def length(request: Request) -> Response:
    """How long the body is, said after as many seconds as the query says."""
    body = await request.body()
    await asyncio.sleep(float(request.query_params.get("after", "0")))
    return PlainTextResponse(f"{len(body)} bytes")


@asynccontextmanager
async def served(head_s: float = 10) -> AsyncIterator[tuple[tuple[str, int], list[Bounded]]]:
    """An application behind the very socket that the gateway listens on: its address, and its connections."""
    made: list[Bounded] = []

    def protocol() -> asyncio.Protocol:
        app = Starlette(routes=[Route("/", length, methods=["GET", "POST"])])
        config = uvicorn.Config(app, log_config=None, ws="none")
        found = bounded(head_s, 10)(config=config, server_state=ServerState(), app_state={})  # type: ignore[call-arg]
        assert isinstance(found, Bounded)
        made.append(found)
        return found

    with listening("127.0.0.1", 0) as door:
        server = await asyncio.get_running_loop().create_server(protocol, sock=door)
        yield door.getsockname()[:2], made
        for each in made:
            if each.transport is not None:
                each.transport.abort()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)  # the loop closes an aborted connection in its next turns


async def talk(address: tuple[str, int], *pieces: bytes, until: bytes = b"\0") -> bytes:
    """What is answered to these pieces, each sent a moment after the one before: so far, or until the other side ends."""
    reader, writer = await asyncio.open_connection(*address)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.02)
    found = b""
    while until not in found and (chunk := await reader.read(65536)):
        found += chunk
    writer.close()
    return found


def run(loop: Callable[[], asyncio.AbstractEventLoop], act: Coroutine[None, None, bytes]) -> bytes:
    """In a loop of this kind."""
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(act)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_answers_body_does_not_wait_for_the_acknowledgement_of_its_head(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Nagle's algorithm is off on connections of the very socket that the gateway listens on."""

    async def option() -> bytes:
        async with served() as (address, made):
            _, writer = await asyncio.open_connection(*address)
            while not made or made[0].transport is None:  # noqa: ASYNC110 -- nobody tells of it
                await asyncio.sleep(0)
            connection = made[0].transport.get_extra_info("socket")
            found = bytes([connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)])
            writer.close()
            await writer.wait_closed()
        return found

    assert run(loop, option()) != b"\0"


def test_a_head_in_pieces_is_bounded_and_a_body_is_no_head() -> None:
    """Pieces of a head over the bound: 400. A body of ten times the bound, and the next request after it: answered."""

    async def heads() -> bytes:
        async with served() as (address, _):
            return await talk(address, b"GET / HTTP/1.1\r\nX: ", *[b"x" * (HEAD_BYTES // 3)] * 4)

    async def bodies() -> bytes:
        async with served() as (address, _):
            head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (10 * HEAD_BYTES)
            pieces = [b"x" * HEAD_BYTES] * 9
            # The last piece of the body brings the beginning of the next head.
            return await talk(
                address,
                head,
                *pieces,
                b"x" * HEAD_BYTES + b"GET / HTT",
                b"P/1.1\r\nHost: x\r\n\r\n",
                until=b"\n0 bytes",
            )

    assert run(uvloop.new_event_loop, heads()).startswith(b"HTTP/1.1 400")
    answered = run(uvloop.new_event_loop, bodies())
    assert answered.count(b"HTTP/1.1 200") == 2
    assert answered.index(b"%d bytes" % (10 * HEAD_BYTES)) < answered.index(b"\n0 bytes")


def test_the_time_of_a_head_is_not_that_of_an_answer() -> None:
    """Requests sent at once are answered in turn, though each takes longer than a head may; then a slow head is cut off."""

    async def slowly() -> bytes:
        async with served(head_s=0.3) as (address, _):
            return await talk(address, b"GET /?after=0.4 HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + b"GET / HT")

    answered = run(uvloop.new_event_loop, slowly())
    assert answered.count(b"HTTP/1.1 200") == 2
    assert answered.rindex(b"HTTP/1.1 408") > answered.rindex(b"HTTP/1.1 200")


def test_an_offer_to_speak_http_2_is_passed_over() -> None:
    """Java's own client makes one with its first request; the request is answered, and the next one too."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"

    async def offered() -> bytes:
        async with served() as (address, _):
            first = b"POST / HTTP/1.1\r\nHost: x\r\n" + offer + b"Content-Length: 5\r\n\r\nab"
            return await talk(
                address, first, b"cde", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", until=b"3 bytes"
            )

    answered = run(uvloop.new_event_loop, offered())
    assert b"5 bytes" in answered
    assert b"3 bytes" in answered

    async def tunnel() -> bytes:
        async with served() as (address, _):
            return await talk(address, b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere\r\n\r\n")

    assert run(uvloop.new_event_loop, tunnel()).startswith(b"HTTP/1.1 400")
