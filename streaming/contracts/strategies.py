"""`strategy.requests`, `strategy.suppressions` and `strategies`: what is asked, why not, what was said."""

from datetime import datetime
from typing import Annotated, Literal, Protocol

from msgspec import UNSET, Meta, Struct, UnsetType

from streaming.contracts.errors import BadPart
from streaming.contracts.kinds import GRAMMARS, Arm, Grammar, check_kind
from streaming.contracts.money import Currency, Minor

SCHEMA_VERSION = 1

Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Trigger = Literal[
    "session_start",
    "cart_abandoned",
    "search_without_click",
    "price_drop",
    "category_interest",
    "dormant_customer",
    "campaign_start",
    "decision_requested",
]
SuppressionReason = Literal[
    "holdout",
    "paused",
    "no_consent",
    "daily_cap",
    "cooldown",
    "quiet_hours",
    "stale",
    "no_candidates",
    "erased",
    "defaulted",
]


class Features(Struct, frozen=True, gc=False):
    """The customer as the model sees them: pseudonymous numbers and categories, no personal data.

    Args:
        numbers: name with unit → value, e.g. `recency_days`, `orders_90d`; names in `streaming/features.py`.
        categories: name → value, e.g. `lifecycle`, `daypart`, `weekday`, `language`.
        category_affinity: product category → decayed share in [0, 1], the strongest few.
        brand_affinity: brand → decayed share in [0, 1], the strongest few.
        channel_response: channel → smoothed click rate in [0, 1].
    """

    numbers: dict[str, float]
    categories: dict[str, str]
    category_affinity: dict[str, Probability] = {}
    brand_affinity: dict[str, Probability] = {}
    channel_response: dict[str, Probability] = {}


class Candidate(Struct, frozen=True, gc=False):
    """One product, campaign or category that may be proposed, with its text and its relation to the customer.

    Args:
        margin_minor: margin of one unit at full price; for a campaign or category the mean of what it offers.
        max_discount_pct: largest discount at which the margin stays >= 0 and every rule holds.
        age_days: since launch, in event time.
        relation: how the customer relates to it, each in [0, 1]: `category_affinity`, `brand_affinity`,
            `bought`, `viewed`, `wished`, `in_cart`, `searched`, `price_fit`, `popularity`.
    """

    id: str
    what: Literal["product", "campaign", "category"]
    name: str
    category: tuple[str, ...]
    brand: str
    text: str
    price_minor: Minor
    margin_minor: Minor
    max_discount_pct: Annotated[int, Meta(ge=0, le=100)]
    age_days: float
    relation: dict[str, Probability] = {}


class Slot(Struct, frozen=True, gc=False):
    """Allowed values of one slot after the rules; order is the decoding order of the request's slots."""

    name: str
    values: Annotated[tuple[str, ...], Meta(min_length=1)]


class Exclusion(Struct, frozen=True, gc=False):
    """Rules between slots: when `slot` is `value`, `other_slot` may not be any of `other_values`."""

    slot: str
    value: str
    other_slot: str
    other_values: tuple[str, ...]


class Removed(Struct, frozen=True, gc=False):
    """A value that rules took away before sampling, and why. It has probability zero."""

    slot: str
    value: str
    reason: str


class StrategyRequest(Struct, frozen=True, gc=False):
    """Everything the model may use, frozen.

    `issued_at` is event time; `deadline_s` counts on the wall clock from the record's Kafka timestamp. `mixed_arms`:
    the customer was merged from rows of two arms (`identify`) and is no evidence for any arm. `grammar`: of a kind that
    does not ship, so that whoever reads the request can decide, value and learn it without knowing the kind.

    Raises:
        BadPart: a kind that does not ship, without its grammar.
    """

    request_id: str
    user_id: str
    kind: str
    trigger: Trigger
    arm: Arm
    issued_at: datetime
    deadline_s: Annotated[float, Meta(gt=0.0)]
    language: Literal["en", "zh"]
    currency: Currency
    features: Features
    candidates: tuple[Candidate, ...]
    slots: Annotated[tuple[Slot, ...], Meta(min_length=1)]
    exclusions: tuple[Exclusion, ...] = ()
    removed: tuple[Removed, ...] = ()
    cause: str = ""
    context: dict[str, str] = {}
    """What the moment is about, e.g. `query` or `category`; hostile text, never trusted."""
    schema_version: int = SCHEMA_VERSION
    mixed_arms: bool = False
    grammar: Grammar | UnsetType = UNSET
    traceparent: Annotated[str, Meta(max_length=55)] | UnsetType = UNSET
    """Of the event that caused it, where its publisher said one (W3C Trace Context)."""

    def __post_init__(self) -> None:
        """Refuse a kind that nobody has declared."""
        check_kind(self.kind, self.grammar)


