"""The encoder: a bidirectional model of `transformers` that reads words and numbers of an exposure and answers with a log-odds per label.

Numbers are tokens as well: each has a direction of its own, scaled by its value (Gorishniy et al., "Revisiting Deep Learning Models for Tabular
Data", NeurIPS 2021, section 3.3). Words and numbers see each other in every layer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from model.data.errors import Refused
from model.objectives.shapes import checkpoint, fits, reads_both_ways, words_of

Floats = npt.NDArray[np.float64]
WORDS = 48
"""Tokens of text at most."""
FAR = 4.0
"""Standardised numbers are cut here: one shopper with a thousand orders must not decide the scale."""


class ResponseEncoder(nn.Module):
    """Backbone, a direction per number, a head, and a straight way from the numbers to the answer (Cheng et al., "Wide & Deep", 2016)."""

    def __init__(self, backbone: Any, numbers: int, labels: int, dropout: float, unsaid: float = 0.0) -> None:
        """Add number tokens and a head to a bidirectional backbone; in training a share `unsaid` of the words is hidden."""
        super().__init__()
        width = backbone.config.hidden_size
        self.backbone = backbone
        self.scale = nn.Parameter(torch.randn(numbers, width) * 0.05)
        self.shift = nn.Parameter(torch.randn(numbers, width) * 0.05)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, labels)
        self.straight = nn.Linear(numbers, labels)
        nn.init.zeros_(self.straight.weight)
        self.unsaid = unsaid

    def forward(self, words: Tensor, seen: Tensor, numbers: Tensor) -> Tensor:
        """(B, L) tokens, (B, L) which of them are there, (B, F) numbers → (B, labels) log-odds."""
        if self.training and self.unsaid:
            seen = seen * (torch.rand(seen.shape, device=seen.device) > self.unsaid)
        said = self.backbone.get_input_embeddings()(words)
        counted = numbers[..., None] * self.scale + self.shift
        there = torch.cat((seen, torch.ones(numbers.shape, dtype=seen.dtype, device=seen.device)), 1)
        states = self.backbone(inputs_embeds=torch.cat((said, counted), 1), attention_mask=there).last_hidden_state
        first = states[:, -there.shape[1]]  # a learned prompt stands before it
        answer: Tensor = self.head(self.dropout(first)) + self.straight(numbers)
        return answer


def fresh(texts: Sequence[str], seed: int, *, width: int, layers: int, dropout: float) -> tuple[Any, Any]:
    """A small BERT with random weights, and a WordPiece tokenizer trained on the texts."""
    from transformers import BertConfig, BertModel

    from model.training.words import wordpiece

    tokenizer = wordpiece(texts, 2_000)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=width, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=2 * width,
        max_position_embeddings=256, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(seed)
    backbone = BertModel(config, add_pooling_layer=False)  # type: ignore[no-untyped-call]  # transformers' own lack
    return backbone, tokenizer


def loaded(source: str) -> tuple[Any, Any]:
    """A bidirectional checkpoint and its tokenizer, by local path or hub name; safetensors only, none of its code.

    Raises:
        Refused: it cannot be read, is no encoder, or its tokenizer is not its own.
    """
    from transformers import AutoModel

    backbone = checkpoint(AutoModel, source, "an encoder")
    made = backbone.config
    if getattr(made, "is_encoder_decoder", False) or not reads_both_ways(made):
        raise Refused(
            f"{source} is a {made.model_type}, which reads in one direction or writes: the response model wants an encoder"
        )
    tokenizer = words_of(source)
    fits(backbone, tokenizer, None)
    if tokenizer.pad_token is None or not tokenizer.is_fast:
        raise Refused(f"the tokenizer at {source} has no pad_token, or no tokenizer.json: the encoder needs both")
    return backbone, tokenizer


def lengthened(backbone: Any, tokens: int) -> None:
    """Let a model with a table of positions read so many tokens: those behind its end stand where the last one stands.

    Numbers stand behind the words; a direction of its own tells each, not its position.

    Raises:
        Refused: it is too short and has no such table.
    """
    most = getattr(backbone.config, "max_position_embeddings", tokens)
    if most >= tokens:
        return
    body = getattr(backbone, "embeddings", None)
    table = getattr(body, "position_embeddings", None)
    if body is None or table is None or table.padding_idx is not None:
        raise Refused(f"a {backbone.config.model_type} of {most} tokens cannot read {tokens}: bring one that is longer")
    rows = torch.cat((table.weight.detach(), table.weight.detach()[-1:].expand(tokens - most, -1)))
    body.position_embeddings = nn.Embedding.from_pretrained(rows, freeze=False)  # type: ignore[no-untyped-call]  # torch's own lack
    body.register_buffer("position_ids", torch.arange(tokens)[None], persistent=False)
    body.register_buffer("token_type_ids", torch.zeros(1, tokens, dtype=torch.long), persistent=False)
    backbone.config.max_position_embeddings = tokens


class Inputs:
    """Exposures as the encoder reads them; standardised by the rows that it is fitted on."""

    def __init__(
        self,
        tokenizer: Any,
        texts: Sequence[str],
        numbers: Floats,
        fitted: npt.NDArray[np.int64] | None,
        scale: tuple[Floats, Floats] | None = None,
        length: int = 0,
    ) -> None:
        """Tokenise and standardise.

        Args:
            scale: mean and spread of the numbers, where no rows are fitted on.
            length: tokens that a text takes, padded: numbers stand after them, where they stood in training; 0: the longest text's.
        """
        self.tokenizer = tokenizer
        encoded = tokenizer(list(texts), truncation=True, max_length=WORDS, padding="max_length", return_tensors="np")
        longest = length or int(encoded["attention_mask"].sum(1).max())
        self.words = torch.from_numpy(encoded["input_ids"][:, :longest].astype(np.int64))
        self.seen = torch.from_numpy(encoded["attention_mask"][:, :longest].astype(np.int64))
        self.mean: Floats
        self.spread: Floats
        self.mean, self.spread = scale or (numbers[fitted].mean(0), numbers[fitted].std(0) + 1e-6)
        self.numbers = torch.from_numpy(np.clip((numbers - self.mean) / self.spread, -FAR, FAR).astype(np.float32))

    def of(self, rows: npt.NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """The encoder's arguments for some rows."""
        at = torch.from_numpy(rows)
        return tuple(part[at].to(device) for part in (self.words, self.seen, self.numbers))  # type: ignore[return-value]


