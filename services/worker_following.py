"""The worker's loader: a record `serving` → the adapters and the critic that it needs, read and checked off the hot path."""

from collections.abc import Mapping

import torch

from model import adapter
from model.formula import RewardFormula
from model.lean import LeanBackbone
from model.registry import Registry
from services.deciding import Ready
from services.following import Critics
from services.worker_serving import Change, Loaded
from streaming.contracts.adapters import BASE_ALONE, Serving, Version
from streaming.contracts.errors import BadEvent


class Loader:
    """Turns a `Serving` into a `Change`: fetches and checks what is not loaded yet."""

    def __init__(
        self,
        registry: Registry,
        expected: adapter.Expected,
        device: torch.device,
        formula: RewardFormula,
        lean: LeanBackbone | None = None,
    ) -> None:
        """Load for a base with these slots on this device; `lean` is its lean pass, for which adapters are fused here."""
        self._registry, self._expected, self._device = registry, expected, device
        self._critics = Critics(registry, formula, adapter.TENSORS)
        self._lean = lean if lean is not None and lean.fuses else None
        self._loaded: set[str] = set()

    def change(self, serving: Serving, versions: Mapping[str, Version]) -> Change:
        """Everything a serving record needs that is not loaded already.

        Raises:
            Unavailable: the registry does not answer; nothing is marked as loaded.
        """
        wanted = {name for name in (serving.champion, serving.anchor, serving.canary) if name not in ("", BASE_ALONE)}
        sound = [self._critics.sound(name, "adapter", versions) for name in sorted(wanted - self._loaded)]
        read = [self._adapter(version) for version in sound if version is not None]
        adapters = [loaded for loaded in read if loaded is not None]
        critic = self._critics.change(serving, versions)
        self._loaded = (wanted & self._loaded) | {loaded.version for loaded in adapters}
        refused = {name: why for name, why in self._critics.refused.items() if name in wanted | {serving.critic}}
        return Change(serving, tuple(adapters), None if critic is None else Ready(critic), refused)

    def _adapter(self, version: Version) -> Loaded | None:
        if version.base_sha256 != self._expected.base_sha256:
            wanted = f"the base that is served, {self._expected.base_sha256}"
            self._critics.refuse(version.name, BadEvent("base_sha256", version.base_sha256, wanted))
            return None
        try:
            tensors = adapter.read(self._registry.fetch(version), self._expected, self._device)
        except BadEvent as error:
            self._critics.refuse(version.name, error)
            return None
        fused = self._lean.fuse(tensors) if self._lean is not None else None
        return Loaded(version.name, version.lm_weight, adapter.block_of(tensors), fused)
