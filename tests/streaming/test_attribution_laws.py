"""The stated laws of attribution (docs/attribution.md), each over any history, for every attribution model."""

from collections import Counter
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.attribution import on_time
from streaming.attribution_books import by_currency, parts
from streaming.attribution_credit import View
from streaming.attribution_models import split
from streaming.attribution_orders import Money, discounted, order_of, sold, taken_back
from streaming.attribution_outcomes import same_apart_from_horizon
from streaming.contracts.events import Event, OrderProperties
from streaming.contracts.rewards import Outcomes
from streaming.open_state import DAY_MS, Model, Unbooked, Windows
from tests.streaming.attribution_histories import (
    END_MS,
    STRATEGIES,
    Reading,
    Record,
    by_id,
    histories,
    moment,
    money_of,
    read,
    replay,
    told_money,
    told_reward,
)
from tests.streaming.attribution_samples import SHELF, WINDOWS

HOUR_MS = 3_600_000
EVERY_MODEL = pytest.mark.parametrize("model", get_args(Model))
law = settings(derandomize=True, deadline=None, max_examples=40)
lateness = st.integers(1, 24 * 40).map(lambda hours: hours * HOUR_MS)


def by(model: Model) -> Windows:
    """The usual windows under a model."""
    return msgspec.structs.replace(WINDOWS, model=model)


def patient(model: Model) -> Windows:
    """Windows that forget nothing for sixty days."""
    return msgspec.structs.replace(by(model), late_ms=60 * DAY_MS, refund_ms=60 * DAY_MS, early_ms=60 * DAY_MS)


@EVERY_MODEL
@law
@given(history=histories(), data=st.data())
def test_permutation_within_lateness(model: Model, history: list[Record], data: st.DataObject) -> None:
    """Whatever the order of reading, with nothing later than the watermark: the same rewards, reports and counts."""
    in_time = replay(sorted(history, key=moment), by(model))
    shuffled = replay(data.draw(st.permutations(history)), by(model))
    assert by_id(shuffled.rewards) == by_id(in_time.rewards)
    assert _of_settled_or_late(shuffled) == _of_settled_or_late(in_time)
    assert shuffled.unmatched == in_time.unmatched


def _of_settled_or_late(reading: Reading) -> set[Unbooked]:
    """Reports that must not depend on the order; a refund in another currency is told while its order is remembered."""
    return {each for each in reading.unbooked if each.reason != "refund_currency"}


@EVERY_MODEL
@law
@given(history=histories(), data=st.data())
def test_replay_is_idempotent(model: Model, history: list[Record], data: st.DataObject) -> None:
    """Records that come again, in any order and as often as may be, change no reward and no state."""
    once = read(sorted(history, key=moment), by(model))
    again = data.draw(st.lists(st.sampled_from(history), max_size=len(history)))
    twice = read(sorted([*history, *again], key=moment), by(model))
    assert twice.state == once.state
    assert twice.told == once.told


@EVERY_MODEL
@law
@given(history=histories(), ahead_ms=st.just(0) | lateness, data=st.data())
def test_money_is_conserved(model: Model, history: list[Record], ahead_ms: int, data: st.DataObject) -> None:
    """Line by line the shares are the whole line or nothing: what was sold, discounted and taken back alike."""
    reading = read(data.draw(st.permutations(history)), patient(model), lateness_ms=ahead_ms)
    view = View(reading.state, patient(model))
    found: dict[tuple[str, int], list[tuple[Money, Money, int]]] = {}
    for lines in view.credited.values():
        for part in parts(lines, END_MS):
            place = (part.credited.order.order_id, part.credited.index)
            found.setdefault(place, []).append((part.sold, part.back, part.discount_minor))
    for order in reading.state.orders:
        backs = taken_back(order, END_MS)
        for index, line in enumerate(order.lines):
            of_line = found.pop((order.order_id, index), [])
            if of_line:
                assert sum((each[0] for each in of_line), Money()) == sold(line)
                assert sum((each[1] for each in of_line), Money()) == backs[index]
                assert sum(each[2] for each in of_line) == discounted(line)
            for gross, back, _ in of_line:
                assert 0 <= back.revenue_minor <= gross.revenue_minor
                assert abs(back.margin_minor) <= abs(gross.margin_minor)
    assert not found


