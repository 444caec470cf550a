"""A Llama-shaped backbone's forward pass as plain tensor operations, with an adapter slot of its own for every row.

The same numbers as transformers' pass through peft's layers (rounding apart) without their Python, which costs a small base
more than its arithmetic. Prompts of different lengths are encoded end to end, without padding. A backbone of another shape has no
such pass (`LeanBackbone.of`), and takes transformers'.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
import torch
from torch import Tensor
from torch.nn import functional

from model.lean_weights import Layer, Parts, Weights, fuse, pairs_of_slot, pairs_of_tensors
from model.linear import missing

SHAPES = frozenset({"llama", "qwen2", "mistral"})
"""Model types of this shape: RMS norm, rotary positions, grouped queries, gated MLP; biases as the modules have them."""
STEADY_ROPES = frozenset({"default", "linear", "llama3", "yarn"})
"""Kinds of rotary positions whose angles do not depend on how long the text is."""
MAX_FUSED = 16_000_000
"""Parameters of a backbone of which fused copies are kept, one per adapter; a larger one applies its adapters beside its weights."""

Routes = tuple[tuple[str | None, slice], ...]
"""Adapter slot (None: the bare base) → the rows of a batch that see it, in order; together they are all rows."""
BARE: Routes = ((None, slice(None)),)


class KeepsKeys(Protocol):
    """What a pass needs of a cache: `Room`, or transformers' own."""

    def update(self, keys: Tensor, values: Tensor, layer: int, /) -> tuple[Tensor, Tensor]:
        """Add (B, kv heads, T, head width) of one layer; all that the layer holds then."""


