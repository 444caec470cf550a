"""Orders and what was taken back of them, exact in minor units. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from streaming.contracts.catalog import Campaign, Product
from streaming.contracts.errors import BadEvent
from streaming.contracts.events import Event, Line, OrderProperties, ReversalProperties
from streaming.contracts.money import MAX_MINOR, to_minor
from streaming.open_state import Order, OrderLine, Reversal

MAX_REVERSALS = 64
"""Of one order. No shop refunds one order more often; a further one is refused."""

MAX_SKEW_MS = 3600 * 1000
"""How far before its order a reversal may be dated, by clocks that disagree; an older one takes nothing back."""


class Catalog(Protocol):
    """What attribution reads of the reference data."""

    def product(self, product_id: str) -> Product | None:
        """The product, None when unknown."""

    @property
    def campaigns(self) -> Mapping[str, Campaign]:
        """Campaign id → record."""


class Money(Struct, frozen=True):
    """Of one line or more, minor units."""

    revenue_minor: int = 0
    margin_minor: int = 0

    def __add__(self, other: "Money") -> "Money":
        """Both together."""
        return Money(self.revenue_minor + other.revenue_minor, self.margin_minor + other.margin_minor)


def order_of(event: Event, properties: OrderProperties, catalog: Catalog, default_margin_pct: int) -> Order:
    """The order of an `Order Completed`, its margins by the catalog as it is now.

    Raises:
        BadEvent: an amount that cannot be minor units of the currency, or all lines together over `MAX_MINOR`.
    """
    lines = tuple(_line(line, properties.currency, catalog, default_margin_pct) for line in properties.products)
    whole = 0
    for line in lines:
        per_unit = max(line.unit_price_minor + line.unit_discount_minor, abs(line.unit_margin_minor))
        whole += line.quantity * per_unit
    if whole > MAX_MINOR:
        raise BadEvent("properties.products", whole, f"at most {MAX_MINOR} minor units in all")
    return Order(
        order_id=properties.order_id,
        at_ms=event.at_ms,
        message_id=event.message_id,
        currency=properties.currency,
        lines=lines,
        strategy_id=properties.strategy_id or "",
    )


def reversal_of(event: Event, properties: ReversalProperties) -> Reversal:
    """The reversal of an `Order Refunded` or `Order Cancelled`.

    Where products are named, their units count and the total does not: the price paid stands in the order.
    """
    units: Counter[str] = Counter()
    for line in properties.products:
        units[line.product_id] += line.quantity
    named = bool(units) or properties.total is None
    amount = None if named else to_minor(properties.total, properties.currency, "properties.total")  # type: ignore[arg-type]  # `named` covers None
    return Reversal(event.message_id, event.at_ms, properties.currency, dict(units), amount)


def with_order(orders: tuple[Order, ...], order: Order) -> tuple[Order, ...]:
    """The orders with this one. The earliest event of an order id is the order; later ones repeat it."""
    known = next((other for other in orders if other.order_id == order.order_id), None)
    if known is None:
        return _sorted((*orders, order))
    if known.lines and (known.at_ms, known.message_id) <= (order.at_ms, order.message_id):
        return orders
    joined = replace(order, reversals=known.reversals)
    return _sorted(joined if other is known else other for other in orders)


def with_reversal(orders: tuple[Order, ...], order_id: str, reversal: Reversal) -> tuple[Order, ...]:
    """The orders with this reversal; a place is kept where the order itself has not been read yet."""
    known = next((other for other in orders if other.order_id == order_id), None)
    if known is None:
        place = Order(order_id, reversal.at_ms, "", reversal.currency, reversals=(reversal,))
        return _sorted((*orders, place))
    if any(other.message_id == reversal.message_id for other in known.reversals):
        return orders
    reversals = sorted((*known.reversals, reversal), key=lambda r: (r.at_ms, r.message_id))
    return tuple(replace(o, reversals=tuple(reversals)) if o is known else o for o in orders)


def sold(line: OrderLine) -> Money:
    """What a line brought before reversals."""
    return Money(line.unit_price_minor * line.quantity, line.unit_margin_minor * line.quantity)


def discounted(line: OrderLine) -> int:
    """What a line was sold below its full price, minor units."""
    return line.unit_discount_minor * line.quantity


def counting(order: Order, before_ms: int) -> list[Reversal]:
    """The order's reversals before a moment that can be of it: in its currency, and not dated long before it."""
    since_ms = order.at_ms - MAX_SKEW_MS
    return [r for r in order.reversals if since_ms <= r.at_ms < before_ms and r.currency == order.currency]


