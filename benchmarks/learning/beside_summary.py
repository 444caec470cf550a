"""What a policy's choices were worth over those that others would have made beside it, and over peers' runs, by seed and with intervals. Pure."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.stats import ttest_1samp

from benchmarks.learning.arms import PEERS
from benchmarks.learning.beside_blocks import Beside
from benchmarks.learning.play import Block
from benchmarks.learning.report import Curves, against_best, complete, paired

SPANS = ((1, 6), (6, 20))
"""Of blocks: from the second thousand on, and from 6,000 on."""
_OF_NEW = {
    "new campaigns": ("new_campaign_lift", "new_campaigns"),
    "new products, expected of the slot": ("new_product_slot", "new_products"),
    "new campaigns, expected of the slot": ("new_campaign_slot", "new_campaigns"),
}
"""What is summed up → fields of a block: lifts by policy or other, none where there was nothing or in runs from before it was kept; requests."""


def summary(arm: str, others: Sequence[str], found: Mapping[int, Sequence[Beside]]) -> list[str]:
    """Per span of blocks and other the policy's lift over the other's, and minus it, of new products and campaigns too; by seed, then in all.

    Where the language model and its critic both chose beside another policy, also the one over the other.
    """
    pairs = [(arm, name) for name in others]
    pairs += [("lm", "critic")] if {"lm", "critic"} <= set(others) else []
    lines = []
    for first, last in SPANS:
        parts = {seed: [block for block in blocks if first <= block.block < last] for seed, blocks in found.items()}
        if all(parts.values()):
            where = f"blocks {first} to {last - 1}: "
            lines += [where + line for one, other in pairs for line in _compared(parts, one, other)]
    return lines


def _compared(parts: Mapping[int, Sequence[Beside]], one: str, other: str) -> list[str]:
    mine, theirs = ([_lift(_of(blocks, name)) for blocks in parts.values()] for name in (one, other))
    lines = [_told(f"{one} over {other}", [a / b for a, b in zip(mine, theirs, strict=True)], wanted=1.0)]
    lines.append(_told(f"{one} minus {other}", [a - b for a, b in zip(mine, theirs, strict=True)]))
    new = [_new(_of(blocks, one)) - _new(_of(blocks, other)) for blocks in parts.values()]
    lines.append(_told(f"{one} minus {other}, new products", new))
    for what, fields in _OF_NEW.items():
        news = [_of_new(blocks, one, *fields) - _of_new(blocks, other, *fields) for blocks in parts.values()]
        if shown := [gap for gap in news if not np.isnan(gap)]:
            lines.append(_told(f"{one} minus {other}, {what}", shown))
    return lines


def beside_peers(names: Sequence[str], found: Mapping[int, Sequence[Beside]], peers: Curves) -> list[str]:
    """Per span of blocks, and for the last block of all, what the policy and the others have over the best peer's own run; none played: nothing.

    A span is compared with the peers that were played to its end on every seed.
    """
    seeds, last = list(found), min(len(blocks) for blocks in found.values())
    own = {(seed, name): _of(found[seed], name) for seed in seeds for name in names}
    told = []
    for span in (*(range(first, min(end, last)) for first, end in SPANS if first < last), range(last - 1, last)):
        reach = {key: lines for key, lines in peers.items() if len(lines) >= span.stop}
        which = complete(reach, seeds, PEERS)
        of_these = {key: lines for key, lines in reach.items() if key[1] in which}
        for name in names:
            if gap := against_best({**own, **of_these}, seeds, name, span):
                where = f"blocks {span.start} to {span.stop - 1}: {name} minus the best of {', '.join(which)}"
                told.append(f"{where}: {gap.mean:+.3f} (95 % {gap.low:+.3f} to {gap.high:+.3f})")
    return told


def _of(blocks: Sequence[Beside], name: str) -> list[Block]:
    """The blocks of the policy itself, or of another beside it."""
    return [block.others.get(name, block) for block in blocks]


def _lift(blocks: Sequence[Block]) -> float:
    value, uniform, best = (sum(getattr(block, name) for block in blocks) for name in ("reward", "random", "oracle"))
    return float((value - uniform) / (best - uniform))


def _weighted(lifts: Iterable[tuple[float | None, int]]) -> float:
    """Mean of the lifts that there are, by how many requests each rests on; NaN for none."""
    known = [(lift, count) for lift, count in lifts if lift is not None]
    total = sum(count for _, count in known)
    return sum(lift * count for lift, count in known) / total if total else np.nan


def _new(blocks: Sequence[Block]) -> float:
    return _weighted((block.new_product_lift, block.new_products) for block in blocks)


def _of_new(blocks: Sequence[Beside], name: str, lifts: str, counts: str) -> float:
    return _weighted((getattr(block, lifts).get(name), getattr(block, counts)) for block in blocks)


def _told(what: str, values: Sequence[float], wanted: float = 0.0) -> str:
    said = f"{what}: " + ", ".join(f"{value:+.3f}" for value in values)
    if len(values) < 2:  # noqa: PLR2004 -- one seed has no interval
        return said
    found = paired(values)
    chance = float(ttest_1samp(values, wanted).pvalue)
    return f"{said}; mean {found.mean:+.3f} (95 % {found.low:+.3f} to {found.high:+.3f}; p = {chance:.4f} that it is {wanted:g})"
