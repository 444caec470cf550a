"""Requests composed from our own words: random attributes in random combinations, so that nothing stands for another.

Pure and deterministic: everything is drawn from the generator that is handed in. The attributes behind a text are
returned with it, because the teachers judge by them and the reconstruction loss asks for them.
"""

from datetime import UTC, datetime
from typing import Literal, get_args

import msgspec
import numpy as np

from model.prompt import LEVEL_EDGES, MARGIN_EDGES, PRICE_EDGES, RATE_EDGES, level
from model.words import BRAND_ENDS, BRAND_STARTS, CAMPAIGN_NOUNS, HIERARCHY, MODIFIERS, OCCASIONS
from streaming.contracts.features import CATEGORIES, NUMBERS, RELATIONS, bin_of
from streaming.contracts.kinds import CHANNELS, GRAMMARS, KIND_NAMES, MAX_CANDIDATES, Kind
from streaming.contracts.strategies import Candidate, Features, Slot, StrategyRequest, Trigger

TRIGGERS: tuple[Trigger, ...] = get_args(Trigger)
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
BRANDS = 48
MAX_GRID = 3000
"""Actions of a composed request at most: the teachers' exact conditionals are sums over all of them."""

FAMILIES: dict[str, int] = {
    "category": len(HIERARCHY),
    "brand": BRANDS,
    "modifier": len(MODIFIERS),
    "price": len(PRICE_EDGES) + 1,
    "margin": len(MARGIN_EDGES) + 1,
    **{name: len(LEVEL_EDGES) + 1 for name in RELATIONS},
}
"""Attributes of a candidate → how many values each has."""

RELATIONS_FROM = len(FAMILIES) - len(RELATIONS)
"""Place of the first relation among `FAMILIES`: what lies before belongs to the product itself."""

CUSTOMER: dict[str, int] = {
    **{name: len(spec.edges) + 1 for name, spec in NUMBERS.items()},
    **{name: len(values) for name, values in CATEGORIES.items()},
    **{channel: len(RATE_EDGES) + 1 for channel in CHANNELS},
}
"""Attributes of a customer → how many values each has."""


class Example(msgspec.Struct, frozen=True):
    """A composed request.

    Args:
        attributes: per candidate, the value of each of `FAMILIES` in order.
        customer: the value of each of `CUSTOMER` in order.
    """

    request: StrategyRequest
    attributes: tuple[tuple[int, ...], ...]
    customer: tuple[int, ...]


