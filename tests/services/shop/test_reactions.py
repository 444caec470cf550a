"""Of what follows a strategy, and of the clock's pace."""

import json
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.shop.answers import MEAN_REFUND, answer_of
from services.shop.pace import LONGEST_MS, SHORTEST_MS, Ledger, next_tick_ms
from services.shop.reactions import (
    Draw,
    bought,
    clicked,
    leaving,
    product_of,
    promised_price,
    react,
    send_moment,
    shown,
)
from services.shop.world import World
from streaming.contracts.codec import decode_event, to_ms
from streaming.contracts.events import Event, OrderProperties
from streaming.contracts.kinds import GRAMMARS, KIND_NAMES, Kind
from streaming.contracts.strategies import Slot
from tests.services.shop.shop_samples import make_request, make_strategy

HAPPENS = Draw(seen=True, clicked=True, ordered=True, refunded=True, left=True, complained=True, units=2)


def first_user(world: World) -> str:
    """Some customer."""
    return next(iter(world.customers))


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_answers_echo_the_strategy_in_the_kinds_events(world: World, kind: Kind) -> None:
    """Shown and click events are those of the grammar, on its topic, with the strategy's id, and decode."""
    strategy = make_strategy(make_request(world, kind, first_user(world)))
    customer = world.customers[strategy.user_id]
    events = shown(world, customer, strategy, 10**12) + clicked(customer, strategy, 10**12 + 5)
    decoded = [decode_event(event.value, event.at_ms) for event in events]
    names = [each.name for each in decoded]
    assert GRAMMARS[kind].shown_event in names
    assert GRAMMARS[kind].click_event in names
    assert events[0].topic == GRAMMARS[kind].topic_of_shown
    assert all(
        isinstance(e, Event) and getattr(e.properties, "strategy_id", None) == strategy.strategy_id for e in decoded
    )


def test_same_strategy_meets_the_same_answer(world: World) -> None:
    """Reactions are seeded by the strategy's id, and nothing is stamped before the clock."""
    strategy = make_strategy(make_request(world, "promotion", first_user(world)))
    clock_ms = to_ms(strategy.issued_at) + 1_000
    events = react(world, strategy, clock_ms, frozenset())
    assert events == react(world, strategy, clock_ms, frozenset())
    assert all(event.at_ms > clock_ms for event in events)


def test_order_keeps_the_promise_and_refund_names_it(world: World) -> None:
    """The order is at the promised discount, and its refund gives the same order back."""
    strategy = make_strategy(make_request(world, "promotion", first_user(world)), discount="20")
    product = strategy.decision["product"]
    order, refund = bought(
        world, world.customers[strategy.user_id], strategy, product, 10**12, HAPPENS, random.Random(1)
    )
    sale = decode_event(order.value, order.at_ms)
    assert isinstance(sale, Event)
    assert isinstance(sale.properties, OrderProperties)
    full = world.catalog[product].price_minor
    assert promised_price(strategy, product, full) == full - full * 20 // 100
    assert sale.properties.products[0].quantity == 2
    assert json.loads(refund.value or b"")["properties"]["order_id"] == sale.properties.order_id
    assert refund.at_ms > order.at_ms


def test_a_promoted_category_sells_one_of_its_products(world: World) -> None:
    """Who follows a promotion of a category buys something of it; how often that comes back is the mean."""
    asked = make_request(world, "ranking", first_user(world))
    label = asked.slots[0].values[0]
    promoted = msgspec.structs.replace(make_request(world, "promotion", first_user(world)), candidates=asked.candidates)
    strategy = make_strategy(promoted, product=label)
    assert product_of(world, strategy, random.Random(1)) in world.by_category[label]
    customer = world.customers[strategy.user_id]
    request = msgspec.structs.replace(
        promoted, slots=tuple(Slot(s.name, (label,)) if s.name == "product" else s for s in promoted.slots)
    )
    assert answer_of(customer, world.shelf, request, strategy.decision).refunded == MEAN_REFUND


def test_leaving_is_final(world: World) -> None:
    """Nothing is sent to a channel that the customer has left."""
    strategy = make_strategy(make_request(world, "recommendation", first_user(world)), channel="email")
    assert react(world, strategy, 0, frozenset({"email"})) == []
    names = [
        json.loads(e.value or b"")["event"] for e in leaving(world.customers[strategy.user_id], strategy, 1, HAPPENS)
    ]
    assert names == ["Unsubscribed", "Email Marked as Spam"]


def test_send_time_is_the_customers_next_hour(world: World) -> None:
    """Issued at 20:00 UTC (15:00 local), morning is 9:00 local of the next day, 14:00 UTC."""
    strategy = make_strategy(make_request(world, "recommendation", first_user(world)), send_time="morning")
    assert send_moment(strategy) - to_ms(strategy.issued_at) == 18 * 3_600_000


@given(st.lists(st.floats(0, 30), max_size=50))
@settings(derandomize=True, deadline=None)
def test_ticks_stay_within_bounds(waits: list[float]) -> None:
    """Whatever the waits, the clock's step stays between its bounds."""
    tick = LONGEST_MS // 2
    for waited in waits:
        tick = next_tick_ms(tick, waited)
        assert SHORTEST_MS <= tick <= LONGEST_MS


def test_ledger_counts_an_answer_before_its_request() -> None:
    """Topics are read in any order: an answer that came first leaves nothing open, a second one is told."""
    ledger = Ledger()
    assert ledger.answered("a")
    ledger.asked("a")
    ledger.asked("b")
    assert ledger.open == {"b"}
    assert not ledger.answered("a")


def test_ledger_waits_for_every_partition() -> None:
    """Passed means that the offset after every mark has been reached."""
    marks: dict[tuple[str, int], int] = {("shop.events", 0): 4, ("ads.events", 1): 0}
    ledger = Ledger(read={("shop.events", 0): 5})
    assert not ledger.passed(marks)
    ledger.read["ads.events", 1] = 1
    assert ledger.passed(marks)
