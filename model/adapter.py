"""LoRA adapters: their configuration, their files, and copying them into resident slots between batches.

A base carries a fixed set of adapter slots (peft layers); loading a version means parsing and checking its file off the
hot path (`read`) and copying its tensors into a slot's parameters in place (`place`). Names are fixed, and none is a
substring of another, because peft's own hot swap matches keys by substring (peft #3780). The prompt is encoded by the
bare base, so an adapter acts on the suffix alone and no cached prompt goes stale (DESIGN §5).

The files are peft's: `PeftModel.from_pretrained(base, directory)` reads them too.

References:
    Hu et al. (2021), LoRA: Low-rank adaptation of large language models, arXiv 2106.09685.
"""

import json
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from streaming.contracts.errors import BadEvent

SLOTS = ("slot_a", "slot_b", "slot_c", "slot_d", "slot_e")
"""Resident slots of serving: champion, anchor, canary, the previous one still in use, and the one being loaded."""
TRAINING_SLOT = "slot_in_training"
"""The updater's only slot. (Names of a module's attributes, `train` among them, cannot name an adapter.)"""
RANK = 16
ALPHA = 32
TENSORS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
FACTS = "adapter.json"
MAX_BYTES = 1 << 30
_KEY_PREFIX = "base_model.model."
"""What peft puts before a module's path in its files."""
_ATTACHING = threading.Lock()
"""One thread attaches at a time: torch's generator and the filters of warnings are the process's."""


class HasBase(Protocol):
    """What is needed of a language model (`model/lm.py`)."""

    @property
    def causal(self) -> Any:
        """The causal LM of transformers."""

    @property
    def name(self) -> str:
        """What strategies call the base."""

    @property
    def base_sha256(self) -> str:
        """Over everything of the base that shapes a log-probability."""


class Facts(msgspec.Struct, frozen=True):
    """What an adapter's directory says beside its tensors: which base it fits, and its shape."""

    base: str
    base_sha256: str
    rank: int = RANK
    alpha: int = ALPHA
    format: int = 1


class Expected(msgspec.Struct, frozen=True):
    """What a file must hold to fit a base with slots.

    Args:
        shapes: key in the file → shape.
    """

    base_sha256: str
    shapes: dict[str, tuple[int, ...]]


def config() -> Any:
    """Every linear layer of the backbone, no dropout (distillation targets are exact, there is nothing to regularise)."""
    return LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules="all-linear", lora_dropout=0.0, bias="none", task_type="CAUSAL_LM"
    )


def attach(lm: HasBase, names: Sequence[str] = SLOTS, seed: int = 0) -> None:
    """Give the base LoRA layers with the named slots; each is the identity until trained or placed into.

    Args:
        lm: its `causal` is changed in place.
        names: new slots, none a substring of another.
        seed: of the random halves (B is zero), so that a training run repeats.

    Raises:
        ValueError: for a name that contains another.
    """
    for name in names:
        if any(name in other for other in names if other != name):
            message = f"adapter slot {name!r} is a substring of another of {tuple(names)}"
            raise ValueError(message)
    with _ATTACHING, torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft warns that several adapters share a model: they are meant to.
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        # and that GPT-2's layers are transposed, which it sees to by itself.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
        torch.manual_seed(seed)
        for name in names:
            inject_adapter_in_model(config(), lm.causal, adapter_name=name)
    for parameter in lm.causal.parameters():
        parameter.requires_grad_(requires_grad=False)


def parameters(lm: HasBase, slot: str) -> dict[str, nn.Parameter]:
    """Key in the file → parameter of a slot, sorted by key; empty when the base has no such slot."""
    marker = f".{slot}."
    found = {
        _KEY_PREFIX + name.replace(marker, "."): parameter
        for name, parameter in lm.causal.named_parameters()
        if marker in name and (".lora_A." in name or ".lora_B." in name)
    }
    return dict(sorted(found.items()))


def expected(lm: HasBase, slot: str = SLOTS[0]) -> Expected:
    """What a file must hold to fit this base.

    Raises:
        KeyError: when the base has no such slot (`attach` comes first).
    """
    shapes = {key: tuple(parameter.shape) for key, parameter in parameters(lm, slot).items()}
    if not shapes:
        raise KeyError(slot)
    return Expected(lm.base_sha256, shapes)


