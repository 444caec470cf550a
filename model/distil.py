"""LoRA steps that teach the language model what the critic knows: soft cross-entropy per slot on replayed requests.

The target of a slot is the exact conditional of softmax(Q_mean / 0.01) given the prefix, a sum over completions, made by the
same function that samples and logs (`model/decode.py`). Only the suffix sees the adapter, so encoded prompts are kept
between passes.

References:
    Hinton, Vinyals, Dean (2015), Distilling the knowledge in a neural network, arXiv 1503.02531.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model import adapter
from model.averaged import Averaged
from model.batch import PromptBatch, join
from model.critic import Critic
from model.decode import action_scores, critic_log_probs
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.memory import Replayed
from streaming.contracts.strategies import StrategyRequest

TARGET_TEMPERATURE = 0.01
"""Of softmax(Q / temperature), units of reward."""
LEARNING_RATE = 4e-3
"""Of the first steps."""
LEAST_RATE = 1e-3
"""Below this it does not fall: tastes drift."""
FULL_STEPS = 125
"""Steps at the first rate; from then on it falls with the root of the steps. Kept up, the loss rises again after some 250 of them."""
MAX_NORM = 1.0
"""Longest gradient: one batch of surprises must not undo the adapter."""
KEPT_PROMPTS = 768
"""Encoded prompts kept between passes, in half precision: about a quarter of a megabyte each with the small base."""

NEWER = 0.75
"""Part of a batch that is drawn among the newest decisions, whose prompts are kept: reading a prompt costs more than a step on it."""

Floats = npt.NDArray[np.float64]
Rate = Callable[[int], float]


class Distiller:
    """Trains one adapter slot. One thread at a time."""

    def __init__(self, lm: LanguageModel, slot: str = adapter.TRAINING_SLOT, rate: Rate | None = None) -> None:
        """Begin with the slot as it is. `lm` has the slot attached. `rate`: of learning, by step; None: `rate_at`."""
        self._rate = rate or rate_at
        self._lm = lm
        self._slot = slot
        named = adapter.parameters(lm, slot)
        self._parameters, self._average = list(named.values()), Averaged(named)
        self._optimiser = torch.optim.AdamW(self._parameters, lr=LEARNING_RATE, weight_decay=0.0)
        self._prompts: OrderedDict[str, PromptBatch] = OrderedDict()
        self.steps = 0

    def step(self, items: Sequence[Replayed], critic: Critic) -> float:
        """One optimiser step towards the critic on these decisions' prefixes.

        Returns:
            KL(target || model), mean nats per slot, before the step.
        """
        requests = [item.request for item in items]
        target, entropy = targets(requests, [item.decision for item in items], critic)
        for parameter in self._parameters:
            parameter.requires_grad_(True)  # noqa: FBT003 -- torch types it positional
        try:
            with self._lm.use_adapter(self._slot):
                table = self._lm.slot_log_prob_table(self._encoded(items), requests, [item.decision for item in items])
                loss = divergence(table, target.to(table.device, table.dtype), entropy)
                self._optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
        finally:
            for parameter in self._parameters:
                parameter.requires_grad_(False)  # noqa: FBT003 -- the same
        torch.nn.utils.clip_grad_norm_(self._parameters, MAX_NORM)
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate(self.steps)
        self._optimiser.step()
        self._average.follow()
        self.steps += 1
        return float(loss.detach())

    def averaged(self) -> dict[str, Tensor]:
        """What is worth serving: the mean of the last steps' adapters, by the names of `adapter.parameters`."""
        return self._average.tensors()

    def again(self) -> "Distiller":
        """A new optimiser on the slot as it is now; steps and encoded prompts stay."""
        other = Distiller(self._lm, self._slot, self._rate)
        other.steps, other._prompts = self.steps, self._prompts
        return other

    def _encoded(self, items: Sequence[Replayed]) -> PromptBatch:
        """The prompts, encoded once while they are remembered."""
        new = [item for item in items if item.strategy_id not in self._prompts]
        if new:
            fresh = self._lm.encode([item.request for item in new]).compact()
            for row, item in enumerate(new):
                self._prompts[item.strategy_id] = fresh.rows([row])
        for item in items:
            self._prompts.move_to_end(item.strategy_id)
        batch = join([self._prompts[item.strategy_id] for item in items])
        while len(self._prompts) > KEPT_PROMPTS:
            self._prompts.popitem(last=False)
        return batch

    def state(self) -> dict[str, Tensor]:
        """The optimiser's moments and steps, by position of the parameter, and the average, for a snapshot."""
        found: dict[str, Tensor] = {"steps": torch.tensor(self.steps), **self._average.state()}
        for place, parameter in enumerate(self._parameters):
            for name, value in self._optimiser.state.get(parameter, {}).items():
                found[f"{place}.{name}"] = torch.as_tensor(value).detach().clone().contiguous()
        return found

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave. The slot's own tensors are placed by the caller."""
        self.steps = int(state["steps"])
        self._average.restore(state)
        for place, parameter in enumerate(self._parameters):
            own = {key.split(".", 1)[1]: value for key, value in state.items() if key.startswith(f"{place}.")}
            if own:
                self._optimiser.state[parameter] = own


def rate_at(step: int) -> float:
    """The learning rate of a step, counted from 0."""
    return max(LEAST_RATE, LEARNING_RATE * math.sqrt(min(1.0, FULL_STEPS / max(step, 1))))


def drawn(count: int, batch: int, rng: np.random.Generator, recent: int = KEPT_PROMPTS) -> list[int]:
    """Places of a batch in a buffer of `count` decisions, oldest first, none twice: most of them among the `recent` newest."""
    batch, older = min(batch, count), max(count - recent, 0)
    of_older = min(older, batch - int(NEWER * batch)) if older else 0
    of_newer = min(batch - of_older, count - older)
    places = rng.choice(count - older, size=of_newer, replace=False) + older
    return [
        *(int(place) for place in rng.choice(max(older, 1), size=batch - of_newer, replace=False)),
        *map(int, places),
    ]


def targets(
    requests: Sequence[StrategyRequest], decisions: Sequence[dict[str, str]], critic: Critic
) -> tuple[Tensor, float]:
    """Per slot the critic's conditional along the decision.

    Returns:
        (slots of all requests in order, most values) probabilities, zero beyond a slot's values; and their mean
        entropy, nats per slot.
    """
    rows: list[Floats] = []
    for request, decision in zip(requests, decisions, strict=True):
        grid = ActionGrid.of(request)
        scores = action_scores(critic.mean.values(request, grid), grid, TARGET_TEMPERATURE)
        index = grid.index(decision)
        rows += [np.exp(critic_log_probs(scores, index[:depth])[0]) for depth in range(len(index))]
    table = np.zeros((len(rows), max(len(row) for row in rows)))
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    entropy = -float(np.sum(table * np.log(np.where(table > 0.0, table, 1.0)))) / len(rows)
    return torch.from_numpy(table), entropy


def divergence(log_probs: Tensor, target: Tensor, target_entropy: float) -> Tensor:
    """Mean KL per slot. Values of probability zero are left out of the product: their log-probability may be -inf."""
    width = target.shape[1]
    kept = torch.where(target > 0.0, log_probs[:, :width], torch.zeros_like(target))
    return -(target * kept).sum(1).mean() - target_entropy
