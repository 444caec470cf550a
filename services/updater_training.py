"""LoRA training in slices: a step, a candidate, its measurement; each slice well under a second on one core.

A candidate is a copy of the adapter in training. It waits until enough rewards newer than its data have closed and some served
decision can be recomputed, is measured against the champion a few requests at a time, and is judged by the gate.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from model import adapter
from model.critic import Critic
from model.distil import Distiller, drawn
from model.following import Share
from model.gate import Evidence, GateKnobs, Judgement, judge_adapter, parity_bound
from model.gate_evidence import Contender, joined, measure, newest_known, parity_gaps
from model.lm import LanguageModel
from model.memory import Replayed
from model.policy import Knobs
from services.settings import UpdaterSettings
from services.updater_critics import FindCritic
from services.updater_learning import Learning
from streaming.contracts.adapters import BASE_ALONE
from streaming.contracts.errors import BadEvent
from streaming.contracts.strategies import PolicyRecord

CANDIDATE_SLOT, CHAMPION_SLOT, FORMER_SLOT = "slot_candidate", "slot_champion", "slot_former"
SLICE = 8
"""Requests measured per slice."""
JUDGED_NEWER, JUDGED_OLDER = 64, 16
"""Requests a candidate is measured on: newer than its data, and older ones for what needs no reward."""
PARITY_ROWS = 24
BACKLOG = 4
"""Steps that may be owed: more than that are not caught up with, or training would starve everything after an outage."""
REFUSALS_BEFORE_RESET = 2
"""After so many refusals in a row training goes back to the champion."""
OPTIMISER = "optimiser.safetensors"


class Candidate(msgspec.Struct, frozen=True):
    """An adapter waiting for the gate.

    Args:
        number: closed rewards learned when its training ended: newer ones have a higher number.
        critic: as it stood then.
        since_s: on the caller's monotonic clock.
        foreign: the folder it was read from, where it is an operator's: a change; empty for a step of our line.
    """

    number: int
    critic: Critic
    lm_weight: float
    steps: int
    since_s: float
    parent: str
    foreign: str = ""


class Training:
    """The adapter in training and the contenders beside it. Torch lives here."""

    def __init__(self, lm: LanguageModel, settings: UpdaterSettings, critic_of: FindCritic) -> None:
        """Begin with the identity; `lm` gets its slots here. `critic_of` is asked for critics that served."""
        adapter.attach(lm, (adapter.TRAINING_SLOT, CANDIDATE_SLOT, CHAMPION_SLOT, FORMER_SLOT), seed=settings.seed)
        self.lm, self._settings, self._critic_of = lm, settings, critic_of
        self.wanted = adapter.expected(lm, adapter.TRAINING_SLOT)
        self._fresh = _copied(lm, adapter.TRAINING_SLOT)
        self.distiller = Distiller(lm)
        self.held: dict[str, str] = {}
        self.champion_weight = 0.0
        self.candidate: Candidate | None = None
        self.trained = 0
        self.refusals = 0
        self._share = Share(settings.lm_weight, settings.lm_earns_from)
        self._rng = np.random.default_rng(settings.seed)
        self._measuring: Iterator[Evidence | None] | None = None

    @property
    def base(self) -> str:
        """Its name as versions and policy records carry it."""
        return f"{self.lm.name}@{self.lm.base_sha256[:12]}"

    @property
    def measuring(self) -> bool:
        """Whether a candidate is under measurement: slices follow each other without waiting."""
        return self._measuring is not None

    def lm_weight(self) -> float:
        """The language model's share: what its line has earned, and until that is measured what its champion had."""
        return self._share.now(self.champion_weight)

    def owed(self, learning: Learning) -> bool:
        """Whether a LoRA step is due."""
        new = learning.learner.learned - self.trained
        return new >= self._settings.train_every and len(learning.replay) >= self._settings.batch

    def step(self, learning: Learning, critic: Critic, now_s: float) -> float:
        """One step on a batch of the buffer, newer decisions more often; perhaps a candidate after it."""
        items = list(learning.replay)
        owed = learning.learner.learned - self.trained
        self.trained = learning.learner.learned - min(
            owed - self._settings.train_every, BACKLOG * self._settings.train_every
        )
        chosen = drawn(len(items), self._settings.batch, self._rng)
        loss = self.distiller.step([items[place] for place in chosen], critic)
        if self.candidate is None and self.distiller.steps % self._settings.candidate_every_steps == 0:
            adapter.place(self.lm, CANDIDATE_SLOT, self.distiller.averaged())
            self.candidate = Candidate(
                learning.learner.learned,
                critic,
                self.lm_weight(),
                self.distiller.steps,
                now_s,
                self.held.get("champion", BASE_ALONE),
            )
        return loss

    def examine(self, learning: Learning, now_s: float) -> Judgement | None:
        """One slice of the candidate's measurement; its judgement with the last one."""
        if self.candidate is None:
            return None
        if self._measuring is None:
            newer = [item for item in learning.replay if item.number > self.candidate.number]
            waited_s = now_s - self.candidate.since_s
            wait_s = self._settings.change_wait_s if self.candidate.foreign else self._settings.candidate_wait_s
            if waited_s < wait_s and not (len(newer) >= JUDGED_NEWER and self.served(learning)):
                return None
            self._measuring = self._measure(learning, self.candidate, newer[-JUDGED_NEWER:])
        evidence = next(self._measuring)
        if evidence is None:
            return None
        self._measuring = None
        if not self.candidate.foreign:
            self._share.saw(evidence.following)
        judgement = judge_adapter(evidence, self.gate_knobs(change=bool(self.candidate.foreign)))
        trained = {"trained_rewards": float(self.candidate.number)}
        return msgspec.structs.replace(judgement, numbers={**judgement.numbers, **trained})

    def examine_next(self, directory: Path, learning: Learning, critic: Critic, now_s: float) -> None:
        """Make an operator's adapter the candidate; the slot is free then. What it was trained on is not known.

        So it is valued on what closes from now on, at full weight beside the champion at full weight; served at our line's.

        Raises:
            BadEvent: what it holds does not fit or cannot be read.
        """
        try:
            tensors = adapter.read(directory, self.wanted, self.lm.device)
        except OSError as error:
            raise BadEvent("files", str(error), "readable files") from None
        adapter.place(self.lm, CANDIDATE_SLOT, tensors)
        number, parent = learning.learner.learned, self.held.get("champion", BASE_ALONE)
        self.candidate = Candidate(number, critic, self.lm_weight(), 0, now_s, parent, str(directory))

    def set_aside(self) -> None:
        """The candidate was not ours: it is judged, and nothing follows for training."""
        self.candidate = None

    def promoted(self, version: str) -> None:
        """The candidate is the champion now; the old one stays at hand for parity."""
        self._keep_former()
        adapter.place(self.lm, CHAMPION_SLOT, _copied(self.lm, CANDIDATE_SLOT))
        self.held["champion"] = version
        self.champion_weight = self.candidate.lm_weight if self.candidate else self.lm_weight()
        self.candidate, self.refusals = None, 0

    def refused(self, judgement: Judgement) -> None:
        """The candidate is gone; after several in a row training starts again from the champion.

        Not for parity: that serving cannot be reproduced is not what this adapter learned.
        """
        self.candidate = None
        self.refusals += any(not check.passed and check.name != "parity" for check in judgement.checks)
        if self.refusals >= REFUSALS_BEFORE_RESET:
            self.restart()

    def restart(self) -> None:
        """Train on from the champion; a candidate of our own that came from elsewhere is no step of its line."""
        if self.candidate is not None and not self.candidate.foreign:
            self.candidate = None
        self._measuring, self.refusals = None, 0
        start = _copied(self.lm, CHAMPION_SLOT) if "champion" in self.held else self._fresh
        adapter.place(self.lm, adapter.TRAINING_SLOT, start)
        self.distiller = self.distiller.again()

    def hold_base(self) -> None:
        """The base alone is served; the champion so far stays at hand for parity."""
        self._keep_former()
        self.held.pop("champion", None)
        self.champion_weight = 0.0

    def hold_champion(self, version: str, directory: Path, lm_weight: float) -> None:
        """Take in the champion another life or an operator announced; the one held so far stays at hand for parity.

        Raises:
            BadEvent: files that do not fit the base.
        """
        tensors = adapter.read(directory, self.wanted, self.lm.device)
        self._keep_former()
        adapter.place(self.lm, CHAMPION_SLOT, tensors)
        self.held["champion"], self.champion_weight = version, lm_weight

    def save(self, directory: Path) -> None:
        """The adapter in training and its optimiser, for a snapshot."""
        adapter.save(self.lm, adapter.TRAINING_SLOT, directory)
        save_file(self.distiller.state(), directory / OPTIMISER)

    def restore(self, directory: Path) -> None:
        """What `save` wrote.

        Raises:
            BadEvent: another base, or corrupt files.
        """
        adapter.place(self.lm, adapter.TRAINING_SLOT, adapter.read(directory, self.wanted, self.lm.device))
        self.distiller.restore(load_file(directory / OPTIMISER, device=str(self.lm.device)))

    def save_candidate(self, directory: Path) -> None:
        """The candidate's files, as a version has them."""
        adapter.save(self.lm, CANDIDATE_SLOT, directory)

    def gate_knobs(self, *, change: bool = False) -> GateKnobs:
        """The gate's bounds; a change must have been valued."""
        return GateKnobs(
            parity=parity_bound(str(self.lm.dtype)),
            kl_cap_nats=self._settings.kl_cap_nats,
            delta=self._settings.value_margin,
            value_wanted=change,
        )

    def _measure(self, learning: Learning, candidate: Candidate, newer: list[Replayed]) -> Iterator[Evidence | None]:
        """Evidence in slices: None until the last."""
        # A change is judged at the weight its line will reach: at little weight any adapter does little harm.
        full = self._settings.lm_weight
        own, other = (full, full) if candidate.foreign else (candidate.lm_weight, self.champion_weight)
        ours = Contender(self.lm, CANDIDATE_SLOT, self._knobs("candidate", own))
        slot = CHAMPION_SLOT if "champion" in self.held else None
        theirs = Contender(self.lm, slot, self._knobs(self.held.get("champion", BASE_ALONE), other))
        known = {item.strategy_id for item in newer}
        older = [item for item in learning.replay if item.strategy_id not in known][-JUDGED_OLDER:]
        served, missed = self._served(learning)
        critics = {name: critic for name in {row.policy.critic for row in served} if (critic := self._critic_of(name))}
        parity = parity_gaps(self.lm, served, self._slot_of, critics)
        yield None
        parts: list[Evidence] = []
        for start in range(0, max(len(newer), 1), SLICE):
            more = older[len(parts) :: -(-max(len(newer), 1) // SLICE)]
            chunk = newer[start : start + SLICE]
            if chunk or more:
                parts.append(measure(self.lm, ours, theirs, candidate.critic, chunk, more))
            yield None
        yield joined(parts, parity, missed + len(served) - len(parity))

    def served(self, learning: Learning) -> list[Replayed]:
        """Newest served decisions that can be recomputed, newest first."""
        return self._served(learning)[0]

    def _served(self, learning: Learning) -> tuple[list[Replayed], int]:
        return newest_known(reversed(list(learning.replay)), self._at_hand, PARITY_ROWS)

    def _at_hand(self, record: PolicyRecord) -> bool:
        """Whether base, adapter and critic of a decision are known. The critic last: it may have to be read."""
        known = {BASE_ALONE, *self.held.values()}
        return (not record.lm_weight or (_same_base(record.base, self.base) and record.adapter in known)) and (
            not record.critic_weight or self._critic_of(record.critic) is not None
        )

    def _keep_former(self) -> None:
        if "champion" in self.held:
            adapter.place(self.lm, FORMER_SLOT, _copied(self.lm, CHAMPION_SLOT))
            self.held["former"] = self.held["champion"]

    def _slot_of(self, version: str) -> str | None:
        if version == BASE_ALONE:
            return None
        for role, slot in (("champion", CHAMPION_SLOT), ("former", FORMER_SLOT)):
            if self.held.get(role) == version:
                return slot
        raise KeyError(version)

    def _knobs(self, version: str, lm_weight: float) -> Knobs:
        return Knobs(self.base, version, self._settings.temperature, lm_weight, self._settings.lm_temperature)


def _same_base(one: str, other: str) -> bool:
    """Whether two names of a base mean the same bytes: the path before the hash may differ between machines."""
    return one.rpartition("@")[2] == other.rpartition("@")[2]


def _copied(lm: LanguageModel, slot: str) -> dict[str, torch.Tensor]:
    return {key: parameter.detach().clone() for key, parameter in adapter.parameters(lm, slot).items()}
