"""Requests for tests: real contract objects of any kind and size, built from a seed."""

from datetime import UTC, datetime
from random import Random

from streaming.contracts.kinds import GRAMMARS, Arm, Kind
from streaming.contracts.strategies import Candidate, Exclusion, Features, Slot, StrategyRequest

WORDS = ("roasted", "organic", "dark", "mild", "fresh", "large", "salted", "crunchy")
BRANDS = ("Alba", "Borea", "Casa")


def request_of(
    seed: int = 0, kind: Kind = "recommendation", candidates: int = 4, arm: Arm = "fused", language: str = "en"
) -> StrategyRequest:
    """A request of `kind` with so many candidates; equal seeds give equal requests."""
    rng = Random(seed)
    grammar = GRAMMARS[kind]
    offered = tuple(_candidate(rng, grammar.slots[0], number) for number in range(candidates))
    ids = tuple(candidate.id for candidate in offered)
    exclusions = []
    slots = [Slot(name, ids if name in grammar.candidate_slots else grammar.closed[name]) for name in grammar.slots]
    if kind == "promotion":
        exclusions.append(Exclusion("offer_type", "free_shipping", "discount", ("5", "10", "15", "20", "30")))
        exclusions.append(Exclusion("offer_type", "percent_off", "discount", ("0",)))
        exclusions.append(Exclusion("offer_type", "bundle", "discount", ("15", "20", "30")))
    if kind == "recommendation":
        exclusions.append(Exclusion("channel", "onsite", "send_time", ("morning", "afternoon", "evening")))
    return StrategyRequest(
        request_id=f"req_{seed:024x}",
        user_id=f"user-{seed}",
        kind=kind,
        trigger="session_start",
        arm=arm,
        issued_at=datetime(2026, 3, 2, 10, 0, tzinfo=UTC),
        deadline_s=10.0,
        language=language,  # type: ignore[arg-type]
        currency="USD",
        features=_features(rng, language),
        candidates=offered,
        slots=tuple(slots),
        exclusions=tuple(exclusions),
    )


def _candidate(rng: Random, slot: str, number: int) -> Candidate:
    what = slot if slot in ("campaign", "category") else "product"
    word = rng.choice(WORDS)
    return Candidate(
        id=f"{what}-{number}",
        what=what,  # type: ignore[arg-type]
        name=f"{word.title()} coffee {number}",
        category=("grocery", "coffee", f"{word} coffee"),
        brand=rng.choice(BRANDS),
        text=f"{word} coffee beans, {rng.choice(WORDS)} taste",
        price_minor=rng.randrange(199, 1999),
        margin_minor=rng.randrange(50, 199),
        max_discount_pct=rng.choice((10, 20, 30)),
        age_days=float(rng.randrange(1, 400)),
        relation={"category_affinity": rng.random(), "viewed": float(rng.random() < 0.5), "popularity": rng.random()},
    )


def _features(rng: Random, language: str) -> Features:
    return Features(
        numbers={"recency_days": rng.random() * 30, "orders_90d": float(rng.randrange(9)), "cart_items": 2.0},
        categories={"lifecycle": rng.choice(("new", "active", "dormant")), "daypart": "morning", "language": language},
        category_affinity={"grocery": rng.random()},
        brand_affinity={rng.choice(BRANDS): rng.random()},
        channel_response={"email": rng.random(), "onsite": rng.random()},
    )