def brand_word(index: int) -> str:
    """The invented word of a brand."""
    return (
        BRAND_STARTS[index % len(BRAND_STARTS)] + BRAND_ENDS[(index * 7 + index // len(BRAND_STARTS)) % len(BRAND_ENDS)]
    )


def _inside(edges: tuple[float, ...], bin_: int, rng: np.random.Generator) -> float:
    """A number inside a bin: any will do, since the prompt says the bin."""
    low = edges[bin_ - 1] if bin_ else edges[0] - 1.0 - abs(edges[0])
    high = edges[bin_] if bin_ < len(edges) else edges[-1] * 2.0 + 1.0
    return float(low + (high - low) * rng.uniform(0.05, 0.95))


def _share(edges: tuple[float, ...], bin_: int, rng: np.random.Generator) -> float:
    bounds = (0.0, *edges, 1.0)
    return float(bounds[bin_] + (bounds[bin_ + 1] - bounds[bin_]) * rng.uniform(0.05, 0.95))


def compose_features(language: str, rng: np.random.Generator) -> Features:
    """A customer drawn level by level, so that every level is as frequent as its neighbours."""
    numbers = {name: _inside(spec.edges, int(rng.integers(len(spec.edges) + 1)), rng) for name, spec in NUMBERS.items()}
    categories = {name: values[int(rng.integers(len(values)))] for name, values in CATEGORIES.items()}
    categories["language"] = language
    likes = HIERARCHY[int(rng.integers(len(HIERARCHY)))][0]
    return Features(
        numbers=numbers,
        categories=categories,
        category_affinity={likes: float(rng.uniform(0.2, 1.0))},
        brand_affinity={brand_word(int(rng.integers(BRANDS))): float(rng.uniform(0.2, 1.0))},
        channel_response={name: _share(RATE_EDGES, int(rng.integers(len(RATE_EDGES) + 1)), rng) for name in CHANNELS},
    )


def customer_values(features: Features) -> tuple[int, ...]:
    """The values of `CUSTOMER` that the prompt of these features says."""
    numbers = [bin_of(name, features.numbers[name]) for name in NUMBERS]
    categories = [values.index(features.categories[name]) for name, values in CATEGORIES.items()]
    return (*numbers, *categories, *(level(features.channel_response[name], RATE_EDGES) for name in CHANNELS))


def compose_candidate(place: int, what: str, rng: np.random.Generator) -> tuple[Candidate, tuple[int, ...]]:
    """One candidate with the values of `FAMILIES` behind it."""
    category, brand, modifier = (int(rng.integers(count)) for count in list(FAMILIES.values())[:3])
    price = _inside(PRICE_EDGES, int(rng.integers(len(PRICE_EDGES) + 1)), rng)
    price_minor = max(int(abs(price) * 100), 20)
    margin_minor = int(price_minor * _share(MARGIN_EDGES, int(rng.integers(len(MARGIN_EDGES) + 1)), rng))
    relation = {
        name: _share(LEVEL_EDGES, int(rng.integers(len(LEVEL_EDGES) + 1)), rng)
        for name in RELATIONS
        if rng.random() < RELATED
    }
    candidate = Candidate(
        id=f"i{place}",
        what=what,  # type: ignore[arg-type]  # one of the three, by the callers below
        name=_name(what, category, brand, modifier, rng),
        category=("shop", HIERARCHY[category][0]),
        brand=brand_word(brand),
        text=MODIFIERS[modifier] if what == "campaign" else "",
        price_minor=price_minor,
        margin_minor=margin_minor,
        max_discount_pct=int(rng.choice((0, 5, 10, 15, 20, 30))),
        age_days=float(rng.choice((3.0, 40.0, 400.0))),
        relation=relation,
    )
    levels = (level(price_minor / 100, PRICE_EDGES), level(margin_minor / price_minor, MARGIN_EDGES))
    relations = tuple(level(relation.get(name, 0.0), LEVEL_EDGES) for name in RELATIONS)
    return candidate, (category, brand, modifier, *levels, *relations)


RELATED = 0.45
"""How often a candidate has each relation to the customer."""


def _name(what: str, category: int, brand: int, modifier: int, rng: np.random.Generator) -> str:
    shelf, types = HIERARCHY[category]
    thing = types[int(rng.integers(len(types)))]
    if what == "campaign":
        occasion = OCCASIONS[int(rng.integers(len(OCCASIONS)))]
        return f"{occasion} {shelf} {CAMPAIGN_NOUNS[int(rng.integers(len(CAMPAIGN_NOUNS)))]}"
    if what == "category":
        return f"{MODIFIERS[modifier]} {shelf}"
    words = [brand_word(brand), MODIFIERS[modifier], thing]
    return " ".join(words if rng.random() < BRAND_FIRST else [*words[1:], words[0]])


BRAND_FIRST = 0.7


def compose(
    rng: np.random.Generator, kind: Kind | None = None, *, candidates: tuple[int, int] | None = None
) -> Example:
    """A request of a kind (any if None) with between `candidates` candidates and a random part of the values allowed."""
    chosen: Kind = kind or KIND_NAMES[int(rng.integers(len(KIND_NAMES)))]
    fewest, most = candidates or (USUAL if rng.random() < USUALLY else MANY)
    count = int(rng.integers(fewest, most + 1))
    whats = _whats(chosen, count)
    made = [compose_candidate(place, what, rng) for place, what in enumerate(whats)]
    language: Literal["en", "zh"] = "en" if rng.random() < ENGLISH else "zh"
    features = compose_features(language, rng)
    request = StrategyRequest(
        request_id="composed",
        user_id="composed",
        kind=chosen,
        trigger=TRIGGERS[int(rng.integers(len(TRIGGERS)))],
        arm="fused",
        issued_at=EPOCH,
        deadline_s=10.0,
        language=language,
        currency="USD",
        features=features,
        candidates=tuple(candidate for candidate, _ in made),
        slots=_slots(chosen, tuple(candidate for candidate, _ in made), rng),
        context={"query": HIERARCHY[int(rng.integers(len(HIERARCHY)))][0]} if rng.random() < SEARCHED else {},
    )
    return Example(request, tuple(values for _, values in made), customer_values(features))


USUAL, MANY, USUALLY = (3, 8), (9, MAX_CANDIDATES), 0.85
"""Numbers of candidates, and how often the first: long prompts cost most of the time."""
ENGLISH = 0.6
SEARCHED = 0.3


def _whats(kind: Kind, count: int) -> list[str]:
    if kind == "ad":
        return ["campaign"] * count
    if kind != "ranking":
        return ["product"] * count
    categories = max(count // 2, 1)
    return ["category"] * categories + ["product"] * max(count - categories, 1)


def _slots(kind: Kind, candidates: tuple[Candidate, ...], rng: np.random.Generator) -> tuple[Slot, ...]:
    """Candidates of the right sort, and of closed values a random part, until the grid is small enough."""
    grammar = GRAMMARS[kind]
    while True:
        slots = []
        for name in grammar.slots:
            if name in grammar.candidate_slots:
                wanted = {"category": "category", "campaign": "campaign"}.get(name, "product")
                values = tuple(candidate.id for candidate in candidates if candidate.what == wanted)
            else:
                kept = rng.random(len(grammar.closed[name])) < KEPT
                kept[int(rng.integers(len(kept)))] = True
                values = tuple(value for value, keep in zip(grammar.closed[name], kept, strict=True) if keep)
            slots.append(Slot(name, values))
        if np.prod([len(slot.values) for slot in slots]) <= MAX_GRID:
            return tuple(slots)


KEPT = 0.8
"""How often a closed value is allowed."""
