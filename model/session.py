"""Decoding slot by slot: the worker asks for log-probabilities, chooses, and goes on with the keys and values it has."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from model.batch import PromptBatch
from model.lm import LanguageModel
from model.suffix import ROOT, Pack
from model.writing import write
from streaming.contracts.strategies import StrategyRequest


class DecodeSession:
    """One batch on its way through its slots; rows with fewer slots wait. The adapter must not change meanwhile."""

    def __init__(self, lm: LanguageModel, prompts: PromptBatch, requests: tuple[StrategyRequest, ...]) -> None:
        """Begin before the first slot of each request."""
        self._lm = lm
        self._pooled = prompts.pooled
        self._requests = requests
        self._cache = prompts.cache()
        self._visible = prompts.visible()
        self._depths = list(prompts.lengths)
        self._slot = 0
        self._chosen: list[dict[str, str]] = [{} for _ in requests]
        self._logs: list[npt.NDArray[np.float64]] | None = None

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

    def write(self, max_tokens: int, rng: np.random.Generator) -> list[str]:
        """After the last slot: the delexicalised message texts of the decisions, by the bare base."""
        return write(self._lm, self._requests, self._chosen, max_tokens=max_tokens, rng=rng)

    @torch.no_grad()
    def _step(self) -> list[npt.NDArray[np.float64]]:
        active = [row for row, request in enumerate(self._requests) if self._slot < len(request.slots)]
        if not active:
            return [np.zeros(0) for _ in self._requests]
        pack = Pack(self._depths)
        main = {row: self._advance(pack, row) for row in active}
        tokens, positions, sees = (torch.from_numpy(part).to(self._lm.device) for part in pack.arrays())
        before = self._visible[:, None].expand(-1, sees.shape[1], -1)
        embedded = self._lm.embed(pack, tokens, self._pooled)
        states = self._lm.forward(embedded, positions, torch.cat((before, sees), -1), self._cache)
        self._remember(main, tokens.shape[1])
        table = self._lm.table(states, pack, self._pooled).double().cpu().numpy()
        logs = dict(zip(active, table, strict=True))
        return [
            logs[row][: len(request.slots[self._slot].values)] if row in logs else np.zeros(0)
            for row, request in enumerate(self._requests)
        ]

    def _advance(self, pack: Pack, row: int) -> int:
        """Add the last chosen value and the next slot's name; returns how many nodes of the main line that makes."""
        request = self._requests[row]
        if self._slot == 0:
            node = pack.rows[row].add(self._lm.spelling.start, ROOT)
        else:
            last = request.slots[self._slot - 1].name
            node = self._lm.say(pack, row, ROOT, request, last, self._chosen[row][last])
        node = pack.rows[row].add(self._lm.spelling.slot(request.slots[self._slot].name), node)
        self._lm.open_slot(pack, row, node, request, self._slot)
        return node + 1

    def _remember(self, main: dict[int, int], width: int) -> None:
        """Later steps see the main line of this one, not its branches and not its padding."""
        added = torch.zeros((len(self._requests), width), dtype=torch.bool, device=self._lm.device)
        for row, count in main.items():
            added[row, :count] = True
            self._depths[row] += count
        self._visible = torch.cat((self._visible, added), 1)
