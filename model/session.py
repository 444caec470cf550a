"""Decoding slot by slot: the worker asks for log-probabilities, chooses, and goes on with the keys and values it has."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from model.batch import PromptBatch
from model.lm import LanguageModel
from model.suffix import ROOT, Pack
from model.writing import write
from streaming.contracts.strategies import StrategyRequest

NODES_PER_SLOT = 4
"""Room kept ready for a slot: a value, the next slot's name, some branches of longer values; more is found when it is needed."""
NODES_AHEAD = 96
"""Nodes by which a step may grow to know the next slot after every value of this one. Below some hundred nodes a step costs a CPU
about the same whatever it holds, so that small batches need half the steps."""


class _Branch(NamedTuple):
    """After one value of a slot: its nodes in the step, the next slot's name included, and that slot's log-probabilities."""

    nodes: range
    logs: npt.NDArray[np.float64]


class DecodeSession:
    """One batch on its way through its slots; rows with fewer slots wait. The adapter must not change meanwhile."""

    def __init__(self, lm: LanguageModel, prompts: PromptBatch, requests: tuple[StrategyRequest, ...]) -> None:
        """Begin before the first slot of each request."""
        self._lm = lm
        self._pooled = prompts.pooled
        self._requests = requests
        steps = max((len(request.slots) for request in requests), default=0)
        self._cache = lm.room(prompts, steps * (NODES_PER_SLOT + NODES_AHEAD // max(len(requests), 1)))
        self._visible = prompts.visible()
        self._depths = list(prompts.lengths)
        self._slot = 0
        self._chosen: list[dict[str, str]] = [{} for _ in requests]
        self._logs: list[npt.NDArray[np.float64]] | None = None
        self._ahead: dict[int, list[_Branch]] = {}
        self._width = 0

    @property
    def done(self) -> bool:
        """Whether every row has all its slots."""
        return all(self._slot >= len(request.slots) for request in self._requests)

    @property
    def decisions(self) -> list[dict[str, str]]:
        """What was chosen so far, per row."""
        return [dict(chosen) for chosen in self._chosen]

    def log_probs(self) -> list[npt.NDArray[np.float64]]:
        """Log p(value | chosen prefix) over the current slot's values, per row; empty for rows that have all slots."""
        if self._logs is None:
            self._logs = self._step()
        return self._logs

    def choose(self, indices: Sequence[int]) -> None:
        """Fix the current slot's value per row, by its place in the slot's values; ignored for rows that wait."""
        for chosen, request, index in zip(self._chosen, self._requests, indices, strict=True):
            if self._slot < len(request.slots):
                slot = request.slots[self._slot]
                chosen[slot.name] = slot.values[index]
        self._slot += 1
        self._logs = None
        if self._ahead:
            taken = {row: branches[indices[row]] for row, branches in self._ahead.items()}
            self._logs = [taken[row].logs if row in taken else np.zeros(0) for row in range(len(self._requests))]
            self._remember({row: branch.nodes for row, branch in taken.items()})
            self._ahead = {}

    def write(self, max_tokens: int, rng: np.random.Generator) -> list[str]:
        """After the last slot: the delexicalised message texts of the decisions, by the bare base."""
        return write(self._lm, self._requests, self._chosen, max_tokens=max_tokens, rng=rng)

    @torch.inference_mode()
    def _step(self) -> list[npt.NDArray[np.float64]]:
        active = [row for row, request in enumerate(self._requests) if self._slot < len(request.slots)]
        if not active:
            return [np.zeros(0) for _ in self._requests]
        pack = Pack(self._depths)
        ends = {row: self._advance(pack, row) for row in active}
        branches = {row: self._look_ahead(pack, row, ends[row]) for row in self._growing(active)}
        tokens, positions, sees = (torch.from_numpy(part).to(self._lm.device) for part in pack.arrays())
        before = self._visible[:, None].expand(-1, sees.shape[1], -1)
        embedded = self._lm.embed(pack, tokens, self._pooled)
        states = self._lm.forward(embedded, positions, torch.cat((before, sees), -1), self._cache)
        self._visible = torch.cat((self._visible, torch.zeros_like(sees[:, 0])), 1)
        self._width = tokens.shape[1]
        self._remember({row: range(end + 1) for row, end in ends.items()})
        table = iter(self._lm.table(states, pack, self._pooled).double().cpu().numpy())
        logs = {row: next(table)[: len(self._requests[row].slots[self._slot].values)] for row in active}
        self._ahead = {
            row: [_Branch(nodes, next(table)[: len(self._requests[row].slots[self._slot + 1].values)]) for nodes in of]
            for row, of in branches.items()
        }
        return [logs.get(row, np.zeros(0)) for row in range(len(self._requests))]

    def _advance(self, pack: Pack, row: int) -> int:
        """Add the last chosen value and the next slot's name; returns that name's last node."""
        request = self._requests[row]
        if self._slot == 0:
            node = pack.rows[row].add(self._lm.spelling.start, ROOT)
        else:
            last = request.slots[self._slot - 1].name
            node = self._lm.say(pack, row, ROOT, request, last, self._chosen[row][last])
        node = pack.rows[row].add(self._lm.spelling.slot(request.slots[self._slot].name), node)
        self._lm.open_slot(pack, row, node, request, self._slot)
        return node

    def _growing(self, active: Sequence[int]) -> list[int]:
        """The rows whose next slot is worth knowing in this step: all that have one, if together they add few nodes."""
        rows = [row for row in active if self._slot + 1 < len(self._requests[row].slots)]
        widest = max((len(self._requests[row].slots[self._slot].values) for row in rows), default=0)
        return rows if 2 * widest * len(self._requests) <= NODES_AHEAD else []

    def _look_ahead(self, pack: Pack, row: int, node: int) -> list[range]:
        """Below the slot's name, each of its values with the next slot's name; the nodes of each."""
        request, tree = self._requests[row], pack.rows[row]
        slot, following = request.slots[self._slot : self._slot + 2]
        found = []
        for value in slot.values:
            begin = len(tree.tokens)
            end = self._lm.say(pack, row, node, request, slot.name, value)
            end = tree.add(self._lm.spelling.slot(following.name), end)
            found.append(range(begin, len(tree.tokens)))
            self._lm.open_slot(pack, row, end, request, self._slot + 1)
        return found

    @torch.inference_mode()
    def _remember(self, nodes: dict[int, range]) -> None:
        """Later steps see these nodes of the last one: the main line, not its branches and not its padding."""
        begin = self._visible.shape[1] - self._width
        for row, of in nodes.items():
            self._visible[row, begin + of.start : begin + of.stop] = True
            self._depths[row] += len(of)
