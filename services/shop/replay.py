"""The shop's process: plays the source's purchases and its customers' answers through Kafka, on the shop's clock.

Edge. It is a customer of the system like any other: it knows topics and contracts, and nothing of what reads them.
`stratagem shop` runs it for the demo, `stratagem replay` for a folder of full tables.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from services import metrics
from services.settings import ShopSettings
from services.shop.catalog import DROP_DAYS, price_drops
from services.shop.days import DAY_MS, MAX_DELAY_MS, baskets_by_day, plan_day
from services.shop.pace import SHORTEST_MS, next_tick_ms
from services.shop.reactions import react
from services.shop.streams import Streams
from services.shop.visits import HOUR_MS
from services.shop.wire import Emit
from services.shop.world import DEFAULT_START, World, load_world
from streaming.contracts.catalog import Product
from streaming.contracts.codec import encode, instant, to_ms
from streaming.contracts.kinds import GRAMMARS
from streaming.contracts.strategies import Strategy
from streaming.contracts.topics import CAMPAIGNS, CATALOG

log = logging.getLogger("stratagem.shop")

DRAIN_DAYS = 8.0
"""Days the clock runs on after the last visit, so that every window closes and late refunds arrive."""
WARM_UP_S = 40.0
"""Services that start beside the shop get this much longer for their first answer."""
DRAIN_TICK_MS = 6 * HOUR_MS
LATENESS_MS = MAX_DELAY_MS
"""The published clock stays this far behind what is published: an event out of order is not late, as shops promise."""


class Shop:
    """One run of the shop: its world, its clock, and what is still to be published.

    Args:
        world: catalog, campaigns, customers, purchases.
        streams: the topics.
        wall_limit_s: how long a tick waits for answers before the clock moves on regardless.
        warm_up_s: how much longer it waits before the first answer of all, while services start.
    """

    def __init__(self, world: World, streams: Streams, wall_limit_s: float, warm_up_s: float = 0.0) -> None:
        """Start at the world's begin with nothing published."""
        self.world = world
        self.streams = streams
        self.wall_limit_s, self.warm_up_s = wall_limit_s, warm_up_s
        self.clock_ms = to_ms(world.begin)
        self.planned_ms = self.clock_ms
        self.stopping = False
        self.timeouts = 0
        self.first_answer_s: float | None = None
        self._baskets = baskets_by_day(world)
        self._due: list[tuple[int, int, Emit]] = []
        self._number = itertools.count()
        self._left: dict[str, frozenset[str]] = {}
        self._launched: set[str] = set()

    def open_shop(self) -> None:
        """Publish campaigns and the catalog as it stands, and the clock's first moment."""
        for campaign_id, campaign in self.world.campaigns.items():
            self.streams.publish(CAMPAIGNS.name, campaign_id, encode(campaign))
        self._launch(self.clock_ms + DAY_MS)
        self.streams.flush()
        self.streams.advance(self.clock_ms - LATENESS_MS)

    def _launch(self, until_ms: int) -> None:
        """Publish products launched before a moment that are not on the shelf yet, a day ahead of their first sale."""
        for product_id, product in self.world.catalog.items():
            if product_id not in self._launched and to_ms(product.launched_at) <= until_ms:
                self._launched.add(product_id)
                self.streams.publish(CATALOG.name, product_id, encode(product))

    def push(self, emit: Emit) -> None:
        """Plan a record."""
        heapq.heappush(self._due, (emit.due_ms, next(self._number), emit))

    def plan_until(self, until_ms: int) -> None:
        """Plan whole days until the moment is covered."""
        while self.planned_ms < until_ms:
            day_ms = self.planned_ms
            first = day_ms == to_ms(self.world.begin)
            for emit in plan_day(self.world, day_ms, self._baskets.get(day_ms, []), first=first):
                self.push(emit)
            self._launch(day_ms + 2 * DAY_MS)
            self._plan_drops(day_ms)
            self.planned_ms += DAY_MS

    def _plan_drops(self, day_ms: int) -> None:
        for drop in price_drops(self.world.catalog, instant(day_ms), self.world.seed):
            product = self.world.catalog[drop.product_id]
            starts_ms = to_ms(drop.starts_at)
            self._plan_price(product, drop.price_minor, starts_ms)
            self._plan_price(product, product.price_minor, starts_ms + DROP_DAYS * DAY_MS)

    def _plan_price(self, product: Product, price_minor: int, at_ms: int) -> None:
        record = msgspec.structs.replace(product, price_minor=price_minor)
        self.push(Emit(at_ms, at_ms, CATALOG.name, product.product_id, encode(record)))

    def tick(self, tick_ms: int) -> float:
        """Move the clock: publish what is due, advance, wait until all is read and answered.

        Returns:
            Wall seconds the answers took.
        """
        until_ms = self.clock_ms + tick_ms
        while self._due and self._due[0][0] < until_ms:
            emit = heapq.heappop(self._due)[2]
            self.streams.publish(emit.topic, emit.key, emit.value)
        started_s = time.monotonic()
        self.clock_ms = until_ms
        marks = self.streams.advance(until_ms - LATENESS_MS)
        if not self._wait(marks, started_s):
            self.timeouts += 1
            log.warning("the clock moves on after %.0f s: %s", self.wall_limit_s, self.streams.waiting_for(marks))
        metrics.LAST_LOOP.labels("shop").set_to_current_time()
        return time.monotonic() - started_s

    def _wait(self, marks: dict[tuple[str, int], int], started_s: float) -> bool:
        """Read answers until nothing is outstanding; False when the wall limit came first."""
        limit_s = self.wall_limit_s if self.first_answer_s else self.wall_limit_s + self.warm_up_s
        while time.monotonic() - started_s < limit_s:
            self.streams.pull(self.answer)
            if self.streams.ledger.passed(marks) and self.streams.caught_up() and not self.streams.ledger.open:
                return True
            if self.stopping:
                return True
        return False

    def answer(self, strategy: Strategy) -> None:
        """Let a customer answer a strategy that was read; of a declared kind nobody knows what customers here would say."""
        if strategy.kind not in GRAMMARS:
            return
        self.first_answer_s = self.first_answer_s or time.monotonic()
        left = self._left.get(strategy.user_id, frozenset())
        events = react(self.world, strategy, self.clock_ms, left)
        if any(b'"Unsubscribed"' in (event.value or b"") for event in events):
            self._left[strategy.user_id] = left | {strategy.decision.get("channel", "")}
        for event in events:
            self.push(event)

    @property
    def began_s(self) -> float:
        """When the visits' time began to count, monotonic wall seconds: at the first answer, or now."""
        return self.first_answer_s or time.monotonic()

    def run(self, keep_on: Callable[[], bool]) -> None:
        """Play days while `keep_on()` and the source lasts, then let every window close."""
        tick_ms = SHORTEST_MS
        end_ms = to_ms(self.world.end)
        while self.clock_ms < end_ms and keep_on() and not self.stopping:
            self.plan_until(self.clock_ms + tick_ms)
            tick_ms = next_tick_ms(tick_ms, self.tick(tick_ms))
        self.drain()

    def drain(self) -> None:
        """Move the clock on without visits, so that rewards close."""
        self._due = [item for item in self._due if item[2].topic != CATALOG.name and is_consequence(item[2])]
        heapq.heapify(self._due)
        end_ms = self.clock_ms + round(DRAIN_DAYS * DAY_MS)
        while self.clock_ms < end_ms and not self.stopping:
            self.tick(DRAIN_TICK_MS)


