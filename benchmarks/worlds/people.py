"""The customers of a simulated shop: hidden traits, and what a profile would show of them. Pure."""

from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
import numpy.typing as npt

from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.lexicon import CATEGORIES
from streaming.contracts.features import CATEGORIES as SHOWN_CATEGORIES
from streaming.contracts.features import NUMBERS
from streaming.contracts.ids import stable_seed
from streaming.contracts.kinds import CHANNELS
from streaming.contracts.strategies import Features

Floats = npt.NDArray[np.float64]

SHOWN_BY = ("order_value_major", "sessions_30d", "tenure_days", "orders_total", "recency_days", "spend_90d_major")
"""Numbers that show a trait each; which shows which, a seed decides. The first trait, sensitivity to prices, has its own."""
OF_THE_MOMENT = ("cart_items", "session_views", "session_minutes", "searches_7d", "asked_7d")
"""Numbers that show nothing: a learner must find that out."""
CONSENT = {"email": 0.75, "push": 0.6, "sms": 0.4}
LIKES = 5
AFFINITY_SCALE = 0.12


@dataclass(frozen=True)
class Person:
    """A customer.

    Args:
        traits: (traits,) standard normal; the first is sensitivity to prices.
        shown: the traits as the profile knows them.
        own: (categories,) taste that traits do not explain.
        channels: (channels,) habits that traits do not explain.
        units: per order, mean.
        weight: how often the customer comes, relative.
    """

    user_id: str
    traits: Floats
    shown: Floats
    own: Floats
    channels: Floats
    units: float
    weight: float
    language: str
    consent: frozenset[str]
    bought: frozenset[int]
    """Places in the first assortment."""


def draw_people(seed: int, knobs: WorldKnobs) -> tuple[Person, ...]:
    """All customers of a seed."""
    rng = np.random.default_rng(stable_seed("people", str(seed)))
    return tuple(_person(f"u{place:05d}", rng, knobs) for place in range(knobs.customers))


def _person(user_id: str, rng: np.random.Generator, knobs: WorldKnobs) -> Person:
    traits = rng.standard_normal(knobs.traits)
    return Person(
        user_id=user_id,
        traits=traits,
        shown=traits + knobs.noise * rng.standard_normal(knobs.traits),
        own=knobs.own * rng.standard_normal(len(CATEGORIES)),
        channels=knobs.own * rng.standard_normal(len(CHANNELS)),
        units=float(min(np.exp(knobs.units_spread * rng.standard_normal()), 8.0)),
        weight=float(1.0 + rng.pareto(knobs.activity_tail)),
        language="zh" if rng.random() < 0.1 else "en",  # noqa: PLR2004 -- a small second language
        consent=frozenset(name for name, share in CONSENT.items() if rng.random() < share),
        bought=frozenset(int(place) for place in rng.choice(knobs.products, 12, replace=False)),
    )


def number_at(name: str, score: float) -> float:
    """A value of a number of the contract whose bin has the rank of a standard normal score."""
    edges = NUMBERS[name].edges
    place = min(int(0.5 * (1.0 + erf(score / sqrt(2.0))) * (len(edges) + 1)), len(edges))
    if place == 0:
        return edges[0] - abs(edges[0])
    return edges[-1] * 1.5 if place == len(edges) else (edges[place - 1] + edges[place]) / 2


def features_of(
    person: Person, order: npt.NDArray[np.int64], tastes: Floats, channels: Floats, hour: int, rng: np.random.Generator
) -> Features:
    """What a profile says of a customer.

    Args:
        order: which trait each of `SHOWN_BY` shows.
        tastes: (categories,) the customer's true tastes, shown with noise.
        channels: (channels,) true logits of looking at a channel, likewise.
        hour: of the customer's day.
    """
    sensitivity = float(person.shown[0])
    numbers = {name: number_at(name, float(person.shown[order[place]])) for place, name in enumerate(SHOWN_BY)}
    numbers["price_level"] = number_at("price_level", -sensitivity)
    numbers["discount_share"] = number_at("discount_share", sensitivity)
    numbers |= {name: number_at(name, float(rng.standard_normal())) for name in OF_THE_MOMENT}
    noisy = tastes + 0.3 * rng.standard_normal(len(tastes))
    top = np.argsort(-noisy)[:LIKES]
    response = 1.0 / (1.0 + np.exp(1.5 - channels - 0.3 * rng.standard_normal(len(channels))))
    return Features(
        numbers,
        {
            "lifecycle": SHOWN_CATEGORIES["lifecycle"][1 + int(person.shown[-1] > 0)],
            "daypart": daypart(hour),
            "weekday": "workday",
            "language": person.language,
            "price_band": ("premium", "middle", "budget")[int(np.digitize(sensitivity, (-0.7, 0.7)))],
            "deal_seeking": "high" if sensitivity > 0 else "low",
        },
        {CATEGORIES[place][0]: affinity(float(noisy[place])) for place in top},
        {},
        {
            name: float(response[place])
            for place, name in enumerate(CHANNELS)
            if name == "onsite" or name in person.consent
        },
    )


def affinity(taste: float) -> float:
    """Share of attention of a taste in logits."""
    return float(np.clip(AFFINITY_SCALE * np.exp(taste), 0.0, 1.0))


def daypart(hour: int) -> str:
    """The part of the day that an hour lies in."""
    return SHOWN_CATEGORIES["daypart"][hour // 6]
