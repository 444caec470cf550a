"""Models and tokenizers of a pretraining run: small ones from scratch, or a checkpoint by path or hub name (safetensors, none of its code)."""

from collections.abc import Sequence
from typing import Any, Literal

import torch

from model.data.errors import Refused

Objective = Literal["causal", "mlm", "nsp"]
SHAPES = {"llama": "causal", "gpt2": "causal", "qwen2": "causal", "bert": "bidirectional"}
HEADS = 4
DEFAULT_SCALE = 0.02
NARROW = 256
NARROW_PAIRS_SCALE = 0.1
"""Initial scale of a narrow model that judges pairs. Whether two sessions belong together is seen only through attention between them. Its
scores are products of two projections, each growing with scale times the root of the width: at .02 and a width of 64 they are nearly 0,
attention is near uniform, its gradient small, and learning begins late or not at all (docs/models.md has figures)."""


SERVED_POSITIONS = 2048
"""A causal base must hold a whole prompt, with every candidate in it, whatever the length of the rows that it is trained on."""


def config(shape: str, *, vocabulary: int, width: int, layers: int, length: int, dropout: float, scale: float, pad: int) -> Any:  # fmt: skip
    """The library's configuration of a small model.

    Raises:
        Refused: the width cannot be shared by the heads.
    """
    from transformers import BertConfig, GPT2Config, LlamaConfig, Qwen2Config

    served = max(length, SERVED_POSITIONS)

    if width % (2 * HEADS):
        raise Refused(f"a width of {width} cannot be shared by {HEADS} heads: choose a multiple of {2 * HEADS}")
    common: dict[str, Any] = {"vocab_size": vocabulary, "initializer_range": scale, "pad_token_id": pad}
    sizes: dict[str, Any] = {
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": HEADS, "max_position_embeddings": length,
    }  # fmt: skip
    match shape:
        case "gpt2":
            rates: dict[str, Any] = {"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout}
            return GPT2Config(**common, **rates, n_embd=width, n_layer=layers, n_head=HEADS, n_positions=served)
        case "bert":
            rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
            return BertConfig(**common, **sizes, **rates, intermediate_size=2 * width)
        case _:
            sizes["max_position_embeddings"] = served
            made = {"llama": LlamaConfig, "qwen2": Qwen2Config}[shape]
            return made(**common, **sizes, num_key_value_heads=HEADS, intermediate_size=2 * width, attention_dropout=dropout, tie_word_embeddings=True)  # fmt: skip


def scale_of(objective: Objective, width: int) -> float:
    """The initial scale where none is wished."""
    return NARROW_PAIRS_SCALE if objective == "nsp" and width < NARROW else DEFAULT_SCALE


def fresh(objective: Objective, made: Any, seed: int) -> Any:
    """A model with random weights drawn from the seed."""
    torch.manual_seed(seed)
    return _auto(objective).from_config(made)


def loaded(objective: Objective, source: str, seed: int) -> Any:
    """A checkpoint with the head that the objective needs; a head that it lacks is drawn from the seed.

    Raises:
        Refused: it cannot be read, is of an architecture without that head, or its weights are not those of its configuration.
    """
    torch.manual_seed(seed)
    model = checkpoint(_auto(objective), source, objective)
    if objective == "causal" and reads_both_ways(model.config):
        raise Refused(f"{source} is a {model.config.model_type}, which reads in both directions: choose mlm or nsp")
    return model


def checkpoint(auto: Any, source: str, use: str) -> Any:
    """A model by a class of the library (`AutoModel…`), by local path or hub name: safetensors only, none of its code.

    Raises:
        Refused: it cannot be read, has no head as the class wants it, or lacks weights of its body.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers' own lack
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # what is missing is judged below, in one line
    try:
        model, told = auto.from_pretrained(
            source, use_safetensors=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise Refused(f"{source} cannot be loaded for {use}: {' '.join(str(error).split())[:200]}") from None
    body = "" if model.base_model is model else f"{model.base_model_prefix}."
    lost = [name for name in told["missing_keys"] if name.startswith(body) and "pooler" not in name]
    if lost or told["mismatched_keys"]:
        raise Refused(f"{source}: its weights are not those of a {model.config.model_type} as its config.json says ({len(lost)} are missing, first {lost[:1]})")  # fmt: skip
    return model


def words_of(source: str) -> Any:
    """A tokenizer brought along by path or hub name.

    Raises:
        Refused: it cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(source, trust_remote_code=False, use_fast=True)
    except Exception as error:  # noqa: BLE001 -- the tokenizers library raises bare Exception for a broken file
        raise Refused(f"no tokenizer at {source}: {' '.join(str(error).split())[:200]}") from None
    if set(found.get_vocab()) <= set(found.all_special_tokens):  # made by the library from the model's kind alone
        raise Refused(f"no tokenizer at {source}: it knows no word; tokenizer.json or a vocabulary is missing")
    return found


def tokenizer_of(wish: str, texts: Sequence[str], vocabulary: int, objective: Objective) -> Any:
    """A tokenizer trained on the texts (`bpe`, `wordpiece`), or one brought along by path or hub name.

    Raises:
        Refused: it cannot be read, or lacks a mark that the objective needs.
    """
    from model.training.words import byte_pairs, wordpiece

    if wish == "wordpiece":
        found: Any = wordpiece(texts, vocabulary)
    elif wish == "bpe":
        found = byte_pairs(texts, vocabulary) if objective == "causal" else _with_marks(byte_pairs(texts, vocabulary))
    else:
        found = words_of(wish)
    if not found.is_fast:
        raise Refused(f"the tokenizer at {wish} is a slow one: its words cannot be told apart; bring a tokenizer.json")
    needed = {"causal": (), "mlm": ("mask_token",), "nsp": ("cls_token", "sep_token")}[objective]
    lacking = [name for name in needed if getattr(found, name) is None]
    if objective == "causal" and end_of(found) is None:
        lacking = ["eos_token"]
    if lacking:
        raise Refused(f"the tokenizer at {wish} has no {' and no '.join(lacking)}, which {objective} needs")
    return found


def fits(model: Any, tokenizer: Any, own: Any | None) -> None:
    """Check that a tokenizer is the model's.

    Raises:
        Refused: it has ids that the model lacks, or other words than the tokenizer which the checkpoint came with (`own`).
    """
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise Refused(f"the tokenizer does not fit: it has {len(tokenizer):,} words, the model {rows:,}")
    if own is not None and own.get_vocab() != tokenizer.get_vocab():
        raise Refused("the tokenizer does not fit: it numbers other words than the one that the checkpoint came with")


def end_of(tokenizer: Any) -> int | None:
    """The id that ends a text."""
    ends = (tokenizer.eos_token_id, tokenizer.sep_token_id)
    return next((end for end in ends if end is not None), None)


def _with_marks(tokenizer: Any) -> Any:
    """Byte pairs with the marks of a bidirectional model: `[CLS] a [SEP] b [SEP]`."""
    from tokenizers import processors

    from model.training.words import CLS, MASK, SEP

    tokenizer.add_special_tokens({"cls_token": CLS, "sep_token": SEP, "mask_token": MASK})
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B:1 {SEP}:1",
        special_tokens=[(name, tokenizer.convert_tokens_to_ids(name)) for name in (CLS, SEP)],
    )
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    return tokenizer


def _auto(objective: Objective) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForNextSentencePrediction

    return {"causal": AutoModelForCausalLM, "mlm": AutoModelForMaskedLM, "nsp": AutoModelForNextSentencePrediction}[
        objective
    ]


def reads_both_ways(made: Any) -> bool:
    """Whether a model of such a configuration sees what follows a word."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return made.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(made, "is_decoder", False)
