"""A day of the shop: everybody's visits, consent, identities, and the dirt every real stream has.

Pure; all randomness is seeded by the world's seed and the day.
"""

from __future__ import annotations

from collections import defaultdict
from random import Random

import msgspec

from services.shop.customers import CONSENT_SHARES, Customer
from services.shop.source import Line
from services.shop.visits import HOUR_MS, MINUTE_MS, browse, purchase, visit_start
from services.shop.wire import ADS_TOPIC, SHOP_TOPIC, Emit, emit
from services.shop.world import World
from streaming.contracts.ids import stable_seed

DAY_MS = 24 * HOUR_MS
DUPLICATE_SHARE = 0.012
OUT_OF_ORDER_SHARE = 0.02
MALFORMED_SHARE = 0.003
MAX_DELAY_MS = 5 * MINUTE_MS
"""An event out of order or repeated comes at most this late, within the lateness a shop would allow."""
ANONYMOUS_SHARE = 0.12
"""Share of customers whose first visit is anonymous until they log in."""
CONSENT_CHANGE_SHARE = 0.004
"""Share of customers who change a consent on a day."""


def baskets_by_day(world: World) -> dict[int, list[list[Line]]]:
    """Baskets by the day (milliseconds of 00:00 UTC) on which they were bought."""
    baskets: dict[tuple[int, str, str], list[Line]] = defaultdict(list)
    for line in world.lines:
        day = int(line.at_s * 1000) // DAY_MS * DAY_MS
        baskets[day, line.household_id, line.basket_id].append(line)
    days: dict[int, list[list[Line]]] = defaultdict(list)
    for (day, _, _), lines in baskets.items():
        days[day].append(lines)
    return days


def consents_of(customer: Customer) -> dict[str, bool]:
    """Every purpose with the customer's choice; personalisation is agreed to by all who are here."""
    return {"personalization": True} | {purpose: purpose in customer.consent for purpose in sorted(CONSENT_SHARES)}


def consent_event(customer: Customer, at_ms: int, consent: dict[str, bool]) -> Emit:
    """A customer states a choice."""
    return emit("Segment Consent Preference Updated", customer, at_ms, {}, consent=consent)


def first_visit(world: World, customer: Customer, day_ms: int, rng: Random) -> list[Emit]:
    """What opens a customer's history: consent, and for some an anonymous visit that ends in a login."""
    if rng.random() >= ANONYMOUS_SHARE:
        return [consent_event(customer, day_ms + rng.randrange(1, 2 * HOUR_MS), consents_of(customer))]
    anonymous_id = f"a{stable_seed('anonymous', str(world.seed), customer.user_id) % 10**9:09d}"
    start_ms = visit_start(customer, day_ms, rng)
    events = browse(world, customer, start_ms, rng, anonymous_id)
    known_ms = max(event.at_ms for event in events) + MINUTE_MS
    events.append(emit("identify", customer, known_ms, {}, anonymous_id=anonymous_id))
    events.append(consent_event(customer, known_ms + 5_000, consents_of(customer)))
    return events


def changed_mind(customer: Customer, day_ms: int, rng: Random) -> list[Emit]:
    """Now and then a customer changes one consent; the choice is stated with all the others."""
    if rng.random() >= CONSENT_CHANGE_SHARE:
        return []
    purpose = rng.choice(sorted(CONSENT_SHARES))
    consent = consents_of(customer)
    consent[purpose] = not consent[purpose]
    return [consent_event(customer, day_ms + rng.randrange(DAY_MS), consent)]


def customer_day(
    world: World, customer: Customer, day_ms: int, baskets: list[list[Line]], *, first: bool
) -> list[Emit]:
    """All events of a customer on a day."""
    rng = Random(stable_seed("day", str(world.seed), customer.user_id, str(day_ms)))
    events = first_visit(world, customer, day_ms, rng) if first else changed_mind(customer, day_ms, rng)
    for basket in baskets:
        events += purchase(world, customer, basket, rng)
    visits = int(customer.sessions_per_day) + (rng.random() < customer.sessions_per_day % 1)
    for _ in range(visits):
        events += browse(world, customer, visit_start(customer, day_ms, rng), rng)
    return events


def malformed(event: Emit, rng: Random) -> Emit:
    """A broken copy of an event: one of the mistakes that senders make."""
    message = msgspec.json.decode(event.value or b"{}")
    message["messageId"] += "-broken"
    match rng.randrange(8):
        case 0:
            value: bytes | None = b'{"messageId": "cut off'
        case 1:
            value = msgspec.json.encode(message | {"properties": {"product_id": 17}})
        case 2:
            value = msgspec.json.encode({name: part for name, part in message.items() if name != "timestamp"})
        case 3:
            value = msgspec.json.encode(message | {"timestamp": "2190-01-01T00:00:00Z"})
        case 4:
            priced = {"product_id": "1", "price": -1.5, "currency": "USD"}
            value = msgspec.json.encode(message | {"event": "Product Viewed", "type": "track", "properties": priced})
        case 5:
            value = msgspec.json.encode(message | {"event": "Store Locator Opened", "type": "track"})
        case 6:
            value = None
        case _:
            value = b""
    return msgspec.structs.replace(event, value=value)


def with_dirt(events: list[Emit], rng: Random) -> list[Emit]:
    """Add duplicates, delays and malformed records to a day's events."""
    dirty = []
    for event in events:
        draw = rng.random()
        late_ms = rng.randrange(1_000, MAX_DELAY_MS)
        if draw < DUPLICATE_SHARE:
            dirty += [event, msgspec.structs.replace(event, due_ms=event.due_ms + late_ms)]
        elif draw < DUPLICATE_SHARE + OUT_OF_ORDER_SHARE:
            dirty.append(msgspec.structs.replace(event, due_ms=event.due_ms + late_ms))
        else:
            dirty.append(event)
        if rng.random() < MALFORMED_SHARE:
            dirty.append(malformed(event, rng))
    return dirty


def plan_day(world: World, day_ms: int, baskets: list[list[Line]], *, first: bool) -> list[Emit]:
    """Plan a day of the shop, by the moment of publishing.

    Args:
        world: whose customers come.
        day_ms: 00:00 UTC of the day.
        baskets: the real baskets of the day.
        first: the first day opens every customer's history.
    """
    own: dict[str, list[list[Line]]] = defaultdict(list)
    for basket in baskets:
        own[f"u{int(basket[0].household_id):04d}"].append(basket)
    events: list[Emit] = []
    for user_id, customer in world.customers.items():
        events += customer_day(world, customer, day_ms, own.get(user_id, []), first=first)
    rng = Random(stable_seed("dirt", str(world.seed), str(day_ms)))
    ready = with_dirt([event for event in events if event.topic in (SHOP_TOPIC, ADS_TOPIC)], rng)
    return sorted(ready, key=lambda event: (event.due_ms, event.key, event.at_ms))
