"""Curves of accuracy against number of labels → a table: intervals over seeds, differences to chance, the labels that are saved."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student


def saved(chance: Sequence[float], ours: Sequence[float], budgets: Sequence[int]) -> float:
    """Labels with which ours is as accurate as chance is with the most, as a share of those; on straight lines between budgets, from (0, 0)."""
    accuracy = np.maximum.accumulate([0.0, *ours])
    if accuracy[-1] < chance[-1]:
        return float("inf")
    first = int(np.argmax(accuracy >= chance[-1]))
    low, high = accuracy[first - 1], accuracy[first]
    labels = [0, *budgets]
    part = 1.0 if high == low else (chance[-1] - low) / (high - low)
    return float(labels[first - 1] + part * (labels[first] - labels[first - 1])) / budgets[-1]


def interval(values: Sequence[float] | npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and half of its 95 % interval over seeds (Student's t)."""
    found = np.asarray(values, float)
    if len(found) < 2 or not np.isfinite(found).all():  # noqa: PLR2004
        return float(found.mean()), float("nan")
    return float(found.mean()), float(student.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found)))


def needed(shares: Sequence[float]) -> str:
    """The share of the labels in words; where a seed never got there, in how many."""
    never = sum(not np.isfinite(share) for share in shares)
    mean, half = interval(shares)
    return f"not reached in {never} of {len(shares)}" if never else f"{mean:.2f} ± {half:.2f}"


def table(found: dict[str, Any]) -> None:
    """Print what came of it: accuracy per type (per product) at each budget, difference to chance, labels needed."""
    budgets = found["budgets"]
    for label, of_label in found["curves"].items():
        print(f"\n{label}: accuracy per held-out type (per product), 95 % over seeds; tf-idf{'' if len(found['rungs']) == 1 else ' with ' + ' and '.join(found['rungs'][1:])}")  # fmt: skip
        print(
            "| | " + " | ".join(f"{budget:,}" for budget in budgets) + " | against random texts | labels for the same |"
        )
        print("|---" * (len(budgets) + 3) + "|")
        chance = np.array(of_label["random texts"])[:, :, 1]
        for name, of in of_label.items():
            runs = np.array(of)
            cells = []
            for at in range(len(budgets)):
                (mean, half), per_product = interval(runs[:, at, 1]), runs[:, at, 0].mean()
                cells.append(f"{mean:.3f} ± {half:.3f} ({per_product:.3f})")
            gain, half = interval(runs[:, -1, 1] - chance[:, -1])
            needs = [saved(c, o, budgets) for c, o in zip(chance, runs[:, :, 1], strict=True)]
            print(f"| {name} | {' | '.join(cells)} | {gain:+.3f} ± {half:.3f} | {needed(needs)} |")
