"""Closed rewards as rows: the last word on every strategy, without its request, so that millions fit in memory. Pure."""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from model.lessons import channel_of
from model.memory import STAGE_RANK
from streaming.contracts.money import to_major
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import StrategyRequest, candidate_by_id

NONE = "none"
AGES: tuple[tuple[float, str], ...] = ((7.0, "under 7 days"), (30.0, "7 to 29 days"), (180.0, "30 to 179 days"))
OLDER = "180 days and more"
FINAL = STAGE_RANK["final"]


class Row(Struct, frozen=True, gc=False):
    """One closed strategy, or one ghost of the holdout.

    Args:
        arm: assigned, whatever answered in the end.
        order_credit: its part of the order, 0 without one.
        money: `revenue`, `margin`, `refunded`, `refunded_margin`, `horizon_margin` in major units of `currency`.
        cost: of the contact as the reward counted it, units of reward, >= 0.
        others: it also has amounts in other currencies; these are in no figure.
    """

    strategy_id: str
    customer: str
    kind: str
    arm: str
    channel: str
    segment: str
    age: str
    language: str
    currency: str
    issued_at: datetime
    closed_at: datetime
    rank: int
    ghost: bool
    mixed: bool
    shown: bool
    clicked: bool
    ordered: bool
    refunded: bool
    unsubscribed: bool
    complained: bool
    revenue: float
    margin: float
    refunded_money: float
    refunded_margin: float
    horizon_margin: float
    cost: float
    reward: float
    others: bool


def row_of(reward: Reward) -> Row:
    """What a reward says, without what it was asked."""
    what, currency = reward.outcomes, reward.outcomes.currency
    return Row(
        strategy_id=reward.strategy_id,
        customer=reward.user_id,
        kind=reward.kind,
        arm=reward.assigned_arm,
        channel=NONE if reward.ghost else channel_of(reward),
        segment=reward.request.features.categories.get("lifecycle", NONE),
        age=NONE if reward.ghost else age_of(reward.request, reward.decision),
        language=reward.request.language,
        currency=currency,
        issued_at=reward.issued_at,
        closed_at=reward.closed_at,
        rank=STAGE_RANK[reward.stage],
        ghost=reward.ghost,
        mixed=reward.mixed_arms or reward.request.mixed_arms,
        shown=what.shown or what.clicked,  # who clicked has seen it, whatever became of the other event
        clicked=what.clicked,
        ordered=what.ordered,
        refunded=what.refunded,
        unsubscribed=what.unsubscribed,
        complained=what.complained,
        revenue=to_major(what.revenue_minor, currency),
        margin=to_major(what.margin_minor, currency),
        refunded_money=to_major(what.refunded_minor, currency),
        refunded_margin=to_major(what.refunded_margin_minor, currency),
        horizon_margin=to_major(what.horizon_margin_minor, currency),
        cost=-reward.components.get("cost", 0.0),
        reward=reward.reward,
        others=bool(what.other_currencies),
    )


def age_of(request: StrategyRequest, decision: dict[str, str]) -> str:
    """How long what was proposed has been on sale, in words: of the decision's product, else of its first candidate."""
    known = candidate_by_id(request)
    pointed = [known[value] for value in decision.values() if value in known]
    chosen = next((each for each in pointed if each.what == "product"), pointed[0] if pointed else None)
    if chosen is None:
        return NONE
    return next((name for most, name in AGES if chosen.age_days < most), OLDER)


class Books:
    """The last word on every strategy: its newest correction, else its final; a response alone is still open."""

    def __init__(self) -> None:
        """Nothing is known."""
        self._rows: dict[str, Row] = {}
        self.repeated = 0

    def take(self, row: Row) -> bool:
        """Take over what is newer than what is known; whether it was."""
        known = self._rows.get(row.strategy_id)
        if known is not None and (known.rank, known.closed_at) >= (row.rank, row.closed_at):
            self.repeated += known.rank == row.rank
            return False
        self._rows[row.strategy_id] = row
        return True

    @property
    def closed(self) -> list[Row]:
        """In order of issue; ties by id, so that the order of partitions and files changes nothing."""
        return _in_order(row for row in self._rows.values() if row.rank >= FINAL)

    @property
    def open(self) -> int:
        """Strategies of which only the response is known."""
        return sum(row.rank < FINAL for row in self._rows.values())


def _in_order(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.issued_at, row.strategy_id))
