"""Hypothesis strategies of what one customer does, and its reading in any order. For the laws of attribution."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import strategies as st

from streaming.attribution import next_due_ms, on_event, on_ghost, on_strategy, on_time
from streaming.attribution_books import MONEY, by_currency
from streaming.contracts.events import Event
from streaming.contracts.rewards import CurrencyMoney, Outcomes, Reward
from streaming.contracts.strategies import Strategy, StrategyRequest
from streaming.open_state import OpenState, Step, Unbooked, Windows
from tests.streaming.attribution_samples import SHELF, at, echo, order, refund, request, strategy

Record = Event | Strategy | StrategyRequest
END_MS = at(24 * 200)

STRATEGIES = (
    strategy(1),
    strategy(2, "ranking", hours=10),
    strategy(3, "promotion", hours=30, valid_h=5),
    strategy(4, hours=2, currency="EUR"),
)
"""Four that sell p1; the second sells all coffee and p3, too."""
PRICES = {"USD": ("5.00", "3.33", "0.01"), "EUR": ("4.99",), "JPY": ("701",)}
TOTALS = {"USD": ("1.37", "99.00"), "EUR": ("0.01",), "JPY": ("700",)}
hours = st.integers(0, 150 * 4).map(lambda quarter: quarter / 4)


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    """A customer's strategies, a ghost, echoes, orders and refunds in three currencies: each with its own id, unordered."""
    records: list[Record] = [*STRATEGIES, request(9, hours=5)]
    records += [draw(echoes(f"e{n}")) for n in range(draw(st.integers(0, 10)))]
    for n in range(draw(st.integers(0, 4))):
        products = draw(st.lists(st.sampled_from(["p1", "p2", "p3", "p9"]), min_size=1, max_size=3))
        currency = draw(st.sampled_from(["USD", "USD", "EUR", "JPY"]))
        price = draw(st.sampled_from(PRICES[currency]))
        records.append(order(f"o{n}", draw(hours), *products, price=price, currency=currency))
    for n in range(draw(st.integers(0, 5))):
        currency = draw(st.sampled_from(["USD", "USD", "EUR", "JPY"]))
        back: dict[str, Any] = draw(st.sampled_from([{}, *({"total": total} for total in TOTALS[currency])]))
        named = draw(st.lists(st.sampled_from(["p1", "p3"]), max_size=2)) if not back else []
        of = f"o{draw(st.integers(0, 3))}"
        when = draw(hours) * draw(st.sampled_from([1, 2, 8]))
        records.append(refund(of, when, *named, message_id=f"r{n}", currency=currency, **back))
    return records


@st.composite
def echoes(draw: st.DrawFn, message_id: str) -> Event:
    """An exposure, a click, an unsubscription or a cost of one of the strategies, within days of its issue."""
    s = draw(st.sampled_from(STRATEGIES))
    shown, clicked = ("Promotion Viewed", "Promotion Clicked")
    if s.kind == "ranking":
        shown, clicked = ("Product List Viewed", "Product Clicked")
    name = draw(st.sampled_from([shown, shown, clicked, clicked, "Email Opened", "Unsubscribed", "Ad Cost Recorded"]))
    more: dict[str, Any] = {}
    if name == "Ad Cost Recorded":
        more = {"cost": Decimal("0.07"), "currency": draw(st.sampled_from(["USD", "EUR"]))}
    after = (s.issued_at.timestamp() * 1000 - at(0)) / 3_600_000
    return echo(name, s, after + draw(hours) / 2, message_id, **more)


def moment(record: Record) -> int:
    """The record's event time."""
    return record.at_ms if isinstance(record, Event) else round(record.issued_at.timestamp() * 1000)


@dataclass
class Reading:
    """What came of a history that was read.

    Args:
        told: each reward with the watermark at which it was published.
    """

    state: OpenState = field(default_factory=OpenState)
    told: list[tuple[int, Reward]] = field(default_factory=list)
    unbooked: list[Unbooked] = field(default_factory=list)
    unmatched: int = 0

    @property
    def rewards(self) -> list[Reward]:
        """In the order they were published in."""
        return [reward for _, reward in self.told]

    def of(self, strategy_id: str) -> list[Reward]:
        """One strategy's final and corrections, in the order they were published in."""
        return [r for r in self.rewards if r.strategy_id == strategy_id and r.stage != "response"]

    def take(self, step: Step, watermark_ms: int) -> None:
        """One step further; the state passes through its stored form."""
        self.state = msgspec.json.decode(msgspec.json.encode(step.state), type=OpenState)
        assert self.state == step.state
        self.told += [(watermark_ms, reward) for reward in step.rewards]
        self.unbooked += step.unbooked
        self.unmatched += step.unmatched

    def read(self, record: Record, watermark_ms: int, windows: Windows) -> None:
        """Time, then the record."""
        self.take(on_time(self.state, watermark_ms, windows), watermark_ms)
        if isinstance(record, Strategy):
            self.take(on_strategy(self.state, record, watermark_ms, windows), watermark_ms)
        elif isinstance(record, StrategyRequest):
            self.take(on_ghost(self.state, record, watermark_ms, windows), watermark_ms)
        else:
            self.take(on_event(self.state, record, SHELF, watermark_ms, windows), watermark_ms)

    def close(self, windows: Windows) -> None:
        """Time alone, until nothing is due any more."""
        while (due := next_due_ms(self.state, windows)) is not None:
            self.take(on_time(self.state, due, windows), due)


def read(records: list[Record], windows: Windows, *, lateness_ms: int = 0) -> Reading:
    """Read in the given order; the watermark follows what is still to come, or runs ahead by `lateness_ms`."""
    reading = Reading()
    for position, record in enumerate(records):
        ahead = min(moment(later) for later in records[position:])
        reading.read(record, min(ahead + lateness_ms, END_MS), windows)
    return reading


def replay(records: list[Record], windows: Windows, *, lateness_ms: int = 0) -> Reading:
    """Read, then let time pass until all is forgotten."""
    reading = read(records, windows, lateness_ms=lateness_ms)
    reading.close(windows)
    assert reading.state.empty
    return reading


def by_id(rewards: list[Reward]) -> dict[str, Reward]:
    """The rewards by id, each id once."""
    found = {reward.reward_id: reward for reward in rewards}
    assert len(found) == len(rewards)
    return found


def told_reward(rewards: list[Reward]) -> float:
    """The reward of one strategy: the final's plus every correction's difference."""
    return rewards[0].reward + sum(r.difference for r in rewards[1:])


def told_money(rewards: list[Reward]) -> dict[tuple[str, str], int]:
    """(currency, field) → the final's money plus every correction's difference, of one strategy."""
    sums = Counter(money_of(rewards[0].outcomes))
    for reward in rewards[1:]:
        for change in reward.money_difference:
            sums.update({(change.currency, name): getattr(change, name) for name in MONEY})
    return {key: amount for key, amount in sums.items() if amount}


def money_of(outcomes: Outcomes) -> dict[tuple[str, str], int]:
    """(currency, field) → amount, where there is one."""
    each: list[CurrencyMoney] = list(by_currency(outcomes))
    return {(m.currency, name): amount for m in each for name in MONEY if (amount := getattr(m, name))}