def is_consequence(emit: Emit) -> bool:
    """Whether a planned record follows from a strategy or an order, and so is owed after the last visit."""
    return b'"strategy_id"' in (emit.value or b"") or b'"Order Refunded"' in (emit.value or b"")


def main(settings: ShopSettings) -> int:
    """Run the demo's shop, from the shipped extract, until its time or SIGTERM ends it.

    Returns:
        0; 2 when the source lacks a table.
    """
    return replay_source(settings)


def replay_source(
    settings: ShopSettings,
    source: str = "completejourney",
    folder: Path | None = None,
    *,
    days: float | None = None,
    begin: datetime | None = None,
) -> int:
    """Play a source until the span, the time or SIGTERM ends it.

    Args:
        settings: where Kafka is, the seed, the length, the clock's limit.
        source: `completejourney` is the only one there is.
        folder: full tables, all of whose households are played; None for the shipped extract and the setting's number.
        days: length of the span; if None, a folder's last day ends it, and the extract is played as the setting says.
        begin: first day; if None, a folder's own first day, and the demo's for the extract.

    Returns:
        0; 2 when the source is not known, lacks a table or has no purchase in the span.
    """
    if source != "completejourney":
        log.error("source %r is not known; completejourney is", source)
        return 2
    try:
        world = load_world(
            folder,
            seed=settings.demo_seed,
            households=settings.demo_households if folder is None else None,
            begin=begin or (DEFAULT_START if folder is None else None),
            days=days or (settings.demo_days if folder is None else None),
        )
    except (FileNotFoundError, ValueError) as error:
        log.error("%s", error)  # noqa: TRY400 -- the message says it; a traceback would hide it
        return 2
    play(world, settings)
    return 0


def play(world: World, settings: ShopSettings) -> None:
    """Run a world on the topics, with metrics and a clean end on SIGTERM."""
    with Streams(settings) as streams:
        metrics.serve("shop", settings.metrics_host, settings.metrics_port)
        metrics.LIVE.labels("shop").set(1)
        shop = Shop(world, streams, settings.tick_wall_limit_s, WARM_UP_S)
        signal.signal(signal.SIGTERM, lambda *_: setattr(shop, "stopping", True))
        shop.open_shop()
        shop.run(lambda: not settings.demo_minutes or time.monotonic() < shop.began_s + 60 * settings.demo_minutes)
        log.info(
            "clock %s, %d published, %d ticks over the limit", instant(shop.clock_ms), streams.published, shop.timeouts
        )
    metrics.LIVE.labels("shop").set(0)
