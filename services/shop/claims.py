"""What a demo of full length claims, and whether this one showed it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.shop.books import Evidence
from services.shop.summary import AdaptersWorth, Summary, in_full
from streaming.contracts.adapters import GateDecision

FULL_MINUTES = 5.0
"""A shorter demo is a smoke run: too few customers answer in it for the learning to be seen."""
FIRST_STRATEGY_S = 60.0
LONG_MINUTES = 20.0
"""From here on the adapters have had the time to be worth something without the critic."""
LEAST_ADAPTERS = 2
LEAST_MODEL_SHARE = 0.8
CORRUPT, HARMFUL = "inbox-corrupt-adapter", "inbox-harmful-adapter"
"""How decisions name what `services/shop/spoiled.py` put into the inbox."""
KEPT_OUT = ("refused", "rolled_back")


class Claim(msgspec.Struct, frozen=True):
    """One claim, in words with its numbers, and whether it held."""

    text: str
    held: bool


def first_strategy_s(evidence: Evidence, reached_ms: int) -> float | None:
    """Wall seconds from the stack's first answer to the first strategy on its topic; None without one."""
    first_ms = min((at_ms for _, at_ms in evidence.strategies.values()), default=None)
    return None if first_ms is None else (first_ms - reached_ms) / 1000


def claims(summary: Summary, evidence: Evidence, reached_ms: int) -> list[Claim]:
    """Judge each claim.

    Args:
        summary: the evidence in numbers.
        evidence: what was read back.
        reached_ms: when Kafka and Redis answered, epoch milliseconds.
    """
    first_s = first_strategy_s(evidence, reached_ms)
    corrupt = [d for d in evidence.decisions if d.what == "adapter" and d.version == CORRUPT]
    return [
        Claim(
            "no strategy came" if first_s is None else f"first strategy {first_s:.1f} s after the stack was up",
            first_s is not None and first_s <= FIRST_STRATEGY_S,
        ),
        Claim(
            f"{summary.adapters_promoted} adapters promoted, {summary.swaps} swapped in while serving",
            min(summary.adapters_promoted, summary.swaps) >= LEAST_ADAPTERS,
        ),
        Claim(
            "the corrupt adapter was refused" if corrupt else "the corrupt adapter was never judged",
            bool(corrupt) and all(decision.decision == "refused" for decision in corrupt),
        ),
        harmful_is_kept_out(evidence.decisions),
        Claim(
            f"{summary.messages_by_model_share:.0%} of the messages in the model's own words",
            summary.messages_by_model_share >= LEAST_MODEL_SHARE,
        ),
        served_beats_random(summary),
    ]


def harmful_is_kept_out(decisions: Sequence[GateDecision]) -> Claim:
    """The intact adapter that does the opposite was refused by the gate, or taken off again by its canary's numbers."""
    about = [each for each in decisions if each.what == "adapter" and each.version == HARMFUL]
    tried = {d.version for d in decisions if d.decision == "on_trial" and d.reason.startswith(f"{HARMFUL}:")}
    about += [each for each in decisions if each.version in tried]
    if not about:
        return Claim("the harmful adapter was never judged", held=False)
    last = about[-1]
    words = {
        "refused": f"the harmful adapter was refused by the gate ({last.reason})",
        "rolled_back": f"the harmful adapter was rolled back on trial ({last.reason})",
        "timed_out": f"the harmful adapter's trial ended without proof of it ({last.reason})",
        "on_trial": "the harmful adapter passed the gate and is still on trial: too few customers to tell",
    }
    return Claim(words.get(last.decision, f"the harmful adapter was {last.decision}"), last.decision in KEPT_OUT)


def adapters_earn(worth: AdaptersWorth | None) -> Claim:
    """The language model with its adapters earns more, by expectation, than the base without any."""
    if worth is None:
        return Claim("too few strategies of arm lm to value its adapters by", held=False)
    return Claim(in_full(worth), worth.low95 > 0.0)


def served_beats_random(summary: Summary) -> Claim:
    """The 95 % intervals of the served and of the random arm's mean reward do not touch."""
    served, random = summary.reward_by_arm.get("fused"), summary.reward_by_arm.get("random")
    if served is None or random is None:
        return Claim("the served and the random arm have no closed rewards to compare", held=False)
    return Claim(
        f"the served arm earns {served.low95:+.3f} to {served.high95:+.3f}, "
        f"the random arm {random.low95:+.3f} to {random.high95:+.3f}",
        served.low95 > random.high95,
    )
