"""Pages that only show: what is happening now, reward by arm, the live stream of figures."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from services.console import access, chart
from services.console.arms import MEASURES, Measure
from services.console.following import Following
from services.console.processes import LOOK_EVERY_S, Now, Watching
from services.console.rendering import HEADERS
from services.console.room import Room
from services.gateway_problems import refusal
from streaming.contracts.errors import Unavailable
from streaming.control import is_paused

_SVG_HEADERS = {**HEADERS, "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
"""A drawing is shown by an `img`, where nothing in it can run; opened by itself neither."""


class WatchPages:
    """What is happening."""

    def __init__(self, room: Room, watching: Watching, following: Following) -> None:
        """Nobody is live yet."""
        self._room, self._watching, self._following = room, watching, following
        self._live = 0
        self._over = asyncio.Event()

    def end(self) -> None:
        """Let every live page come to its end."""
        self._over.set()

    async def now(self, request: Request) -> Response:
        """The first page."""
        self._following.ensure_started()
        return await self._room.page(request, "now.html", now=await self._watching.now())

    async def live(self, request: Request) -> Response:
        """The same figures again and again, as server-sent events."""
        if self._live >= self._room.settings.console_streams:
            raise refusal("busy", "so many pages are live already", retry_after_s=10)
        headers = {**HEADERS, "X-Accel-Buffering": "no"}
        return StreamingResponse(self._told(request), 200, headers, "text/event-stream")

    async def _told(self, request: Request) -> AsyncIterator[bytes]:
        """Until the visitor is logged out, or goes away, or the gateway stops."""
        self._live += 1
        try:
            while not self._over.is_set() and await self._is_known(request):
                said = _cells(await self._watching.now(), paused=await self._room.read(is_paused))
                yield b"data: " + msgspec.json.encode(said) + b"\n\n"
                with suppress(TimeoutError):  # nobody stopped it: the next look is due
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._over.wait()
        except Unavailable:
            return  # the browser comes again by itself
        finally:
            self._live -= 1

    async def _is_known(self, request: Request) -> bool:
        return await self._room.read(access.visitor_of, request.cookies) is not None

    async def rewards(self, request: Request) -> Response:
        """Reward by arm over time: a chart, and the same as tables."""
        self._following.ensure_started()
        measure = _measure(request)
        return await self._room.page(
            request,
            "rewards.html",
            measure=measure,
            measures=MEASURES,
            found=self._following.rewards(measure),
            failed=self._following.failed,
            days=self._room.settings.console_days,
        )

    async def drawing(self, request: Request) -> Response:
        """The chart alone."""
        measure = _measure(request)
        theme: chart.Theme = "dark" if request.query_params.get("theme") == "dark" else "light"
        size: chart.Size = "narrow" if request.query_params.get("size") == "narrow" else "wide"
        spec = chart.specification(self._following.rewards(measure).points, MEASURES[measure], theme, size)
        drawn = await self._room.slow(lambda: chart.svg(spec))
        return Response(drawn, 200, _SVG_HEADERS, "image/svg+xml")


def _measure(request: Request) -> Measure:
    asked = request.query_params.get("measure", "reward")
    return next((each for each in get_args(Measure) if each == asked), "reward")


def _cells(now: Now, *, paused: bool) -> dict[str, Any]:
    """Element id → its text; of processes the state too, by which they are marked."""
    texts = {f"figure-{figure.id}": figure.text for figure in now.figures}
    texts |= {f"state-{process.name}": process.state for process in now.processes}
    texts |= {f"why-{process.name}": process.why for process in now.processes}
    texts["paused-state"] = "Paused: no new strategies" if paused else "Running"
    return {"texts": texts, "states": {process.name: process.state for process in now.processes}}
