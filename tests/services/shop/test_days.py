"""Of the planned days: real orders at their moments, valid events around them, and the dirt."""

import json
from collections import Counter

from services.shop.days import DAY_MS, MAX_DELAY_MS, baskets_by_day, plan_day
from services.shop.wire import Emit
from services.shop.world import World
from streaming.contracts.codec import Ignored, decode_event, to_ms
from streaming.contracts.errors import BadEvent


def day_of(world: World, number: int = 0) -> list[Emit]:
    """One planned day."""
    day_ms = to_ms(world.begin) + number * DAY_MS
    return plan_day(world, day_ms, baskets_by_day(world).get(day_ms, []), first=number == 0)


def test_a_day_repeats(world: World) -> None:
    """The same world plans the same bytes."""
    assert day_of(world) == day_of(world)


def test_real_orders_are_replayed_at_their_moment(world: World) -> None:
    """Every basket of the day is one order with its real products, quantities and time."""
    day_ms = to_ms(world.begin)
    orders = {}
    for event in day_of(world):
        if b'"Order Completed"' in (event.value or b"") and b"-broken" not in (event.value or b""):
            message = json.loads(event.value or b"")
            orders[message["properties"]["order_id"]] = (event.at_ms, message["properties"]["products"])
    baskets = baskets_by_day(world)[day_ms]
    assert set(orders) == {f"o{basket[0].basket_id}" for basket in baskets}
    for basket in baskets:
        at_ms, products = orders[f"o{basket[0].basket_id}"]
        assert at_ms == round(basket[0].at_s * 1000)
        assert Counter(p["product_id"] for p in products) == Counter(line.product_id for line in basket)
        assert sum(p["quantity"] for p in products) == sum(line.quantity for line in basket)


def test_events_are_valid_but_for_the_malformed(world: World) -> None:
    """Everything decodes by the contract except the few records that are broken on purpose."""
    bad = ignored = good = 0
    for number in range(3):
        for event in day_of(world, number):
            try:
                decoded = decode_event(event.value, event.at_ms)
            except BadEvent:
                bad += 1
                continue
            if isinstance(decoded, Ignored):
                ignored += 1
                continue
            assert decoded.user_id == event.key
            good += 1
    assert good > 100
    assert bad + ignored < 0.02 * good


def test_delays_stay_within_the_promised_lateness(world: World) -> None:
    """No record is published before it happened, nor later than the lateness a shop promises."""
    assert all(0 <= event.due_ms - event.at_ms <= MAX_DELAY_MS for event in day_of(world))


def test_duplicates_are_the_same_bytes(world: World) -> None:
    """A repeated message id means a repeated message."""
    events = [event for number in range(3) for event in day_of(world, number) if event.value]
    ids: dict[str, bytes] = {}
    repeated = 0
    for event in events:
        try:
            message_id = json.loads(event.value or b"")["messageId"]
        except ValueError:
            continue
        repeated += message_id in ids
        assert ids.setdefault(message_id, event.value or b"") == event.value
    assert repeated > 0
