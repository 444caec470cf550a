"""What follows the prompt, packed: slots, chosen values and the trie's branches as one tree of tokens per row.

Pure bookkeeping, without torch. A node sees the prompt and its own ancestors only, so one forward pass gives every
conditional that is wanted: several suffixes of one prompt and all branches of multi-token values at once.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from model.trie import TokenTrie

ROOT = -1
"""Parent of a row's first node: the end of the prompt."""


class Point(msgspec.Struct, frozen=True):
    """One choice: at `node` of `row`, between tokens (closed) or between candidates (pointed at)."""

    row: int
    node: int
    choices: tuple[int, ...]
    pointed: bool


class SlotRoute(msgspec.Struct, frozen=True):
    """A slot's values as paths through points: per value its (point, place) pairs."""

    row: int
    routes: tuple[tuple[tuple[int, int], ...], ...]


class Row:
    """The growing tree of one row. Nodes are numbered from `first` in the order they are added."""

    def __init__(self, depth: int, first: int = 0) -> None:
        """Begin after a prompt (or an earlier part) of `depth` positions, with node numbers from `first`."""
        self.first = first
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self._start_depth = depth

    def add(self, tokens: Sequence[int], parent: int) -> int:
        """A chain of tokens below `parent`; returns the last node's number (`parent` itself for no token)."""
        for token in tokens:
            known = parent >= self.first
            depth = self.depths[parent - self.first] + 1 if known else self._start_depth
            self.tokens.append(token)
            self.parents.append(parent)
            self.depths.append(depth)
            parent = self.first + len(self.tokens) - 1
        return parent


class Pack:
    """Trees of all rows of a batch with the choices to be read from them."""

    def __init__(self, depths: Sequence[int]) -> None:
        """One empty tree per row; `depths` are the prompts' lengths in tokens."""
        self.rows = [Row(depth) for depth in depths]
        self.points: list[Point] = []
        self.slots: list[SlotRoute] = []
        self.echoes: list[tuple[int, int, int]] = []
        """(row, node, candidate): at that node the chosen candidate's pooled state joins its tag's embedding."""

    def point_at(self, row: int, node: int, choices: Sequence[int]) -> None:
        """A slot whose values are candidates: one choice between those at places `choices` of the request."""
        self.points.append(Point(row, node, tuple(choices), pointed=True))
        point = len(self.points) - 1
        self.slots.append(SlotRoute(row, tuple(((point, place),) for place in range(len(choices)))))

    def branch(self, row: int, node: int, trie: TokenTrie) -> list[int]:
        """A slot of closed values: adds the trie's inner nodes below `node`; returns their node numbers."""
        nodes = [node]
        for parent, token in zip(trie.parents[1:], trie.tokens[1:], strict=True):
            nodes.append(self.rows[row].add([token], nodes[parent]))
        base = len(self.points)
        self.points += [Point(row, at, after, pointed=False) for at, after in zip(nodes, trie.children, strict=True)]
        self.slots.append(SlotRoute(row, tuple(tuple((base + n, c) for n, c in route) for route in trie.routes)))
        return nodes

    def arrays(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Tokens (B, T), positions (B, T) and who sees whom (B, T, T) among new nodes; padding sees itself."""
        width = max(len(row.tokens) for row in self.rows)
        tokens = np.zeros((len(self.rows), width), dtype=np.int64)
        positions = np.zeros_like(tokens)
        sees = np.broadcast_to(np.eye(width, dtype=bool), (len(self.rows), width, width)).copy()
        for index, row in enumerate(self.rows):
            tokens[index, : len(row.tokens)] = row.tokens
            positions[index, : len(row.tokens)] = row.depths
            for node, parent in enumerate(row.parents):
                if parent >= row.first:
                    sees[index, node] |= sees[index, parent - row.first]
        return tokens, positions, sees
