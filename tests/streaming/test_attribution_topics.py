"""Lateness between topics (docs/attribution.md): what no order of reading can change, over any history and model."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from streaming.attribution import on_event, on_time
from streaming.attribution_outcomes import same_apart_from_horizon
from streaming.contracts.events import AdCostProperties, Event, OrderProperties, ReversalProperties
from streaming.open_state import Model, Windows
from tests.streaming.attribution_histories import (
    STRATEGIES,
    Reading,
    Record,
    by_id,
    histories,
    told_money,
    told_reward,
)
from tests.streaming.attribution_samples import SHELF, WINDOWS, at, echo, order, strategy

HOUR_MS = 3_600_000
EVERY_MODEL = pytest.mark.parametrize("model", get_args(Model))
law = settings(derandomize=True, deadline=None, max_examples=40)
delays = st.integers(0, 23 * 4).map(lambda quarters: quarters * HOUR_MS // 4)
"""Less than `late_ms`."""


class Said(Struct, frozen=True):
    """An event, and its own topic's clock when it is read."""

    event: Event
    clock_ms: int


def is_shops(event: Event) -> bool:
    """Whether it lies on the shop's topic, else on the ads'."""
    money = isinstance(event.properties, OrderProperties | ReversalProperties)
    return money or (event.name.startswith("Product") and not isinstance(event.properties, AdCostProperties))


def told(history: list[Record], model: Model, turns: list[bool], late_ms: dict[str, int]) -> Reading:
    """Two topics read in turns, each in its own order; windows close on the lower of their clocks.

    Args:
        turns: whether the shop's topic is read next; when they are used up, the shop's and then the ads'.
        late_ms: message id → by how much its topic's clock has passed an event when it is read.
    """
    windows = msgspec.structs.replace(WINDOWS, model=model)
    said = [Said(e, e.at_ms + late_ms.get(e.message_id, 0)) for e in history if isinstance(e, Event)]
    said.sort(key=lambda each: (each.clock_ms, each.event.message_id))
    topics = {True: [e for e in said if is_shops(e.event)], False: [e for e in said if not is_shops(e.event)]}
    clocks_ms = dict.fromkeys(topics, at(0))
    reading = Reading()
    for record in history:
        if not isinstance(record, Event):
            reading.read(record, at(0), windows)
    for shops in [*turns, *[True] * len(topics[True]), *[False] * len(topics[False])]:
        if topics[shops]:
            _read(reading, topics[shops].pop(0), clocks_ms, windows, shops=shops)
    reading.close(windows)
    return reading


def _read(reading: Reading, said: Said, clocks_ms: dict[bool, int], windows: Windows, *, shops: bool) -> None:
    clocks_ms[shops] = max(clocks_ms[shops], said.clock_ms)
    horizon_ms = min(clocks_ms.values())
    reading.take(on_time(reading.state, horizon_ms, windows), horizon_ms)
    reading.take(on_event(reading.state, said.event, SHELF, clocks_ms[shops], windows), horizon_ms)


@EVERY_MODEL
@law
@given(history=histories(), one=st.lists(st.booleans(), max_size=20), other=st.lists(st.booleans(), max_size=20))
def test_what_is_in_time_in_its_topic_is_in_the_same_reward(
    model: Model, history: list[Record], one: list[bool], other: list[bool]
) -> None:
    """However far one topic is behind the other: the same rewards, stage by stage, the same reports."""
    first, second = told(history, model, one, {}), told(history, model, other, {})
    assert by_id(first.rewards) == by_id(second.rewards)
    reports = [{each for each in r.unbooked if each.reason != "refund_currency"} for r in (first, second)]
    assert reports[0] == reports[1]


@EVERY_MODEL
@law
@given(
    history=histories(),
    one=st.lists(st.booleans(), max_size=20),
    other=st.lists(st.booleans(), max_size=20),
    data=st.data(),
)
def test_what_is_late_in_its_topic_comes_to_the_same(
    model: Model, history: list[Record], one: list[bool], other: list[bool], data: st.DataObject
) -> None:
    """In a final or in a correction, as the topics stand; the sums, per currency, and the last outcomes are the same."""
    events = [e for e in history if isinstance(e, Event) and not isinstance(e.properties, ReversalProperties)]
    late_ms = {e.message_id: data.draw(delays) for e in events}
    first, second = told(history, model, one, late_ms), told(history, model, other, late_ms)
    for s in STRATEGIES:
        left, right = first.of(s.strategy_id), second.of(s.strategy_id)
        assert same_apart_from_horizon(left[-1].outcomes, right[-1].outcomes)
        assert told_money(left) == told_money(right)
        assert abs(told_reward(left) - told_reward(right)) < 1e-9


def test_what_is_late_may_lie_in_the_final_or_in_a_correction() -> None:
    """The stage is not guaranteed: it follows how far the other topic has been read. What it comes to is."""
    made = strategy(1)
    seen, later = echo("Promotion Viewed", made, 10, "seen"), echo("Promotion Viewed", made, 140, "later")
    history: list[Record] = [made, seen, later, order("o1", 20, "p1")]
    late_ms = {history[-1].message_id: 70 * HOUR_MS}  # type: ignore[union-attr]  # the last is an event
    ads_behind, ads_ahead = (told(history, "last_touch", turns, late_ms) for turns in ([False, True], [False, False]))
    assert [r.stage for r in ads_behind.of(made.strategy_id)] == ["final"]
    assert [r.stage for r in ads_ahead.of(made.strategy_id)] == ["final", "correction"]
    assert told_money(ads_behind.of(made.strategy_id)) == told_money(ads_ahead.of(made.strategy_id))
