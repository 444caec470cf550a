"""Pages about what was said to whom: strategies in words, one customer."""

from typing import Any
from urllib.parse import quote

import msgspec
import redis
from starlette.requests import Request
from starlette.responses import Response

from services.console import customers, words
from services.console.arms import Told
from services.console.following import Following
from services.console.guard import to
from services.console.room import Room
from services.gateway_problems import Refused, refusal
from services.gateway_reading import stored_of
from streaming.contracts.codec import decode
from streaming.contracts.errors import BadEvent
from streaming.contracts.strategies import Strategy, Suppression

MAX_ID_CHARACTERS = 512


class CustomerPages:
    """Strategies and customers."""

    def __init__(self, room: Room, following: Following) -> None:
        """Nothing is read yet."""
        self._room, self._following = room, following

    async def strategies(self, request: Request) -> Response:
        """The last ones, in a line each."""
        self._following.ensure_started()
        found, behind = self._following.strategies()
        lines = [words.line(each, self._happened(each.strategy_id)) for each in map(_readable, found) if each]
        failed = self._following.failed
        return await self._room.page(request, "strategies.html", lines=lines, behind=behind, failed=failed)

    async def strategy(self, request: Request) -> Response:
        """One, with everything that is known of it."""
        identity = request.path_params["strategy_id"]
        stored = await self._room.read(stored_of, identity)
        if stored is None:
            raise refusal("not-found", "no strategy has this id, or it is long over")
        answer = _answer(stored)
        if isinstance(answer, Suppression):
            return await self._room.page(request, "suppressed.html", found=answer)
        return await self._room.page(
            request,
            "strategy.html",
            found=answer,
            choices=words.choices(answer),
            effect=words.effect,
            facts=words.facts,
            named=lambda value: words.named(answer, value),
            happened=self._happened(identity) or await self._room.read(_kept, answer.user_id, identity),
        )

    def _happened(self, strategy_id: str) -> words.Happened | None:
        told: Told | None = self._following.outcome(strategy_id)
        if told is None:
            return None
        return words.Happened(told.stage, told.reward, told.outcomes, told.components, told.closed_at)

    async def look_up(self, request: Request) -> Response:
        """The form; with an id, on to the customer."""
        asked = request.query_params.get("id", "").strip()
        if asked and len(asked) <= MAX_ID_CHARACTERS:
            return to(f"/console/customers/{quote(asked, safe='')}")
        return await self._room.page(request, "lookup.html", asked="", unknown=False)

    async def customer(self, request: Request) -> Response:
        """Profile, timeline and strategies."""
        asked = request.path_params["user_id"]
        try:
            found = await self._room.read(customers.customer, asked)
        except Refused:
            return await self._room.page(request, "lookup.html", 404, asked=asked, unknown=True)
        await self._room.tell(request.state.visitor, "looked at a customer", customers.alias(found.row.user_id))
        lines = await self._room.read(_lines, found)
        shown: dict[str, Any] = {
            "found": found,
            "asked": asked,
            "facts": customers.facts(found.row),
            "affinities": customers.affinities(found.row.profile),
            "money": found.row.profile.money,
            "timeline": customers.timeline(found),
            "lines": lines,
            "most": customers.MOST_ENTRIES,
        }
        return await self._room.page(request, "customer.html", **shown)


def _readable(value: bytes) -> Strategy | None:
    """None for a stranger's record."""
    try:
        return decode(value, Strategy)
    except BadEvent:
        return None


def _answer(stored: bytes) -> Strategy | Suppression:
    """What is stored under a strategy's id."""
    kind: type[Strategy | Suppression] = (
        Strategy if msgspec.json.decode(stored, type=_Kind).strategy_id else Suppression
    )
    return decode(stored, kind)


class _Kind(msgspec.Struct):
    """A strategy has an id of its own; a suppression has not."""

    strategy_id: str = ""


def _kept(client: "redis.Redis", prefix: str, user_id: str, strategy_id: str) -> words.Happened | None:
    """What attribution has so far of a strategy whose reward this process has not read."""
    try:
        found = customers.customer(client, prefix, user_id)
    except Refused:
        return None
    return next((customers.happened(each) for each in found.open.strategies if each.strategy_id == strategy_id), None)


def _lines(client: "redis.Redis", prefix: str, found: customers.Customer) -> list[words.Line]:
    """The customer's strategies that attribution remembers, newest first."""
    lines = []
    for kept in sorted(found.open.strategies, key=lambda each: -each.issued_ms):
        stored = None if kept.ghost else stored_of(client, prefix, kept.strategy_id)
        strategy = None if stored is None else _readable(stored)
        if strategy is not None:
            lines.append(words.line(strategy, customers.happened(kept)))
    return lines
