"""The demo's simulated customers without Kafka: requests as the agents would make them, and what every action would bring.

Features stand for a profile after some months: they are computed from a customer's real purchases with noise, never from the
hidden habits. Deterministic by seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

import numpy as np
import numpy.typing as npt
from msgspec import structs

from services.shop.answers import CHANNEL_LEAVES, base_effect, effects_of, refund_probability
from services.shop.customers import Customer
from services.shop.world import World, load_world
from streaming.contracts.catalog import Product
from streaming.contracts.ids import reward_id, stable_seed
from streaming.contracts.kinds import GRAMMARS, Kind
from streaming.contracts.rewards import Outcomes, Reward
from streaming.contracts.strategies import Candidate, Exclusion, Features, PolicyRecord, Slot, StrategyRequest
from streaming.reward import Formula, summed

Floats = npt.NDArray[np.float64]
KINDS: tuple[tuple[Kind, float], ...] = (("recommendation", 0.5), ("promotion", 0.25), ("ad", 0.15), ("ranking", 0.1))
"""Kinds and their shares of the requests."""
NOTICED = 0.8
"""Share of what a customer buys that the profile knows of."""
POLICY = PolicyRecord("base", "none", "none", "critic", "critic", 0.4, 0.0, 1.0, 0.005, 8, 1)


@dataclass
class Simulation:
    """Customers, requests and answers of one seed."""

    seed: int
    candidates: int = 12
    households: int = 400
    drifted: bool = False
    formula: Formula = field(default_factory=Formula)

    def __post_init__(self) -> None:
        """Load the world; its hidden habits depend on the seed."""
        self.world: World = load_world(None, seed=self.seed, households=self.households)
        self.customers = sorted(self.world.customers.values(), key=lambda customer: customer.user_id)
        self.products = sorted(self.world.catalog.values(), key=lambda product: product.product_id)
        self.start = datetime(2026, 1, 5, 9, tzinfo=UTC)

    def requests(self, count: int) -> Iterator[tuple[Customer, StrategyRequest]]:
        """A stream of customers and their requests."""
        for number in range(count):
            rng = Random(stable_seed("request", str(self.seed), str(number)))
            customer = rng.choice(self.customers)
            kind = rng.choices([kind for kind, _ in KINDS], [share for _, share in KINDS])[0]
            yield customer, self.request(customer, kind, number, rng)

    def request(self, customer: Customer, kind: Kind, number: int, rng: Random) -> StrategyRequest:
        """One request of a kind."""
        grammar = GRAMMARS[kind]
        candidates = self._candidates(customer, kind, rng)
        ids = {what: tuple(c.id for c in candidates if c.what == what) for what in ("product", "campaign", "category")}
        slots = []
        for name in grammar.slots:
            if name in grammar.candidate_slots:
                slots.append(Slot(name, ids["product" if name == "pinned_product" else name]))
            elif name == "channel":
                slots.append(
                    Slot(name, tuple(c for c in grammar.closed[name] if c == "onsite" or c in customer.consent))
                )
            elif name == "discount":
                slots.append(Slot(name, ("0", "10", "20", "30")))
            else:
                slots.append(Slot(name, grammar.closed[name]))
        exclusions: tuple[Exclusion, ...] = ()
        if kind == "promotion":
            exclusions = (Exclusion("offer_type", "percent_off", "discount", ("0",)),)
            slots = [slot if slot.name != "duration" else Slot("duration", ("1d", "7d")) for slot in slots]
        return StrategyRequest(
            request_id=f"req_{self.seed}_{number}",
            user_id=customer.user_id,
            kind=kind,
            trigger=rng.choice(("session_start", "cart_abandoned", "category_interest", "dormant_customer")),
            arm="critic",
            issued_at=self.start + timedelta(minutes=number),
            deadline_s=10.0,
            language=customer.language,
            currency="USD",
            features=features_of(customer, rng),
            candidates=candidates,
            slots=tuple(slots),
            exclusions=exclusions,
        )

    def _candidates(self, customer: Customer, kind: Kind, rng: Random) -> tuple[Candidate, ...]:
        if kind == "ad":
            chosen = rng.sample(sorted(self.world.campaigns), min(self.candidates, len(self.world.campaigns)))
            return tuple(self._campaign(customer, campaign, rng) for campaign in chosen)
        size = self.candidates if kind != "promotion" else max(self.candidates // 3, 2)
        if kind == "ranking":
            size = self.candidates // 2
        products = rng.sample(self.products, size)
        own = [p for p in sorted(customer.bought) if p in self.world.catalog]
        for place in range(min(len(own), size // 3)):
            product = self.world.catalog[rng.choice(own)]
            if product not in products:
                products[place] = product
        found = tuple(self._product(customer, product, rng) for product in products)
        if kind == "ranking":
            heads = {candidate.category[1]: candidate for candidate in found}
            named = tuple(
                structs.replace(c, id=label, what="category", name=label, brand="", text=label)
                for label, c in heads.items()
            )
            return named + found
        return found

    def _product(self, customer: Customer, product: Product, rng: Random) -> Candidate:
        taste = customer.taste.by_category.get(product.category[1], customer.taste.other_category)
        level = self.world.shelf.price_level.get(product.product_id, 0.0)
        relation = {
            "category_affinity": float(np.clip(0.05 * np.exp(taste + rng.gauss(0, 0.4)), 0, 1)),
            "bought": 0.7 if product.product_id in customer.bought and rng.random() < NOTICED else 0.0,
            "price_fit": float(
                np.clip(1 - abs(level + 0.3 * customer.taste.price_sensitivity + rng.gauss(0, 0.2)), 0, 1)
            ),
            "popularity": self.world.shelf.popularity.get(product.product_id, 0.0),
        }
        margin = product.price_minor - product.unit_cost_minor
        return Candidate(
            product.product_id,
            "product",
            product.name,
            product.category,
            product.brand,
            product.description,
            product.price_minor,
            margin,
            30,
            100.0,
            relation,
        )

    def _campaign(self, customer: Customer, campaign_id: str, rng: Random) -> Candidate:
        campaign = self.world.campaigns[campaign_id]
        shares = self.world.shelf.campaign_categories.get(campaign_id, {})
        taste = sum(s * customer.taste.by_category.get(c, customer.taste.other_category) for c, s in shares.items())
        relation = {"category_affinity": float(np.clip(0.05 * np.exp(taste + rng.gauss(0, 0.3)), 0, 1))}
        return Candidate(
            campaign_id,
            "campaign",
            campaign.name,
            tuple(campaign.categories[:2]),
            "",
            campaign.creatives[0].body,
            400,
            150,
            30,
            30.0,
            relation,
        )

    def chances(self, customer: Customer, request: StrategyRequest) -> dict[str, Floats]:
        """Outcome → probability for every action, the grid's shape; `ordered` given a click."""
        if self.drifted:
            tone = {name: -1.5 * value for name, value in customer.tone.items()}
            channel = {name: -value - (1.5 if name == "onsite" else 0.0) for name, value in customer.channel.items()}
            customer = structs.replace(customer, tone=tone, channel=channel, discount=-customer.discount)
        base = base_effect(customer, request.kind)
        effects = effects_of(customer, self.world.shelf, request)
        shape = [len(slot.values) for slot in request.slots]
        logits = {
            "seen": np.full(shape, base.seen),
            "click": np.full(shape, base.click),
            "order": np.full(shape, base.order),
        }
        left, refunded = np.zeros(shape), np.full(shape, 0.02)
        for axis, slot in enumerate(request.slots):
            along = [1] * len(shape)
            along[axis] = shape[axis]
            for name, total in list(logits.items()):
                steps = np.array([getattr(effects[slot.name][value], name) for value in slot.values])
                logits[name] = total + steps.reshape(along)
            if slot.name == "channel":
                left = left + np.array([CHANNEL_LEAVES[value] for value in slot.values]).reshape(along)
            if slot.name in ("product", "pinned_product"):
                refunded = 0 * refunded + np.array([refund_probability(value) for value in slot.values]).reshape(along)
        chance = {name: 1 / (1 + np.exp(-total)) for name, total in logits.items()}
        return {**chance, "left": left, "refunded": refunded}

    def values(self, customer: Customer, request: StrategyRequest) -> Floats:
        """True expected reward of every action."""
        chance = self.chances(customer, request)
        clicked = chance["seen"] * chance["click"]
        ordered = clicked * chance["order"]
        margin = ordered * self.formula.margin_grid(request) * max(customer.taste.units_per_line, 1.0)
        left = chance["seen"] * chance["left"]
        parts = self.formula.components(
            clicked=clicked,
            ordered=ordered,
            margin=margin,
            refunded_margin=margin * chance["refunded"],
            unsubscribed=left,
            complained=0.15 * left,
            cost=self.formula.expected_cost_grid(request, chance["seen"]),
            offer=self.formula.offer_grid(request),
        )
        return np.asarray(summed(parts)) + np.zeros(clicked.shape)

    def cost(self, request: StrategyRequest, index: tuple[int, ...], outcomes: Outcomes) -> float:
        """What the contact cost, major units, once it is known whether the customer saw it."""
        return float(self.formula.expected_cost_grid(request, np.float64(outcomes.shown))[index])

    def answer(self, customer: Customer, request: StrategyRequest, index: tuple[int, ...], rng: Random) -> Outcomes:
        """Draw what the customer does with one action."""
        chance = {name: float(grid[index]) for name, grid in self.chances(customer, request).items()}
        seen = rng.random() < chance["seen"]
        clicked = seen and rng.random() < chance["click"]
        ordered = clicked and rng.random() < chance["order"]
        refunded = ordered and rng.random() < chance["refunded"]
        margin = float(self.formula.margin_grid(request)[index]) * max(customer.taste.units_per_line, 1.0)
        cents = round(100 * margin) if ordered else 0
        return Outcomes(
            "USD",
            seen,
            clicked,
            ordered,
            refunded,
            seen and rng.random() < chance["left"],
            margin_minor=cents,
            refunded_margin_minor=cents if refunded else 0,
        )


