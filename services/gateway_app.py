"""The HTTP application: which path needs which scope, and what is done there."""

import asyncio
import queue
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import redis
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Send, StatelessLifespan
from starlette.types import Scope as AsgiScope
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from model.critic import Critic
from services import gateway_reading as reading
from services import gateway_segment as segment
from services import metrics
from services.console import audit
from services.gateway_answers import Endpoint, answered, done, unrouted
from services.gateway_bodies import documents, inflated, too_large
from services.gateway_deciding import Decider
from services.gateway_doors import Doors
from services.gateway_events import Judged, Taken, judge
from services.gateway_hub import Hub
from services.gateway_intake import Intake, Room, Share
from services.gateway_keys import Scope
from services.gateway_openapi import text as openapi_text
from services.gateway_outcomes import outcome_event
from services.gateway_paths import DOORS, EVENTS, OPENAPI_PATH, Door, pattern
from services.gateway_problems import Refused, refusal
from services.gateway_stream import Streams
from services.settings_gateway import GatewaySettings
from services.worker_store import AnswerStore
from streaming import control
from streaming.contracts.codec import instant
from streaming.contracts.tracing import TRACEPARENT, Headers, checked

T = TypeVar("T")


class After(NamedTuple):
    """What is needed of what the agents and the worker do after an event is published.

    Args:
        critic: that answers at a deadline, until others come out of `critics`.
    """

    hub: Hub
    answers: AnswerStore
    critic: Critic
    critics: "queue.SimpleQueue[Critic | None]"


