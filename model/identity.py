"""Which base this is: where the one that ships lies, and a hash over everything that shapes a log-probability."""

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from model.pointer import Pointer
from model.prompt import RECIPE


def default_base() -> Path:
    """The folder of the base that ships with the package."""
    return Path(str(files("model") / "base"))


def sha256_of(causal: Any, tokenizer: Any, pointer: Pointer) -> str:
    """Hex hash of weights, pointer, tokenizer and prompt recipe: the same for the same base wherever it lies."""
    digest = hashlib.sha256(RECIPE.encode())
    # LoRA layers are put around the base's own, which keep their weights under another name.
    state = {name.replace(".base_layer.", "."): t for name, t in causal.state_dict().items() if ".lora_" not in name}
    tensors = {f"base.{name}": tensor for name, tensor in state.items()}
    tensors |= {f"pointer.{name}": tensor for name, tensor in pointer.state_dict().items()}
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    return digest.hexdigest()
