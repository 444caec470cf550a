"""One step of making a base: what it is asked, and the losses of its answers.

Each prompt is read once and followed by several packed suffixes, each begun by the token that names a teacher (or by the
usual start: the prior). Beside the teachers, every candidate's text must give back its attributes, so that pointing can
tell candidates apart, the prompt's end must give back the customer's, and messages are learned from the phrases.
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from model.batch import PromptBatch
from model.corpus import CUSTOMER, FAMILIES, Example, compose
from model.lm import LanguageModel
from model.spelling import Spelling
from model.suffix import Pack
from model.teachers import Teacher
from model.tokenizer import teacher_token
from model.trie import Path
from model.utility import conditionals, prior_utility, sharpen, utility
from model.wording import compose as compose_message
from model.writing import context


class Lesson(msgspec.Struct, frozen=True):
    """One suffix: whose choice (None: the prior's), the decision that is forced, and the soft targets per slot."""

    row: int
    teacher: int | None
    decision: dict[str, str]
    targets: list[npt.NDArray[np.float64]]


LAYERS_READ = 2
"""The last layers, whose values have seen the whole prompt; a base may have fewer."""


class Reconstruction(nn.Module):
    """Reads a candidate's attributes off its pooled state and its tag's, the customer's off the last values; thrown away afterwards.

    These are the values that a prompt's last token offers to what follows it. An adapter sees no more of a prompt than that: what no
    linear layer finds in these places, an adapter hardly finds.
    """

    def __init__(self, width: int, values: int, layers: int = LAYERS_READ) -> None:
        """One linear layer per place of reading.

        Args:
            width: of a state. values: of one layer's values, all heads together. layers: of the base that are read, the last ones.
        """
        super().__init__()
        self.pooled = nn.Linear(width, sum(FAMILIES.values()))
        self.tagged = nn.Linear(width, sum(FAMILIES.values()))
        self.customer = nn.ModuleList(nn.Linear(values, sum(CUSTOMER.values())) for _ in range(layers))

    def loss(self, pooled: Tensor, tagged: Tensor, attributes: Tensor) -> Tensor:
        """(M, D) states of candidates and (M, families) attributes → mean cross-entropy."""
        parts = [_told(logits, FAMILIES, attributes) for logits in (self.pooled(pooled), self.tagged(tagged))]
        return torch.stack(parts).mean()

    def customer_loss(self, values: Tensor, attributes: Tensor) -> Tensor:
        """(B, layers, values) of the last token in the last layers and (B, attributes) → mean cross-entropy."""
        read = zip(self.customer, values.unbind(1), strict=True)
        return torch.stack([_told(layer(part), CUSTOMER, attributes) for layer, part in read]).mean()


def _told(logits: Tensor, sizes: Mapping[str, int], attributes: Tensor) -> Tensor:
    parts = torch.split(logits, list(sizes.values()), dim=-1)
    return torch.stack([cross_entropy(part, attributes[:, place]) for place, part in enumerate(parts)]).mean()


def reconstruction_of(lm: LanguageModel) -> Reconstruction:
    """Layers that fit a base's states and values."""
    shape = lm.read([compose(np.random.default_rng(0)).request])[0].memory.shape
    return Reconstruction(lm.pointer.point.shape[0], shape[3] * shape[5], min(LAYERS_READ, shape[1]))


def lessons(
    examples: Sequence[Example], teachers: Sequence[Teacher], suffixes: int, rng: np.random.Generator
) -> list[Lesson]:
    """`suffixes` lessons per example, of different teachers, the first of each by the prior."""
    out = []
    for row, example in enumerate(examples):
        chosen = rng.choice(len(teachers), size=suffixes - 1, replace=False)
        for who in (None, *(int(index) for index in chosen)):
            worth = prior_utility(example) if who is None else utility(teachers[who], example)
            out.append(_lesson(row, who, example, sharpen(worth) * (PRIOR_SHARPNESS if who is None else 1.0), rng))
    return out


PRIOR_SHARPNESS = 0.5
GREEDY_PREFIX = 0.5
"""How often a value that is forced is the teacher's draw rather than any allowed one."""


def _lesson(
    row: int, who: int | None, example: Example, logits: npt.NDArray[np.float64], rng: np.random.Generator
) -> Lesson:
    if rng.random() < GREEDY_PREFIX:
        noisy = logits + rng.gumbel(size=logits.shape)
        index = tuple(int(i) for i in np.unravel_index(int(noisy.argmax()), logits.shape))
    else:
        index = tuple(int(rng.integers(size)) for size in logits.shape)
    slots = example.request.slots
    decision = {slot.name: slot.values[place] for slot, place in zip(slots, index, strict=True)}
    return Lesson(row, who, decision, conditionals(logits, index))


def teacher_loss(
    lm: LanguageModel, examples: Sequence[Example], asked: Sequence[Lesson], heads: Reconstruction
) -> tuple[Tensor, Tensor, Tensor]:
    """KL to the teachers per slot, the part of it at pointed slots (both means, nats), and the reconstruction loss."""
    prompts, states, _ = lm.read([example.request for example in examples])
    pack = Pack(prompts.lengths)
    for lesson in asked:
        start = lm.spelling.start if lesson.teacher is None else (teacher_token(lm.spelling.tokenizer, lesson.teacher),)
        lm.lay_out(pack, lesson.row, examples[lesson.row].request, lesson.decision, start)
    table = lm.follow(prompts, pack)
    targets = torch.zeros_like(table)
    flat = [target for lesson in asked for target in lesson.targets]
    for index, target in enumerate(flat):
        targets[index, : len(target)] = torch.from_numpy(target)
    divergence = (targets * (targets.clamp_min(1e-9).log() - table)).sum(-1)
    pointed = torch.tensor([pack.points[slot.routes[0][0][0]].pointed for slot in pack.slots])
    return (
        divergence.mean(),
        divergence[pointed].mean().detach(),
        _reconstruction(lm, examples, prompts, states, heads) + _customer(examples, prompts, heads),
    )


def _reconstruction(
    lm: LanguageModel, examples: Sequence[Example], prompts: PromptBatch, states: Tensor, heads: Reconstruction
) -> Tensor:
    rows, places, tags, attributes = [], [], [], []
    for row, example in enumerate(examples):
        _, spans = lm.spelling.prompt(example.request)
        for place, (_, end) in enumerate(spans):
            rows.append(row)
            places.append(place)
            tags.append(end + len(lm.spelling.tag(place)) - 1)
            attributes.append(example.attributes[place])
    return heads.loss(prompts.pooled[rows, places], states[rows, tags], torch.tensor(attributes))


def _customer(examples: Sequence[Example], prompts: PromptBatch, heads: Reconstruction) -> Tensor:
    ends = torch.tensor(prompts.lengths) - 1
    values = prompts.memory[torch.arange(len(ends)), -len(heads.customer) :, 1, :, ends].flatten(2)
    return heads.customer_loss(values, torch.tensor([example.customer for example in examples]))


def causal_loss(lm: LanguageModel, examples: Sequence[Example]) -> Tensor:
    """Next-token cross-entropy over prompts: the first, plain part of pretraining."""
    prompts, states, ids = lm.read([example.request for example in examples])
    real = prompts.visible()[:, 1:]
    logits = lm.causal.get_output_embeddings()(states[:, :-1][real])
    return cross_entropy(logits, ids[:, 1:][real])


def message_of(example: Example, rng: np.random.Generator) -> tuple[dict[str, str], str]:
    """A random decision of a request and a composed message for it."""
    request = example.request
    decision = {slot.name: slot.values[int(rng.integers(len(slot.values)))] for slot in request.slots}
    return decision, compose_message(request.kind, request.language, request.trigger, decision, rng)


def message_tokens(spelling: Spelling, example: Example, rng: np.random.Generator) -> tuple[Path, Path]:
    """Context and text of one composed message."""
    decision, raw = message_of(example, rng)
    before = tuple(token for piece in context(example.request, decision) for token in spelling.ids(piece))
    return before, (*spelling.ids(" " + raw), *spelling.end)


def message_loss(lm: LanguageModel, count: int, rng: np.random.Generator) -> Tensor:
    """Cross-entropy of composed messages given their contexts."""
    pairs = [message_tokens(lm.spelling, compose(rng, candidates=(2, 2)), rng) for _ in range(count)]
    width = max(len(before) + len(after) for before, after in pairs)
    tokens = torch.zeros((count, width), dtype=torch.long)
    wanted = torch.full((count, width), IGNORED)
    for row, (before, after) in enumerate(pairs):
        tokens[row, : len(before) + len(after)] = torch.tensor((*before, *after))
        wanted[row, len(before) - 1 : len(before) + len(after) - 1] = torch.tensor(after)
    sees = torch.ones(width, width, dtype=torch.bool).tril().expand(count, -1, -1)
    positions = torch.arange(width).expand(count, -1)
    states = lm.forward(lm.backbone.get_input_embeddings()(tokens), positions, sees, None)
    asked = wanted != IGNORED
    return cross_entropy(lm.causal.get_output_embeddings()(states[asked]), wanted[asked])


IGNORED = -100


def compose_batch(count: int, rng: np.random.Generator) -> list[Example]:
    """The examples of one step."""
    return [compose(rng) for _ in range(count)]
