"""Kinds that do not ship, declared as data: one slot, ten slots, two that point at candidates, values that are hard to spell."""

from datetime import UTC, datetime, timedelta
from random import Random

from model.library import ask
from streaming.contracts.kinds import GRAMMARS, Arm, Grammar, Template
from streaming.contracts.strategies import Candidate, Exclusion, Features, StrategyRequest
from tests.model.sample import request_of

HEADLINE = Grammar(
    slots=("headline",),
    closed={"headline": ("What is new", "Last call", "Made for you", "Now cheaper")},
    texts={"en": Template("{headline}", "Have a look."), "zh": Template("{headline}", "请看。")},
)
"""One slot, no candidates."""
PAGE = Grammar(
    slots=(*(f"part_{number}" for number in range(8)), "hero", "tint"),
    candidate_slots=("hero",),
    closed={f"part_{number}": ("on", "off") for number in range(8)} | {"tint": ("warm", "cold", "grey", "none")},
)
"""Ten slots: 2 ** 8 * 4 actions a candidate, 4,096 with four of them."""
PAIR = Grammar(
    slots=("main", "side", "channel"), candidate_slots=("main", "side"), closed={"channel": ("onsite", "email")}
)
"""Two slots that point at candidates, a closed one beside them."""
HARD = Grammar(
    slots=("value", "again"),
    closed={
        "value": (
            "sale",
            "sale now",
            "sale now on",
            "sal",
            'say "sale"',
            "it's {on}",
            "two\nlines",
            "two\n",
            "two",
            "back\\nslash",
            "🎉",
            "🎉🎉",
            "مرحبا بكم",
            "שלום",
            "<eos>",
            "<pad>",
            " c1",
            "c1",
            "décor",
            "de\u0301cor",
        ),
        "again": ("10", "1", "100"),
    },
)
"""Prefixes of each other, quotes, lines, emoji, right-to-left text, another's tag, a special token, two normal forms."""
DECLARED: dict[str, Grammar] = {"headline": HEADLINE, "page": PAGE, "pair": PAIR, "hard": HARD}
START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


def declared_request(
    name: str,
    seed: int = 0,
    arm: Arm = "fused",
    *,
    candidates: int = 3,
    allowed: dict[str, tuple[str, ...]] | None = None,
) -> StrategyRequest:
    """A request of one of these kinds; equal seeds give equal requests."""
    grammar = DECLARED[name]
    offered = request_of(seed, candidates=candidates).candidates if grammar.candidate_slots else ()
    return ask(
        name,
        grammar,
        f"user-{seed}",
        features(Random(seed)),
        START + timedelta(minutes=seed),
        candidates=offered,
        allowed=allowed,
        exclusions=_different(offered) if name == "pair" else (),
        arm=arm,
    )


def features(rng: Random) -> Features:
    """A customer."""
    return Features(
        numbers={"recency_days": rng.random() * 30},
        categories={"lifecycle": rng.choice(("new", "active", "dormant"))},
        channel_response={"email": rng.random()},
    )


def _different(offered: tuple[Candidate, ...]) -> tuple[Exclusion, ...]:
    return tuple(Exclusion("main", each.id, "side", (each.id,)) for each in offered)


def grammar_named(name: str) -> Grammar:
    """Of a kind that ships or one of these."""
    return DECLARED.get(name) or GRAMMARS[name]
