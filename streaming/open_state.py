"""What attribution keeps of one customer, in a key of its own beside the row. Pure data.

The state holds *facts*: strategies, what was echoed of them, orders and their reversals. Rewards are always
recomputed from the facts, so that the order in which two topics were read cannot matter.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from streaming.contracts.kinds import KIND_NAMES, Arm, Grammar
from streaming.contracts.rewards import Outcomes, Reward
from streaming.contracts.strategies import PolicyRecord, StrategyRequest
from streaming.migrations import OPEN_VERSION, migrated_open
from streaming.reward import Formula

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS

Span = Annotated[int, Meta(gt=0, description="milliseconds of event time")]
Model = Literal["last_touch", "first_touch", "linear", "time_decay"]
Through = Literal["click", "view"]


class KindWindows(Struct, frozen=True):
    """How long each outcome of one kind may take. Windows are half-open: `[start, start + length)`.

    Args:
        response_ms: a click counts this long after the first exposure.
        horizon_ms: everything else counts this long; then the final is published.
        click_conversion_ms: an order counts this long after a click.
        view_conversion_ms: an order counts this long after an exposure without a click.
    """

    response_ms: Span = DAY_MS
    horizon_ms: Span = 3 * DAY_MS
    click_conversion_ms: Span = 3 * DAY_MS
    view_conversion_ms: Span = DAY_MS

    def __post_init__(self) -> None:
        """Refuse a window that outlasts the horizon: the final is published there."""
        for name in ("response_ms", "click_conversion_ms", "view_conversion_ms"):
            if getattr(self, name) > self.horizon_ms:
                message = f"{name} {getattr(self, name)} is longer than horizon_ms {self.horizon_ms}"
                raise ValueError(message)


class Windows(Struct, frozen=True):
    """When outcomes close, how long what is closed is remembered, and by which formula it is valued.

    Args:
        by_kind: of the kinds that ship; `others`: of declared ones.
        refund_ms: a closed strategy with orders waits this long for refunds and cancellations.
        late_ms: a closed strategy without orders waits this long for late records.
        early_ms: an outcome waits this long for a strategy that has not been read yet.
        max_early: such outcomes kept per customer; beyond it the oldest are given up as unknown.
        max_closed: closed strategies kept per customer; open ones are bounded by the caps on asking.
        max_orders: orders kept per customer, the newest.
        default_margin_pct: margin of a line whose product is unknown or sold in another currency, of its revenue.
        model: who is credited with a line that several strategies touched (`attribution_models.py`).
        half_life_ms: of `time_decay`.
    """

    by_kind: dict[str, KindWindows] = field(default_factory=lambda: dict.fromkeys(KIND_NAMES, KindWindows()))
    refund_ms: Span = 30 * DAY_MS
    late_ms: Span = DAY_MS
    early_ms: Span = 6 * HOUR_MS
    max_early: int = 64
    max_closed: int = 64
    max_orders: int = 200
    default_margin_pct: Annotated[int, Meta(ge=0, le=100)] = 25
    model: Model = "last_touch"
    half_life_ms: Span = DAY_MS
    formula: Formula = Formula()
    others: KindWindows = KindWindows()

    def of_kind(self, kind: str) -> KindWindows:
        """One kind's windows."""
        return self.by_kind.get(kind, self.others)

    @property
    def longest_ms(self) -> int:
        """The longest horizon of any kind."""
        return max(each.horizon_ms for each in (*self.by_kind.values(), self.others))

    @staticmethod
    def of(horizon_ms: int, response_ms: int) -> "Windows":
        """The same windows for every kind: orders count to the horizon after a click, a response long after a view."""
        each = KindWindows(
            response_ms=min(response_ms, horizon_ms),
            horizon_ms=horizon_ms,
            click_conversion_ms=horizon_ms,
            view_conversion_ms=min(response_ms, horizon_ms),
        )
        return Windows(by_kind=dict.fromkeys(KIND_NAMES, each), others=each)


class Echo(Struct, frozen=True):
    """An event that names a strategy: an exposure, a click, an unsubscription, a complaint, a cost.

    Args:
        name: of the event; what it means depends on the strategy's kind.
        amount_minor: of `Ad Cost Recorded`, in `currency`; 0 otherwise.
    """

    strategy_id: str
    message_id: str
    name: str
    at_ms: int
    amount_minor: int = 0
    currency: str = ""


class Share(Struct, frozen=True):
    """One strategy's part of an order line: its weight among the line's shares, and the touch that earned it."""

    strategy_id: str
    weight: int
    through: Through


class OrderLine(Struct, frozen=True, omit_defaults=True):
    """One line of an order, with the unit's margin by the catalog as it was when the order was read.

    Args:
        unit_margin_minor: after the discount.
        category: path of the product, empty when unknown.
        campaigns: ids of the campaigns that offered the product.
        owner: the only strategy that was credited, frozen when it left the state; empty while it can be recomputed.
        unit_discount_minor: what the unit was sold below its full price.
        shares: the strategies that were credited together, frozen when the first of them left the state.
    """

    product_id: str
    quantity: int
    unit_price_minor: int
    unit_margin_minor: int
    category: tuple[str, ...] = ()
    campaigns: tuple[str, ...] = ()
    owner: str = ""
    unit_discount_minor: int = 0
    shares: tuple[Share, ...] = ()


