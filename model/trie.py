"""Closed values as canonical token paths in a trie: p(value) is the product of choices between siblings.

Pure, without torch. A value has exactly one path (its text tokenised alone), so token probability is action
probability for any tokenizer, single-token and multi-token values alike.
"""

import itertools
from collections.abc import Sequence
from functools import lru_cache

import msgspec

Path = tuple[int, ...]


class TokenTrie(msgspec.Struct, frozen=True):
    """The tree of the paths.

    Args:
        parents: per inner node its parent (the root, node 0, has -1).
        tokens: per inner node the token that leads to it (the root has -1).
        children: per inner node the tokens that may follow, ascending.
        routes: per value, in the order given, its (inner node, place among its children) pairs from the root.
    """

    parents: tuple[int, ...]
    tokens: tuple[int, ...]
    children: tuple[Path, ...]
    routes: tuple[tuple[tuple[int, int], ...], ...]


@lru_cache(maxsize=4096)
def build(paths: tuple[Path, ...]) -> TokenTrie:
    """The trie of distinct, prefix-free paths; raises `ValueError` when one is empty, repeated or another's prefix."""
    _check(paths)
    inner: dict[Path, int] = {(): 0}
    children: list[set[int]] = [set()]
    for path in paths:
        for depth, token in enumerate(path):
            node = inner.setdefault(path[:depth], len(inner))
            if node == len(children):
                children.append(set())
            children[node].add(token)
    ordered = tuple(tuple(sorted(after)) for after in children)
    routes = tuple(
        tuple((inner[path[:depth]], ordered[inner[path[:depth]]].index(token)) for depth, token in enumerate(path))
        for path in paths
    )
    prefixes = list(inner)
    parents = tuple(inner[prefix[:-1]] if prefix else -1 for prefix in prefixes)
    return TokenTrie(parents, tuple(prefix[-1] if prefix else -1 for prefix in prefixes), ordered, routes)


def _check(paths: Sequence[Path]) -> None:
    ordered = sorted(paths)
    if not ordered or not ordered[0]:
        raise ValueError(f"token paths: {paths!r}, at least one and none empty wanted")
    for left, right in itertools.pairwise(ordered):
        if right[: len(left)] == left:
            raise ValueError(f"token path {left!r} is equal to or a prefix of {right!r}")


def prefix_free(paths: Sequence[Path], end: int) -> tuple[Path, ...]:
    """The paths, each closed by the token `end` if one of them is another's prefix."""
    ordered = sorted(paths)
    clash = any(right[: len(left)] == left for left, right in itertools.pairwise(ordered))
    return tuple((*path, end) for path in paths) if clash else tuple(paths)
