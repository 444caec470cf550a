"""What a policy's choices were worth over those that others would have made beside it, by seed and with intervals. Pure."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.stats import ttest_1samp

from benchmarks.learning.beside_blocks import OTHERS, Beside
from benchmarks.learning.play import Block
from benchmarks.learning.report import paired

SPANS = ((1, 6), (6, 20))
"""Of blocks: from the second thousand on, and from 6,000 on."""
_OF_NEW = {
    "new campaigns": ("new_campaign_lift", "new_campaigns"),
    "new products, expected of the slot": ("new_product_slot", "new_products"),
    "new campaigns, expected of the slot": ("new_campaign_slot", "new_campaigns"),
}
"""What is summed up → fields of a block: lifts by policy or other, none where there was nothing or in runs from before it was kept; requests."""


def summary(arm: str, found: Mapping[int, Sequence[Beside]]) -> list[str]:
    """Per span of blocks and other the policy's lift over the other's, and minus it, of new products and campaigns too; by seed, then in all."""
    lines = []
    for first, last in SPANS:
        parts = {seed: [block for block in blocks if first <= block.block < last] for seed, blocks in found.items()}
        if not all(parts.values()):
            continue
        for name in OTHERS[arm]:
            where = f"blocks {first} to {last - 1}: {arm}"
            one = [_lift(blocks) for blocks in parts.values()]
            other = [_lift([block.others[name] for block in blocks]) for blocks in parts.values()]
            lines.append(_told(f"{where} over {name}", [a / b for a, b in zip(one, other, strict=True)], wanted=1.0))
            lines.append(_told(f"{where} minus {name}", [a - b for a, b in zip(one, other, strict=True)]))
            new = [_new(blocks) - _new([b.others[name] for b in blocks]) for blocks in parts.values()]
            lines.append(_told(f"{where} minus {name}, new products", new))
            for what, fields in _OF_NEW.items():
                news = [_of_new(blocks, arm, *fields) - _of_new(blocks, name, *fields) for blocks in parts.values()]
                if shown := [one for one in news if not np.isnan(one)]:
                    lines.append(_told(f"{where} minus {name}, {what}", shown))
    return lines


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
