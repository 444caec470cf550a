"""Requests and decisions for the tests of the language model's room."""

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from model.corpus import compose
from model.lm import LanguageModel
from model.pointer import Pointer
from streaming.contracts.kinds import KIND_NAMES
from streaming.contracts.strategies import StrategyRequest

Decision = dict[str, str]


def requests(count: int, seed: int = 0) -> list[StrategyRequest]:
    """Composed requests, the four kinds in turn."""
    rng = np.random.default_rng(seed)
    return [compose(rng, KIND_NAMES[index % len(KIND_NAMES)]).request for index in range(count)]


def any_decision(request: StrategyRequest, rng: np.random.Generator) -> Decision:
    """A random allowed value per slot."""
    return {slot.name: slot.values[int(rng.integers(len(slot.values)))] for slot in request.slots}


def bytes_lm() -> LanguageModel:
    """A tiny GPT-2 whose tokenizer knows single bytes only: every closed value has many tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={mark: i for i, mark in enumerate([*alphabet, "<end>"])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers' own lack
        tokenizer_object=tokenizer,
        eos_token="<end>",  # noqa: S106
    )
    config = GPT2Config(
        vocab_size=257,
        n_positions=4096,
        n_embd=32,
        n_layer=2,
        n_head=2,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=256,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        causal = GPT2LMHeadModel(config)  # type: ignore[no-untyped-call]  # transformers' own lack
        pointer = Pointer(32)
        torch.nn.init.normal_(pointer.point)
        torch.nn.init.normal_(pointer.echo)
    return LanguageModel(causal, fast, pointer, "bytes")
