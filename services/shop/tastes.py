"""Tastes of a household, estimated from its own purchases and shrunk towards its segment.

Pure. Shrinkage is the posterior mean of a Dirichlet (categories) or Beta (shares) whose prior is the segment's share
with `PRIOR_LINES` lines of weight (Gelman et al., Bayesian Data Analysis, 3rd ed., section 5.3).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from statistics import fmean, pstdev

import msgspec

from services.shop.source import Line, Product
from services.shop.words import FRESH_DEPARTMENTS, category_label

SEGMENTS = ("deal_hunter", "fresh_cook", "convenience", "family")
"""Ways of shopping; a household belongs to the one it stands out in most."""
PRIOR_LINES = 8.0
"""Lines of weight that the segment's shares have against a household's own."""
TASTE_BOUNDS = (-1.5, 2.0)
"""Log ratios of shares are cut here, nats."""
UTC_OFFSET_H = -5
"""The shops' local time against the source's, which is UTC (purchases peak at 22:00 UTC)."""


def _names(text: str) -> frozenset[str]:
    """Source categories, written as text between bars."""
    return frozenset(text.split("|"))


CONVENIENCE = _names(
    "FROZEN PIZZA|FRZN MEAT/MEAT DINNERS|SOFT DRINKS|BAG SNACKS|CANDY - CHECKLANE|CANDY - PACKAGED|FROZEN MEAT"
    "|DINNER MXS:DRY|SOUP|COOKIES/CONES|ICE CREAM/MILK/SHERBTS|HEAT/SERVE|PREPARED FOOD|BAKED SWEET GOODS"
)
FAMILY = _names(
    "FLUID MILK PRODUCTS|COLD CEREAL|BABY FOODS|DIAPERS & DISPOSABLES|BABY HBC|CHEESE|YOGURT|LUNCHMEAT|EGGS|DOG FOODS"
    "|CAT FOOD|LAUNDRY DETERGENTS|BATH TISSUES|BAKED BREAD/BUNS/ROLLS|CANNED JUICES|PNT BTR/JELLY/JAMS"
)


class Taste(msgspec.Struct, frozen=True):
    """What a household's purchases say about it.

    Args:
        by_category: category label → log ratio of the household's share to the whole shop's, nats, cut.
        other_category: the same for a category that is not in `by_category`.
        price_sensitivity: share of lines bought at a discount, in standard deviations over households.
        own_label: share of own-label lines, in standard deviations over households.
        dayparts: shares of purchases in the (morning, afternoon, evening) of the shop's local time; they sum to 1.
        units_per_line: mean quantity, at least 1.
    """

    household_id: str
    segment: str
    by_category: dict[str, float]
    other_category: float
    price_sensitivity: float
    own_label: float
    dayparts: tuple[float, float, float]
    units_per_line: float


def share(lines: Iterable[Line], of: Callable[[Line], bool], prior: float, weight: float = PRIOR_LINES) -> float:
    """Share of lines with a property, shrunk towards a prior share."""
    hits = total = 0
    for line in lines:
        hits += of(line)
        total += 1
    return (hits + weight * prior) / (total + weight)


def standardised(values: Mapping[str, float]) -> dict[str, float]:
    """Values in standard deviations from their mean; zeros when all are equal."""
    centre, spread = fmean(values.values()), pstdev(values.values())
    return {key: (value - centre) / spread if spread else 0.0 for key, value in values.items()}


def daypart_of(at_s: float) -> int:
    """0 morning (before 12), 1 afternoon (before 17), 2 evening, in the shop's local time."""
    hour = (datetime.fromtimestamp(at_s, UTC).hour + UTC_OFFSET_H) % 24
    return 0 if 4 <= hour < 12 else 1 if 12 <= hour < 17 else 2  # noqa: PLR2004 -- hours of the day