def features_of(customer: Customer, rng: Random) -> Features:
    """What a profile would say after some months."""
    taste = customer.taste
    discount = 1 / (1 + np.exp(-(taste.price_sensitivity + rng.gauss(0, 0.3))))
    numbers = {
        "recency_days": rng.expovariate(0.2),
        "orders_90d": float(len(customer.bought) // 20),
        "discount_share": float(discount),
        "price_level": -0.2 * taste.price_sensitivity + rng.gauss(0, 0.15),
        "cart_items": float(rng.randrange(4)),
        "session_views": float(rng.randrange(6)),
        "sessions_30d": 5.0,
        "order_value_major": 10.0 * taste.units_per_line,
        "tenure_days": 200.0,
    }
    likes = sorted(taste.by_category.items(), key=lambda item: -item[1])[:5]
    share = {name: float(np.clip(0.08 * np.exp(value), 0, 1)) for name, value in likes}
    response = {
        name: float(np.clip(1 / (1 + np.exp(1.5 - value - rng.gauss(0, 0.5))), 0, 1))
        for name, value in customer.channel.items()
    }
    categories = {
        "lifecycle": "active",
        "daypart": rng.choice(("morning", "afternoon", "evening")),
        "language": customer.language,
        "deal_seeking": "high" if discount > 0.5 else "low",  # noqa: PLR2004 -- half of the customers
    }
    return Features(numbers, categories, share, {}, response)


def reward_of(
    request: StrategyRequest, decision: dict[str, str], outcomes: Outcomes, propensity: float, total: float
) -> Reward:
    """The final reward of one strategy."""
    strategy = f"str_{request.request_id}"
    return Reward(
        reward_id(strategy, "final"),
        strategy,
        request.request_id,
        request.user_id,
        "final",
        request.kind,
        request.arm,
        request.arm,
        ghost=False,
        issued_at=request.issued_at,
        closed_at=request.issued_at,
        request=request,
        decision=decision,
        policy=POLICY,
        propensity=propensity,
        slot_propensities={},
        outcomes=outcomes,
        reward=total,
        components={},
    )
