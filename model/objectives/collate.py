"""Collators: rows of tokens to batches with targets. Every draw is seeded by (seed, example, round), never by a loader's state. Pure.

Masking is by whole words with the 80/10/10 rule (Devlin et al., "BERT", NAACL 2019, section 3.1; whole words as in its later release); the
collator of `transformers` for whole words takes no rule and fails on rows of different lengths.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import torch
from torch import Tensor

SHARE = 0.15
"""Of a row's words that are to be told."""
HIDDEN, SWAPPED = 0.8, 0.1
"""Of those: hidden behind the mask token, replaced by random tokens; the rest stays as it is."""
NO_WORD = -1
IGNORED = -100
"""As in `transformers`: a position that is no target."""


class Row(msgspec.Struct, frozen=True):
    """A tokenized text: token ids, for each the number of its word (`NO_WORD`: a mark such as [CLS]), and its segment."""

    ids: list[int]
    words: list[int]
    segments: list[int]


class Batch(msgspec.Struct, frozen=True):
    """Inputs (B, L) by name as the model takes them, and targets: (B, L) with `IGNORED`, or (B,) for pairs."""

    inputs: dict[str, Tensor]
    targets: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch({name: part.to(device) for name, part in self.inputs.items()}, self.targets.to(device))


class Vocabulary(msgspec.Struct, frozen=True):
    """What collating needs of a tokenizer. `ordinary`: ids that may stand in for a word, no marks among them."""

    pad: int
    mask: int | None
    ordinary: Sequence[int]
    segments: bool


def generator(seed: int, example: int, turn: int) -> np.random.Generator:
    """The draws of one example in one round."""
    return np.random.default_rng((seed, example, turn))


def padded(rows: Sequence[Row], vocabulary: Vocabulary) -> dict[str, Tensor]:
    """Inputs of rows of any lengths, filled up at the right."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), vocabulary.pad)
    seen, segments = torch.zeros_like(ids), torch.zeros_like(ids)
    for at, row in enumerate(rows):
        ids[at, : len(row.ids)] = torch.tensor(row.ids)
        segments[at, : len(row.ids)] = torch.tensor(row.segments)
        seen[at, : len(row.ids)] = 1
    inputs = {"input_ids": ids, "attention_mask": seen}
    return inputs | {"token_type_ids": segments} if vocabulary.segments else inputs


def causal(rows: Sequence[Row], vocabulary: Vocabulary) -> Batch:
    """Every token but the first is a target, told from those before it. Told by place: padding may share an id with the end mark."""
    inputs = padded(rows, vocabulary)
    inputs.pop("token_type_ids", None)
    targets = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, IGNORED)
    targets[:, 0] = IGNORED
    return Batch(inputs, targets)


def masked(rows: Sequence[Row], examples: Sequence[int], vocabulary: Vocabulary, seed: int, turn: int) -> Batch:
    """Whole words hidden, swapped or left; their tokens are the targets. `examples` are the rows' own numbers in the data."""
    changed, told = zip(
        *(mask_words(row, vocabulary, generator(seed, example, turn)) for row, example in zip(rows, examples, strict=True)),
        strict=True,
    )  # fmt: skip
    inputs = padded(changed, vocabulary)
    targets = torch.full_like(inputs["input_ids"], IGNORED)
    for at, row in enumerate(told):
        targets[at, : len(row)] = torch.tensor(row)
    return Batch(inputs, targets)


def mask_words(row: Row, vocabulary: Vocabulary, rng: np.random.Generator) -> tuple[Row, list[int]]:
    """A row with some of its words changed, and its targets: the tokens of the chosen words, else `IGNORED`."""
    assert vocabulary.mask is not None
    words = sorted(set(row.words) - {NO_WORD})
    count = min(max(round(SHARE * len(words)), 1), len(words))
    ids, targets = list(row.ids), [IGNORED] * len(row.ids)
    for word in sorted(rng.choice(words, count, replace=False).tolist()) if words else []:
        fate = rng.random()
        for at in (place for place, of in enumerate(row.words) if of == word):
            targets[at] = row.ids[at]
            if fate < HIDDEN:
                ids[at] = vocabulary.mask
            elif fate < HIDDEN + SWAPPED:
                ids[at] = vocabulary.ordinary[int(rng.integers(len(vocabulary.ordinary)))]
    return msgspec.structs.replace(row, ids=ids), targets


class Pairs(msgspec.Struct, frozen=True):
    """Sessions of customers, by place: `follows` has (session, its customer's next), `owners` the customer of each session."""

    follows: Sequence[tuple[int, int]]
    owners: Sequence[str]

    def drawn(self, example: int, *, next_one: bool, rng: np.random.Generator) -> tuple[int, int]:
        """The pair of an example: the next session, or one of another customer.

        Others are drawn from sessions that follow something as well, so that nothing but belonging together tells the two kinds apart.
        Needs two customers.
        """
        first, second = self.follows[example]
        while not next_one and self.owners[second] == self.owners[first]:
            second = self.follows[int(rng.integers(len(self.follows)))][1]
        return first, second
