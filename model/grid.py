"""The actions a request allows, as one boolean array: an axis per slot in decoding order. Pure.

Every sum over completions (policy, critic, trainer) runs over this grid, so that all agree on the support.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from streaming.contracts.errors import BadEvent
from streaming.contracts.kinds import MAX_ACTIONS
from streaming.contracts.strategies import Exclusion, StrategyRequest, grammar_of

MAX_CELLS = 16 * MAX_ACTIONS
"""Cells of the array, forbidden ones included; a bound on memory, whatever a request says."""

Allowed = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ActionGrid:
    """The allowed actions of one request.

    Args:
        names: slots in decoding order.
        values: the values of each slot; axis `i` of `allowed` runs over `values[i]`.
        allowed: (len(values[0]), len(values[1]), ...), True where no exclusion forbids the combination.
    """

    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    allowed: Allowed

    @classmethod
    def of(cls, request: StrategyRequest) -> "ActionGrid":
        """The grid of a request, after checking that its slots are those of its kind.

        Raises:
            BadEvent: naming the field, when slots, values or exclusions contradict the grammar, when nothing
                is allowed, or when more than `MAX_ACTIONS` are.
        """
        _check_slots(request)
        names = tuple(slot.name for slot in request.slots)
        values = tuple(slot.values for slot in request.slots)
        cells = math.prod(len(of_slot) for of_slot in values)
        if cells > MAX_CELLS:
            raise BadEvent("slots", cells, f"at most {MAX_CELLS} combinations before exclusions")
        allowed = np.ones([len(of_slot) for of_slot in values], dtype=np.bool_)
        for position, exclusion in enumerate(request.exclusions):
            _exclude(allowed, names, values, exclusion, f"exclusions[{position}]")
        grid = cls(names, values, allowed)
        if not 1 <= grid.count <= MAX_ACTIONS:
            raise BadEvent("slots", grid.count, f"1 to {MAX_ACTIONS} allowed actions")
        return grid

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values per slot."""
        return self.allowed.shape

    @cached_property
    def count(self) -> int:
        """Number of allowed actions."""
        return int(np.count_nonzero(self.allowed))

    def decision(self, index: tuple[int, ...]) -> dict[str, str]:
        """Slot → value of the action at `index`."""
        return {name: of_slot[i] for name, of_slot, i in zip(self.names, self.values, index, strict=True)}

    def index(self, decision: dict[str, str]) -> tuple[int, ...]:
        """Where a decision lies in the grid, allowed or not.

        Raises:
            KeyError: when a slot is missing or a value is not one of its values.
        """
        found = []
        for name, of_slot in zip(self.names, self.values, strict=True):
            if decision[name] not in of_slot:
                message = f"{name}={decision[name]!r} is not one of {of_slot}"
                raise KeyError(message)
            found.append(of_slot.index(decision[name]))
        return tuple(found)


def _check_slots(request: StrategyRequest) -> None:
    grammar = grammar_of(request)
    names = tuple(slot.name for slot in request.slots)
    if names != grammar.slots:
        raise BadEvent("slots", names, f"the slots of {request.kind} in order: {', '.join(grammar.slots)}")
    ids = {candidate.id for candidate in request.candidates}
    for position, slot in enumerate(request.slots):
        where = f"slots[{position}].values"
        if len(set(slot.values)) != len(slot.values):
            raise BadEvent(where, slot.values, "values without repetition")
        known = ids if slot.name in grammar.candidate_slots else set(grammar.closed[slot.name])
        for value in slot.values:
            if value not in known:
                wanted = "the id of a candidate" if known is ids else f"one of {', '.join(grammar.closed[slot.name])}"
                raise BadEvent(where, value, wanted)


def _exclude(
    allowed: Allowed,
    names: tuple[str, ...],
    values: tuple[tuple[str, ...], ...],
    exclusion: Exclusion,
    where: str,
) -> None:
    """Forbid, in place. Values that rules removed already may still be named: there is nothing to forbid."""
    for field, slot in (("slot", exclusion.slot), ("other_slot", exclusion.other_slot)):
        if slot not in names:
            raise BadEvent(f"{where}.{field}", slot, f"one of {', '.join(names)}")
    if exclusion.slot == exclusion.other_slot:
        raise BadEvent(f"{where}.other_slot", exclusion.other_slot, "another slot than `slot`")
    axis, other = names.index(exclusion.slot), names.index(exclusion.other_slot)
    if exclusion.value not in values[axis]:
        return
    forbidden = [values[other].index(value) for value in exclusion.other_values if value in values[other]]
    if forbidden:
        cells: list[slice | int | list[int]] = [slice(None)] * allowed.ndim
        cells[axis] = values[axis].index(exclusion.value)
        cells[other] = forbidden
        allowed[tuple(cells)] = False