def taken_back(order: Order, before_ms: int) -> tuple[Money, ...]:
    """What the reversals before a moment took back, per line of the order.

    Named units take back their own price and margin; money without products is spread over what is left, by
    revenue, so that the parts sum exactly; it takes margin in the same proportion. Nothing is taken back twice.
    A reversal in another currency than the order's takes nothing back.
    """
    reversals = counting(order, before_ms)
    if any(not r.units and r.amount_minor is None for r in reversals):
        return tuple(sold(line) for line in order.lines)
    units: Counter[str] = Counter()
    for reversal in reversals:
        units.update(reversal.units)
    back = _units_back(order.lines, units)
    amount = sum(r.amount_minor or 0 for r in reversals)
    return tuple(Money() + part for part in back) if amount == 0 else _with_amount(order.lines, back, amount)


def _units_back(lines: tuple[OrderLine, ...], units: Counter[str]) -> list[Money]:
    left = Counter(units)
    back = []
    for line in lines:
        count = min(line.quantity, left[line.product_id])
        left[line.product_id] -= count
        back.append(Money(line.unit_price_minor * count, line.unit_margin_minor * count))
    return back


def _with_amount(lines: tuple[OrderLine, ...], back: list[Money], amount: int) -> tuple[Money, ...]:
    rests = [sold(line).revenue_minor - part.revenue_minor for line, part in zip(lines, back, strict=True)]
    total = sum(rests)
    amount = min(amount, total)
    spread, passed, given = [], 0, 0
    for line, part, rest in zip(lines, back, rests, strict=True):
        passed += rest
        upto = amount * passed // total if total else 0
        revenue, given = upto - given, upto
        margin_left = sold(line).margin_minor - part.margin_minor
        margin = margin_left * revenue // rest if rest else 0
        spread.append(part + Money(revenue, margin))
    return tuple(spread)


def _line(line: Line, currency: str, catalog: Catalog, default_margin_pct: int) -> OrderLine:
    """A line with its margin. Unknown products, and those whose cost is in another currency, earn the default share.

    The discount is the shop's own word, else what a known product was sold below its price in the catalog.
    """
    product = catalog.product(line.product_id)
    known = product if product is not None and product.currency == currency else None
    if line.price is not None:
        price = to_minor(line.price, currency, "properties.products.price")
    else:
        price = known.price_minor if known else 0
    if line.discount is not None:
        discount = to_minor(line.discount, currency, "properties.products.discount")
    else:
        discount = max(known.price_minor - price, 0) if known else 0
    return OrderLine(
        product_id=line.product_id,
        quantity=line.quantity,
        unit_price_minor=price,
        unit_margin_minor=price - known.unit_cost_minor if known else price * default_margin_pct // 100,
        category=product.category if product else (),
        campaigns=_campaigns_with(product, catalog) if product else (),
        unit_discount_minor=discount,
    )


def _campaigns_with(product: Product, catalog: Catalog) -> tuple[str, ...]:
    """Ids of the campaigns that offer the product: by id, by category where they name no products, else all."""
    return tuple(sorted(name for name, campaign in catalog.campaigns.items() if _offers(campaign, product)))


def _offers(campaign: Campaign, product: Product) -> bool:
    if campaign.product_ids:
        return product.product_id in campaign.product_ids
    return not campaign.categories or any(category in campaign.categories for category in product.category)


def _sorted(orders: Iterable[Order]) -> tuple[Order, ...]:
    return tuple(sorted(orders, key=lambda order: (order.at_ms, order.order_id)))
