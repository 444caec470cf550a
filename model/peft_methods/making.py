"""A model adapted by a method: made, counted, saved, loaded, merged.

Files are safetensors: peft's own for its methods (`PeftModel.from_pretrained` reads them too), the trained tensors by name for
the bottleneck adapter and full training.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from model.data.errors import Refused
from model.peft_methods.bottleneck import bend
from model.peft_methods.families import Family, family, task
from model.peft_methods.kinds import method, way_to_serve

OWN = ("adapter", "full")
"""Methods that peft lacks."""
BEFORE = ("prefix", "prompt")
"""Methods that stand before the text; peft does not train a loaded one further."""
SIZED = "method.json"
TENSORS = "tensors.safetensors"


class Sized(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A method and its size.

    Args:
        rank: of lora, dora and adalora (which begins with half as much again and cuts down to it).
        tokens: of prefix and prompt.
        width: of the bottleneck.
        steps: of the training; adalora cuts its ranks on the way.
    """

    method: str
    rank: int = 8
    tokens: int = 8
    width: int = 16
    dropout: float = 0.0
    steps: int = 100

    @property
    def size(self) -> int:
        """The number that its size is set by; 0: the method has none."""
        field = SIZES.get(self.method)
        return getattr(self, field) if field else 0


SIZES = {
    "lora": "rank", "adalora": "rank", "dora": "rank", "prefix": "tokens", "prompt": "tokens", "adapter": "width",
}  # fmt: skip
"""What a method's size is called here; ia3 and full have none."""


def sized(name: str, size: int = 0, dropout: float = 0.0) -> Sized:
    """A method of a size, 0: its usual one.

    Raises:
        Refused: there is no such method, or it has no size.
    """
    found = method(name).name
    if not size:
        return Sized(found, dropout=dropout)
    if found not in SIZES:
        raise Refused(f"{found} has no rank that could be {size}: of a size are {', '.join(SIZES)}")
    return Sized(found, **{SIZES[found]: size}, dropout=dropout)


