"""A recorded input over every topic that the agents read, as data: a seed makes it, and any order may be published.

Its times are event time after `START`. A shopping day of `DAY_H` hours, in which strategies are told, seen, clicked and
bought from; then the shop's clock passes every horizon; then come refunds and clicks too late for their finals, and
strategies that stay open. All of it is decoded by the real contracts; what is meant to be bad says so by its key.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from streaming.contracts.codec import encode
from streaming.contracts.ids import strategy_id
from streaming.contracts.kinds import KIND_NAMES
from streaming.contracts.topics import ADS_EVENTS, CAMPAIGNS, CATALOG, SHOP_EVENTS, STRATEGIES
from tests.faults import bad_records, lives
from tests.streaming import attribution_samples, customer_samples
from tests.streaming.edge_world import START

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
DAY_H = 12
"""Everything of the first day happens within so many hours."""
TICKS_H = (*range(DAY_H + 8), 30, 45, 60, 75, 88, *range(90, 101), 116)
"""When the shop's clock advances: each hour where something is said, so that a topic said by turns is behind by little more than
its hour. The last horizons of the first day close at 88, what comes late is said at 89."""
LATE_H = 89.0
CLOCK_USER = "clock"


class Said(Struct, frozen=True):
    """One record as it is published.

    Args:
        topic: without prefix.
        at_ms: when it is said, event time after `START`; an event inside may be older.
        partition: None: the one of its key, by murmur2.
        late: said long after the event inside.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    at_ms: int
    partition: int | None = None
    late: bool = False

    @property
    def is_clock(self) -> bool:
        """Whether it advances the shop's clock."""
        return self.key == CLOCK_USER.encode()


class Recording(Struct, frozen=True):
    """The input of one run.

    Args:
        reference: catalog and campaigns, published before anything else.
        said: the records of the other inputs, in the order of their time.
        late: more of them, said when their own topic's clock had passed their windows: whether they are in a final or in
            a correction of it follows the order between topics, what they come to does not.
        bad_reference: records of `reference` that cannot be read.
    """

    reference: tuple[Said, ...]
    said: tuple[Said, ...]
    late: tuple[Said, ...]
    bad_reference: int


def recording(seed: int = 5, customers: int = 48, partitions: int = 2) -> Recording:
    """The input that a seed makes: the same for the same arguments.

    Args:
        partitions: of the event topics, each of which hears the shop's clock.
    """
    said = [*_clock(partitions)]
    for number in range(customers):
        said += _customer(Random(f"{seed}:{number}"), number, customers)
    for topic, key, value, at_ms in bad_records.among(Random(seed), DAY_H):
        said.append(Said(topic, key, value, at_ms, 0 if key is None else None))  # by no key it could lie anywhere
    bad = [Said(CATALOG.name, b"p-bad", b'{"product_id": "p-bad"}', 0)]
    on_time = sorted((each for each in said if not each.late), key=_order)
    late = sorted((each for each in said if each.late), key=_order)
    return Recording((*_reference(), *bad), tuple(on_time), tuple(late), len(bad))


def instant(at_ms: int) -> datetime:
    """Event time after `START` as a moment."""
    return START + timedelta(milliseconds=at_ms)


def _order(said: Said) -> tuple[int, bool]:
    """By time; the clock says that what is older has been said, so it comes first among equals."""
    return said.at_ms, not said.is_clock


def _clock(partitions: int) -> Iterator[Said]:
    for hours in TICKS_H:
        for topic in (SHOP_EVENTS, ADS_EVENTS):
            for partition in range(partitions):
                value = event(
                    f"tick-{hours}-{topic.name}-{partition}", CLOCK_USER, "Clock Advanced", hours * HOUR_MS, {}
                )
                yield Said(topic.name, CLOCK_USER.encode(), value, hours * HOUR_MS, partition)


def event(message_id: str, user: str, name: str, at_ms: int, properties: dict[str, Any], **more: Any) -> bytes:
    """An event's JSON; a user who begins with `anon` is known by the anonymous id alone."""
    who = "anonymousId" if user.startswith("anon") else "userId"
    made = {
        "messageId": message_id,
        "type": "identify" if name == "identify" else "track",
        who: user,
        "timestamp": instant(at_ms).isoformat(),
        "properties": properties,
    }
    return json.dumps(made | ({} if name == "identify" else {"event": name}) | more).encode()


def _reference() -> tuple[Said, ...]:
    products = [(CATALOG, product.product_id, product) for product in customer_samples.SHOP.products.values()]
    begins = START.replace(day=1)
    fixed = {"starts_at": begins, "ends_at": begins + timedelta(days=30)}
    named = (attribution_samples.TEA_WEEKS, attribution_samples.COFFEE_WEEKS)
    campaigns = [(CAMPAIGNS, each.campaign_id, replace(each, **fixed)) for each in named]
    return tuple(Said(topic.name, id_.encode(), encode(record), 0) for topic, id_, record in [*products, *campaigns])


def _customer(rng: Random, number: int, customers: int) -> Iterator[Said]:
    """One customer's day: what they did, what they were told, what came of it, and some of it said twice."""
    user = f"c{number}"
    begins_ms = rng.randrange(0, 4 * HOUR_MS)
    said = list(_events(user, lives.day(rng, number, begins_ms)))
    for index in range(1 + number % 2):
        said += _told(rng, user, number, number + index * customers, begins_ms + index * 2 * HOUR_MS)
    if number % 6 == 0:
        later_ms = int(LATE_H * HOUR_MS) + (number % 4) * 3 * HOUR_MS  # the last clock lets some respond, some not
        said += _told(rng, user, number, number + 2 * customers, later_ms)
    yield from said
    yield from (replace(each, at_ms=each.at_ms + rng.randrange(HOUR_MS)) for each in said if rng.random() < 0.04)


def _events(user: str, acts: Iterable[lives.Act]) -> Iterator[Said]:
    for index, act in enumerate(acts):
        who = act.user or user
        value = event(f"{user}-{index}-{act.name}", who, act.name, act.at_ms, act.properties, **act.more)
        topic = ADS_EVENTS if act.ads else SHOP_EVENTS
        yield Said(topic.name, who.encode(), value, act.at_ms)


def _told(rng: Random, user: str, number: int, strategy_number: int, at_ms: int) -> Iterator[Said]:
    """A strategy as the model worker would publish it, and what the customer made of it."""
    kind = KIND_NAMES[strategy_number % len(KIND_NAMES)]
    made = attribution_samples.strategy(strategy_number, kind)
    asked = replace(made.request, user_id=user, issued_at=instant(at_ms))
    until = instant(at_ms + 24 * HOUR_MS)
    made = replace(made, user_id=user, issued_at=asked.issued_at, valid_until=until, request=asked)
    delayed_ms = HOUR_MS if number % 7 == 3 else 0  # some are read after what came of them
    yield Said(STRATEGIES.name, user.encode(), encode(made), at_ms + delayed_ms)
    acts = lives.response(rng, kind, strategy_id(asked.request_id), number, at_ms, late_ms=int(LATE_H * HOUR_MS))
    for index, act in enumerate(acts):
        value = event(f"{made.strategy_id}-{index}", user, act.name, act.at_ms, act.properties)
        topic = (ADS_EVENTS if act.ads else SHOP_EVENTS).name
        yield Said(topic, user.encode(), value, act.said_ms or act.at_ms, late=act.said_ms > 0)