class LeanBackbone:
    """The pass, over the backbone's own parameters: what is placed into a slot, or trained, is what it reads."""

    def __init__(self, backbone: Any) -> None:
        """Look the parts up once; slots that are attached later need another one."""
        config = backbone.config
        self._first = backbone.layers[0].self_attn
        self.layers = [Layer(layer) for layer in backbone.layers]
        self._norm = backbone.norm
        self._width: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._heads: tuple[int, int] = (config.num_attention_heads, config.num_key_value_heads)
        self._small = sum(layer.numel for layer in self.layers) <= MAX_FUSED
        self._fused: dict[str | None, Weights] = {}
        positions = torch.arange(config.max_position_embeddings, device=backbone.device)[None]
        cosine, sine = backbone.rotary_emb(backbone.norm.weight, position_ids=positions)
        half = self._width // 2
        # A rotation by halves is then: x * cosine + (x with its halves exchanged) * turned.
        self._cosine, self._turned = cosine[0], torch.cat((-sine[0, :, :half], sine[0, :, half:]), -1)

    @classmethod
    def of(cls, backbone: Any) -> "LeanBackbone | None":
        """The lean pass of a backbone; None where its shape is another one."""
        config = backbone.config
        rope = getattr(getattr(backbone, "rotary_emb", None), "rope_type", "")
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        slides = config.model_type == "mistral" and getattr(config, "sliding_window", None)
        fits = config.model_type in SHAPES and rope in STEADY_ROPES and kinds == {"full_attention"} and not slides
        return cls(backbone) if fits else None

    @property
    def outdated(self) -> bool:
        """Whether slots have been attached since the parts were looked up."""
        return len(getattr(self._first.q_proj, "lora_A", ())) != len(self.layers[0].q.slots)

    @property
    def fuses(self) -> bool:
        """Whether fused weights are kept: not of a large base, and not in half precision, which would swallow small adapters."""
        return self._small and self.layers[0].q.weight.dtype == torch.float32

    def fuse(self, tensors: Mapping[str, Tensor]) -> Weights:
        """An adapter's file joined with the base, for `take`; for any thread, since nothing of the slots is touched."""
        return fuse(self.layers, pairs_of_tensors(tensors), ())

    def take(self, slot: str, weights: Weights) -> None:
        """What has just been placed into a slot, fused beforehand."""
        self._fused[slot] = msgspec.structs.replace(weights, stamp=self.layers[0].stamp(slot))

    def weights(self, slot: str | None) -> Weights | None:
        """A slot's fused weights, made anew when the base or the slot has been written to since."""
        if not self.fuses:
            return None
        found, stamp = self._fused.get(slot), self.layers[0].stamp(slot)
        if found is None or found.stamp != stamp:
            self._fused[slot] = found = fuse(self.layers, pairs_of_slot(self.layers, slot), stamp)
        return found

    def forward(
        self, x: Tensor, positions: Tensor, sees: Tensor, cache: KeepsKeys | None, routes: Routes = BARE
    ) -> Tensor:
        """New nodes, see `LanguageModel.forward`; differentiable."""
        shape, nodes = x.shape, x.shape[1]
        parts = self._parts(tuple((slot, _of_nodes(rows, nodes)) for slot, rows in routes))
        turn = self._cosine[positions][:, :, None], self._turned[positions][:, :, None]
        x = x.reshape(-1, shape[-1])
        for number, layer in enumerate(self.layers):
            q, k, v = self._qkv(layer.qkv(_normed(layer.before, x), parts, number), shape[:2], turn)
            if cache is not None:
                k, v = cache.update(k, v, number)
            seen = _attended(q, k, v, sees, layer.scale).transpose(1, 2).reshape(len(x), -1)
            x = layer.out(seen, parts, number).add_(x)
            x = layer.mlp(_normed(layer.between, x), parts, number).add_(x)
        return _normed(self._norm, x).view(shape)

    @torch.no_grad()
    def read(self, x: Tensor, lengths: Sequence[int], memory: Tensor, starts: Sequence[int]) -> Tensor:
        """Prompts end to end through the bare base, each from where it was read before.

        Args:
            x: (sum of lengths - starts, D) embeddings of what is to be read.
            lengths: of the whole prompts, in tokens.
            memory: as `PromptBatch` has it, with what was read before; the rest is written into it.
            starts: tokens of each prompt that were read before.

        Returns:
            (sum of lengths - starts, D) final states.
        """
        parts, count = self._parts(BARE), len(x)
        x = functional.pad(x, (0, 0, 0, missing(x)))
        bounds = list(zip(starts, lengths, strict=True))
        runs = [torch.arange(start, length, device=x.device) for start, length in bounds]
        positions = torch.cat((*runs, torch.zeros(len(x) - count, dtype=torch.long, device=x.device)))
        turn = self._cosine[positions][None, :, None], self._turned[positions][None, :, None]
        for number, layer in enumerate(self.layers):
            q, k, v = self._qkv(layer.qkv(_normed(layer.before, x), parts, number), (1, len(x)), turn)
            seen = _read_each(q, k, v, memory[:, number], bounds, layer.scale)
            x = layer.out(seen, parts, number).add_(x)
            x = layer.mlp(_normed(layer.between, x), parts, number).add_(x)
        return _normed(self._norm, x[:count])

    def memory(self, rows: int, width: int) -> Tensor:
        """Zeros for so many prompts of so many tokens at most, as `PromptBatch` has it."""
        kept: Tensor = self._norm.weight.new_zeros(rows, len(self.layers), 2, self._heads[1], width, self._width)
        return kept

    def _parts(self, routes: Routes) -> Parts:
        """The routes with their fused weights, where all of them have some and nothing is to be differentiated."""
        if torch.is_grad_enabled():
            return tuple((slot, rows, None) for slot, rows in routes)
        found = [self.weights(slot) for slot, _ in routes]
        whole = all(weights is not None for weights in found)
        return tuple((slot, rows, w if whole else None) for (slot, rows), w in zip(routes, found, strict=True))

    def _qkv(self, joint: Tensor, shape: Sequence[int], turn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """(B, heads, T, head width) each, from (B * T, all of them); queries and keys rotated to their positions."""
        heads, groups = self._heads
        parts = joint.view(*shape, -1, self._width)
        turned = _rotated(parts[:, :, : heads + groups], turn).transpose(1, 2)
        return turned[:, :heads], turned[:, heads:], parts[:, :, heads + groups :].transpose(1, 2)


def _of_nodes(rows: slice, nodes: int) -> slice:
    """Rows of a batch as rows of its nodes, laid end to end."""
    return rows if rows.start is None else slice(rows.start * nodes, rows.stop * nodes)


def _rotated(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    return (x * turn[0]).addcmul_(x.roll(x.shape[-1] // 2, -1), turn[1])


def _normed(norm: Any, x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], norm.weight, norm.variance_epsilon)


def _attended(q: Tensor, k: Tensor, v: Tensor, sees: Tensor, scale: float) -> Tensor:
    """(B, heads, T, head width). On a CPU, for a few nodes, two products are twice as fast as torch's one kernel."""
    if q.device.type != "cpu":
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=sees[:, None], scale=scale, enable_gqa=True)
    rows, heads, nodes, width = q.shape
    groups, keys = k.shape[1], k.shape[2]
    flat = rows * groups
    scores = torch.bmm((q * scale).reshape(flat, -1, width), k.reshape(flat, keys, width).transpose(1, 2))
    masked = scores.view(rows, heads, nodes, keys).masked_fill_(~sees[:, None], torch.finfo(q.dtype).min)
    weights = torch.softmax(masked, -1).view(flat, -1, keys)
    return torch.bmm(weights, v.reshape(flat, keys, width)).view(rows, heads, nodes, width)


def _read_each(
    q: Tensor, k: Tensor, v: Tensor, memory: Tensor, bounds: Sequence[tuple[int, int]], scale: float
) -> Tensor:
    """One layer's attention of prompts end to end, (1, heads, N, head width) each; (N, queries). Rows beyond the prompts see nothing.

    `memory` (B, 2, kv heads, L, head width) holds what was read before, and is given the rest.
    """
    seen, at = [], 0
    for kept, (start, length) in zip(memory, bounds, strict=True):
        own = slice(at, at + length - start)
        kept[0, :, start:length], kept[1, :, start:length] = k[0, :, own], v[0, :, own]
        seen.append(
            _continued(q[:, :, own], kept[None, :, :, :length], scale)
            if start
            else _causal(q[:, :, own], k[:, :, own], v[:, :, own], scale)
        )
        at = own.stop
    beyond = q.new_zeros(1, q.shape[1], q.shape[2] - at, q.shape[3])
    return torch.cat((*seen, beyond), 2)[0].transpose(0, 1).reshape(q.shape[2], -1)


def _causal(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)


def _continued(q: Tensor, kept: Tensor, scale: float) -> Tensor:
    """(1, heads, T, head width) of the last T of L tokens, whose (1, 2, kv heads, L, head width) keys and values are at hand."""
    nodes, keys = q.shape[2], kept.shape[3]
    sees = torch.ones(nodes, keys, dtype=torch.bool, device=q.device).tril(keys - nodes)
    return _attended(q, kept[:, 0], kept[:, 1], sees[None], scale)
