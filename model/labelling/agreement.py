"""How far two people agree beyond chance, and where they do not. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from model.data.people import Answer, Key, Said, pairs, said


class Agreement(NamedTuple):
    """Of two people: rows that both labelled, rows on which they differ, Cohen's kappa (none where it is not defined)."""

    left: str
    right: str
    both: int
    differ: int
    kappa: float | None


def kappa(both: list[tuple[str, str]]) -> float | None:
    """Cohen's kappa (Educational and Psychological Measurement, 1960); none where both people gave one and the same label throughout."""
    from sklearn.metrics import cohen_kappa_score

    left, right = zip(*both, strict=True)
    if len(set(left) | set(right)) == 1:
        return None
    return float(cohen_kappa_score(left, right))


def by_item(answers: Iterable[Answer], table: str, name: str) -> Said:
    """What counts, each item once however many rows say the same: by the first of them."""
    return said((msgspec.structs.replace(answer, keys=answer.keys[:1]) for answer in answers), table, name)


def agreements(what: Said) -> list[Agreement]:
    """Of every two people who labelled some of the same items."""
    return [
        Agreement(left, right, len(both), sum(a != b for a, b in both), kappa(both))
        for left, right, both in pairs(what)
    ]


def disagreements(what: Said) -> dict[Key, dict[str, str]]:
    """Row → person → label, of the rows on which people differ and nothing has been settled; in the order of the first answers."""
    by_row: dict[Key, dict[str, str]] = {}
    for person, labels in what.by.items():
        for key, value in labels.items():
            by_row.setdefault(key, {})[person] = value
    return {key: labels for key, labels in by_row.items() if len(set(labels.values())) > 1 and key not in what.settled}
