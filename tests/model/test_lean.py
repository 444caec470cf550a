"""The lean pass: transformers' numbers, for each row those of its own adapter, whatever was written into the slots before."""

import itertools
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from model import adapter
from model.batch import Room
from model.fresh import new_base, random_lm
from model.lean import LeanBackbone
from model.lm import LanguageModel
from model.pointer import Pointer
from model.tokenizer import train
from streaming.contracts.kinds import Kind
from streaming.contracts.strategies import StrategyRequest
from tests.model.sample import request_of

WIDTH, LAYERS = 32, 2
NEAR = 1e-5
SLOTS = ("slot_a", "slot_b")


def of_shape(shape: str) -> LanguageModel:
    """An untrained base of one of three shapes, with two adapters that change something."""
    tokenizer = train(("fresh ground coffee", "whole milk"), 600)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        if shape == "llama":
            causal: Any = new_base(tokenizer, 1, width=WIDTH, layers=LAYERS)[0]
        elif shape == "qwen2":
            causal = Qwen2ForCausalLM(  # type: ignore[no-untyped-call]  # transformers' own lack
                Qwen2Config(
                    vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=LAYERS,
                    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024,
                )
            )  # fmt: skip
        else:
            causal = GPT2LMHeadModel(  # type: ignore[no-untyped-call]  # the same
                GPT2Config(
                    vocab_size=len(tokenizer),
                    n_embd=WIDTH,
                    n_layer=LAYERS,
                    n_head=4,
                    n_positions=1024,
                    bos_token_id=1,
                    eos_token_id=1,
                )
            )
        for parameter in causal.parameters():  # the biases of a fresh base are zero
            parameter.data.add_(0.05 * torch.randn(parameter.shape))
        pointer = Pointer(WIDTH)
        torch.nn.init.normal_(pointer.point, std=0.2)
        torch.nn.init.normal_(pointer.echo, std=0.2)
    lm = LanguageModel(causal, tokenizer, pointer, shape)
    adapter.attach(lm, SLOTS)
    for number, slot in enumerate(SLOTS):
        adapter.place(lm, slot, tuned(lm, number))
    return lm


def tuned(lm: LanguageModel, seed: int) -> dict[str, torch.Tensor]:
    """An adapter that changes something."""
    generator = torch.Generator().manual_seed(seed)
    shapes = adapter.expected(lm, SLOTS[0]).shapes
    return {key: torch.randn(shape, generator=generator) * 0.2 for key, shape in shapes.items()}