class Gateway:
    """The endpoints and what they share.

    Args:
        store: a synchronous client of Redis, for what is read in threads.
    """

    def __init__(
        self, settings: GatewaySettings, doors: Doors, intake: Intake, store: "redis.Redis", after: After
    ) -> None:
        """Nothing is connected to here."""
        self._settings, self._doors, self._intake, self._store = settings, doors, intake, store
        self._streams = Streams(settings, after.hub)
        self._decider = Decider(settings, after.hub, intake, self, after.answers, after.critic, after.critics)
        self._bounds = settings.bounds
        self._room = Room(settings.gateway_in_flight_bytes, settings.gateway_retry_after_s)

    def application(self, lifespan: "StatelessLifespan[Starlette]", console: Starlette | None = None) -> ASGIApp:
        """The ASGI application; the console, if there is one, below `/console`."""
        retry_s = self._settings.gateway_retry_after_s
        endpoints = {
            "segment": self._segment,
            "decide": self._decide,
            "outcome": self._outcome,
            "stream": self._stream,
            "profile": self._profile,
            "strategies": self._strategies,
            "paused": self._paused,
            "pause": self._pause,
            "resume": self._resume,
        }
        behind = {door.name: self._behind(door.scopes, endpoints[door.name]) for door in DOORS if door is not EVENTS}
        answers = {
            door: answered(door.name, behind.get(door.name, self._events), retry_s)  # events open their door themselves
            for door in DOORS
        }
        routes = [Route(pattern(door.path), answers[door], methods=[door.method]) for door in DOORS]
        routes.append(Route(OPENAPI_PATH, answered("openapi", _openapi(), retry_s)))
        mounted = [Mount("/console", console)] if console else []
        whole = Starlette(routes=[*routes, *mounted], exception_handlers={HTTPException: unrouted}, lifespan=lifespan)
        return _straight(EVENTS, answers[EVENTS], whole)

    def _behind(self, scopes: Sequence[Scope], endpoint: Endpoint) -> Endpoint:
        async def opened(request: Request) -> Response:
            request.state.key = await self._doors.admit(request.headers, *scopes)
            return await endpoint(request)

        return opened

    async def _events(self, request: Request) -> Response:
        with self._room.share() as share:
            found = await self._opened(request, share)
            judged = judge(found, _wall_ms(), self._bounds)
            return done(await self._taken(request, judged, counted=len(found)), 202)

    async def _opened(self, request: Request, share: Share) -> list[bytes]:
        """The events of a request whose key is let in, all of them taken from its rate.

        A small body is read first, so that key and rate are one question to Redis: uvicorn holds as much of it whether it is
        asked for or not, it takes nothing of the room before the key is known, and whoever shows no key is not listened to.
        """
        if not _small(request):
            request.state.key = await self._doors.admit(request.headers, *EVENTS.scopes)
            found = self._documents(request, await self._body(request, share.take))
            if len(found) > 1:  # the request itself was one
                await self._doors.take(request.state.key, len(found) - 1)
            return found
        self._doors.knocked(request.headers)
        body, unread = await self._body(request, _nothing), None
        try:
            found = self._documents(request, body)
        except Refused as refused:
            found, unread = [], refused
        request.state.key = await self._doors.admit(request.headers, *EVENTS.scopes, cost=max(1, len(found)))
        if unread is not None:
            raise unread
        share.take(len(body))
        return found

    def _documents(self, request: Request, body: bytes) -> list[bytes]:
        return documents(body, request.headers.get("content-type", ""), self._bounds)

    async def _segment(self, request: Request) -> Response:
        name = request.url.path.rpartition("/")[2]
        with self._room.share() as share:
            now_ms = _wall_ms()
            calls, shared = segment.calls(await self._body(request, share.take), name, self._bounds)
            now_iso = instant(now_ms).isoformat()
            found = [segment.event(index, call, name, shared, now_iso) for index, call in enumerate(calls)]
            # Some of Segment's libraries take any other status than 200 for a failure.
            return done(await self._taken(request, judge(found, now_ms, self._bounds), success=True), 200)

    async def _outcome(self, request: Request) -> Response:
        of = await self._read(reading.said, request.path_params["strategy_id"])
        with self._room.share() as share:
            now_ms = _wall_ms()
            event = outcome_event(of, await self._body(request, share.take), instant(now_ms).isoformat())
            return done(await self._taken(request, judge([event], now_ms, self._bounds)), 202)

    async def _decide(self, request: Request) -> Response:
        with self._room.share() as share:
            now_ms = _wall_ms()
            body = await self._body(request, share.take)
            return done(await self._decider.decide(body, now_ms, _trace(request)), 200)

    async def owner(self, user_id: str) -> str:
        """The customer that an id stands for."""
        return await self._read(reading.owner_of, user_id)

    async def stored(self, strategy: str) -> bytes | None:
        """What is stored under a strategy's id."""
        return await self._read(reading.stored_of, strategy)

    async def _stream(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return self._streams.open(request.headers.get("last-event-id", ""))

    async def _profile(self, request: Request) -> Response:
        row = await self._read(reading.profile_of, request.path_params["user_id"])
        return done(row.encode(), 200)

    async def _strategies(self, request: Request) -> Response:
        found = await self._read(reading.strategies_of, request.path_params["user_id"], _wall_ms())
        return done({"strategies": found}, 200)

    async def _paused(self, _: Request) -> Response:
        return done({"paused": await self._read(control.is_paused)}, 200)

    async def _pause(self, request: Request) -> Response:
        return await self._steered(request, control.pause, "pause", paused=True)

    async def _resume(self, request: Request) -> Response:
        return await self._steered(request, control.resume, "resume", paused=False)

    async def _steered(
        self, request: Request, act: Callable[["redis.Redis", str], None], what: str, *, paused: bool
    ) -> Response:
        await self._read(audit.write, audit.entry_of(request.state.key, what, why="over HTTP"))
        await self._read(act)
        return done({"paused": paused}, 200)

    async def _read(self, read: Callable[..., T], *what: object) -> T:
        """Read from Redis in a thread, so that the event loop turns."""
        prefix = self._settings.topic_prefix
        return await asyncio.to_thread(reading.asked, lambda: read(self._store, prefix, *what))

    async def _body(self, request: Request, take: Callable[[int], None]) -> bytes:
        """The inflated body; `take` is told of its bytes as they come."""
        bounds, settings = self._bounds, self._settings
        declared = request.headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > bounds.body_bytes:
            raise too_large(bounds)
        body = bytearray()
        try:
            async with asyncio.timeout(settings.gateway_body_timeout_s):
                async for chunk in request.stream():
                    take(len(chunk))
                    body += chunk
                    if len(body) > bounds.body_bytes:
                        raise too_large(bounds)
        except TimeoutError:
            detail = f"a body has {settings.gateway_body_timeout_s:g} seconds to come"
            raise refusal("too-slow", detail) from None
        encoding = request.headers.get("content-encoding", "").strip().lower()
        whole = inflated(bytes(body), encoding, bounds)
        take(max(0, len(whole) - len(body)))
        return whole

    async def _taken(self, request: Request, judged: Judged, *, counted: int = 1, success: bool = False) -> Taken:
        """Publish what may be published; the answer once it is acknowledged.

        Args:
            counted: so many events, or the request itself, are taken from the key's rate already.
            success: said to Segment's libraries.
        """
        counts = judged.counts()
        if judged.all_refused:
            metrics.GATEWAY_EVENTS.labels("refused").inc(counts["refused"])
            raise refusal("all-refused", "nothing was published", verdicts=judged.verdicts)
        if (more := len(judged.verdicts) - counted) > 0:
            await self._doors.take(request.state.key, more)
        await self._intake.publish(judged.records, _trace(request))
        for verdict, count in counts.items():
            metrics.GATEWAY_EVENTS.labels(verdict).inc(count)
        numbers: dict[str, Any] = {name: counts.get(name, 0) for name in Taken.__struct_fields__[:4]}
        return Taken(**numbers, verdicts=judged.verdicts, success=success)


def _trace(request: Request) -> Headers:
    """The caller's trace, for what is published on their word (W3C Trace Context)."""
    traceparent = checked(request.headers.get(TRACEPARENT, ""))
    return ((TRACEPARENT, traceparent.encode()),) if traceparent else ()


def _straight(door: Door, answer: Endpoint, rest: ASGIApp) -> ASGIApp:
    """The requests of one door go past middleware and routing, which are a twentieth of what a batch of events costs."""

    async def answering(scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == door.path and scope["method"] == door.method:
            response = await answer(Request(scope, receive, send))
            await response(scope, receive, send)
        else:
            await rest(scope, receive, send)

    return answering


def _small(request: Request) -> bool:
    """Whether a body is said to be no longer than what uvicorn takes in before it is asked for, and is not packed."""
    length = request.headers.get("content-length", "")
    return length.isdecimal() and int(length) <= HIGH_WATER_LIMIT and "content-encoding" not in request.headers


def _nothing(_: int) -> None:
    """Nothing is taken of the room."""


def _openapi() -> Endpoint:
    made = openapi_text().encode()

    async def said(_: Request) -> Response:
        return done(made, 200)

    return said


def _wall_ms() -> int:
    return int(time.time() * 1000)
