"""A simulated shop with a known expected reward for every action, so that lift can be exact. Pure.

    lift = (reward - random) / (oracle - random)

Everything follows from a seed and an interaction's number: who comes, what may be proposed, what every action is worth, what the
customer does. Two policies see the same customers and, where they choose alike, get the same answers.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.worlds.effects import Effects
from benchmarks.worlds.grids import Chances, Setting, chances, tastes_of
from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.lexicon import CATEGORIES
from benchmarks.worlds.people import Person, affinity, draw_people, features_of
from benchmarks.worlds.shop import INTERACTIONS_PER_DAY, Good, Shop
from model.grid import ActionGrid
from streaming.contracts.ids import stable_seed
from streaming.contracts.kinds import CHANNELS, GRAMMARS, Kind
from streaming.contracts.rewards import Outcomes
from streaming.contracts.strategies import Candidate, Exclusion, Slot, StrategyRequest, Trigger
from streaming.reward import Formula, summed

Floats = npt.NDArray[np.float64]

KINDS: tuple[tuple[Kind, float], ...] = (("recommendation", 0.5), ("promotion", 0.25), ("ad", 0.15), ("ranking", 0.1))
TRIGGERS: tuple[Trigger, ...] = ("session_start", "cart_abandoned", "category_interest", "dormant_customer")
START = datetime(2026, 1, 5, tzinfo=UTC)
COMPLAINT_SHARE = 0.15
"""Of unsubscribing customers, those who also complain."""
TONES_OF_PROMOTIONS = ("friendly", "urgent")
DISCOUNTS = ("0", "10", "20")


class Moment(NamedTuple):
    """One interaction.

    Args:
        values: true expected reward of every cell of the grid, major units.
        launch: the wave whose products alone are its candidates; 0 for any others.
    """

    number: int
    setting: Setting
    grid: ActionGrid
    chances: Chances
    values: Floats
    launch: int

    @property
    def request(self) -> StrategyRequest:
        """What is asked."""
        return self.setting.request

    @property
    def random(self) -> float:
        """Expected reward of a uniform choice."""
        return float(self.values[self.grid.allowed].mean())

    @property
    def oracle(self) -> float:
        """Expected reward of the best action."""
        return float(self.values[self.grid.allowed].max())

    def by_candidate(self) -> Floats:
        """(candidates of the first slot,): the value of each under a uniform choice of the rest, NaN where none is allowed."""
        kept = np.where(self.grid.allowed, self.values, 0.0).reshape(self.grid.shape[0], -1).sum(1)
        count = self.grid.allowed.reshape(self.grid.shape[0], -1).sum(1)
        return np.where(count > 0, kept / np.maximum(count, 1), np.nan)


class World:
    """The shop of a seed."""

    def __init__(self, seed: int, knobs: WorldKnobs | None = None) -> None:
        """Draw customers; the rest is drawn when it is needed."""
        self.seed = seed
        self.knobs = knobs or WorldKnobs()
        self.formula = Formula()
        self.shop = Shop(seed, self.knobs)
        self.effects = Effects(seed, self.knobs)
        self.people = draw_people(seed, self.knobs)
        weights = np.array([person.weight for person in self.people])
        self._chance = weights / weights.sum()
        self._order = self._rng("shown").permutation(np.arange(6) % (self.knobs.traits - 1) + 1)

    def moment(self, number: int) -> Moment:
        """The interaction of a number."""
        rng = self._rng("moment", str(number))
        person = self.people[int(rng.choice(len(self.people), p=self._chance))]
        kind = KINDS[int(rng.choice(len(KINDS), p=[share for _, share in KINDS]))][0]
        tastes = tastes_of(person, self.effects, self.knobs, number)
        wave = self.shop.wave_at(number)
        launched = wave > 0 and kind in ("recommendation", "promotion") and rng.random() < self.knobs.launch_share
        goods = self._goods(kind, wave, person, launched=launched, rng=rng)
        hour = 6 + int(rng.integers(18))
        request = self._request(number, person, kind, goods, tastes, hour, rng)
        setting = Setting(person, request, {good.id: good for good in goods}, tastes, number, hour)
        found = chances(setting, self.effects, self.knobs)
        values = self._values(setting, found)
        return Moment(number, setting, ActionGrid.of(request), found, values, wave if launched else 0)

    def answer(self, moment: Moment, index: tuple[int, ...]) -> Outcomes:
        """What the customer does with an action; the same draws whatever the action is."""
        seen_at, click_at, order_at, refund_at, leave_at, many_at = self._rng("answer", str(moment.number)).random(6)
        chance = moment.chances
        seen = bool(seen_at < chance.seen[index])
        clicked = seen and bool(click_at < chance.click[index])
        ordered = clicked and bool(order_at < chance.order[index])
        refunded = ordered and bool(refund_at < chance.refunded[index])
        mean = max(moment.setting.person.units, 1.0)
        units = int(mean) + (many_at < mean - int(mean))
        margin = float(self.formula.margin_grid(moment.request)[index]) * units
        cents = round(100 * margin) if ordered else 0
        return Outcomes(
            "USD",
            seen,
            clicked,
            ordered,
            refunded,
            seen and bool(leave_at < chance.left[index]),
            margin_minor=cents,
            refunded_margin_minor=max(cents, 0) if refunded else 0,
        )

    def _values(self, setting: Setting, chance: Chances) -> Floats:
        clicked = chance.seen * chance.click
        ordered = clicked * chance.order
        margin = ordered * self.formula.margin_grid(setting.request) * max(setting.person.units, 1.0)
        left = chance.seen * chance.left
        parts = self.formula.components(
            clicked=clicked,
            ordered=ordered,
            margin=margin,
            refunded_margin=np.maximum(margin, 0.0) * chance.refunded,
            unsubscribed=left,
            complained=0.0,
            cost=self.formula.expected_cost_grid(setting.request, chance.seen),
            offer=self.formula.offer_grid(setting.request),
        )
        return np.asarray(summed(parts)) + np.zeros(clicked.shape)

    def _goods(
        self, kind: Kind, wave: int, person: Person, *, launched: bool, rng: np.random.Generator
    ) -> tuple[Good, ...]:
        what = "campaign" if kind == "ad" else "product"
        sold: Sequence[Good] = self.shop.latest(wave) if launched else self.shop.assortment(wave, what)
        size = {"promotion": self.knobs.candidates - 2, "ranking": self.knobs.candidates - 1}.get(
            kind, self.knobs.candidates
        )
        chosen = [sold[int(place)] for place in rng.choice(len(sold), min(size, len(sold)), replace=False)]
        own = [good for good in sold if good.wave == 0 and int(good.id[1:]) in person.bought and good not in chosen]
        if own and not launched and what == "product":
            chosen[0] = own[int(rng.integers(len(own)))]
        return tuple(chosen)

    def _request(
        self,
        number: int,
        person: Person,
        kind: Kind,
        goods: Sequence[Good],
        tastes: Floats,
        hour: int,
        rng: np.random.Generator,
    ) -> StrategyRequest:
        channels = person.channels + self.knobs.habit * 0.0
        found = tuple(self._candidate(good, number, person, tastes, rng) for good in goods)
        if kind == "ranking":
            heads = {candidate.category[0]: candidate for candidate in found}
            found = (*(_as_category(label, candidate) for label, candidate in heads.items()), *found)
        slots = tuple(_slot(kind, name, found, person) for name in GRAMMARS[kind].slots)
        promotion = kind == "promotion"
        return StrategyRequest(
            request_id=f"req_{self.seed}_{number}",
            user_id=person.user_id,
            kind=kind,
            trigger=TRIGGERS[int(rng.integers(len(TRIGGERS)))],
            arm="fused",
            issued_at=START + timedelta(days=number / INTERACTIONS_PER_DAY),
            deadline_s=10.0,
            language="zh" if person.language == "zh" else "en",
            currency="USD",
            features=features_of(person, self._order, tastes, channels, hour, rng),
            candidates=found,
            slots=slots,
            exclusions=(Exclusion("offer_type", "percent_off", "discount", ("0",)),) if promotion else (),
        )

    def _candidate(
        self, good: Good, number: int, person: Person, tastes: Floats, rng: np.random.Generator
    ) -> Candidate:
        relation = {"category_affinity": affinity(float(tastes[good.category] + 0.3 * rng.standard_normal()))}
        if good.what == "product":
            known = good.wave == 0 and int(good.id[1:]) in person.bought
            fit = 1.0 - abs(good.level + 0.4 * float(person.shown[0]) + 0.2 * rng.standard_normal())
            relation |= {
                "bought": 0.7 if known and rng.random() < 0.8 else 0.0,  # noqa: PLR2004 -- a profile misses some
                "price_fit": float(np.clip(fit, 0.0, 1.0)),
                "popularity": float(np.clip(0.5 + 0.2 * good.residual, 0.0, 1.0)) if good.wave == 0 else 0.0,
            }
        return Candidate(
            good.id,
            "product" if good.what == "product" else "campaign",
            good.name,
            (CATEGORIES[good.category][0],),
            good.brand,
            good.text,
            good.price_minor,
            good.margin_minor,
            good.max_discount_pct,
            good.age_days(number),
            relation,
        )

    def _rng(self, *names: str) -> np.random.Generator:
        return np.random.default_rng(stable_seed("world", str(self.seed), *names))


def _as_category(label: str, product: Candidate) -> Candidate:
    return Candidate(
        label,
        "category",
        label,
        (label,),
        "",
        label,
        product.price_minor,
        product.margin_minor,
        0,
        product.age_days,
        {"category_affinity": product.relation["category_affinity"]},
    )


def _slot(kind: Kind, name: str, candidates: Sequence[Candidate], person: Person) -> Slot:
    grammar = GRAMMARS[kind]
    if name in grammar.candidate_slots:
        what = "product" if name == "pinned_product" else name
        return Slot(name, tuple(candidate.id for candidate in candidates if candidate.what == what))
    values = grammar.closed[name]
    if name == "channel":
        values = tuple(channel for channel in CHANNELS if channel == "onsite" or channel in person.consent)
    elif name == "discount":
        values = DISCOUNTS
    elif kind == "promotion" and name == "tone":
        values = TONES_OF_PROMOTIONS
    elif kind == "promotion" and name == "duration":
        values = ("1d", "7d")
    return Slot(name, values)