class Reversal(Struct, frozen=True):
    """A refund or a cancellation of (a part of) an order.

    Args:
        units: product id → units given back; empty: see `amount_minor`.
        amount_minor: money given back without naming products; None with no units: the whole order.
    """

    message_id: str
    at_ms: int
    currency: str
    units: dict[str, int] = {}
    amount_minor: int | None = None


class Order(Struct, frozen=True, omit_defaults=True):
    """One order. Without lines it is a place kept for an order that is read after its own refund.

    Args:
        strategy_id: the strategy that the shop itself credits, empty when it does not say.
        late: read when the strategies of its time may have been forgotten, and none of them was there.
    """

    order_id: str
    at_ms: int
    message_id: str
    currency: str
    lines: tuple[OrderLine, ...] = ()
    reversals: tuple[Reversal, ...] = ()
    strategy_id: str = ""
    late: bool = False


class Settled(Struct, frozen=True, omit_defaults=True):
    """An order of which a credited strategy has been forgotten: its money is final, later refunds are reported."""

    order_id: str
    until_ms: int


class Subject(Struct, frozen=True):
    """The parts of a strategy (or of a ghost's request) that every reward repeats."""

    request: StrategyRequest
    assigned_arm: Arm
    acting_arm: Arm
    decision: dict[str, str]
    policy: PolicyRecord | None
    propensity: float | None
    slot_propensities: dict[str, float]


class OpenStrategy(Struct, frozen=True):
    """One strategy or ghost, its facts, and what has been published of it.

    Args:
        products: product ids whose lines it may be credited with; `categories`, `campaigns` likewise.
        facts: echoes of it, sorted by (at_ms, message_id).
        stage: the last stage published, `open` for none.
        cutoff_ms: facts before it are in what was published last (exclusive).
        published: outcomes of the last final or correction.
        subject: a `Subject`, kept encoded: it is large and read only when something is published; what a newer writer
            said in its request and policy is in it.
        grammar: of a kind that does not ship.
    """

    strategy_id: str
    kind: str
    ghost: bool
    currency: str
    issued_ms: int
    valid_until_ms: int
    subject: msgspec.Raw
    products: tuple[str, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()
    campaigns: tuple[str, ...] = ()
    facts: tuple[Echo, ...] = ()
    stage: Literal["open", "responded", "closed"] = "open"
    cutoff_ms: int = 0
    published: Outcomes | None = None
    reward: float = 0.0
    grammar: Grammar | UnsetType = UNSET


class OpenState(Struct, frozen=True, tag_field="schema_version", tag=OPEN_VERSION):
    """All that attribution knows of one customer; empty when nothing is open. Its version is written first."""

    strategies: tuple[OpenStrategy, ...] = ()
    orders: tuple[Order, ...] = ()
    early: tuple[Echo, ...] = ()
    settled: tuple[Settled, ...] = ()

    @property
    def empty(self) -> bool:
        """True when the key can be deleted."""
        return not (self.strategies or self.orders or self.early or self.settled)


_DECODER = msgspec.json.Decoder(OpenState)
_CURRENT = b'{"schema_version":%d,' % OPEN_VERSION
"""What an open state of this version begins with."""


def decode_open(value: bytes) -> OpenState:
    """An open state as stored by us, migrated where an older program wrote it.

    Raises:
        NewerRow: a newer program wrote it.
    """
    if value.startswith(_CURRENT):
        return _DECODER.decode(value)
    return _DECODER.decode(msgspec.json.encode(migrated_open(msgspec.json.decode(value))))


class UnknownStrategy(Struct, frozen=True):
    """A fact: an event named a strategy that never came. The edge counts or dead-letters it."""

    strategy_id: str
    message_id: str
    name: str
    at_ms: int


class Unbooked(Struct, frozen=True):
    """A fact: money that changes no reward, though somebody may have to book it. The edge dead-letters it.

    Args:
        reason: a refund of an order whose strategy has been forgotten; a refund in another currency than its order's;
            an order read after the strategies of its time had been forgotten; one more than are remembered.
    """

    reason: Literal["settled_order", "refund_currency", "late_order", "too_many_orders"]
    order_id: str
    message_id: str
    name: str
    at_ms: int
    currency: str = ""
    wanted_currency: str = ""


class Step(Struct, frozen=True):
    """What one call of attribution gives: the new state, the rewards to publish, the facts to report.

    Args:
        unmatched: reversals given up because no order came that they belong to, or nobody is credited with it.
        subjects: strategy id → what its rewards repeat, of the strategies of `rewards`.
    """

    state: OpenState
    rewards: tuple[Reward, ...] = ()
    unknown: tuple[UnknownStrategy, ...] = ()
    unbooked: tuple[Unbooked, ...] = ()
    unmatched: int = 0
    subjects: dict[str, msgspec.Raw] = {}
