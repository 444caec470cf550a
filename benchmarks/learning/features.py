"""Hand-made features for the peers: customer, slot values, goods, and their crosses, as someone who knows the shop would choose them. Pure.

An action is a sum of rows: one of the context, one per slot, one per pair of slots; so a linear model scores a whole grid from some
hundred rows. Features are hashed. Ids and words of a product are both there.
"""

from functools import lru_cache
from hashlib import blake2b
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from model.grid import ActionGrid
from streaming.contracts.features import NUMBERS, bin_of, log_share, rate_logit
from streaming.contracts.kinds import GRAMMARS
from streaming.contracts.strategies import Candidate, StrategyRequest, candidate_by_id

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Named = list[tuple[str, float]]


class Rows(NamedTuple):
    """Features of all actions of a request.

    Args:
        matrix: (rows, dimensions), sparse.
        members: (parts, actions of the whole grid): the rows that an action is the sum of.
    """

    matrix: csr_matrix
    members: Ints

    def scores(self, weights: Floats) -> Floats:
        """(actions,): a linear model's score of every cell of the grid."""
        return np.asarray((self.matrix @ weights)[self.members].sum(0))

    def actions(self, flat: Ints) -> csr_matrix:
        """(len(flat), dimensions): the features of some actions."""
        parts, count = self.members.shape[0], len(flat)
        chosen = self.members[:, flat].T.ravel()
        pointers = np.arange(0, parts * count + 1, parts)
        pick = csr_matrix((np.ones(len(chosen)), chosen, pointers), shape=(count, self.matrix.shape[0]))
        return pick @ self.matrix


def rows_of(request: StrategyRequest, grid: ActionGrid, dimensions: int, *, pairs: bool) -> Rows:
    """The rows of a request. `pairs` adds those of every two slots together."""
    customer = customer_features(request)
    context: Named = [("1", 1.0), (f"kind={request.kind}", 1.0), *customer]
    candidates = candidate_by_id(request)
    named: list[Named] = [context]
    members = [np.zeros(grid.allowed.size, np.int64)]
    places = np.indices(grid.shape).reshape(len(grid.shape), -1)
    simple: list[list[str]] = []
    for axis, slot in enumerate(request.slots):
        start = len(named)
        own = [_value_features(request, slot.name, value, candidates.get(value)) for value in slot.values]
        named += [_crossed(features, crossing, customer) for features, crossing in own]
        members.append(places[axis] + start)
        simple.append([crossing[0] for _, crossing in own])
    if pairs:
        for one, other in combinations(range(len(request.slots)), 2):
            start = len(named)
            named += [[(f"{a}&{b}", 1.0)] for a in simple[one] for b in simple[other]]
            members.append(places[one] * len(simple[other]) + places[other] + start)
    return Rows(_hashed(named, dimensions), np.array(members))


def customer_features(request: StrategyRequest) -> Named:
    """Numbers by the rank of their bin in [-.5, .5], categories and channels' rates as they are."""
    features = request.features
    found = [(name, bin_of(name, value) / len(NUMBERS[name].edges) - 0.5) for name, value in features.numbers.items()]
    found += [(f"{name}={value}", 1.0) for name, value in features.categories.items() if name != "weekday"]
    return [*found, (f"trigger={request.trigger}", 1.0)]


def _value_features(
    request: StrategyRequest, slot: str, value: str, candidate: Candidate | None
) -> tuple[Named, list[str]]:
    """What a value is, and which of that is crossed with the customer (the first also with other slots)."""
    if candidate is None or slot not in GRAMMARS[request.kind].candidate_slots:
        name = f"{slot}={value}"
        found = [(name, 1.0), (f"{request.kind}:{name}", 1.0)]
        if slot == "channel" and value in request.features.channel_response:
            found.append(("channel_rate", rate_logit(request.features.channel_response[value])))
        return found, [name]
    category = f"{candidate.what}:category={candidate.category[0]}"
    tier = f"{slot}:price={int(np.digitize(candidate.price_minor, (250, 350, 500)))}"
    found = [(slot, 1.0), (category, 1.0), (tier, 1.0), (f"id={candidate.id}", 1.0)]
    found += [(f"word={word}", 0.5) for word in dict.fromkeys(candidate.text.split())]
    found += [(f"{slot}:{name}", _related(name, share)) for name, share in candidate.relation.items()]
    found += [(f"{slot}:log_price", float(np.log(max(candidate.price_minor, 1) / 350)))]
    found += [(f"{slot}:margin", candidate.margin_minor / 100), (f"{slot}:new", float(candidate.age_days < 30))]  # noqa: PLR2004 -- a month
    return found, [category, tier]


def _related(name: str, share: float) -> float:
    return log_share(share) if name == "category_affinity" else 2.0 * share


def _crossed(features: Named, crossing: list[str], customer: Named) -> Named:
    return features + [(f"{name}*{of}", value) for name in crossing for of, value in customer]


def _hashed(named: list[Named], dimensions: int) -> csr_matrix:
    columns = [_column(name) % dimensions for row in named for name, _ in row]
    values = [value for row in named for _, value in row]
    pointers = np.concatenate([[0], np.cumsum([len(row) for row in named])])
    return csr_matrix((values, columns, pointers), shape=(len(named), dimensions))


@lru_cache(maxsize=1 << 18)
def _column(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=6).digest(), "little")
