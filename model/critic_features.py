"""A request and its slot values as sparse rows, by hashing: the only features the critic sees. Pure.

Every feature falls into one of five regions of the index space, so that a penalty belongs to a region: what is said in
words (closed values, hashed text, categories, relations) or by id, alone (main) or crossed with a feature of the customer;
and what the values of two slots are together.
Ids and text together: text carries a new product, the id learns what the text does not say (DESIGN §5).

References:
    Weinberger et al. (2009), Feature hashing for large scale multitask learning, ICML.
    Steele, Lea, Flood (2014), Fast splittable pseudorandom number generators, OOPSLA (the mixing function).
"""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate, combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streaming.contracts.features import NUMBERS, bin_of, log_share, rate_logit
from streaming.contracts.strategies import Candidate, StrategyRequest, candidate_by_id, grammar_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_Hashes = npt.NDArray[np.uint64]

TEXT_MAIN, ID_MAIN, TEXT_CROSS, ID_CROSS, PAIR = 0, 1, 2, 3, 4
REGION_SIZES = (2048, 1024, 8192, 2048, 1024)
"""Indices per region; powers of two."""
REGION_STARTS = (0, 2048, 3072, 11264, 13312)
DIMENSIONS = sum(REGION_SIZES)
MAX_WORDS = 10
"""Words of a candidate's text that are read; more would be an essay."""
BIN_WEIGHT = 0.5
"""Of a number's bin beside its rank: a quarter of the prior variance."""
FEATURES_VERSION = 2
"""Raised when a feature changes its index: a snapshot of another version is not loaded."""

_WORD = re.compile(r"[^\W_]+")
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class Pairs(NamedTuple):
    """Two slots and their rows: the values of `other` run fastest."""

    one: int
    other: int
    rows: range


class Encoded(NamedTuple):
    """Sparse rows: the context first, then the values of each slot in order, then those of every two slots together.

    Args:
        indptr, indices, data: the rows in CSR form, `DIMENSIONS` columns.
        rows: for each slot the range of its rows.
        pairs: for every two slots.
    """

    indptr: Ints
    indices: Ints
    data: Floats
    rows: tuple[range, ...]
    pairs: tuple[Pairs, ...]


class _Row(NamedTuple):
    """Features of one value before crossing: hashes and values, by what may be crossed."""

    text: _Hashes
    text_values: Floats
    ids: _Hashes
    crossed: _Hashes


def encode(request: StrategyRequest, decision: Mapping[str, str] | None = None) -> Encoded:
    """Rows of the request's context and of every allowed value, or of a decision's values alone.

    Args:
        decision: slot → value; None for all values.
    """
    context, atoms, atom_values = _customer(request)
    candidates, pointed = candidate_by_id(request), grammar_of(request).candidate_slots
    found: list[_Row] = []
    rows: list[range] = []
    heads: list[_Hashes] = []
    for slot in request.slots:
        values = slot.values if decision is None else (decision[slot.name],)
        known = [candidates.get(value) if slot.name in pointed else None for value in values]
        own = [_value_row(request, slot.name, *pair) for pair in zip(values, known, strict=True)]
        rows.append(range(1 + len(found), 1 + len(found) + len(own)))
        found += own
        heads.append(np.array([row.crossed[0] for row in own], np.uint64))
    lengths, index, data = _joined(context, found, atoms, atom_values)
    pairs, paired = _paired(heads, 1 + len(found))
    indptr = np.zeros(1 + len(lengths) + len(paired), np.int64)
    np.cumsum([*lengths, *([1] * len(paired))], out=indptr[1:])
    return Encoded(
        indptr,
        np.concatenate([*index, paired]),
        np.concatenate([*data, np.ones(len(paired))]),
        tuple(rows),
        pairs,
    )


def _paired(heads: list[_Hashes], start: int) -> tuple[tuple[Pairs, ...], Ints]:
    """One feature for the values of every two slots together, a candidate standing for its category; rows from `start` on."""
    pairs: list[Pairs] = []
    found: list[Ints] = [np.zeros(0, np.int64)]
    for one, other in combinations(range(len(heads)), 2):
        together = (heads[one][:, None] ^ _mixed(heads[other])[None, :]).ravel()
        pairs.append(Pairs(one, other, range(start, start + len(together))))
        start += len(together)
        found.append(_region(_mixed(together), PAIR))
    return tuple(pairs), np.concatenate(found)


def spread(by_region: Floats) -> Floats:
    """A number per region as one per weight, (DIMENSIONS,)."""
    return np.repeat(by_region, REGION_SIZES)


def _customer(request: StrategyRequest) -> tuple[_Row, _Hashes, Floats]:
    """The context's own row, and the customer's features that slot values are crossed with."""
    features = request.features
    named = [(f"trigger={request.trigger}", 1.0), (f"language={request.language}", 1.0)]
    named += [(f"{name}={value}", 1.0) for name, value in features.categories.items()]
    named += [(f"{name}@{_bin(name, value)}", BIN_WEIGHT) for name, value in features.numbers.items()]
    named += [(name, _rank(name, value)) for name, value in features.numbers.items() if name in NUMBERS]
    named += [(f"likes={name}", log_share(share)) for name, share in features.category_affinity.items()]
    hashes = _hashes([name for name, _ in named])
    values = np.array([value for _, value in named])
    kind = _hashes([f"kind={request.kind}", f"kind={request.kind}&trigger={request.trigger}"])
    text = np.concatenate([kind, hashes])
    row = _Row(text, np.concatenate([np.ones(len(kind)), values]), _EMPTY, _EMPTY)
    return row, _mixed(hashes), values


