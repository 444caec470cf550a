"""What is served: the versions of adapters and critic, switched between batches only (law 3). One thread's own.

A switch copies one block of memory per adapter and turns pointers. Everything else (reading, checking, staging, what a critic's
first use computes) was done by the thread that made the `Change`.
"""

import time
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model import adapter
from model.critic import Critic
from model.lean_weights import Weights
from model.lm import LanguageModel
from model.policy import Knobs
from model.residency import Residency
from services.deciding import Ready
from streaming.contracts.adapters import BASE_ALONE, Serving
from streaming.contracts.ids import stable_unit
from streaming.contracts.strategies import StrategyRequest

ROLES = ("champion", "anchor", "canary")


class Loaded(msgspec.Struct, frozen=True):
    """An adapter read and checked off the hot path.

    Args:
        block: its `adapter.block_of`, staged on the model's device.
        fused: joined with the base (`LeanBackbone.fuse`) where the base keeps such weights; else made at its first use.
    """

    version: str
    lm_weight: float
    block: Tensor
    fused: Weights | None = None


class Change(msgspec.Struct, frozen=True):
    """A new record `serving` with everything it needs.

    Args:
        adapters: those read for it; what is resident already is not read again.
        critic: None keeps the present one.
        refused: version → why it will not be served.
    """

    serving: Serving
    adapters: tuple[Loaded, ...]
    critic: Ready | None
    refused: Mapping[str, str]


class Swapped(msgspec.Struct, frozen=True):
    """What a change did to the hot path: adapters copied, and how long the thread that answers did nothing else."""

    placed: tuple[str, ...]
    stall_s: float


class ServingTable:
    """Resident adapters by role, and the critic."""

    def __init__(self, lm: LanguageModel, critic: Critic) -> None:
        """Serve the base and the given critic until told otherwise. `lm` has its slots attached."""
        self._lm = lm
        self.slots = Residency(adapter.SLOTS)
        self._weights: dict[str, float] = {BASE_ALONE: 0.0}
        self._roles: dict[str, str] = {"champion": BASE_ALONE, "anchor": "", "canary": ""}
        self._serving: Serving | None = None
        self._blocks = {slot: adapter.Block(lm, slot) for slot in adapter.SLOTS}
        self._ready = Ready(critic)

    @property
    def critic(self) -> Critic:
        """The snapshot that decides."""
        return self._ready.critic

    @property
    def weights(self) -> npt.NDArray[np.floating]:
        """Its weights as `Ready` has them."""
        return self._ready.weights

    @property
    def champion(self) -> str:
        """The version most customers are served."""
        return self._roles["champion"]

    def version_for(self, request: StrategyRequest) -> str:
        """Which adapter a request is admitted with: stable shares of customers, each by a salt of its own."""
        serving = self._serving
        if serving is None or request.arm not in ("fused", "lm"):
            return self.champion
        for role, share in (("canary", serving.canary_share), ("anchor", serving.anchor_share)):
            salt, version = serving.salts.get(role, ""), self._roles[role]
            if version and salt and stable_unit(salt, request.user_id) < share:
                return version
        return self.champion

    def knobs(self, version: str, temperature: float, alone: float | None = None) -> Knobs:
        """What the policy must know of a version. `alone`: temperature where the language model decides without a critic."""
        base = f"{self._lm.name}@{self._lm.base_sha256[:12]}"
        return Knobs(base, version, temperature, self._weights[version], alone)

    def asks_lm(self, request: StrategyRequest, version: str) -> bool:
        """Whether the language model has a share in a request's decision."""
        return request.arm == "lm" or (request.arm == "fused" and self._weights[version] > 0.0)

    def mean_values(self, request: StrategyRequest) -> npt.NDArray[np.floating]:
        """The critic's posterior mean alone, for explanations."""
        return self._ready.mean_values(request)

    def apply(self, change: Change) -> Swapped:
        """Switch to what a change says. Only between batches.

        A role whose version was refused keeps its former one.
        """
        begun, placed = time.perf_counter(), []
        roles = {role: self._role(role, change) for role in ROLES}
        wanted = {version for version in roles.values() if version}
        for loaded in change.adapters:
            if loaded.version in wanted and not self.slots.holds(loaded.version):
                self._place(loaded, wanted)
                placed.append(loaded.version)
        self._roles, self._serving = roles, change.serving
        if change.critic is not None:
            self._ready = change.critic
        return Swapped(tuple(placed), time.perf_counter() - begun)

    def _role(self, role: str, change: Change) -> str:
        version: str = getattr(change.serving, role)
        here = {loaded.version for loaded in change.adapters}
        if not version or version in here or self.slots.holds(version):
            return version or (BASE_ALONE if role == "champion" else "")
        return self._roles[role]

    def _place(self, loaded: Loaded, wanted: set[str]) -> None:
        slot = self.slots.free(wanted)
        assert slot is not None, "more slots than roles, and no request is under way between batches"
        self._blocks[slot].copy_(loaded.block)
        if loaded.fused is not None and self._lm.lean is not None:
            self._lm.lean.take(slot, loaded.fused)
        if self._lm.device.type == "cuda":
            torch.cuda.synchronize(self._lm.device)
        self.slots.fill(slot, loaded.version)
        self._weights[loaded.version] = loaded.lm_weight
