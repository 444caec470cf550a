"""What the pages share: settings, Redis, threads of their own for what is slow, and the renderer."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from services.console import audit
from services.console.access import Visitor
from services.console.rendering import Renderer
from services.gateway_reading import asked
from services.settings_gateway import GatewaySettings
from streaming.contracts.errors import Unavailable
from streaming.control import is_paused

if TYPE_CHECKING:
    import redis

T = TypeVar("T")
QUICK, SLOW = 4, 2
"""Threads for what Redis answers at once, and for what reads a whole topic; never the gateway's own."""
PAGE_S, ACT_S = 30.0, 600.0
"""A page is waited for so long, and what changes many records."""


class Room:
    """Given to every page.

    Args:
        store: a synchronous client of Redis, for any thread.
    """

    def __init__(self, settings: GatewaySettings, store: "redis.Redis") -> None:
        """Threads start when they are needed."""
        self.settings, self.renderer = settings, Renderer()
        self._store = store
        self._quick, self._slow = ThreadPoolExecutor(QUICK, "console"), ThreadPoolExecutor(SLOW, "console-slow")

    async def slow(self, act: Callable[[], T], timeout_s: float = PAGE_S) -> T:
        """Done in a thread, for what asks Kafka.

        Raises:
            Unavailable: it is not done yet; it may be done still.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._slow, act)
        except TimeoutError:
            raise Unavailable(f"the console has waited {timeout_s:g} s for Kafka") from None

    async def read(self, read: Callable[..., T], *what: object) -> T:
        """`read(client of Redis, prefix, *what)` in a thread.

        Raises:
            Unavailable: Redis does not answer now.
        """
        prefix = self.settings.topic_prefix
        return await asyncio.get_running_loop().run_in_executor(
            self._quick, lambda: asked(lambda: read(self._store, prefix, *what))
        )

    async def page(self, request: Request, name: str, status: int = 200, /, **values: Any) -> Response:
        """A page for the visitor, with what every page shows."""
        paused = await self.read(is_paused)
        said = {"visitor": request.state.visitor, "paused": paused, "path": request.url.path, **values}
        return self.renderer.page(name, status, **said)

    async def tell(self, visitor: Visitor, what: str, on: str = "", why: str = "") -> None:
        """Write an act into the audit."""
        await self.read(audit.write, audit.entry_of(visitor.key, what, on, why))

    def close(self) -> None:
        """Begin nothing more."""
        for threads in (self._quick, self._slow):
            threads.shutdown(wait=False, cancel_futures=True)