def _value_row(request: StrategyRequest, slot: str, value: str, candidate: Candidate | None) -> _Row:
    if candidate is None:
        return _closed_row(request, slot, value)
    words = _words(candidate.id, candidate.what, candidate.name, candidate.category, candidate.brand, candidate.text)
    price = _hash(f"{candidate.what}:price@{_log_bin(candidate.price_minor)}")
    relations = [(f"{candidate.what}:{name}", _related(name, share)) for name, share in candidate.relation.items()]
    related = _hashes([name for name, _ in relations])
    text = np.concatenate([words.text, np.array([price], np.uint64), related])
    shares = [share for _, share in relations]
    scale = 1.0 / math.sqrt(max(len(words.text), 1))
    values = np.concatenate([np.full(len(words.text), scale), np.ones(1), np.array(shares)])
    return _Row(text, values, words.ids, np.concatenate([words.crossed, np.array([price], np.uint64)]))


def _closed_row(request: StrategyRequest, slot: str, value: str) -> _Row:
    named = [(f"{slot}={value}", 1.0), (f"{request.kind}:{slot}={value}", 1.0)]
    if slot in grammar_of(request).candidate_slots:
        named.append((f"{slot}=unknown", 1.0))
    if slot == "channel" and value in request.features.channel_response:
        named.append(("channel_response", rate_logit(request.features.channel_response[value])))
    if slot == "discount":
        named.append(("discount_level", int(value) / 30.0))
    text = _hashes([name for name, _ in named])
    return _Row(text, np.array([share for _, share in named]), _EMPTY, text[:1])


def _joined(
    context: _Row, rows: list[_Row], atoms: _Hashes, atom_values: Floats
) -> tuple[list[int], list[Ints], list[Floats]]:
    """The context's row and the values' with their crosses: lengths of the rows, and their pieces one after another.

    All crosses are hashed at once: a call of NumPy costs more than a value's few features do.
    """
    text = _cut(_region(np.concatenate([row.text for row in rows]), TEXT_MAIN), [len(row.text) for row in rows])
    ids = _cut(_region(np.concatenate([row.ids for row in rows]), ID_MAIN), [len(row.ids) for row in rows])
    crossed = _crosses([row.crossed for row in rows], atoms, TEXT_CROSS)
    crossed_ids = _crosses([row.ids for row in rows], atoms, ID_CROSS)
    lengths = [len(context.text)]
    index: list[Ints] = [_region(context.text, TEXT_MAIN)]
    data = [context.text_values]
    scaled: dict[int, Floats] = {}
    for row, *pieces in zip(rows, text, ids, crossed, crossed_ids, strict=True):
        count = len(row.crossed)
        if count not in scaled:
            scaled[count] = np.tile(atom_values * (1.0 / math.sqrt(max(count, 1))), count)
        lengths.append(sum(len(piece) for piece in pieces))
        index += pieces
        data += [row.text_values, np.ones(len(row.ids)), scaled[count], *([atom_values] * len(row.ids))]
    return lengths, index, data


def _crosses(hashes: list[_Hashes], atoms: _Hashes, region: int) -> list[Ints]:
    """Per row the indices of its hashes crossed with every atom, the atoms running fastest."""
    crossed = (np.concatenate(hashes)[:, None] ^ atoms[None, :]).ravel()
    return _cut(_region(_mixed(crossed), region), [len(each) * len(atoms) for each in hashes])


def _cut(joined: Ints, lengths: list[int]) -> list[Ints]:
    """One piece per length."""
    stops = list(accumulate(lengths))
    return [joined[stop - length : stop] for stop, length in zip(stops, lengths, strict=True)]


class _Words(NamedTuple):
    text: _Hashes
    ids: _Hashes
    crossed: _Hashes


@lru_cache(maxsize=65_536)
def _words(identity: str, what: str, name: str, category: tuple[str, ...], brand: str, text: str) -> _Words:
    """Hashes of a candidate's words; those of category and brand are crossed with the customer's features."""
    said = [f"{what}:category={part.lower()}" for part in category] + [f"{what}:brand={brand.lower()}"]
    words = dict.fromkeys(word.lower() for word in _WORD.findall(f"{name} {text}"))
    spoken = [f"word={word}" for word in list(words)[:MAX_WORDS]]
    return _Words(_hashes(said + spoken), _hashes([f"{what}:id={identity}"]), _hashes(said))


_EMPTY: _Hashes = np.zeros(0, np.uint64)


@lru_cache(maxsize=262_144)
def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _hashes(names: list[str]) -> _Hashes:
    return np.array([_hash(name) for name in names], np.uint64)


def _mixed(hashes: _Hashes) -> _Hashes:
    """The splitmix64 finaliser; unsigned overflow is meant."""
    mixed = hashes + _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
    result: _Hashes = mixed ^ (mixed >> np.uint64(31))
    return result


def _region(hashes: _Hashes, region: int) -> Ints:
    return (hashes & np.uint64(REGION_SIZES[region] - 1)).astype(np.int64) + REGION_STARTS[region]


def _log_bin(amount: float) -> int:
    """Bin of an amount: two per factor of e, symmetric around zero."""
    return round(2.0 * math.copysign(math.log1p(abs(amount)), amount))


def _bin(name: str, value: float) -> int:
    """Bin of a customer's number; one that the contract does not name gets bins by size."""
    return bin_of(name, value) if name in NUMBERS else _log_bin(value) // 2


def _rank(name: str, value: float) -> float:
    """The rank of a number's bin in [-1, 1]: one weight tells more from less before every bin has been seen."""
    return 2.0 * bin_of(name, value) / len(NUMBERS[name].edges) - 1.0


def _related(name: str, share: float) -> float:
    """A relation's value as the models see it."""
    return log_share(share) if name == "category_affinity" else 2.0 * share
