"""The weights of `lean.py`: linear layers with their adapters beside them, or, for a small base, fused into one matrix each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from model.linear import linear

Matrix = tuple[Tensor, Tensor | None]
"""(out, in) and its bias."""


class Weights(msgspec.Struct, frozen=True):
    """One adapter joined with the base, layer by layer: queries, keys and values; their output; gate and up; down.

    Args:
        stamp: says of what it was made, see `Layer.stamp`.
    """

    layers: tuple[tuple[Matrix, Matrix, Matrix, Matrix], ...]
    stamp: tuple[int, ...]


class Projection:
    """One linear layer with the slots attached to it."""

    def __init__(self, module: Any) -> None:
        """Look its parameters up."""
        tuned = isinstance(module, BaseTunerLayer)
        layer: Any = module
        inner = layer.base_layer if tuned else layer
        self.weight: Tensor = inner.weight
        self.bias: Tensor | None = inner.bias
        names = tuple(layer.lora_A) if tuned else ()
        self.slots: dict[str, tuple[Tensor, Tensor, float]] = {
            name: (layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]) for name in names
        }

    def __call__(self, x: Tensor, parts: "Parts") -> Tensor:
        """(N, in) → (N, out), each part by its own slot."""
        y = linear(x, self.weight, self.bias)
        for slot, rows, _ in parts:
            if slot is None:
                continue
            down, up, scale = self.slots[slot]
            part, out = (x, y) if rows.start is None else (x[rows], y[rows])
            out.addmm_(linear(part, down), up.t(), alpha=scale)
        return y

    def joined(self, pair: tuple[Tensor, Tensor] | None) -> Tensor:
        """(out, in): the base's weight with the product of an adapter's pair added."""
        if pair is None:
            return self.weight
        _, _, scale = next(iter(self.slots.values()))  # one rank and alpha for all
        return torch.addmm(self.weight, pair[1].to(self.weight), pair[0].to(self.weight), alpha=scale)


Parts = Sequence[tuple[str | None, slice, Weights | None]]
"""Slot, its rows of (N, ...), and its fused weights, which either all have or none."""


class Layer:
    """One decoder layer's parts and what they compute between norms and attention."""

    def __init__(self, layer: Any) -> None:
        """Look them up."""
        attention, mlp = layer.self_attn, layer.mlp
        self.before, self.between = layer.input_layernorm, layer.post_attention_layernorm
        self.q, self.k, self.v = (Projection(part) for part in (attention.q_proj, attention.k_proj, attention.v_proj))
        self.o = Projection(attention.o_proj)
        self.gate, self.up, self.down = (Projection(part) for part in (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
        self.act = mlp.act_fn
        self.scale: float = attention.scaling

    @property
    def numel(self) -> int:
        """Weights of the linear layers, adapters apart."""
        return sum(part.weight.numel() for part in self._projections)

    @property
    def _projections(self) -> tuple[Projection, ...]:
        return self.q, self.k, self.v, self.o, self.gate, self.up, self.down

    def stamp(self, slot: str | None) -> tuple[int, ...]:
        """Changes with every write to the base's or to the slot's parameters: torch counts them."""
        own = () if slot is None else self.q.slots[slot][:2]
        return tuple(each._version for each in (self.q.weight, *own))  # noqa: SLF001 -- torch has no other name for it

    def qkv(self, x: Tensor, parts: Parts, number: int) -> Tensor:
        """(N, D) → (N, queries + keys + values)."""
        if parts[0][2] is None:
            return torch.cat((self.q(x, parts), self.k(x, parts), self.v(x, parts)), -1)
        return _by_parts(x, parts, number, 0)

    def out(self, seen: Tensor, parts: Parts, number: int) -> Tensor:
        """(N, queries) → (N, D)."""
        return self.o(seen, parts) if parts[0][2] is None else _by_parts(seen, parts, number, 1)

    def mlp(self, x: Tensor, parts: Parts, number: int) -> Tensor:
        """(N, D) → (N, D)."""
        if parts[0][2] is None:
            return self.down(self.act(self.gate(x, parts)) * self.up(x, parts), parts)
        gate, up = _by_parts(x, parts, number, 2).chunk(2, -1)
        return _by_parts(self.act(gate).mul_(up), parts, number, 3)


Pairs = Callable[[int, str], tuple[Tensor, Tensor] | None]
"""Layer and projection (`q`, `gate` ...) → its down and up matrices; None for the bare base."""


def pairs_of_slot(layers: Sequence[Layer], slot: str | None) -> Pairs:
    """What lies in a slot."""
    if slot is None:
        return lambda _number, _name: None
    return lambda number, name: getattr(layers[number], name).slots[slot][:2]


def pairs_of_tensors(tensors: Mapping[str, Tensor]) -> Pairs:
    """What an adapter's file holds, by its keys (`...layers.0.self_attn.q_proj.lora_A.weight`)."""
    short = {key[key.index("layers.") :]: tensor for key, tensor in tensors.items()}

    def pair(number: int, name: str) -> tuple[Tensor, Tensor]:
        at = f"layers.{number}.{'self_attn' if name in 'qkvo' else 'mlp'}.{name}_proj.lora_"
        return short[f"{at}A.weight"], short[f"{at}B.weight"]

    return pair


@torch.no_grad()
def fuse(layers: Sequence[Layer], pairs: Pairs, stamp: tuple[int, ...]) -> Weights:
    """An adapter joined with the base, or the bare base, as few matrices."""
    return Weights(
        tuple(
            (
                _stacked(layer, ("q", "k", "v"), number, pairs),
                _stacked(layer, ("o",), number, pairs),
                _stacked(layer, ("gate", "up"), number, pairs),
                _stacked(layer, ("down",), number, pairs),
            )
            for number, layer in enumerate(layers)
        ),
        stamp,
    )


def _stacked(layer: Layer, names: Sequence[str], number: int, pairs: Pairs) -> Matrix:
    parts: list[Projection] = [getattr(layer, name) for name in names]
    weight = torch.cat([part.joined(pairs(number, name)) for part, name in zip(parts, names, strict=True)])
    if all(part.bias is None for part in parts):
        return weight, None
    return weight, torch.cat(
        [part.weight.new_zeros(len(part.weight)) if part.bias is None else part.bias for part in parts]
    )


def _by_parts(x: Tensor, parts: Parts, number: int, which: int) -> Tensor:
    """Each part's rows by its own matrix."""
    done = []
    for _, rows, weights in parts:
        assert weights is not None
        weight, bias = weights.layers[number][which]
        done.append(linear(x if rows.start is None else x[rows], weight, bias))
    return done[0] if len(done) == 1 else torch.cat(done)
