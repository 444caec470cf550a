"""The money of one strategy, per currency and exact in minor units: nothing is converted, nothing added across. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from msgspec import Struct

from streaming.attribution_credit import Credited, Timeline
from streaming.attribution_models import split
from streaming.attribution_orders import Money, counting, discounted, sold, taken_back
from streaming.contracts.rewards import CurrencyMoney, Outcomes
from streaming.open_state import Echo, Order

MONEY = (
    "revenue_minor",
    "margin_minor",
    "refunded_minor",
    "refunded_margin_minor",
    "cost_minor",
    "discount_minor",
    "view_through_minor",
)
"""What a correction may change; the horizon's sums are frozen at the final."""
HORIZON = ("horizon_margin_minor", "horizon_orders")

Ledger = defaultdict[str, Counter[str]]
"""Currency → field of `CurrencyMoney` → sum."""


class Part(Struct, frozen=True):
    """What one strategy is credited with of one order line, minor units of the order's currency."""

    credited: Credited
    sold: Money
    back: Money
    discount_minor: int

    @property
    def reversed_ms(self) -> int | None:
        """When a reversal first touched the line, None when none took anything back."""
        if self.back == _NOTHING:
            return None
        order = self.credited.order
        product_id = order.lines[self.credited.index].product_id
        reversals = counting(order, order.reversals[-1].at_ms + 1)
        return min(r.at_ms for r in reversals if not r.units or product_id in r.units)


_NOTHING = Money()


def parts(credited: Iterable[Credited], cutoff_ms: int) -> list[Part]:
    """The strategy's parts of the lines of orders before `cutoff_ms`, less what was taken back before it."""
    backs: dict[str, tuple[Money, ...]] = {}
    found = []
    for each in credited:
        order = each.order
        if order.at_ms >= cutoff_ms:
            continue
        if order.order_id not in backs:
            backs[order.order_id] = taken_back(order, cutoff_ms) if order.reversals else (_NOTHING,) * len(order.lines)
        found.append(_part(each, backs[order.order_id][each.index]))
    return found


def _part(credited: Credited, back: Money) -> Part:
    """A shared line is split by its weights; what came back by what each had, so that nobody returns more."""
    line = credited.order.lines[credited.index]
    whole = sold(line)
    if len(credited.shares) == 1:
        return Part(credited, whole, back, discounted(line))
    place, weights = credited.place, [share.weight for share in credited.shares]
    revenues, margins = split(whole.revenue_minor, weights), split(whole.margin_minor, weights)
    return Part(
        credited,
        sold=Money(revenues[place], margins[place]),
        back=Money(
            split(back.revenue_minor, revenues)[place],
            split(back.margin_minor, [abs(margin) for margin in margins])[place],
        ),
        discount_minor=split(discounted(line), weights)[place],
    )


def books(
    own: Iterable[Part], costs: Iterable[Echo], line: Timeline, orders: Iterable[Order]
) -> dict[str, CurrencyMoney]:
    """Currency → what a strategy sold, gave back and cost in it, and what the customer's orders in it earned."""
    ledger: Ledger = defaultdict(Counter)
    for part in own:
        sums = ledger[part.credited.order.currency]
        sums["revenue_minor"] += part.sold.revenue_minor
        sums["margin_minor"] += part.sold.margin_minor
        sums["refunded_minor"] += part.back.revenue_minor
        sums["refunded_margin_minor"] += part.back.margin_minor
        sums["discount_minor"] += part.discount_minor
        if part.credited.through == "view":
            sums["view_through_minor"] += part.sold.revenue_minor
    for cost in costs:
        ledger[cost.currency]["cost_minor"] += cost.amount_minor
    for order in orders:
        if order.lines and line.opens_ms <= order.at_ms < line.closes_ms:
            sums = ledger[order.currency]
            sums["horizon_margin_minor"] += _net_margin(order, line.closes_ms)
            sums["horizon_orders"] += 1
    return {currency: CurrencyMoney(currency=currency, **sums) for currency, sums in ledger.items()}


def _net_margin(order: Order, before_ms: int) -> int:
    """Less what was taken back within the horizon; it does not move with later refunds."""
    margin = sum(sold(line).margin_minor for line in order.lines)
    return margin - sum(back.margin_minor for back in taken_back(order, before_ms)) if order.reversals else margin


def by_currency(outcomes: Outcomes) -> Iterator[CurrencyMoney]:
    """The money of published outcomes without the horizon's: of its own currency, then of the others that have any."""
    yield _money_of(outcomes)
    for other in outcomes.other_currencies:
        if any(getattr(other, name) for name in MONEY):
            yield _money_of(other)


def changes(now: Outcomes, before: Outcomes) -> tuple[CurrencyMoney, ...]:
    """Money of `now` less that of `before`, per currency in which anything changed."""
    new = {money.currency: money for money in by_currency(now)}
    old = {money.currency: money for money in by_currency(before)}
    found = []
    for currency in sorted(new.keys() | old.keys()):
        none = CurrencyMoney(currency)
        left, right = new.get(currency, none), old.get(currency, none)
        difference = {name: getattr(left, name) - getattr(right, name) for name in MONEY}
        if any(difference.values()):
            found.append(CurrencyMoney(currency=currency, **difference))
    return tuple(found)


def _money_of(what: Outcomes | CurrencyMoney) -> CurrencyMoney:
    return CurrencyMoney(currency=what.currency, **{name: getattr(what, name) for name in MONEY})
