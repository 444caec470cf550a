"""A new small base: the architecture of the one that ships, with random weights."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from model.lm import LanguageModel
from model.pointer import Pointer
from model.tokenizer import TEACHER_NAMES, train

WIDTH = 128
LAYERS = 4


def new_base(
    tokenizer: PreTrainedTokenizerFast, seed: int, *, width: int = WIDTH, layers: int = LAYERS
) -> tuple[LlamaForCausalLM, Pointer]:
    """Weights drawn from `seed` alone; the global generator is left as it was."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,  # half the bytes of a remembered prompt
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.05,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        base = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]  # transformers' own lack
        pointer = drawn_pointer(width)
    return base, pointer


def adopt(source: str, seed: int) -> LanguageModel:
    """A base by name or path with what it lacks for fine-tuning: names for the teachers, and a pointer drawn from `seed`.

    A pointer that it already has is kept.
    """
    lm = LanguageModel.load(source, "cpu")
    known = set(lm.spelling.tokenizer.get_vocab())
    lm.spelling.tokenizer.add_special_tokens(
        {"additional_special_tokens": [name for name in TEACHER_NAMES if name not in known]}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lm.causal.resize_token_embeddings(max(len(lm.spelling.tokenizer), lm.causal.config.vocab_size))
        pointer = (
            Pointer(lm.pointer.point.shape[0]) if lm.pointer.point.any() else drawn_pointer(lm.pointer.point.shape[0])
        )
    if lm.pointer.point.any():
        pointer.load_state_dict(lm.pointer.state_dict())
    return LanguageModel(lm.causal, lm.spelling.tokenizer, pointer, source)


def drawn_pointer(width: int) -> Pointer:
    """A pointer of small random matrices, from the global generator."""
    pointer = Pointer(width)
    torch.nn.init.normal_(pointer.point, std=width**-1.0)
    torch.nn.init.normal_(pointer.echo, std=0.1 * width**-0.5)
    return pointer


def random_lm(seed: int, texts: tuple[str, ...] = ("fresh ground coffee", "whole milk"), **sizes: int) -> LanguageModel:
    """An untrained model of the shipped shape, for tests and as the first step of pretraining."""
    tokenizer = train(texts, 600)
    base, pointer = new_base(tokenizer, seed, **sizes)
    return LanguageModel(base, tokenizer, pointer, f"random-{seed}")
