"""Every field of the profile has a pair of customers in the table, and each pair is told apart as the table says."""

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import fields

from streaming.contracts.features import bin_of
from streaming.contracts.strategies import StrategyRequest
from streaming.row import decode_row, encode_row
from streaming.stamps import Stamp
from tests.streaming.profile_pairs import BOOKKEEPING, FEATURES, PAIRS, after, paths, request_of, requests_of


def acting(acts: str) -> list[str]:
    """The paths that act in this way."""
    return [path for path, pair in PAIRS.items() if pair.acts == acts]


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """The paths at which two values differ; indices and keys are left out."""
    if isinstance(one, Struct) and not isinstance(one, Stamp) and type(one) is type(other):
        for field in fields(one):
            name = f"{path}.{field.name}" if path else field.name
            yield from differences(getattr(one, field.name), getattr(other, field.name), name)
    elif isinstance(one, tuple) and len(one) == len(other) and any(isinstance(each, Struct) for each in one):
        for left, right in zip(one, other, strict=True):
            yield from differences(left, right, path)
    elif isinstance(one, dict) and one.keys() == other.keys() and any(isinstance(v, Struct) for v in one.values()):
        for key, value in one.items():
            yield from differences(value, other[key], path)
    elif one != other:
        yield path


def told(request: StrategyRequest) -> list[Any]:
    """What a model can tell apart of a customer: bins of numbers, categories, shares, relations."""
    what = request.features
    bins = {name: bin_of(name, value) for name, value in what.numbers.items()}
    shares = (what.category_affinity, what.brand_affinity, what.channel_response)
    return [bins, what.categories, shares, [candidate.relation for candidate in request.candidates]]


def allowed(request: StrategyRequest) -> list[Any]:
    """What may be said."""
    return [request.slots, request.exclusions, [candidate.id for candidate in request.candidates]]


def test_every_field_of_the_profile_has_an_entry() -> None:
    """A field of `Profile` or of its parts that has neither a pair nor a reason is an error; so is one too many."""
    assert {*PAIRS, *BOOKKEEPING} == {*paths(), "aliases"}
    assert PAIRS.keys() & BOOKKEEPING.keys() == set()


@pytest.mark.parametrize("path", PAIRS)
def test_a_pair_differs_in_its_field_alone(path: str) -> None:
    """Both rows are stored and read back as they are, and only this field tells them apart."""
    pair = PAIRS[path]
    assert [decode_row(encode_row(row)) for row in (pair.one, pair.other)] == [pair.one, pair.other]
    assert set(differences(pair.one, pair.other)) == {f"profile.{path}"}


@pytest.mark.parametrize("path", FEATURES)
def test_the_model_is_told_another_customer(path: str) -> None:
    """Same candidates, same slots, and yet another customer for critic and prompt: over the edge of a bin."""
    one, other = requests_of(PAIRS[path])
    assert allowed(one) == allowed(other)
    assert told(one) != told(other)


@pytest.mark.parametrize("path", acting("rule"))
def test_a_rule_reads_the_field(path: str) -> None:
    """One of the two may be told other things, or is asked about what the other is not."""
    pair = PAIRS[path]
    made = [[request.trigger for request in after(row, pair.then)[1]] for row in (pair.one, pair.other)]
    one, other = requests_of(pair)
    assert made[0] != made[1] or allowed(one) != allowed(other)


@pytest.mark.parametrize("path", acting("fold"))
def test_what_is_read_later_tells_them_apart(path: str) -> None:
    """Alike until a later record is read: then the customers, or what may be said to them, differ."""
    pair = PAIRS[path]
    at_once = [request_of(row) for row in (pair.one, pair.other)]
    assert told(at_once[0]) == told(at_once[1])
    assert allowed(at_once[0]) == allowed(at_once[1])
    one, other = requests_of(pair)
    assert [told(one), allowed(one)] != [told(other), allowed(other)]
