"""Shapes from scratch, checkpoints and tokenizers brought along: the real loading code on small models made here."""

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from model.data.errors import Refused
from model.objectives.collate import Batch, Row, Vocabulary, causal, masked
from model.objectives.figures import told
from model.objectives.shapes import SHAPES, Objective, config, fits, fresh, loaded, scale_of, tokenizer_of

BASE = Path(__file__).parents[3] / "model" / "base"
TEXTS = [f"purchase tea {at} , view bread" for at in range(40)]


def made(shape: str, objective: Objective, words: int = 300) -> Any:
    """A small model from scratch."""
    return fresh(objective, config(shape, vocabulary=words, width=16, layers=1, length=32, dropout=0.0, scale=0.02, pad=0), 3)  # fmt: skip


def batch(objective: Objective) -> Batch:
    """Two rows of different lengths."""
    rows = [Row(list(range(10, 10 + n)), list(range(n)), [0] * n) for n in (5, 9)]
    vocabulary = Vocabulary(0, 3, list(range(10, 300)), segments=objective != "causal")
    if objective == "causal":
        return causal(rows, vocabulary)
    found = masked(rows, [0, 1], vocabulary, 0, 0)
    return found if objective == "mlm" else Batch(found.inputs, torch.tensor([0, 1]))


@pytest.mark.parametrize(("shape", "objective"), [("llama", "causal"), ("gpt2", "causal"), ("qwen2", "causal"), ("bert", "mlm"), ("bert", "nsp")])  # fmt: skip
def test_an_untrained_model_knows_nothing(shape: str, objective: Objective) -> None:
    """Every shape tells a loss per target, near that of an even guess; drawn twice from a seed it is the same."""
    model = made(shape, objective).eval()
    loss, right, rows = told(model, objective, batch(objective))
    even = torch.tensor(2.0 if objective == "nsp" else 300.0).log()
    assert float(loss.detach().mean()) == pytest.approx(float(even), rel=0.1)
    assert len(loss) == len(right) == len(rows) == (12 if objective == "causal" else 2)
    again = made(shape, objective).state_dict()
    assert all(torch.equal(part, again[name]) for name, part in model.state_dict().items())
    assert SHAPES[shape] == ("causal" if objective == "causal" else "bidirectional")


def test_a_checkpoint_goes_on_with_the_head_that_is_asked_for(tmp_path: Path) -> None:
    """A BERT of masked words becomes one of pairs with the same body; the base that ships goes on as a causal model."""
    body = made("bert", "mlm")
    body.save_pretrained(tmp_path)
    pairs = loaded("nsp", str(tmp_path), 1)
    assert torch.equal(pairs.bert.embeddings.word_embeddings.weight, body.bert.embeddings.word_embeddings.weight)
    base = loaded("causal", str(BASE), 1)
    fits(base, tokenizer_of(str(BASE), [], 0, "causal"), None)


def test_a_wrong_checkpoint_is_one_line(tmp_path: Path) -> None:
    """Another architecture, pickled, broken or lacking weights, and none at all are each refused in a line that names them."""
    for name, shape, objective in (("bert", "bert", "mlm"), ("gpt2", "gpt2", "causal")):
        made(shape, objective).save_pretrained(tmp_path / name)  # type: ignore[arg-type]  # of the three objectives
    shutil.copytree(tmp_path / "bert", tmp_path / "lies")
    shutil.copy(tmp_path / "gpt2" / "model.safetensors", tmp_path / "lies")
    shutil.copytree(tmp_path / "bert", tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes((tmp_path / "bert" / "model.safetensors").read_bytes()[:900])
    shutil.copytree(tmp_path / "bert", tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save(made("bert", "mlm").state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    shutil.copytree(tmp_path / "bert", tmp_path / "wide")
    told = json.loads((tmp_path / "wide" / "config.json").read_bytes())
    (tmp_path / "wide" / "config.json").write_text(json.dumps(told | {"hidden_size": 32}))
    wrong: list[tuple[Objective, str]] = [("mlm", "gpt2"), ("nsp", "gpt2"), ("causal", "bert"), *(("mlm", n) for n in ("lies", "cut", "pickled", "wide", "none"))]  # fmt: skip
    assert {objective for objective, _ in wrong} == set(get_args(Objective))
    for objective, name in wrong:
        with pytest.raises(Refused) as refused:
            loaded(objective, str(tmp_path / name), 0)
        assert "\n" not in str(refused.value)
        assert str(tmp_path / name) in str(refused.value)


def test_a_tokenizer_that_does_not_fit_is_refused() -> None:
    """Too many words, other words than the checkpoint's own, and a lacking mark are named."""
    words = tokenizer_of("wordpiece", TEXTS, 300, "mlm")
    with pytest.raises(Refused, match="words, the model 5"):
        fits(made("bert", "mlm", 5), words, None)
    with pytest.raises(Refused, match="numbers other words"):
        fits(made("bert", "mlm"), words, tokenizer_of("wordpiece", ["coffee only"], 300, "mlm"))
    with pytest.raises(Refused, match="no mask_token"):
        tokenizer_of(str(BASE), [], 0, "mlm")
    with pytest.raises(Refused, match="cannot be shared"):
        config("bert", vocabulary=9, width=12, layers=1, length=8, dropout=0.0, scale=0.1, pad=0)


def test_byte_pairs_have_marks_for_both_directions() -> None:
    """Trained for masked words, byte pairs know [MASK] and frame a text; for causal models they do not."""
    pairs = tokenizer_of("bpe", TEXTS, 400, "mlm")
    ids = pairs("tea", "bread")["input_ids"]
    assert (ids[0], ids[-1], pairs.mask_token) == (pairs.cls_token_id, pairs.sep_token_id, "[MASK]")
    assert tokenizer_of("bpe", TEXTS, 400, "causal").mask_token is None
    assert scale_of("nsp", 64) > scale_of("nsp", 512) == scale_of("mlm", 64)
