"""Versions in slots: a request keeps what it was admitted with."""

import pytest

from model.residency import Residency


def test_a_used_slot_is_never_free() -> None:
    """Until its last request is released, a slot can be neither offered nor overwritten."""
    slots = Residency(("slot_a", "slot_b"))
    slots.fill("slot_a", "v1")
    slots.fill("slot_b", "v2")
    held = slots.admit("v1")
    assert held == "slot_a"
    assert slots.free(needed={"v2"}) is None
    with pytest.raises(ValueError, match="requests still use"):
        slots.fill("slot_a", "v3")
    slots.release(held)
    assert slots.free(needed={"v2"}) == "slot_a"


def test_empty_slots_go_first() -> None:
    """A version that may be needed again soon is not overwritten while there is room."""
    slots = Residency(("slot_a", "slot_b", "slot_c"))
    slots.fill("slot_a", "v1")
    assert slots.free(needed=()) == "slot_b"
    assert slots.resident() == {"slot_a": "v1"}


def test_the_base_needs_no_slot() -> None:
    """The bare base is always there, and admitting to it holds nothing."""
    slots = Residency(("slot_a",))
    assert slots.admit("base") is None
    slots.release(None)
    assert slots.holds("base")
    assert not slots.holds("v1")
    with pytest.raises(KeyError):
        slots.admit("v1")


def test_releasing_twice_is_our_bug() -> None:
    """Counts that go below zero would free a slot in use."""
    slots = Residency(("slot_a",))
    slots.fill("slot_a", "v1")
    with pytest.raises(ValueError, match="more often"):
        slots.release("slot_a")
