"""Dense features for gradient-boosted trees: a few dozen columns per action. Pure."""

import numpy as np
import numpy.typing as npt

from model.grid import ActionGrid
from streaming.contracts.features import CATEGORIES, NUMBERS, RELATIONS
from streaming.contracts.ids import stable_unit
from streaming.contracts.kinds import GRAMMARS, KIND_NAMES
from streaming.contracts.strategies import Candidate, StrategyRequest, candidate_by_id

Floats = npt.NDArray[np.float64]

CLOSED = tuple(dict.fromkeys(name for grammar in GRAMMARS.values() for name in grammar.closed))
"""Every closed slot of any kind has a column: the value's place, missing where the kind has none."""
MISSING = -9.0
WORDS = 2
"""Words of a name that have a column."""


def dense_of(request: StrategyRequest, grid: ActionGrid, flat: "npt.NDArray[np.int64]") -> Floats:
    """(len(flat), columns): the customer, the closed values, the first candidate and what a channel's rate is."""
    places = np.unravel_index(flat, grid.shape)
    candidates = candidate_by_id(request)
    columns: list[Floats] = [np.full(len(flat), value) for value in _context(request)]
    axes = {name: axis for axis, name in enumerate(grid.names)}
    for name in CLOSED:
        if name not in axes:
            columns.append(np.full(len(flat), np.nan))
            continue
        values = GRAMMARS[request.kind].closed[name]
        of_value = np.array([float(values.index(value)) for value in grid.values[axes[name]]])
        columns.append(of_value[places[axes[name]]])
    rates = np.full(1, np.nan)
    at: npt.NDArray[np.int64] = np.zeros(len(flat), np.int64)
    if "channel" in axes:
        rates = np.array([request.features.channel_response.get(v, 0.0) for v in grid.values[axes["channel"]]])
        at = np.asarray(places[axes["channel"]])
    columns.append(rates[at])
    goods = np.array([_candidate(candidates[value]) for value in grid.values[0]])
    # Missing is a number of its own: a column without a single value, as a kind's unused slots are early on, cannot be binned.
    found: Floats = np.nan_to_num(np.column_stack([*columns, goods[places[0]]]), nan=MISSING)
    return found


def _context(request: StrategyRequest) -> list[float]:
    found = [float(KIND_NAMES.index(request.kind))]
    found += [request.features.numbers.get(name, np.nan) for name in NUMBERS]
    for name, values in CATEGORIES.items():
        value = request.features.categories.get(name, "")
        found.append(float(values.index(value)) if value in values else np.nan)
    return found


def _candidate(candidate: Candidate) -> list[float]:
    words = (*candidate.name.split(), *[""] * WORDS)[:WORDS]
    return [
        float(candidate.price_minor),
        float(candidate.margin_minor),
        candidate.age_days,
        _code(candidate.category[0]),
        *(_code(word) for word in words),
        *(candidate.relation.get(name, 0.0) for name in RELATIONS),
    ]


def _code(word: str) -> float:
    """A word as a number: trees can cut around it."""
    return round(1000.0 * stable_unit("word", word))
