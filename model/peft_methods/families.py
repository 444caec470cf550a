"""Where the methods take hold in models of a shape: Llama, GPT-2, BERT and what is built like them."""

from typing import Any

import msgspec

from model.data.errors import Refused


class Family(msgspec.Struct, frozen=True):
    """Endings of module names.

    Args:
        linear: matrices that low-rank methods add to.
        scaled: matrices whose outputs (IA³) are scaled; `forward` of them scale their inputs instead.
        bent: modules behind which a bottleneck adapter stands.
        transposed: weights are stored (in, out).
    """

    linear: tuple[str, ...]
    scaled: tuple[str, ...]
    forward: tuple[str, ...]
    bent: str
    transposed: bool = False


_LLAMA = Family(
    ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    ("k_proj", "v_proj", "down_proj"),
    ("down_proj",),
    r"(^|\.)layers\.\d+\.mlp$",
)
FAMILIES = {
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "mistral": _LLAMA,
    "gpt2": Family(
        ("c_attn", "c_proj", "c_fc"), ("c_attn", "mlp.c_proj"), ("mlp.c_proj",), r"(^|\.)h\.\d+\.mlp$", transposed=True
    ),
    "bert": Family(
        ("query", "key", "value", "intermediate.dense", "output.dense"),
        ("key", "value", "output.dense"),
        ("output.dense",),
        r"\.layer\.\d+\.output$",
    ),
}
HEADS = ("classifier", "score")
"""A classifier's last layer is new and is trained with every method."""


def family(model: Any) -> Family:
    """The shape of a model of transformers.

    Raises:
        Refused: no method knows where to take hold in it.
    """
    kind = model.config.model_type
    if kind not in FAMILIES:
        raise Refused(f"a {kind} cannot be adapted here: one of {', '.join(FAMILIES)}")
    return FAMILIES[kind]


def task(model: Any) -> str:
    """What the model answers, as peft calls it.

    Raises:
        Refused: it has another head.
    """
    name = type(model).__name__
    if name.endswith("ForSequenceClassification"):
        return "SEQ_CLS"
    if name.endswith(("ForCausalLM", "LMHeadModel")):
        return "CAUSAL_LM"
    if name.endswith("Model"):
        return "FEATURE_EXTRACTION"
    raise Refused(
        f"a {name} cannot be adapted here: a causal language model, a classifier of texts or a body without a head"
    )
