"""Ids and hashes that follow from inputs."""

from hypothesis import example, given
from hypothesis import strategies as st

from streaming.contracts.ids import derive, stable_seed, stable_unit, stable_units

TEXTS = st.text(st.characters(exclude_categories=()), max_size=30)


def test_an_id_is_what_it_was() -> None:
    """Ids and hashes are the same for ever: a replay after an upgrade repeats what was said before."""
    assert derive("req", "u1", "session_start", "ad", "m1") == "req_577b946d711290a1f560b185"
    assert stable_unit("stratagem", "u1") == 0.14013167931992057
    assert stable_seed("explore", "u1") == 9018585704166042373


def test_parts_do_not_run_together() -> None:
    """Where one part ends and the next begins is part of the id."""
    assert derive("x", "ab", "c") != derive("x", "a", "bc")
    assert derive("x", "ab", "") != derive("x", "ab")


@given(st.lists(TEXTS, max_size=3), st.lists(TEXTS, max_size=5))
@example(["order", "\ud800"], ["p1", ""])
def test_hashing_the_common_parts_once_changes_nothing(parts: list[str], last: list[str]) -> None:
    """Each hash is the one that all of its parts have when hashed alone."""
    assert stable_units(tuple(parts), last) == [stable_unit(*parts, each) for each in last]
