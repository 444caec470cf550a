"""One critic distilled into one base: `model/base_gate.py`'s trial to the last digit, for less.

What an examination does not ask is left out, and each held-out prompt is read once: an adapter acts behind the prompt alone.
"""

from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from model import adapter
from model.base_gate import BATCH, SHELF, STRANGERS, Student, choose, lift, permute, shelf, swap_texts, visit, walked
from model.batch import PromptBatch
from model.corpus import Example
from model.lm import LanguageModel
from model.teachers import Teacher, draw_teacher
from model.utility import utility
from streaming.contracts.kinds import Kind

Told = Callable[[int, float], None]
"""(LoRA step, its KL in nats) → None."""


class Tried(Struct, frozen=True):
    """What one critic came to in one base.

    Args:
        greedy: LoRA steps → lift of the likeliest decisions over the critic's own best, on customers not trained on.
        kl: to the targets over the last steps, nats per slot.
        permuted, swapped, unseen: as `model/base_gate.py`'s `Trial` has them.
    """

    greedy: dict[str, float]
    kl: float
    permuted: float
    swapped: float
    unseen: float


class Asked:
    """Held-out requests, read once by the bare base."""

    def __init__(self, lm: LanguageModel, critic: Teacher, examples: Sequence[Example]) -> None:
        """Read them, and ask the critic."""
        self._lm, self.examples = lm, examples
        self._parts = [examples[at : at + BATCH] for at in range(0, len(examples), BATCH)]
        self._prompts: list[PromptBatch] = [lm.encode([e.request for e in part]) for part in self._parts]
        self.worths = [utility(critic, example) for example in examples]

    def lift(self, slot: str) -> float:
        """Of an adapter's likeliest decisions."""
        with self._lm.use_adapter(slot):
            pairs = zip(self._parts, self._prompts, strict=True)
            chosen = [each for part, prompts in pairs for each in self._likeliest(part, prompts)]
        return lift(self.worths, chosen)

    def _likeliest(self, part: Sequence[Example], prompts: PromptBatch) -> list[tuple[int, ...]]:
        session = self._lm.session(prompts, [example.request for example in part])
        return walked(session, len(part), lambda logs: logs)


def tried(lm: LanguageModel, index: int, kind: Kind, marks: Sequence[int], train: int, test: int, told: Told) -> Tried:
    """Teach critic `index` of the strangers to a fresh adapter and measure it at the step counts `marks`.

    The model keeps the adapter slot; use one of its own.
    """
    critic, rng, slot = draw_teacher(STRANGERS, index), np.random.default_rng((STRANGERS, index, 1)), f"trial_{index}_"
    adapter.attach(lm, (slot,), seed=index)
    known, strange = shelf(index, kind, SHELF), shelf(index + 1000, kind, SHELF)
    student = Student(lm, critic, [visit(known, kind, rng) for _ in range(train)], slot, index)
    held = Asked(lm, critic, [visit(known, kind, rng) for _ in range(test)])
    greedy, losses = {}, []
    for step in range(1, max(marks) + 1):
        losses.append(student.step())
        told(step, losses[-1])
        if step in marks:
            greedy[str(step)] = held.lift(slot)
    normal = max(greedy[str(max(marks))], 1e-9)
    with lm.use_adapter(slot):
        swapped = choose(lm, [swap_texts(example.request) for example in held.examples], 0.0, rng)
    permuted = [permute(example, rng) for example in held.examples]
    unseen = [visit(strange, kind, rng) for _ in range(test)]
    return Tried(
        greedy,
        float(np.mean(losses[-20:])),
        permuted=Asked(lm, critic, permuted).lift(slot) / normal,
        swapped=lift(held.worths, swapped, first_slot=True),
        unseen=Asked(lm, critic, unseen).lift(slot) / normal,
    )
