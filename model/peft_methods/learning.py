"""What a method does in training beside its weights: adalora pushes its matrices towards orthogonality and moves its ranks."""

from typing import Any

import torch
from torch import Tensor

from model.peft_methods.making import Sized, after_step

_SCORES = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""What peft's RankAllocator remembers of each matrix: sensitivity now, smoothed, and its uncertainty."""


class Learning:
    """Goes beside a training loop: after each step, and into its checkpoints."""

    def __init__(self, model: Any, sized: Sized) -> None:
        """Of a model that `make` adapted."""
        self.model, self.sized = model, sized

    def penalty(self) -> Tensor | float:
        """To add to the loss. peft adds it only where the model itself tells a loss (Zhang et al. 2023, AdaLoRA, equation 4)."""
        if self.sized.method != "adalora":
            return 0.0
        parts = [
            p @ p.T if "lora_A" in name else p.T @ p
            for name, p in self.model.named_parameters()
            if "lora_A" in name or "lora_B" in name
        ]
        norms = [torch.linalg.matrix_norm(part - torch.eye(len(part), device=part.device)) for part in parts]
        return self._config.orth_reg_weight * torch.stack(norms).mean()  # type: ignore[no-any-return]  # peft has no types

    def after(self, step: int) -> None:
        """After step number `step` of the optimiser, before gradients are cleared."""
        after_step(self.model, self.sized, step)

    def state(self) -> dict[str, Any]:
        """What `after` has brought about, for a checkpoint."""
        if self.sized.method != "adalora":
            return {}
        allocator = self.model.base_model.rankallocator
        return {"ranks": self._config.rank_pattern} | {name: dict(getattr(allocator, name)) for name in _SCORES}

    def take(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's state."""
        if self.sized.method != "adalora":
            return
        self._config.rank_pattern = state["ranks"]
        device = next(self.model.parameters()).device
        for name in _SCORES:
            setattr(self.model.base_model.rankallocator, name, {key: t.to(device) for key, t in state[name].items()})

    @property
    def _config(self) -> Any:
        return self.model.peft_config[self.model.base_model.trainable_adapter_name]