def save(lm: HasBase, slot: str, directory: Path) -> None:
    """Write a slot as peft's two files and our facts; what is written is float32, contiguous, on the CPU."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: parameter.detach().to("cpu", torch.float32).contiguous() for key, parameter in parameters(lm, slot).items()
    }
    if not tensors:
        raise KeyError(slot)
    save_file(tensors, directory / TENSORS, metadata={"format": "pt"})
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config().to_dict().items()}
    (directory / CONFIG).write_text(json.dumps(plain, indent=1, sort_keys=True, default=str) + "\n")
    (directory / FACTS).write_bytes(msgspec.json.encode(Facts(lm.name, lm.base_sha256)))


def read(directory: Path, wanted: Expected, device: torch.device | None = None) -> dict[str, Tensor]:
    """Parse and check an adapter's files; safe to call from another thread than the one that decodes.

    Args:
        directory: as written by `save`.
        wanted: of the base it must fit.
        device: where the tensors are staged, so that `place` need not wait for the bus.

    Raises:
        BadEvent: naming what does not fit: another base, a corrupt file, other keys, shapes or types, numbers
            that are not finite.
    """
    _check_facts(directory, wanted)
    path = directory / TENSORS
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise BadEvent(TENSORS, directory.name, f"a file of at most {MAX_BYTES} bytes")
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise BadEvent(TENSORS, directory.name, f"a safetensors file ({error})") from None
    _check_tensors(tensors, wanted.shapes)
    return {key: tensors[key].to(device) if device else tensors[key] for key in sorted(tensors)}


def place(lm: HasBase, slot: str, tensors: Mapping[str, Tensor]) -> None:
    """Copy checked tensors into a slot, in place. Only between batches: a decoding session must not see it.

    Raises:
        ValueError: when they are not the slot's tensors (`read` would have refused the file).
    """
    targets = parameters(lm, slot)
    if targets.keys() != tensors.keys():
        raise ValueError(f"{slot}: the tensors at hand are not those of the slot")
    with torch.no_grad():
        torch._foreach_copy_(list(targets.values()), [tensors[key] for key in targets])


class Block:
    """A slot's parameters in one block of memory, so that a swap is one copy of a `block_of`.

    One copy costs a tenth of a millisecond where the caches are cold; one per tensor, four times as much.
    """

    def __init__(self, lm: HasBase, slot: str) -> None:
        """Move the parameters: what is copied into the block is what the slot says, in the order of the keys."""
        targets = parameters(lm, slot)
        self._parameters: list[Tensor] = list(targets.values())
        self.tensor = block_of(targets)
        start = 0
        for parameter in self._parameters:
            parameter.data = self.tensor[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()

    def copy_(self, block: Tensor) -> None:
        """Say what another block says. Only between batches, as `place`."""
        with torch.no_grad():
            self.tensor.copy_(block)
            # Torch counts the writes to a tensor, and these have counters of their own: what was made of them is outdated.
            torch._foreach_add_(self._parameters, 0.0)


def block_of(tensors: Mapping[str, Tensor]) -> Tensor:
    """A slot's tensors as one block of their own memory, in the order of their keys."""
    return torch.cat([tensors[key].detach().reshape(-1) for key in sorted(tensors)])


def _check_facts(directory: Path, wanted: Expected) -> None:
    try:
        facts = msgspec.json.decode((directory / FACTS).read_bytes(), type=Facts)
    except FileNotFoundError:
        raise BadEvent(FACTS, "nothing", "the adapter's facts") from None
    except msgspec.MsgspecError as error:
        raise BadEvent(FACTS, directory.name, f"an adapter's facts ({error})") from None
    if facts.base_sha256 != wanted.base_sha256:
        raise BadEvent("base_sha256", facts.base_sha256, f"an adapter of the base that is served, {wanted.base_sha256}")
    if (facts.rank, facts.alpha) != (RANK, ALPHA):
        raise BadEvent("rank", f"r {facts.rank}, alpha {facts.alpha}", f"r {RANK}, alpha {ALPHA}")


def _check_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for key in _difference(tensors, shapes):
        raise BadEvent(key, "nothing" if key in shapes else "a tensor", "exactly the tensors of the base's slots")
    for key, tensor in tensors.items():
        if tuple(tensor.shape) != shapes[key] or tensor.dtype != torch.float32:
            raise BadEvent(key, f"{tensor.dtype} {tuple(tensor.shape)}", f"torch.float32 {shapes[key]}")
        if not bool(torch.isfinite(tensor).all()):
            raise BadEvent(key, "not finite", "finite numbers")


def _difference(found: Iterable[str], wanted: Iterable[str]) -> list[str]:
    return sorted(set(found) ^ set(wanted))
