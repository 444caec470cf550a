"""What a base must show before it is served: that it can be taught, reads text, and does not care for names.

A critic that the base has never met (a teacher of another population) is distilled into a LoRA adapter by the recipe of
serving, over a small catalogue; then the adapter decides for customers it has not seen.
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from model import adapter
from model.batch import PromptBatch
from model.corpus import RELATIONS_FROM, Example, compose
from model.lm import LanguageModel
from model.session import DecodeSession
from model.teachers import Floats, Teacher, draw_teacher
from model.utility import conditionals, utility
from streaming.contracts.kinds import GRAMMARS, Kind
from streaming.contracts.strategies import StrategyRequest

NAMES_PERMUTED, TEXTS_SWAPPED, UNSEEN_PRODUCTS = 0.95, 0.15, 0.90
"""Least share of the normal lift with names permuted, most lift with texts swapped, least share on unseen products.

With texts swapped a base that reads is below chance rather than at it: where it points, the best one no longer stands.
"""
STRANGERS = 90_001
"""Seed of the population that no base is pretrained on."""
SHARPNESS = 8.0
"""Standard deviations of the utility per unit of the targets' softmax: nearly the critic's best action, as in serving."""
RATE, BATCH = 4e-3, 64

Catalogue = tuple[Example, ...]


class Taught(msgspec.Struct, frozen=True):
    """Lift of the adapted base over that of the critic's own best actions, on customers not trained on."""

    greedy: float
    sampled: float
    """At temperature .4."""


class Trial(msgspec.Struct, frozen=True):
    """One unseen critic.

    Args:
        after: LoRA steps → how well it was taught. kl: to the targets at the end, nats per slot.
        permuted: lift with names permuted over the normal one. swapped: lift of the first slot with texts swapped.
        unseen: lift on unseen products over the normal one.
    """

    after: dict[str, Taught]
    kl: float
    permuted: float
    swapped: float
    unseen: float

    @property
    def passes(self) -> bool:
        """Whether the trial is within the gate's bounds."""
        return self.permuted >= NAMES_PERMUTED and self.swapped <= TEXTS_SWAPPED and self.unseen >= UNSEEN_PRODUCTS


def shelf(seed: int, kind: Kind, size: int) -> Catalogue:
    """Single-candidate examples whose words and prices make a catalogue."""
    rng = np.random.default_rng((seed, 5))
    return tuple(compose(rng, kind, candidates=(2, 2)) for _ in range(size))


def visit(catalogue: Catalogue, kind: Kind, rng: np.random.Generator) -> Example:
    """A request whose candidates come from a catalogue; how the customer relates to them is new each time."""
    example = compose(rng, kind, candidates=(4, 8))
    candidates, attributes = [], []
    for place, old in enumerate(example.request.candidates):
        stock = catalogue[int(rng.integers(len(catalogue)))]
        at = next((i for i, c in enumerate(stock.request.candidates) if c.what == old.what), 0)
        candidates.append(
            msgspec.structs.replace(stock.request.candidates[at], id=old.id, what=old.what, relation=old.relation)
        )
        attributes.append(stock.attributes[at][:RELATIONS_FROM] + example.attributes[place][RELATIONS_FROM:])
    return Example(
        msgspec.structs.replace(example.request, candidates=tuple(candidates)),
        tuple(attributes),
        example.customer,
    )


def permute(example: Example, rng: np.random.Generator) -> Example:
    """The same candidates under each other's names and in another order."""
    request = example.request
    order = rng.permutation(len(request.candidates))
    names = {candidate.id: request.candidates[order[i]].id for i, candidate in enumerate(request.candidates)}
    moved = tuple(msgspec.structs.replace(c, id=names[c.id]) for c in request.candidates)
    shuffled = rng.permutation(len(moved))
    grammar = GRAMMARS[request.kind]
    slots = tuple(
        msgspec.structs.replace(slot, values=tuple(names[v] for v in slot.values))
        if slot.name in grammar.candidate_slots
        else slot
        for slot in request.slots
    )
    asked = msgspec.structs.replace(request, candidates=tuple(moved[i] for i in shuffled), slots=slots)
    return Example(asked, tuple(example.attributes[i] for i in shuffled), example.customer)


def swap_texts(request: StrategyRequest) -> StrategyRequest:
    """Every candidate keeps its id and shows the text of the next one of its sort."""
    candidates = list(request.candidates)
    for what in {candidate.what for candidate in candidates}:
        places = [i for i, candidate in enumerate(request.candidates) if candidate.what == what]
        for here, there in zip(places, places[1:] + places[:1], strict=True):
            candidates[here] = msgspec.structs.replace(request.candidates[there], id=request.candidates[here].id)
    return msgspec.structs.replace(request, candidates=tuple(candidates))


