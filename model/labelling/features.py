"""Texts as directions whose inner products say how alike they are: tf-idf always, a sentence encoder and the served base where they are named.

Each rung is centred where it is dense (states of language models share one large direction) and has rows of length 1; kernels of the rungs
are summed. The names of the answers are texts too and lie in the same space.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model.data.errors import Refused

Floats = npt.NDArray[np.float32]
LETTERS = (2, 5)
"""Lengths of the runs of letters that tf-idf counts, within words: shops abbreviate."""
WORD = r"[^\W\d_]{2,}"
NUMBER = re.compile(r"\d+(?:[.,/]\d+)*")
"""Numbers tell sizes, not sorts: the runs of letters see them, words and dense states do not."""
LETTERS_SHARE = 2 / 3
"""Of the letters in tf-idf's weight; the rest is of whole words. Dense rungs weigh as much as tf-idf each."""
TOKENS = 64
BATCH = 64


class Features(NamedTuple):
    """One matrix of (n, d) per rung, sparse or dense."""

    rungs: tuple[Any, ...]
    weights: tuple[float, ...]

    def __len__(self) -> int:
        """Texts."""
        return int(self.rungs[0].shape[0])

    def at(self, places: Sequence[int] | npt.NDArray[np.int64]) -> "Features":
        """Some of the texts."""
        return Features(tuple(rung[places] for rung in self.rungs), self.weights)

    def kernel(self, other: "Features") -> Floats:
        """(n, m) weighted mean of the rungs' inner products, at most 1."""
        total = np.zeros((len(self), len(other)), dtype=np.float32)
        for weight, mine, theirs in zip(self.weights, self.rungs, other.rungs, strict=True):
            product = mine @ theirs.T
            total += np.float32(weight) * (product if isinstance(product, np.ndarray) else product.toarray())
        return total


class Ladder:
    """The rungs there are; fitted on texts without their labels."""

    def __init__(self, texts: Sequence[str], *, encoder: str = "", base: str | None = None) -> None:
        """Fit on all texts that may be asked about or judged.

        Args:
            texts: at least one.
            encoder: a sentence encoder by local path or hub name; empty: none.
            base: the served base by path or hub name, empty: the one that ships; none: without its states.

        Raises:
            Refused: a model cannot be loaded, or no text has a letter.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.letters = TfidfVectorizer(analyzer="char_wb", ngram_range=LETTERS, sublinear_tf=True, dtype=np.float32)
        self.words = TfidfVectorizer(token_pattern=WORD, sublinear_tf=True, dtype=np.float32)
        try:
            self.letters.fit(texts)
            self.words.fit(texts)
        except ValueError:
            raise Refused("the rows have no text to tell them by: name other --fields") from None
        self.dense: list[tuple[Any, Floats]] = []
        self.names = ["tf-idf"]
        for name, made in (("encoder", _Encoder(encoder) if encoder else None), ("base", None if base is None else _Base(base))):  # fmt: skip
            if made is not None:
                self.names.append(name)
                self.dense.append((made, made.states(sorted({without_numbers(text) for text in texts})).mean(0)))

    def of(self, texts: Sequence[str]) -> Features:
        """Features of texts, in their order; equal texts are read once."""
        unique = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        places = np.array([unique[text] for text in texts], dtype=np.int64)
        found = [self.letters.transform(unique)[places], self.words.transform(unique)[places]]
        for model, centre in self.dense:
            states = model.states([without_numbers(text) for text in unique]) - centre
            found.append((states / np.maximum(np.linalg.norm(states, axis=1, keepdims=True), 1e-6))[places])
        each = 1.0 / (1 + len(self.dense))
        return Features(tuple(found), (each * LETTERS_SHARE, each * (1 - LETTERS_SHARE), *[each] * len(self.dense)))


def without_numbers(text: str) -> str:
    """The text without its numbers."""
    return " ".join(NUMBER.sub("", text).split())


class _Encoder:
    """A sentence encoder: mean of the last states over the tokens (Reimers & Gurevych, EMNLP 2019, section 3)."""

    def __init__(self, source: str) -> None:
        """Load it, safetensors only, none of its code; a causal model is refused."""
        from model.response.encoder import loaded

        self.model, self.tokenizer = loaded(source)
        self.model.eval()
        self.known: dict[str, Floats] = {}

    def states(self, texts: Sequence[str]) -> Floats:
        """(n, width) of unit length; each text is read once, the short ones together."""
        missing = sorted({text for text in texts if text not in self.known}, key=len)
        for begin in range(0, len(missing), BATCH):
            some = missing[begin : begin + BATCH]
            for text, state in zip(some, pooled(self.model, self.tokenizer, some), strict=True):
                self.known[text] = state
        return np.stack([self.known[text] for text in texts])


class _Base(_Encoder):
    """The served base: mean of the last states of a causal model, as candidates are pooled for its pointer."""

    def __init__(self, source: str) -> None:
        """Load it as the worker does."""
        from model.lm import LanguageModel

        try:
            loaded = LanguageModel.load(source, device="cpu")
        except (OSError, ValueError) as error:
            raise Refused(f"{source} cannot be loaded as a base: {' '.join(str(error).split())[:200]}") from None
        self.model, self.tokenizer = loaded.backbone, loaded.spelling.tokenizer
        self.known = {}


def pooled(model: Any, tokenizer: Any, texts: Sequence[str]) -> Floats:
    """(n, width) mean states of texts, lower-cased and cut at `TOKENS`, of unit length."""
    import torch

    ids = [tokenizer(text.lower(), truncation=True, max_length=TOKENS)["input_ids"] or [0] for text in texts]
    words = torch.zeros((len(ids), max(map(len, ids))), dtype=torch.long)
    seen = torch.zeros_like(words)
    for row, each in enumerate(ids):
        words[row, : len(each)] = torch.tensor(each)
        seen[row, : len(each)] = 1
    with torch.inference_mode():
        states = model(input_ids=words, attention_mask=seen).last_hidden_state.float()
    mean = (states * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
    found: Floats = torch.nn.functional.normalize(mean, dim=1).numpy()
    return found