def theirs(lm: LanguageModel, slot: str | None, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Transformers' own causal pass, adapters by peft."""
    with torch.no_grad(), lm.use_adapter(slot):
        states: torch.Tensor = lm.backbone(inputs_embeds=x, position_ids=positions).last_hidden_state
    return states


@pytest.mark.parametrize("shape", ["llama", "qwen2"])
@pytest.mark.parametrize("slot", [None, *SLOTS])
def test_the_numbers_are_those_of_transformers_and_peft(shape: str, slot: str | None) -> None:
    """Both passes of a batch agree, with and without an adapter, fused or beside the weights, at once or in two parts."""
    lm = of_shape(shape)
    lean = lm.lean
    assert lean is not None
    x = torch.randn(3, 7, WIDTH, generator=torch.Generator().manual_seed(2))
    positions = torch.arange(7).expand(3, -1)
    causal = torch.ones(7, 7, dtype=torch.bool).tril().expand(3, -1, -1)
    wanted = theirs(lm, slot, x, positions)
    routes = ((slot, slice(None)),)
    with torch.no_grad():
        torch.testing.assert_close(lean.forward(x, positions, causal, None, routes), wanted, rtol=NEAR, atol=NEAR)
    torch.testing.assert_close(
        lean.forward(x, positions, causal, None, routes), wanted, rtol=NEAR, atol=NEAR
    )  # beside the weights
    for cache in (DynamicCache(), Room(torch.zeros(3, LAYERS, 2, 2, 0, WIDTH // 4), 1)):
        with torch.no_grad():
            first = lean.forward(x[:, :4], positions[:, :4], causal[:, :4, :4], cache, routes)
            rest = lean.forward(x[:, 4:], positions[:, 4:], causal[:, 4:], cache, routes)
        torch.testing.assert_close(torch.cat((first, rest), 1), wanted, rtol=NEAR, atol=NEAR)


@pytest.mark.parametrize("shape", ["llama", "qwen2", "gpt2"])
def test_a_mixed_batch_decides_as_each_row_alone(shape: str) -> None:
    """Requests of all kinds, each with its own adapter or none, have within 1e-5 the distributions they have alone."""
    lm = of_shape(shape)
    requests = [request_of(n, kind=kind) for n, kind in enumerate(get_args(Kind))]
    names = [None, "slot_a", "slot_a", "slot_b"]
    together, chosen = _decoded(lm, requests, names, None)
    for row, (request, name) in enumerate(zip(requests, names, strict=True)):
        alone, _ = _decoded(lm, [request], [name], [chosen[row]])
        for ours, wanted in zip(together[row], alone[0], strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-5)
    if shape != "gpt2":
        with_other, _ = _decoded(lm, requests, ["slot_b"] * 4, chosen)
        assert np.abs(np.concatenate(with_other[0]) - np.concatenate(together[0])).max() > 1e-3


def _decoded(
    lm: LanguageModel, requests: list[StrategyRequest], names: list[str | None], forced: list[list[int]] | None
) -> tuple[list[list[npt.NDArray[np.float64]]], list[list[int]]]:
    """Log-probabilities per row and slot, and what was chosen: the most probable unless forced."""
    logs: list[list[npt.NDArray[np.float64]]] = [[] for _ in requests]
    chosen: list[list[int]] = [[] for _ in requests]
    with lm.use_adapters(names):
        session = lm.session(lm.encode(requests), requests)
        depth = 0
        while not session.done:
            now = session.log_probs()
            picks = [int(row.argmax()) if len(row) else 0 for row in now]
            if forced is not None:
                picks = [of[depth] if depth < len(of) else 0 for of in forced]
            for row, of in enumerate(now):
                if len(of):
                    logs[row].append(of)
                    chosen[row].append(picks[row])
            session.choose(picks)
            depth += 1
    return logs, chosen


def test_another_shape_takes_transformers_pass() -> None:
    """GPT-2 has no lean pass, and neither have positions that depend on a text's length."""
    lm = of_shape("gpt2")
    assert lm.lean is None
    scaled = random_lm(1, width=WIDTH, layers=1)
    scaled.backbone.rotary_emb.rope_type = "dynamic"
    assert LeanBackbone.of(scaled.backbone) is None


def test_what_is_written_into_a_slot_is_what_the_next_pass_reads() -> None:
    """Fused weights follow a placement, a copied block, a training step, and a trained base."""
    lm = of_shape("llama")
    x, positions = torch.randn(1, 3, WIDTH), torch.arange(3)[None]
    sees = torch.ones(3, 3, dtype=torch.bool).tril()[None]

    def ours() -> torch.Tensor:
        with torch.no_grad(), lm.use_adapter("slot_a"):
            return lm.forward(x, positions, sees, None)

    seen = [ours()]
    adapter.place(lm, "slot_a", tuned(lm, 7))
    seen.append(ours())
    adapter.Block(lm, "slot_a").copy_(adapter.block_of(tuned(lm, 8)))
    seen.append(ours())
    optimiser = torch.optim.SGD([p.requires_grad_() for p in adapter.parameters(lm, "slot_a").values()], lr=0.1)
    with lm.use_adapter("slot_a"):
        lm.forward(x, positions, sees, None).square().sum().backward()  # type: ignore[no-untyped-call]  # torch's own lack
    optimiser.step()
    seen.append(ours())
    with torch.no_grad():
        for parameter in lm.backbone.parameters():
            parameter.mul_(1.1)
    seen.append(ours())
    for before, after in itertools.pairwise(seen):
        assert not torch.allclose(before, after, rtol=NEAR, atol=NEAR)
    torch.testing.assert_close(seen[-1], theirs(lm, "slot_a", x, positions), rtol=NEAR, atol=NEAR)


def test_weights_fused_beforehand_are_those_of_the_slot() -> None:
    """What another thread made of the file's tensors gives the same numbers as what lies in the slot."""
    lm = of_shape("qwen2")
    lean = lm.lean
    assert lean is not None
    tensors = tuned(lm, 9)
    fused = lean.fuse(tensors)
    adapter.place(lm, "slot_b", tensors)
    lean.take("slot_b", fused)
    taken = lean.weights("slot_b")
    adapter.place(lm, "slot_b", tensors)  # written anew: fused from the slot
    made = lean.weights("slot_b")
    assert taken is not None
    assert made is not None
    assert taken is not made
    for one, other in zip(taken.layers, made.layers, strict=True):
        for ours, wanted in zip(one, other, strict=True):
            torch.testing.assert_close(ours[0], wanted[0], rtol=0, atol=1e-6)


def test_a_large_base_keeps_no_fused_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound, and in half precision, adapters are applied beside the weights."""
    lm = of_shape("llama")
    assert lm.lean is not None
    assert lm.lean.fuses
    monkeypatch.setattr("model.lean.MAX_FUSED", 10)
    small = LeanBackbone.of(lm.backbone)
    assert small is not None
    assert not small.fuses
    half = random_lm(1, width=WIDTH, layers=1)
    half.causal.to(torch.bfloat16)
    assert LeanBackbone(half.backbone).fuses is False
