"""An exponential moving average of what is being trained: it is nearer to what training circles around than its last step is.

References:
    Polyak, Juditsky (1992), Acceleration of stochastic approximation by averaging, SIAM J. Control Optim. 30(4).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

DECAY = 0.95
"""Of what was averaged so far, per step, once there were enough steps: a memory of some twenty. A longer one is calmer and lags behind the critic."""
_PREFIX = "average."


class Averaged:
    """Follows parameters step by step. They change in place; their mean lies beside them."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        """Begin where they are."""
        self._parameters = parameters
        self.begin()

    def begin(self) -> None:
        """Forget the past: the mean is what the parameters are now."""
        self._means = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._steps = 0

    def follow(self) -> None:
        """After a step. The first ones weigh more: at step n no more than (1 + n) / (10 + n) of the past is kept."""
        kept = min(DECAY, (1 + self._steps) / (10 + self._steps))
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                self._means[name].lerp_(parameter, 1.0 - kept)
        self._steps += 1

    def tensors(self) -> dict[str, Tensor]:
        """Copies of the means, under the parameters' names."""
        return {name: mean.clone() for name, mean in self._means.items()}

    def state(self) -> dict[str, Tensor]:
        """For a snapshot; `restore` reads it."""
        means = {f"{_PREFIX}{place}": mean.clone() for place, mean in enumerate(self._means.values())}
        return {f"{_PREFIX}steps": torch.tensor(self._steps), **means}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave; where a snapshot has none, begin where the parameters are now."""
        if f"{_PREFIX}steps" not in state:
            self.begin()
            return
        self._steps = int(state[f"{_PREFIX}steps"])
        for place, mean in enumerate(self._means.values()):
            mean.copy_(state[f"{_PREFIX}{place}"])