@torch.no_grad()
def log_odds(model: ResponseEncoder, inputs: Inputs, rows: npt.NDArray[np.int64], device: torch.device) -> Floats:
    """(rows, labels) of the model as it stands."""
    model.eval()
    parts = [model(*inputs.of(rows[at : at + 512], device)) for at in range(0, len(rows), 512)]
    found: Floats = torch.cat(parts).float().cpu().numpy().astype(np.float64)
    return found


def masked_loss(odds: Tensor, answers: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy over the labels that are known (not NaN); an answered one counts `weights` times, per label."""
    known = ~answers.isnan()
    target = torch.where(known, answers, torch.zeros_like(answers))
    loss = nn.functional.binary_cross_entropy_with_logits(odds, target, pos_weight=weights, reduction="none")
    return (loss * known).sum() / known.sum().clamp_min(1)


def temperature(odds: Floats, answers: Floats) -> float:
    """What log-odds are divided by so that they fit the answers best (Guo et al., ICML 2017), between .25 and 4."""
    from scipy.optimize import minimize_scalar

    known = ~np.isnan(answers)
    x, y = odds[known], answers[known]
    if not 0 < y.sum() < len(y):
        return 1.0

    def loss(logarithm: float) -> float:
        z = x / np.exp(logarithm)
        return float(np.mean(np.logaddexp(0.0, z) - y * z))

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.25), np.log(4.0)), method="bounded").x))
