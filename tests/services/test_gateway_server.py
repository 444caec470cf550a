"""What the server does to a connection before any request is read."""

import asyncio
import socket

import uvicorn
from starlette.applications import Starlette
from uvicorn.server import ServerState

from services.gateway import listening
from services.gateway_server import Bounded, bounded


def test_an_answers_body_does_not_wait_for_the_acknowledgement_of_its_head() -> None:
    """Nagle's algorithm is off on connections of the very socket that the gateway listens on."""

    async def option() -> int:
        made: list[Bounded] = []

        def protocol() -> asyncio.Protocol:
            config = uvicorn.Config(Starlette(), log_config=None)
            served = bounded(10, 10)(config=config, server_state=ServerState(), app_state={})  # type: ignore[call-arg]
            assert isinstance(served, Bounded)
            made.append(served)
            return served

        with listening("127.0.0.1", 0) as door:
            server = await asyncio.get_running_loop().create_server(protocol, sock=door)
            _, writer = await asyncio.open_connection(*door.getsockname())
            while not made or made[0].transport is None:  # noqa: ASYNC110 -- nobody tells of it
                await asyncio.sleep(0)
            served = made[0].transport.get_extra_info("socket")
            found: int = served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            writer.close()
            await writer.wait_closed()
            made[0].transport.abort()
            server.close()
            await server.wait_closed()
            await asyncio.sleep(0.01)  # the loop closes an aborted connection in its next turns
        return found

    assert asyncio.run(option())