@EVERY_MODEL
@law
@given(history=histories(), ahead_ms=st.just(0) | lateness, data=st.data())
def test_published_money_never_exceeds_the_orders(
    model: Model, history: list[Record], ahead_ms: int, data: st.DataObject
) -> None:
    """After every step, per currency: all that is published together is at most what the orders read by then brought."""
    reading, published = Reading(), dict[str, Outcomes]()
    records = data.draw(st.permutations(history))
    for position, record in enumerate(records):
        told = len(reading.told)
        ahead = min(moment(later) for later in records[position:])
        reading.read(record, min(ahead + ahead_ms, END_MS), patient(model))
        published |= {r.strategy_id: r.outcomes for r in reading.rewards[told:] if r.stage != "response"}
        _assert_within(published, records[: position + 1])
    reading.close(patient(model))
    published |= {r.strategy_id: r.outcomes for r in reading.rewards if r.stage != "response"}
    for outcomes in published.values():
        assert all(0 <= each.refunded_minor <= each.revenue_minor for each in by_currency(outcomes))


def _assert_within(published: dict[str, Outcomes], records: list[Record]) -> None:
    """Published revenue per currency is at most that of the orders among the records."""
    brought, credited = Counter[str](), Counter[str]()
    for record in records:
        if isinstance(record, Event) and isinstance(record.properties, OrderProperties):
            order = order_of(record, record.properties, SHELF, 25)
            brought[order.currency] += sum(sold(line).revenue_minor for line in order.lines)
    for outcomes in published.values():
        for money in by_currency(outcomes):
            credited[money.currency] += money.revenue_minor
    assert all(credited[currency] <= brought[currency] for currency in credited)


@EVERY_MODEL
@law
@given(history=histories(), ahead_ms=lateness, data=st.data())
def test_corrections_telescope(model: Model, history: list[Record], ahead_ms: int, data: st.DataObject) -> None:
    """However late records come, final plus differences is what a reader in time would have published last.

    Money exactly, per currency; the reward, a float, to 1e-9.
    """
    in_time = replay(sorted(history, key=moment), patient(model))
    late = replay(data.draw(st.permutations(history)), patient(model), lateness_ms=ahead_ms)
    by_id(late.rewards)
    for s in STRATEGIES:
        wanted, found = in_time.of(s.strategy_id), late.of(s.strategy_id)
        assert same_apart_from_horizon(found[-1].outcomes, wanted[-1].outcomes)
        assert abs(told_reward(found) - wanted[-1].reward) < 1e-9
        assert told_money(found) == money_of(wanted[-1].outcomes)


@EVERY_MODEL
@law
@given(history=histories(), stops=st.lists(st.integers(0, 24 * 200), min_size=1, max_size=8))
def test_the_watermark_is_monotone(model: Model, history: list[Record], stops: list[int]) -> None:
    """Time in one step or in many gives the same; time that goes back gives nothing; nothing comes before its time."""
    straight, stepped = (read(sorted(history, key=moment), by(model)) for _ in range(2))
    for hours in stops:
        watermark_ms = END_MS - 24 * 200 * HOUR_MS + hours * HOUR_MS
        stepped.take(on_time(stepped.state, watermark_ms, by(model)), watermark_ms)
        back = on_time(stepped.state, watermark_ms - 1, by(model))
        assert (back.state, back.rewards) == (stepped.state, ())
    for reading in (straight, stepped):
        reading.close(by(model))
    assert by_id(stepped.rewards) == by_id(straight.rewards)
    for watermark_ms, reward in stepped.told:
        assert reward.closed_at.timestamp() * 1000 <= watermark_ms


@EVERY_MODEL
@law
@given(history=histories(), ahead_ms=st.just(0) | lateness, data=st.data())
def test_one_final_per_strategy(model: Model, history: list[Record], ahead_ms: int, data: st.DataObject) -> None:
    """Response, final, corrections, in this order; one response and one final of each, of a ghost the final alone."""
    reading = replay(data.draw(st.permutations(history)), patient(model), lateness_ms=ahead_ms)
    stages: dict[str, list[str]] = {}
    for reward in reading.rewards:
        stages.setdefault(reward.strategy_id, []).append("ghost" if reward.ghost else reward.stage)
        assert abs(sum(reward.components.values()) - reward.reward) < 1e-9
    assert len(stages) == len(STRATEGIES) + 1
    for s in STRATEGIES:
        assert stages[s.strategy_id][:2] == ["response", "final"]
        assert set(stages[s.strategy_id][2:]) <= {"correction"}
        del stages[s.strategy_id]
    assert list(stages.values()) == [["ghost"]]


@settings(derandomize=True, deadline=None)
@given(
    amount=st.integers(-(10**12), 10**12),
    weights=st.lists(st.integers(0, 1 << 32), min_size=1, max_size=6).filter(any),
)
def test_parts_sum_exactly_and_lie_within_a_unit_of_their_quota(amount: int, weights: list[int]) -> None:
    """Largest remainder: exact in sum, fair to a unit, and never of the other sign."""
    found = split(amount, weights)
    assert sum(found) == amount
    for part, weight in zip(found, weights, strict=True):
        assert abs(part * sum(weights) - amount * weight) < sum(weights)
        assert part * amount >= 0
