"""The grid of allowed actions."""

import msgspec
import numpy as np
import pytest

from model.grid import ActionGrid
from streaming.contracts.errors import BadEvent
from streaming.contracts.kinds import KIND_NAMES, MAX_ACTIONS, Kind
from streaming.contracts.strategies import Exclusion, Slot
from tests.model.sample import request_of


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_index_and_decision_are_inverse(kind: Kind) -> None:
    """Every cell of the grid names one decision, and that decision names the cell."""
    grid = ActionGrid.of(request_of(kind=kind, candidates=3))
    for index in np.ndindex(grid.shape):
        assert grid.index(grid.decision(index)) == index


def test_exclusions_forbid_exactly_the_named_pairs() -> None:
    """Onsite leaves only `now` as send time; other channels keep all four."""
    grid = ActionGrid.of(request_of(candidates=2))
    # 2 products x (onsite: 1 send time + 3 other channels x 4 send times) x 4 tones
    assert grid.count == 2 * (1 + 3 * 4) * 4
    onsite = grid.values[1].index("onsite")
    assert grid.allowed[:, onsite, 0].all()
    assert not grid.allowed[:, onsite, 1:].any()


def test_an_exclusion_of_removed_values_forbids_nothing() -> None:
    """Rules may have removed a value that an exclusion still names."""
    request = msgspec.structs.replace(
        request_of(),
        exclusions=(Exclusion("channel", "fax", "tone", ("urgent",)), Exclusion("channel", "sms", "tone", ("sad",))),
    )
    assert ActionGrid.of(request).allowed.all()


def _with_slot(position: int, slot: Slot) -> dict[str, object]:
    slots = list(request_of().slots)
    slots[position] = slot
    return {"slots": tuple(slots)}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"slots": request_of().slots[:2]}, "slots"),
        (_with_slot(0, Slot("product", ("unknown",))), "slots[0].values"),
        (_with_slot(1, Slot("channel", ("pigeon",))), "slots[1].values"),
        (_with_slot(3, Slot("tone", ("urgent", "urgent"))), "slots[3].values"),
        ({"exclusions": (Exclusion("mood", "x", "tone", ("urgent",)),)}, "exclusions[0].slot"),
        ({"exclusions": (Exclusion("tone", "urgent", "tone", ("urgent",)),)}, "exclusions[0].other_slot"),
    ],
)
def test_a_request_against_its_grammar_is_the_senders_fault(changes: dict[str, object], field: str) -> None:
    """What contradicts the kind's grammar is refused by the name of its field."""
    with pytest.raises(BadEvent) as caught:
        ActionGrid.of(msgspec.structs.replace(request_of(), **changes))
    assert caught.value.field == field


def test_nothing_allowed_and_too_much_allowed_are_refused() -> None:
    """A grid holds between one and `MAX_ACTIONS` actions."""
    nothing = (Exclusion("channel", "sms", "tone", ("friendly", "urgent", "premium", "playful")),)
    one_channel = msgspec.structs.replace(request_of(), exclusions=nothing, **_with_slot(1, Slot("channel", ("sms",))))
    with pytest.raises(BadEvent, match="got 0, wanted 1"):
        ActionGrid.of(one_channel)
    free = msgspec.structs.replace(request_of(kind="promotion", candidates=12), exclusions=())
    with pytest.raises(BadEvent, match=f"{MAX_ACTIONS}"):
        ActionGrid.of(free)


def test_an_unknown_decision_has_no_index() -> None:
    """A decision outside the request's values is not silently mapped."""
    grid = ActionGrid.of(request_of())
    decision = grid.decision((0, 0, 0, 0))
    with pytest.raises(KeyError, match="tone='sad'"):
        grid.index({**decision, "tone": "sad"})
