"""What of a prompt sees what: candidates for themselves, the moment everything, whatever is known already."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.layout import CANDIDATE_PLACES, HEAD, Chain, pieces, plan
from model.spelling import Spelled

PATHS = st.lists(st.integers(0, 3), max_size=4).map(tuple)
SOME = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple)
PROMPTS = st.builds(Spelled, PATHS, st.lists(st.tuples(SOME, PATHS), max_size=4).map(tuple), SOME)


def test_candidates_stand_beside_each_other() -> None:
    """By hand: a head of one token, two candidates, a moment of two."""
    found = plan(Spelled((9,), (((1, 2), (3,)), ((4,), ())), (5, 6)))
    assert found.tokens.tolist() == [9, 1, 2, 3, 4, 5, 6]
    moment = 1 + CANDIDATE_PLACES
    assert found.positions.tolist() == [0, 1, 2, 3, 1, moment, moment + 1]
    assert found.owners().tolist() == [HEAD, 1, 1, 1, 2, 3, 3]
    assert (found.length, found.depth) == (7, moment + 2)
    wanted = ["1      ", "11     ", "111    ", "1111   ", "1   1  ", "111111 ", "1111111"]
    assert ["".join("1" if seen else " " for seen in row) for row in found.sees] == wanted


@pytest.mark.parametrize("known", [{((1, 2),)}, {((1, 2),), ((1, 2), (3,))}, {((4,),)}])
def test_what_is_known_is_not_read(known: set[Chain]) -> None:
    """It comes first, and is seen by what saw it before."""
    whole, found = (
        plan(Spelled((), (((1, 2), (3,)), ((4,), ())), (5, 6)), each.__contains__) for each in (set[Chain](), known)
    )
    tokens = [token for piece in found.known for token in piece.tokens]
    assert len(tokens) + len(found.tokens) == whole.length == found.length
    names, order = whole.tokens.tolist(), [*tokens, *found.tokens.tolist()]
    for row, token in enumerate(found.tokens.tolist()):
        seen = {order[place] for place in np.flatnonzero(found.sees[row])}
        assert seen == {names[place] for place in np.flatnonzero(whole.sees[names.index(token)])}


@given(PROMPTS, st.randoms())
def test_any_part_may_be_known(spelled: Spelled, random: "st.random.Random") -> None:  # type: ignore[name-defined]
    """Whatever is known: each token is there once, at its position, and sees as many as when all is read."""
    chains = {piece.chain for piece in pieces(spelled)[:-1]}
    known = {chain for chain in chains if random.random() < 0.5}
    whole, found = plan(spelled), plan(spelled, known.__contains__)
    assert (found.length, found.depth, found.moment) == (whole.length, whole.depth, whole.moment)
    assert not {piece.chain for piece in found.fresh[:-1]} & known
    kept = [
        (piece.owner, piece.position + place, token)
        for piece in found.known
        for place, token in enumerate(piece.tokens)
    ]
    own = found.owners()[len(kept) :]
    fresh = list(zip(own.tolist(), found.positions.tolist(), found.tokens.tolist(), strict=True))
    everything = zip(whole.owners().tolist(), whole.positions.tolist(), whole.tokens.tolist(), strict=True)
    seen = dict(zip(everything, whole.sees.sum(1).tolist(), strict=True))
    assert sorted([*kept, *fresh]) == sorted(seen)
    # A fresh part after a known one sees it; a known part after a fresh one cannot be: a cache never keeps it.
    if all(chain[:-1] in known or len(chain) == 1 for chain in known):
        assert found.sees.sum(1).tolist() == [seen[each] for each in fresh]


def test_a_prompt_without_candidates_is_its_moment() -> None:
    """A kind may have closed slots alone."""
    found = plan(Spelled((), (), (1, 2, 3)))
    assert found.sees.tolist() == np.tri(3, dtype=bool).tolist()
    assert found.moment == 1
