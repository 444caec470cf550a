"""Ids and hashes that follow from inputs."""

from itertools import islice

from streaming.contracts.ids import derive, stable_draws, stable_seed, stable_unit


def test_an_id_is_what_it_was() -> None:
    """Ids and hashes are the same for ever: a replay after an upgrade repeats what was said before."""
    assert derive("req", "u1", "session_start", "ad", "m1") == "req_577b946d711290a1f560b185"
    assert stable_unit("stratagem", "u1") == 0.14013167931992057
    assert stable_seed("explore", "u1") == 9018585704166042373


def test_draws_are_stable_and_endless() -> None:
    """The same parts give the same numbers, others give others; no block repeats the one before."""
    first = list(islice(stable_draws("candidates", "u1"), 100))
    assert first == list(islice(stable_draws("candidates", "u1"), 100))
    assert first != list(islice(stable_draws("candidates", "u2"), 100))
    assert len(set(first)) == 100
    assert all(0 <= draw < 2**32 for draw in first)


def test_parts_do_not_run_together() -> None:
    """Where one part ends and the next begins is part of the id."""
    assert derive("x", "ab", "c") != derive("x", "a", "bc")
    assert derive("x", "ab", "") != derive("x", "ab")


def test_an_id_may_hold_anything() -> None:
    """Half of a surrogate pair, a null byte and other alphabets have ids too."""
    assert len({derive("x", part) for part in ("\ud800", "\x00", "咖啡", "")}) == 4
