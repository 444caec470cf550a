"""Texts as rows of tokens, and the batches of an objective for training and for judging. Pure."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from model.data.errors import Refused
from model.objectives.collate import NO_WORD, Batch, Pairs, Row, Vocabulary, causal, generator, masked, padded
from model.objectives.shapes import Objective, end_of
from model.objectives.texts import Part, Texts

HELD_TURN = 2**31 - 1
"""The round whose draws held-out examples have, each time that they are judged."""
MOST_JUDGED = 2_000
"""Held-out examples that are judged, drawn from the seed."""


class Examples(msgspec.Struct, frozen=True):
    """Of one part: rows (of pairs: sessions' texts, made into rows when drawn), and what is drawn as a whole for intervals."""

    groups: list[str]
    rows: list[Row] = []
    said: list[str] = []
    pairs: Pairs = Pairs([], [])


class Reader:
    """A tokenizer for an objective. What a text says stays text: `[MASK]` in a product's name is no mark."""

    def __init__(self, objective: Objective, tokenizer: Any, length: int, seed: int) -> None:
        """Read rows of at most `length` tokens."""
        self.objective, self.tokenizer, self.length, self.seed = objective, tokenizer, length, seed
        marks = set(tokenizer.all_special_ids)
        self.end = end_of(tokenizer) or 0
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.end
        ordinary = [number for number in sorted(tokenizer.get_vocab().values()) if number not in marks]
        self.vocabulary = Vocabulary(pad, tokenizer.mask_token_id, ordinary, "token_type_ids" in tokenizer.model_input_names)  # fmt: skip

    def examples(self, texts: Texts, part: Part) -> Examples:
        """The examples of a part.

        Raises:
            Refused: there is none; of pairs, when fewer than two customers have sessions that follow each other.
        """
        if self.objective == "nsp":
            follows = [pair for pair in texts.follows if texts.sessions[pair[0]].part == part]
            owners = [session.group for session in texts.sessions]
            if len({owners[first] for first, _ in follows}) < 2:  # noqa: PLR2004  # a pair needs another customer
                raise Refused(f"fewer than two customers have two sessions in the part {part!r}: nsp needs them")
            said = [session.said for session in texts.sessions]
            return Examples([owners[first] for first, _ in follows], said=said, pairs=Pairs(follows, owners))
        mine = texts.of(part)
        rows = [(text.group, row) for text, row in self._read([(text.said, text) for text in mine])]
        return Examples([group for group, _ in rows], rows=[row for _, row in rows])

    def _read(self, named: list[tuple[str, Any]]) -> list[tuple[Any, Row]]:
        if not named:
            return []
        whole = self.objective == "causal"
        found = self.tokenizer(
            [said for said, _ in named], add_special_tokens=not whole, truncation=not whole,
            max_length=None if whole else self.length, split_special_tokens=True, return_attention_mask=False, verbose=False,
        )  # fmt: skip
        rows = []
        for at, (_, text) in enumerate(named):
            ids = found["input_ids"][at]
            if whole:
                rows += [(text, row) for row in self._pieces(ids)]
            else:
                words = [NO_WORD if word is None else word for word in found.word_ids(at)]
                rows.append((text, Row(ids, words, [0] * len(ids))))
        return [(text, row) for text, row in rows if len(row.ids) > 1]

    def _pieces(self, ids: list[int]) -> list[Row]:
        """Begin mark, text, end mark, cut where the length ends; a piece begins with the token that the last one ended with."""
        bos = self.tokenizer.bos_token_id
        start: int = self.end if bos is None else bos
        marked = [start, *ids, self.end]
        step = self.length - 1
        pieces = [marked[at : at + self.length] for at in range(0, max(len(marked) - 1, 1), step)]
        return [Row(piece, [NO_WORD] * len(piece), [0] * len(piece)) for piece in pieces]

    def batch(self, examples: Examples, chosen: npt.NDArray[np.int64], turn: int) -> Batch:
        """A batch of some examples, as they are drawn in a round; held out, every pair is asked in both ways in turn."""
        if self.objective == "nsp":
            return self._pairs(examples, chosen, turn)
        rows = [examples.rows[at] for at in chosen]
        if self.objective == "causal":
            return causal(rows, self.vocabulary)
        return masked(rows, chosen.tolist(), self.vocabulary, self.seed, turn)

    def _pairs(self, examples: Examples, chosen: npt.NDArray[np.int64], turn: int) -> Batch:
        import torch

        firsts, seconds, others = [], [], []
        for at in chosen.tolist():
            rng = generator(self.seed, at, turn)
            next_one = bool(at % 2) if turn == HELD_TURN else bool(rng.random() < 0.5)  # noqa: PLR2004  # a fair coin
            first, second = examples.pairs.drawn(at, next_one=next_one, rng=rng)
            firsts.append(examples.said[first])
            seconds.append(examples.said[second])
            others.append(int(not next_one))  # 0 is "follows" in transformers
        found = self.tokenizer(
            firsts, seconds, truncation="longest_first", max_length=self.length,
            split_special_tokens=True, return_token_type_ids=True, return_attention_mask=False,
        )  # fmt: skip
        rows = [Row(ids, [], kinds) for ids, kinds in zip(found["input_ids"], found["token_type_ids"], strict=True)]
        return Batch(padded(rows, self.vocabulary), torch.tensor(others))

    def judged(self, examples: Examples) -> npt.NDArray[np.int64]:
        """The examples of a held-out part that are judged."""
        count = len(examples.groups)
        drawn = np.random.default_rng((self.seed, 1)).permutation(count)[:MOST_JUDGED]
        return np.sort(drawn)

    def frequencies(self, examples: Examples, words: int) -> npt.NDArray[np.float64]:
        """(words,) share of each token among what can be a target, one added to each count: what knows nothing but frequency."""
        counts: npt.NDArray[np.float64] = np.ones(words)
        for row in examples.rows:
            told = row.ids[1:] if self.objective == "causal" else _inner(row)
            np.add.at(counts, told, 1)
        shares: npt.NDArray[np.float64] = counts / counts.sum()
        return shares


def _inner(row: Row) -> Sequence[int]:
    return [number for number, word in zip(row.ids, row.words, strict=True) if word != NO_WORD]
