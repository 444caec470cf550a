"""Tries of canonical token paths."""

import pytest

from model.trie import build, prefix_free


def test_routes_lead_along_the_paths() -> None:
    """Each value's route names, node by node, the tokens of its path."""
    paths = ((5, 7), (5, 9, 1), (2,))
    trie = build(paths)
    spelled = [tuple(trie.children[node][place] for node, place in route) for route in trie.routes]
    assert tuple(spelled) == paths


def test_inner_nodes_know_their_way() -> None:
    """An inner node's token and parent repeat the prefix it stands for."""
    trie = build(((5, 7), (5, 9, 1)))
    assert trie.parents == (-1, 0, 1)
    assert trie.tokens == (-1, 5, 9)


def test_prefixes_are_closed_by_an_end() -> None:
    """Where one value begins another, all get an end token; else none does."""
    assert prefix_free([(1,), (1, 2)], 0) == ((1, 0), (1, 2, 0))
    assert prefix_free([(1,), (2, 2)], 0) == ((1,), (2, 2))


@pytest.mark.parametrize("paths", [((1,), (1,)), ((1,), (1, 2)), ((),), ()])
def test_ambiguous_paths_are_refused(paths: tuple[tuple[int, ...], ...]) -> None:
    """Equal, nested and empty paths have no exact probability."""
    with pytest.raises(ValueError, match="token path"):
        build(paths)