class Suppression(Struct, frozen=True):
    """A moment that was not asked or not answered, and why. `request_id` is what it would have been."""

    suppression_id: str
    request_id: str
    user_id: str
    kind: str
    trigger: Trigger
    arm: Arm
    reason: SuppressionReason
    detail: str
    issued_at: datetime
    by: Literal["agents", "worker"]
    cause: str = ""
    schema_version: int = SCHEMA_VERSION


class Message(Struct, frozen=True):
    """What the customer reads. `source` says whether the model's own words passed the checks."""

    language: Literal["en", "zh"]
    title: str
    body: str
    source: Literal["model", "template"]


class PolicyRecord(Struct, frozen=True):
    """The distribution that was sampled, exactly enough to recompute the propensity.

    p(action) = mean over heads k of product over slots of
    softmax(lm_weight * log p_LM / temperature + critic_weight * log pi_k), pi_k of Q_mean + head_scale * (Q_k - Q_mean),
    see `model/policy.py`.
    """

    base: str
    adapter: str
    """Version name, `base` for the base without adapter, `none` where no language model took part."""
    critic: str
    assigned_arm: Arm
    acting_arm: Arm
    temperature: float
    lm_weight: float
    critic_weight: float
    beta: float
    """Temperature of the critic's softmax, in units of reward."""
    heads: int
    actions: int
    """Number of allowed actions."""
    late: bool = False
    """True when the deadline had passed and the critic answered alone."""
    head_scale: float = 1.0
    """Of the heads' distance from the critic's mean."""


class Effect(Struct, frozen=True):
    """A feature's measured effect on log p of the chosen value: what removing it would change, in nats."""

    feature: str
    slot: str
    effect_nats: float


class Alternative(Struct, frozen=True):
    """A value that was possible, with its probability at that slot."""

    slot: str
    value: str
    probability: Probability


class Explanation(Struct, frozen=True):
    """Why this decision. `removed` repeats what rules took away."""

    effects: tuple[Effect, ...]
    alternatives: tuple[Alternative, ...]
    removed: tuple[Removed, ...]


class Check(Struct, frozen=True):
    """A named check with its outcome."""

    name: str
    passed: bool
    detail: str = ""


class Strategy(Struct, frozen=True):
    """A finished strategy; one content per `strategy_id` for ever."""

    strategy_id: str
    request_id: str
    user_id: str
    kind: str
    issued_at: datetime
    decision: dict[str, str]
    message: Message
    valid_until: datetime
    policy: PolicyRecord
    propensity: Annotated[float, Meta(gt=0.0, le=1.0)]
    slot_propensities: dict[str, Probability]
    explanation: Explanation
    checks: tuple[Check, ...]
    request: StrategyRequest
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        """Refuse another kind than the request's."""
        if self.kind != self.request.kind:
            raise BadPart("kind", self.kind, f"the request's, {self.request.kind}")


def candidate_by_id(request: StrategyRequest) -> dict[str, Candidate]:
    """The request's candidates by id."""
    return {candidate.id: candidate for candidate in request.candidates}


class OfKind(Protocol):
    """A request, or what is kept of one."""

    @property
    def kind(self) -> str:
        """The kind's name."""

    @property
    def grammar(self) -> Grammar | UnsetType:
        """Of a kind that does not ship."""


def grammar_of(said: OfKind) -> Grammar:
    """What the kind may say: the grammar that came with it, else the one that ships."""
    return said.grammar or GRAMMARS[said.kind]
