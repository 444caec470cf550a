"""A response run's encoder, read back."""

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from model.data.errors import Refused
from model.peft_methods.making import load as load_method
from model.response.encoder import ResponseEncoder, lengthened, loaded
from model.response.fitting import METHOD

Floats = npt.NDArray[np.float64]
OURS = ("features", "labels", "temperatures", "pad_token", "words", "adapted", "model_type", "transformers_version")
"""What `encoder.json` holds beside the model's configuration."""


class Kept(NamedTuple):
    """The encoder in evaluation, its words, mean and spread of its numbers, what log-odds are divided by, per label, and tokens of a text."""

    model: ResponseEncoder
    tokenizer: Any
    scale: tuple[Floats, Floats]
    temperatures: Floats
    length: int


def read(run: Path, base: str = "") -> Kept:
    """Read a published run.

    Args:
        base: where the base of an adapted encoder is now, by path or hub name; empty: where it was.

    Raises:
        Refused: the folder holds no such encoder, or its base is not the one that it was trained on.
    """
    try:
        told = msgspec.json.decode((run / "encoder.json").read_bytes(), type=dict[str, Any])
        weights = load_file(run / "encoder.safetensors")
        scale = weights.pop("numbers.mean").numpy(), weights.pop("numbers.spread").numpy()
        apart = (run / METHOD).is_dir()
        body = _adapted(run, told, base) if apart else _whole(told, weights)
        model = ResponseEncoder(body, len(told["features"]), len(told["labels"]), 0.0)
        lost, more = model.load_state_dict(weights, strict=False)
        words: Any = PreTrainedTokenizerFast(tokenizer_file=str(run / "tokenizer.json"), pad_token=told["pad_token"])  # type: ignore[no-untyped-call]  # transformers' own lack
        temperatures = np.array(told["temperatures"])
    except (OSError, msgspec.DecodeError, SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise Refused(f"{run} holds no encoder: {' '.join(str(error).split())[:200]}") from None
    wrong = [*more, *(name for name in lost if not (apart and name.startswith("backbone.")))]
    if wrong:
        raise Refused(f"{run} holds no encoder: tensors are missing or too many, {wrong[:3]}")
    return Kept(model.eval(), words, scale, temperatures, int(told.get("words", 0)))


def _adapted(run: Path, told: dict[str, Any], base: str) -> Any:
    body, _ = loaded(base or told["adapted"]["base"])
    lengthened(body, told["max_position_embeddings"])
    return load_method(body, run / METHOD)[0]


def _whole(told: dict[str, Any], weights: dict[str, Any]) -> Any:
    config = AutoConfig.for_model(told["model_type"], **{key: value for key, value in told.items() if key not in OURS})
    body: Any = AutoModel.from_config(config)  # type: ignore[no-untyped-call]  # transformers' own lack
    if not any(name.startswith("backbone.pooler") for name in weights):
        body.pooler = None
    return body