def segments_of(by_household: Mapping[str, list[Line]], products: Mapping[str, Product]) -> dict[str, str]:
    """Assign each household to the segment it stands out in most."""
    tests: dict[str, Callable[[Line], bool]] = {
        "deal_hunter": lambda line: line.list_minor > line.paid_minor,
        "fresh_cook": lambda line: products[line.product_id].department in FRESH_DEPARTMENTS,
        "convenience": lambda line: products[line.product_id].category in CONVENIENCE,
        "family": lambda line: products[line.product_id].category in FAMILY,
    }
    scores: dict[str, dict[str, float]] = {}
    for segment, test in tests.items():
        overall = share((line for lines in by_household.values() for line in lines), test, 0.5)
        scores[segment] = standardised({h: share(lines, test, overall) for h, lines in by_household.items()})
    return {h: max(SEGMENTS, key=lambda segment: scores[segment][h]) for h in by_household}


def category_shares(lines: Iterable[Line], products: Mapping[str, Product]) -> dict[str, float]:
    """Share of lines per category label."""
    count = Counter(category_label(products[line.product_id].category) for line in lines)
    total = sum(count.values())
    return {label: n / total for label, n in count.items()}


def log_ratio(own: float, whole: float) -> float:
    """Cut log ratio of two shares, nats."""
    return min(max(math.log(own / whole), TASTE_BOUNDS[0]), TASTE_BOUNDS[1])


def category_tastes(
    lines: list[Line], products: Mapping[str, Product], segment: dict[str, float], whole: dict[str, float]
) -> dict[str, float]:
    """Log ratio per category label of the whole shop, own shares shrunk towards the segment's."""
    own = Counter(category_label(products[line.product_id].category) for line in lines)
    weight = len(lines) + PRIOR_LINES
    return {
        label: round(log_ratio((own[label] + PRIOR_LINES * segment.get(label, 1e-5)) / weight, all_), 4)
        for label, all_ in whole.items()
    }


def estimate_tastes(lines: Iterable[Line], products: Mapping[str, Product]) -> dict[str, Taste]:
    """Estimate the taste of every household that has lines, by household id."""
    by_household: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        by_household[line.household_id].append(line)
    segment_of = segments_of(by_household, products)
    members: dict[str, list[Line]] = defaultdict(list)
    for household, own in by_household.items():
        members[segment_of[household]] += own
    whole = category_shares((line for own in by_household.values() for line in own), products)
    per_segment = {segment: category_shares(own, products) for segment, own in members.items()}
    deals = _shrunk_scores(by_household, members, segment_of, lambda line: line.list_minor > line.paid_minor)
    labels = _shrunk_scores(
        by_household, members, segment_of, lambda line: products[line.product_id].brand == "Private"
    )
    return {
        household: Taste(
            household_id=household,
            segment=segment_of[household],
            by_category=category_tastes(own, products, per_segment[segment_of[household]], whole),
            other_category=round(log_ratio(PRIOR_LINES, len(own) + PRIOR_LINES), 4),
            price_sensitivity=deals[household],
            own_label=labels[household],
            dayparts=_dayparts(own),
            units_per_line=sum(line.quantity for line in own) / len(own),
        )
        for household, own in by_household.items()
    }


def _shrunk_scores(
    by_household: Mapping[str, list[Line]],
    members: Mapping[str, list[Line]],
    segment_of: Mapping[str, str],
    test: Callable[[Line], bool],
) -> dict[str, float]:
    prior = {segment: share(own, test, 0.5) for segment, own in members.items()}
    scores = standardised({h: share(own, test, prior[segment_of[h]]) for h, own in by_household.items()})
    return {household: round(min(max(score, -2.0), 2.0), 4) for household, score in scores.items()}


def _dayparts(lines: list[Line]) -> tuple[float, float, float]:
    count = Counter(daypart_of(line.at_s) for line in lines)
    total = len(lines) + 3
    return ((count[0] + 1) / total, (count[1] + 1) / total, (count[2] + 1) / total)
