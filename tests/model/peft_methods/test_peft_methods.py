"""Every method on every shape of model: it learns, its file gives the same outputs, and merging keeps them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    GPT2Config,
    LlamaConfig,
)

from model.data.errors import Refused
from model.peft_methods.kinds import METHODS, method, way_to_serve
from model.peft_methods.making import Sized, after_step, load, make, merge, save, trainable_parameters

STEPS = 30
SHAPES = ("llama", "gpt2", "bert")
# Deterministic words: what comes next is told by what stands there.
WORDS = torch.stack([torch.arange(12) * (1 + row % 3) % 29 + 1 for row in range(16)])
KINDS = torch.arange(16) % 3


def base(shape: str) -> Any:
    """A tiny model with random weights: the same each time."""
    torch.manual_seed(1)
    if shape == "llama":
        return AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]  # transformers' own lack

            LlamaConfig(vocab_size=32, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                        intermediate_size=48, max_position_embeddings=64, initializer_range=0.1, pad_token_id=0)
        )  # fmt: skip
    if shape == "gpt2":
        return AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]  # transformers' own lack

            GPT2Config(vocab_size=32, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.1,
                       resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)
        )  # fmt: skip
    return AutoModelForSequenceClassification.from_config(  # type: ignore[no-untyped-call]

        BertConfig(vocab_size=32, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
                   max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                   initializer_range=0.1, id2label=dict(enumerate("abc")))
    )  # fmt: skip


def answered(model: Any, shape: str) -> tuple[Tensor, Tensor]:
    """Loss and logits of the rows."""
    labels = KINDS if shape == "bert" else WORDS
    told = model(input_ids=WORDS, attention_mask=torch.ones_like(WORDS), labels=labels)
    return told.loss, told.logits


def trained(model: Any, shape: str, sized: Sized) -> list[float]:
    """Train for STEPS steps; the losses."""
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2)
    losses = []
    for step in range(STEPS):
        loss, _ = answered(model, shape)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own lack
        optimizer.step()
        after_step(model, sized, step)
        losses.append(float(loss.detach()))
    model.eval()
    return losses


def _moves(path: str) -> bool:
    """Key biases have no gradient under softmax; ranknum is a count."""
    return "ranknum" not in path and "key.bias" not in path


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_learns_is_saved_loaded_and_merged(name: str, shape: str, tmp_path: Path) -> None:
    """Its loss falls, its file gives the same outputs on a fresh base, and where it merges the plain base gives them too."""
    sized = Sized(name, rank=4, tokens=4, width=8, steps=STEPS)
    model = make(base(shape), sized)
    whole = sum(p.numel() for p in base(shape).parameters())
    assert 0 < trainable_parameters(model) <= whole
    assert (trainable_parameters(model) == whole) == (name == "full")
    before = dict(base(shape).named_parameters())
    began = {path: p.detach().clone() for path, p in model.named_parameters() if p.requires_grad}
    losses = trained(model, shape, sized)
    ended = dict(model.named_parameters())
    still = [path for path, was in began.items() if torch.equal(ended[path], was) and _moves(path)]
    assert not still or name == "adalora", still  # which leaves layers at rank 0
    assert len(still) < len(began) / 2
    assert losses[-1] < losses[0] * 0.97, losses
    with torch.no_grad():
        wanted = answered(model, shape)[1]
        untouched = answered(base(shape).eval(), shape)[1]
    assert not torch.allclose(wanted[:, -untouched.shape[1] :], untouched, atol=1e-3)
    save(model, sized, tmp_path / "kept")
    assert {path.suffix for path in (tmp_path / "kept").iterdir()} <= {".safetensors", ".json", ".md"}
    again, same = load(base(shape), tmp_path / "kept")
    assert same == sized
    with torch.no_grad():
        torch.testing.assert_close(answered(again.eval(), shape)[1], wanted, atol=1e-5, rtol=1e-4)
    if not METHODS[name].mergeable:
        with pytest.raises(Refused, match="cannot be merged"):
            merge(again, sized)
        return
    merged = merge(again, sized)
    assert set(dict(merged.named_parameters())) == set(before)
    with torch.no_grad():
        torch.testing.assert_close(answered(merged.eval(), shape)[1], wanted, atol=1e-4, rtol=1e-3)


def test_each_method_says_how_it_is_served() -> None:
    """LoRA is swapped in; what cannot be swapped is merged."""
    assert {name: way_to_serve(name) for name in METHODS if METHODS[name].mergeable} == {
        "lora": "swapped", "adalora": "merged", "dora": "merged", "ia3": "merged", "full": "merged",
    }  # fmt: skip
    assert way_to_serve("lora", "merged") == "merged"


@pytest.mark.parametrize("name", ["prefix", "prompt", "adapter"])
def test_what_can_be_neither_swapped_nor_merged_is_not_served(name: str) -> None:
    """The refusal says why."""
    with pytest.raises(Refused, match=rf"{name} can be neither swapped in nor merged.*offline") as found:
        way_to_serve(name)
    assert METHODS[name].why in str(found.value)


def test_what_can_only_be_merged_is_not_swapped() -> None:
    """The refusal says what to do instead."""
    with pytest.raises(Refused, match=r"adalora cannot be swapped in: its ranks differ by layer.*merge it"):
        way_to_serve("adalora", "swapped")


def test_names_and_models_that_are_not_known_are_refused() -> None:
    """A misspelt method, a model that answers something else, another architecture."""
    with pytest.raises(Refused, match="no method 'qlora': one of lora, adalora"):
        method("qlora")
    masked: Any = AutoModelForMaskedLM.from_config(  # type: ignore[no-untyped-call]
        BertConfig(vocab_size=32, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    )
    with pytest.raises(Refused, match="a BertForMaskedLM cannot be adapted"):
        make(masked, Sized("lora"))
    t5 = SimpleNamespace(config=SimpleNamespace(model_type="t5"))
    with pytest.raises(Refused, match="a t5 cannot be adapted here: one of llama"):
        make(t5, Sized("lora"))


@pytest.mark.parametrize("name", ["lora", "ia3", "prompt", "adapter", "full"])
def test_a_file_of_another_base_is_refused(name: str, tmp_path: Path) -> None:
    """Though the shapes of some would fit."""
    save(make(base("llama"), Sized(name)), Sized(name), tmp_path)
    with pytest.raises(Refused, match="holds no adapter of this base"):
        load(base("gpt2"), tmp_path)


def test_files_that_are_missing_or_cut_are_refused(tmp_path: Path) -> None:
    """Nothing half-read is used."""
    with pytest.raises(Refused, match="holds no adapter"):
        load(base("llama"), tmp_path / "nowhere")
    save(make(base("llama"), Sized("lora")), Sized("lora"), tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(Refused, match="holds no adapter"):
        load(base("llama"), tmp_path)