def asked(name: str, size: int, dropout: float, *, base: str, merge: bool) -> Sized:
    """A method as a run asks for it: of a checkpoint `base`, to be merged into it afterwards or not.

    Raises:
        Refused: it cannot be had so.
    """
    found = sized(name, size, dropout)
    if name != "full" and not base:
        raise Refused(f"--peft {name} adapts a base that has learned something: name it with --base")
    if merge:
        way_to_serve(name, "merged")
    return found


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a folder says beside its tensors: the class of the base it was trained on, and how."""

    base: str
    sized: Sized


def make(model: Any, sized: Sized) -> Any:
    """Adapt a model of transformers in place and return what is to be trained; only what the method trains requires gradients.

    Raises:
        Refused: there is no such method, or it cannot take hold in such a model.
    """
    method(sized.method)
    shape, answers = family(model), task(model)
    if sized.method == "full":
        return model.requires_grad_(requires_grad=True)
    if sized.method == "adapter":
        return bend(model, sized.width, sized.dropout)
    from peft import get_peft_model

    return get_peft_model(model, _config(sized, shape, answers))


def _config(sized: Sized, shape: Family, answers: str) -> Any:
    import peft

    if sized.method == "prompt":
        return peft.PromptTuningConfig(task_type=answers, num_virtual_tokens=sized.tokens)
    if sized.method == "prefix":
        return peft.PrefixTuningConfig(task_type=answers, num_virtual_tokens=sized.tokens)
    if sized.method == "ia3":
        return peft.IA3Config(
            task_type=answers, target_modules=list(shape.scaled), feedforward_modules=list(shape.forward),
            fan_in_fan_out=shape.transposed,
        )  # fmt: skip
    low: dict[str, Any] = {
        "task_type": answers, "target_modules": list(shape.linear), "lora_alpha": 2 * sized.rank,
        "lora_dropout": sized.dropout, "fan_in_fan_out": shape.transposed,
    }  # fmt: skip
    if sized.method == "adalora":
        began, ended = sized.steps // 10, sized.steps // 2
        return peft.AdaLoraConfig(
            **low, target_r=sized.rank, init_r=sized.rank + max(sized.rank // 2, 1), total_step=sized.steps, tinit=began,
            tfinal=sized.steps - ended, deltaT=1,
        )  # fmt: skip
    return peft.LoraConfig(**low, r=sized.rank, use_dora=sized.method == "dora")


def after_step(model: Any, sized: Sized, step: int) -> None:
    """What a method does after step number `step` of the optimiser, before gradients are cleared: adalora moves its ranks."""
    if sized.method == "adalora":
        model.base_model.update_and_allocate(step)


def trainable_parameters(model: Any) -> int:
    """How many numbers training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def save(model: Any, sized: Sized, folder: Path) -> None:
    """Write what was trained, and what it was made by, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if sized.method in OWN:
        trained = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}
        save_file(trained, folder / TENSORS)
    else:
        with _quiet():
            model.save_pretrained(str(folder))
        _in_order(folder / "adapter_config.json")
    (folder / SIZED).write_bytes(msgspec.json.encode(Kept(_base(model, sized), sized)))


def _in_order(config: Path) -> None:
    """Sort what peft writes as it comes: sets of names in the order of their hashes, which differs between processes."""
    told = msgspec.json.decode(config.read_bytes())
    named = {key: sorted(v) for key, v in told.items() if isinstance(v, list) and all(isinstance(x, str) for x in v)}
    config.write_bytes(msgspec.json.format(msgspec.json.encode(told | named, order="deterministic"), indent=2))


def _base(model: Any, sized: Sized) -> str:
    return type(model if sized.method in OWN else model.get_base_model()).__name__


def load(model: Any, folder: Path) -> tuple[Any, Sized]:
    """Adapt a base, in place, by what `save` wrote.

    Raises:
        Refused: the folder holds none, or it does not fit the base.
    """
    try:
        kept = msgspec.json.decode((folder / SIZED).read_bytes(), type=Kept)
        sized = _fitting(kept, model)
        if sized.method in OWN:
            return _own(model, sized, load_file(folder / TENSORS)), sized
        from peft import PeftModel

        with _quiet():
            warnings.filterwarnings("error", "Found missing adapter keys")  # peft would go on with random ones
            return PeftModel.from_pretrained(model, str(folder), is_trainable=sized.method not in BEFORE), sized
    except (OSError, msgspec.DecodeError, SafetensorError, RuntimeError, ValueError, KeyError, UserWarning) as error:
        raise Refused(f"{folder} holds no adapter of this base: {' '.join(str(error).split())[:200]}") from None


def _fitting(kept: Kept, model: Any) -> Sized:
    if kept.base != type(model).__name__:
        raise ValueError(f"it is one of a {kept.base}")
    return kept.sized


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what peft says of adalora, for which both are as they should be: a layer may end with rank 0, and ranks are named by tensor."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*LoRA tensor\(s\) have invalid shape")
        warnings.filterwarnings("ignore", "The following rank_pattern keys did not match")
        yield


def _own(model: Any, sized: Sized, tensors: dict[str, Any]) -> Any:
    made = make(model, sized)
    wanted = {name: p for name, p in made.named_parameters() if p.requires_grad}
    if {n: tuple(p.shape) for n, p in wanted.items()} != {n: tuple(t.shape) for n, t in tensors.items()}:
        raise ValueError("its tensors have other names or shapes")
    for name, parameter in wanted.items():
        parameter.data.copy_(tensors[name])
    return made


def merge(model: Any, sized: Sized) -> Any:
    """Write the method into the base's weights and return the base, a plain model of transformers.

    Raises:
        Refused: it cannot be merged.
    """
    found = method(sized.method)
    if not found.mergeable:
        raise Refused(f"{found.name} cannot be merged into a base: {found.why}")
    return model if sized.method == "full" else model.merge_and_unload()
