"""The shop's process: plays the source's purchases and its customers' answers through Kafka, on the shop's clock.

Edge. It is a customer of the system like any other: it knows topics and contracts, and nothing of what reads them.
`python -m services.shop.replay` runs it; settings come from the environment (`services/settings.py`).
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from services import metrics
from services.settings import ShopSettings, load
from services.shop.catalog import DROP_DAYS, price_drops
from services.shop.days import DAY_MS, baskets_by_day, plan_day
from services.shop.pace import LONGEST_MS, next_tick_ms
from services.shop.reactions import react
from services.shop.streams import Streams
from services.shop.visits import HOUR_MS
from services.shop.wire import Emit
from services.shop.world import DEFAULT_START, World, load_world
from streaming.contracts.catalog import Product
from streaming.contracts.codec import encode, instant, to_ms
from streaming.contracts.strategies import Strategy
from streaming.contracts.topics import CAMPAIGNS, CATALOG

log = logging.getLogger("stratagem.shop")

DRAIN_DAYS = 8.0
"""Days the clock runs on after the last visit, so that every window closes and late refunds arrive."""
DRAIN_TICK_MS = 6 * HOUR_MS
DAYS = 55.0
"""Default length of the replayed span, days."""


class Shop:
    """One run of the shop: its world, its clock, and what is still to be published.

    Args:
        world: catalog, campaigns, customers, purchases.
        streams: the topics.
        wall_limit_s: how long a tick waits for answers before the clock moves on regardless.
    """

    def __init__(self, world: World, streams: Streams, wall_limit_s: float) -> None:
        """Start at the world's begin with nothing published."""
        self.world = world
        self.streams = streams
        self.wall_limit_s = wall_limit_s
        self.clock_ms = to_ms(world.begin)
        self.planned_ms = self.clock_ms
        self.stopping = False
        self.timeouts = 0
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
        self.streams.advance(self.clock_ms)

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
        marks = self.streams.advance(until_ms)
        if not self._wait(marks, started_s):
            self.timeouts += 1
            log.warning("the clock moves on after %.0f s: %s", self.wall_limit_s, self.streams.waiting_for(marks))
        metrics.LAST_LOOP.labels("shop").set_to_current_time()
        return time.monotonic() - started_s

    def _wait(self, marks: dict[tuple[str, int], int], started_s: float) -> bool:
        """Read answers until nothing is outstanding; False when the wall limit came first."""
        while time.monotonic() - started_s < self.wall_limit_s:
            self.streams.pull(self.answer)
            if self.streams.ledger.passed(marks) and self.streams.caught_up() and not self.streams.ledger.open:
                return True
            if self.stopping:
                return True
        return False

    def answer(self, strategy: Strategy) -> None:
        """Let a customer answer a strategy that was read."""
        left = self._left.get(strategy.user_id, frozenset())
        events = react(self.world, strategy, self.clock_ms, left)
        if any(b'"Unsubscribed"' in (event.value or b"") for event in events):
            self._left[strategy.user_id] = left | {strategy.decision.get("channel", "")}
        for event in events:
            self.push(event)

    def run(self, keep_on: Callable[[], bool]) -> None:
        """Play days while `keep_on()` and the source lasts, then let every window close."""
        tick_ms = LONGEST_MS // 2
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


def main(
    settings: ShopSettings,
    *,
    folder: Path | None = None,
    begin: datetime = DEFAULT_START,
    days: float = DAYS,
    minutes: float | None = None,
    households: int | None = None,
) -> int:
    """Run the shop until the span, the time or SIGTERM ends it.

    Args:
        settings: where Kafka is, the seed, the number of customers, the clock's limit.
        begin: first day.
        days: length of the span.
        folder: the full tables of Complete Journey; None for the shipped extract.
        minutes: wall minutes of visits; None plays the whole span.
        households: customers, those with most purchases; None takes the setting's number.

    Returns:
        0; 2 when the source lacks a table.
    """
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        world = load_world(
            folder, seed=settings.demo_seed, households=households or settings.demo_households, begin=begin, days=days
        )
    except FileNotFoundError as error:
        log.error("%s", error)  # noqa: TRY400 -- the message says it; a traceback would hide it
        return 2
    metrics.serve("shop", settings.metrics_host, settings.metrics_port)
    metrics.LIVE.labels("shop").set(1)
    with Streams(settings) as streams:
        shop = Shop(world, streams, settings.tick_wall_limit_s)
        signal.signal(signal.SIGTERM, lambda *_: setattr(shop, "stopping", True))
        shop.open_shop()
        until_s = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
        shop.run(lambda: time.monotonic() < until_s)
        log.info(
            "clock %s, %d published, %d ticks over the limit", instant(shop.clock_ms), streams.published, shop.timeouts
        )
    metrics.LIVE.labels("shop").set(0)
    return 0


@click.command()
@click.option("--source", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of full tables.")
@click.option("--begin", type=click.DateTime(["%Y-%m-%d"]), default=f"{DEFAULT_START:%Y-%m-%d}", show_default=True)
@click.option("--days", type=click.FloatRange(0, min_open=True), default=DAYS, show_default=True)
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), help="Wall minutes of visits; all days if not given."
)
@click.option("--households", type=click.IntRange(1), help="Customers; the setting's number if not given.")
def command(source: Path | None, begin: datetime, days: float, minutes: float | None, households: int | None) -> None:
    """Play the shop on the Kafka named by the environment."""
    settings = load(ShopSettings, os.environ)
    start = begin.replace(tzinfo=UTC)
    sys.exit(main(settings, folder=source, begin=start, days=days, minutes=minutes, households=households))


if __name__ == "__main__":
    command()