def choose(
    lm: LanguageModel, requests: Sequence[StrategyRequest], temperature: float, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Decisions of the active adapter, as places among the slots' values."""
    session = lm.session(lm.encode(requests), requests)
    return walked(session, len(requests), lambda logs: logs + rng.gumbel(size=len(logs)) * temperature)


def walked(session: DecodeSession, rows: int, scored: Callable[[Floats], Floats]) -> list[tuple[int, ...]]:
    """Per row the best of each slot by what `scored` makes of its log-probabilities, as places among the slots' values."""
    chosen: list[list[int]] = [[] for _ in range(rows)]
    while not session.done:
        picks = []
        for row, logs in enumerate(session.log_probs()):
            picks.append(int(scored(logs).argmax()) if len(logs) else 0)
            if len(logs):
                chosen[row].append(picks[-1])
        session.choose(picks)
    return [tuple(each) for each in chosen]


def lift(worths: Sequence[Floats], chosen: Sequence[tuple[int, ...]], *, first_slot: bool = False) -> float:
    """(value − random) / (best − random), means over requests; of the first slot alone if asked, the rest at its best."""
    if first_slot:
        worths = [worth.reshape(worth.shape[0], -1).max(1) for worth in worths]
        chosen = [places[:1] for places in chosen]
    got = float(np.mean([worth[places] for worth, places in zip(worths, chosen, strict=True)]))
    random = float(np.mean([worth.mean() for worth in worths]))
    best = float(np.mean([worth.max() for worth in worths]))
    return (got - random) / max(best - random, 1e-9)


class Student:
    """An adapter that is being taught by one critic on one catalogue."""

    def __init__(self, lm: LanguageModel, critic: Teacher, examples: Sequence[Example], slot: str, seed: int) -> None:
        """Encode the examples once; the prompts do not depend on the adapter."""
        self.lm, self.slot, self.examples = lm, slot, examples
        self.rng = np.random.default_rng((seed, 11))
        parts = [examples[at : at + BATCH] for at in range(0, len(examples), BATCH)]
        self.prompts: list[PromptBatch] = [lm.encode([e.request for e in part]).compact() for part in parts]
        self.logits = [_targets(critic, example) for example in examples]
        self.parameters = list(adapter.parameters(lm, slot).values())
        for parameter in self.parameters:
            parameter.requires_grad = True
        self.optimizer = torch.optim.AdamW(self.parameters, lr=RATE, weight_decay=0.0)

    def step(self) -> float:
        """One batch; returns its KL to the targets, nats per slot."""
        at = int(self.rng.integers(len(self.prompts)))
        examples = self.examples[at * BATCH : (at + 1) * BATCH]
        indices = [self._prefix(logits) for logits in self.logits[at * BATCH : (at + 1) * BATCH]]
        requests = [example.request for example in examples]
        decisions = [
            {slot.name: slot.values[place] for slot, place in zip(r.slots, index, strict=True)}
            for r, index in zip(requests, indices, strict=True)
        ]
        flat = [
            t
            for logits, index in zip(self.logits[at * BATCH :], indices, strict=False)
            for t in conditionals(logits, index)
        ]
        with self.lm.use_adapter(self.slot):
            table = self.lm.slot_log_prob_table(self.prompts[at], requests, decisions)
            targets = torch.zeros_like(table)
            for row, target in enumerate(flat):
                targets[row, : len(target)] = torch.from_numpy(target)
            loss = (targets * (targets.clamp_min(1e-9).log() - table)).sum(-1).mean()
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own lack
        self.optimizer.step()
        return float(loss.detach())

    def _prefix(self, logits: Floats) -> tuple[int, ...]:
        noisy = (
            logits + self.rng.gumbel(size=logits.shape) if self.rng.random() < HALF else self.rng.random(logits.shape)
        )
        return tuple(int(i) for i in np.unravel_index(int(noisy.argmax()), logits.shape))


HALF = 0.5


def _targets(critic: Teacher, example: Example) -> Floats:
    worth = utility(critic, example)
    scaled: npt.NDArray[np.float64] = SHARPNESS * (worth - worth.max()) / max(float(worth.std()), 1e-6)
    return scaled


def trial(
    lm: LanguageModel,
    index: int,
    *,
    kind: Kind,
    marks: Sequence[int] = (100, 400),
    train: int = 1024,
    test: int = 256,
    progress: Callable[[int, float], None] | None = None,
) -> Trial:
    """Teach critic `index` of the strangers to a fresh adapter and measure it at the step counts `marks`.

    The model keeps the adapter slot; use one of its own.
    """
    critic, rng, slot = draw_teacher(STRANGERS, index), np.random.default_rng((STRANGERS, index, 1)), f"trial_{index}_"
    adapter.attach(lm, (slot,), seed=index)
    known, strange = shelf(index, kind, SHELF), shelf(index + 1000, kind, SHELF)
    student = Student(lm, critic, [visit(known, kind, rng) for _ in range(train)], slot, index)
    held = [visit(known, kind, rng) for _ in range(test)]
    after, losses = {}, []
    for step in range(1, max(marks) + 1):
        losses.append(student.step())
        if progress is not None:
            progress(step, losses[-1])
        if step in marks:
            after[str(step)] = Taught(_measured(lm, slot, critic, held, 0.0), _measured(lm, slot, critic, held, 0.4))
    normal = after[str(max(marks))].greedy
    swapped = [Example(swap_texts(e.request), e.attributes, e.customer) for e in held]
    worths = [utility(critic, e) for e in held]
    with lm.use_adapter(slot):
        blind = lift(worths, choose(lm, [e.request for e in swapped], 0.0, rng), first_slot=True)
    return Trial(
        after,
        float(np.mean(losses[-20:])),
        permuted=_measured(lm, slot, critic, [permute(e, rng) for e in held], 0.0) / max(normal, 1e-9),
        swapped=blind,
        unseen=_measured(lm, slot, critic, [visit(strange, kind, rng) for _ in range(test)], 0.0) / max(normal, 1e-9),
    )


SHELF = 64
"""Products of a trial's catalogue."""


def _measured(lm: LanguageModel, slot: str, critic: Teacher, examples: Sequence[Example], temperature: float) -> float:
    rng = np.random.default_rng((STRANGERS, 2))
    with lm.use_adapter(slot):
        chosen = [
            each
            for at in range(0, len(examples), BATCH)
            for each in choose(lm, [e.request for e in examples[at : at + BATCH]], temperature, rng)
        ]
    return lift([utility(critic, example) for example in examples], chosen)
