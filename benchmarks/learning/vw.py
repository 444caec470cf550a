"""Vowpal Wabbit: `--cb_explore_adf` over whole actions, namespaces of customer, goods and offer with their interactions.

References:
    Bietti, Agarwal, Langford (2021), A contextual bandit bake-off, JMLR.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import vowpalwabbit

from benchmarks.learning.arms import NO_POLICY, Knobs
from benchmarks.learning.features import customer_features
from benchmarks.learning.tuned import TUNED
from benchmarks.worlds.deliveries import Acted
from model.grid import ActionGrid
from streaming.contracts.kinds import GRAMMARS
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import Candidate, StrategyRequest, candidate_by_id


class VowpalWabbit:
    """Learns from finals, each once; corrections come too late for an online learner."""

    def __init__(self, seed: int, knobs: Knobs | None = None) -> None:
        """Start the workspace with the options that the knobs name."""
        self.knobs = {**TUNED["vw"], **(knobs or {})}
        options = [
            f"--cb_explore_adf {self.knobs['explorer']} --cb_type {self.knobs['type']}",
            f"--learning_rate {self.knobs['rate']} -b 20 --quiet --random_seed {seed}",
            " ".join(f"--interactions {pair}" for pair in str(self.knobs["interactions"]).split()),
        ]
        self._vw: Any = vowpalwabbit.Workspace(" ".join(options))
        self._rng = np.random.default_rng(seed)
        self._chances: dict[str, float] = {}

    def decide(self, requests: Sequence[StrategyRequest], grids: Sequence[ActionGrid]) -> list[Acted]:
        """A draw from what the explorer says."""
        found = []
        for request, grid in zip(requests, grids, strict=True):
            allowed = np.flatnonzero(grid.allowed)
            chances = np.array(self._vw.predict(lines_of(request, grid, allowed)))
            place = int(self._rng.choice(len(allowed), p=chances / chances.sum()))
            self._chances[request.request_id] = float(chances[place])
            index = tuple(int(axis) for axis in np.unravel_index(allowed[place], grid.shape))
            found.append(Acted(index, max(min(float(chances[place]), 1.0), 1e-9), NO_POLICY))
        return found

    def learn(self, reward: Reward) -> None:
        """The final's reward as a cost, with the probability of the choice."""
        chance = self._chances.pop(reward.request_id, None) if reward.stage == "final" else None
        if chance is None:
            return
        grid = ActionGrid.of(reward.request)
        allowed = np.flatnonzero(grid.allowed)
        flat = np.ravel_multi_index(grid.index(reward.decision), grid.shape)
        place = int(np.searchsorted(allowed, flat))
        label = f"0:{-reward.reward:.5f}:{max(chance, 1e-6):.7f}"
        self._vw.learn(lines_of(reward.request, grid, allowed, labelled=(place, label)))

    def turn(self, number: int) -> None:
        """Nothing: it learns at once."""


def lines_of(
    request: StrategyRequest,
    grid: ActionGrid,
    allowed: "np.ndarray[Any, Any]",
    labelled: tuple[int, str] | None = None,
) -> list[str]:
    """The example in VW's text format: namespaces c(ustomer), g(oods), o(ffer), i(d)."""
    shared = " ".join(f"{_safe(name)}:{value:.3g}" for name, value in customer_features(request))
    candidates = candidate_by_id(request)
    grammar = GRAMMARS[request.kind]
    said: list[list[tuple[str, str]]] = []
    for slot in request.slots:
        pointed = slot.name in grammar.candidate_slots
        said.append(
            [_value(request, slot.name, value, candidates.get(value) if pointed else None) for value in slot.values]
        )
    places = np.unravel_index(allowed, grid.shape)
    lines = [f"shared |c kind={request.kind} {shared}"]
    for action in range(len(allowed)):
        parts = [said[axis][places[axis][action]] for axis in range(len(said))]
        goods = " ".join(good for good, _ in parts if good)
        offer = " ".join(offer for _, offer in parts if offer)
        label = f"{labelled[1]} " if labelled is not None and labelled[0] == action else ""
        lines.append(f"{label}|g {goods} |o kind={request.kind} {offer}")
    return lines


def _value(request: StrategyRequest, slot: str, value: str, candidate: Candidate | None) -> tuple[str, str]:
    """(text of goods, text of the offer) of a value."""
    if candidate is None:
        rate = request.features.channel_response.get(value, 0.0) if slot == "channel" else 0.0
        return "", f"{slot}={_safe(value)}" + (f" rate:{2 * rate:.3g}" if rate else "")
    words = " ".join(f"{slot}_{_safe(word)}:0.5" for word in dict.fromkeys(candidate.text.split()))
    relation = " ".join(f"{slot}_{name}:{2 * share:.3g}" for name, share in candidate.relation.items() if share)
    price = f"{slot}_price:{np.log(max(candidate.price_minor, 1) / 350):.3g} {slot}_margin:{candidate.margin_minor / 100:.3g}"
    return f"{slot}_id={_safe(candidate.id)} {slot}_cat={_safe(candidate.category[0])} {words} {relation} {price}", ""


def _safe(text: str) -> str:
    """Without the characters that VW's format means something by."""
    return "".join("_" if mark in " :|" else mark for mark in text)
