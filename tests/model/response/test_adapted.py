"""The encoder on a base, adapted by every method: saved and read back it answers the same; interrupted it goes on the same."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2Model

from model.data.errors import Refused
from model.peft_methods.kinds import METHODS
from model.response import kept
from model.response.encoder import Inputs, lengthened, loaded, log_odds
from model.response.finetune import main, rows_of_folder
from model.response.fitting import Fitting, Rows, Settings, check
from model.training.loop import Told, device_of
from model.training.runs import Run, identity_of
from model.training.trackers import Nowhere
from model.training.words import byte_pairs, wordpiece
from services.cli_models import METHODS as OFFERED
from tests.model.data.samples import EXTRACT, prepared

CPU = device_of("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped extract of Complete Journey, prepared."""
    out = tmp_path_factory.mktemp("adapted") / "data"
    prepared(out, EXTRACT, mapping="completejourney")
    return out


@pytest.fixture(scope="module")
def rows(data: Path) -> Rows:
    """What the encoder reads of it."""
    return rows_of_folder(data, Settings())


@pytest.fixture(scope="module")
def base(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of masked words with random weights, shorter than words and numbers together."""
    folder = tmp_path_factory.mktemp("base")
    words = wordpiece(rows.said, 400)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=48)  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    words.save_pretrained(folder)
    return folder


def wish(base: Path, method: str, **more: Any) -> Settings:
    """Two epochs of small batches."""
    return Settings(str(base), method, rank=2 if method not in ("ia3", "full") else 0, epochs=2, batch=32, **more)


def fitted(rows: Rows, settings: Settings, folder: Path, told: Told = lambda *_: None) -> tuple[Fitting, Run]:
    """Fitted on the first origin's past."""
    run = Run(folder, identity_of({}, "", 0))
    try:
        made = Fitting(rows, settings, rows.folds[0].fit, 1)
        made.train(run, "m", told, Nowhere())
    finally:
        run.close()
    return made, run


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("method", list(METHODS))
def test_what_is_saved_answers_the_same(rows: Rows, base: Path, method: str, merge: bool, tmp_path: Path) -> None:  # noqa: FBT001 -- pytest's way
    """Every method trains what it says, is saved as safetensors and read back; what cannot be merged is refused with its reason."""
    settings = wish(base, method, merge=merge)
    if merge and not METHODS[method].mergeable:
        with pytest.raises(Refused, match="neither swapped in nor merged") as refused:
            check(settings)
        assert METHODS[method].why in str(refused.value)
        return
    made, run = fitted(rows, settings, tmp_path / "run")
    before = {name: p for name, p in loaded(str(base))[0].named_parameters() if "pooler" not in name}
    mine = log_odds(made.model, made.inputs, rows.folds[0].test, CPU)
    made.save(run, [1.0])
    assert not list(run.path.rglob("*.bin"))
    assert (run.path / "method").is_dir() == (method != "full" and not merge)
    read = kept.read(run.path)
    changed = [name for name, p in read.model.backbone.named_parameters() if name in before and before[name].shape == p.shape and not torch.equal(p, before[name])]  # fmt: skip
    assert bool(changed) == (method == "full" or merge)
    inputs = Inputs(read.tokenizer, rows.said, rows.numbers, None, read.scale)
    np.testing.assert_allclose(log_odds(read.model, inputs, rows.folds[0].test, CPU), mine, atol=1e-4)
    told = json.loads((run.path / "encoder.json").read_bytes())["adapted"]
    assert (told["method"], told["rank"], told["merged"]) == (method, settings.rank, merge)
    assert (told["trained"] == told["parameters"]) == (method == "full")


@pytest.mark.parametrize("method", ["adalora", "lora"])
def test_an_interrupted_method_goes_on_the_same(rows: Rows, base: Path, method: str, tmp_path: Path) -> None:
    """Stopped after its checkpoint and begun again: the same weights and files; adalora's ranks and their history among them."""
    settings = wish(base, method)
    whole, run = fitted(rows, settings, tmp_path / "whole")
    whole.save(run, [1.0])

    def stopping(step: int, steps: int, *_: Any) -> None:
        if step == steps - 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(rows, settings, tmp_path / "again", stopping)
    again, other = fitted(rows, settings, tmp_path / "again")
    again.save(other, [1.0])
    files = [path.relative_to(run.path) for path in run.path.rglob("*.safetensors")]
    assert len(files) == 2
    for path in files:
        assert (run.path / path).read_bytes() == (other.path / path).read_bytes(), path
    config = json.loads((run.path / "method" / "adapter_config.json").read_bytes())
    assert config["target_modules"] == sorted(config["target_modules"])
    if method == "adalora":
        assert {sum(ranks) for ranks in whole.learning.state()["ranks"].values()} != {3}, "nothing was cut"


def test_the_report_says_what_was_adapted(data: Path, base: Path, tmp_path: Path) -> None:
    """From the folder to the report; the run is read back with the base at another place."""
    settings = wish(base, "lora", fewest=0.6)
    report = main(data, tmp_path / "run", settings, lambda _: lambda *_: None, resume=True, overwrite=False)
    assert (report["adapted"]["method"], report["adapted"]["rank"], report["adapted"]["merged"]) == ("lora", 2, False)
    base.rename(tmp_path / "moved")
    with pytest.raises(Refused, match="cannot be loaded"):
        kept.read(tmp_path / "run")
    assert kept.read(tmp_path / "run", str(tmp_path / "moved")).temperatures.shape == (1,)
    (tmp_path / "moved").rename(base)


def test_wishes_that_cannot_be_are_refused(base: Path, tmp_path: Path) -> None:
    """No base to adapt, a rank for what has none, a decoder, a table too short and of another kind: each in one line."""
    with pytest.raises(Refused, match="--peft lora adapts a base"):
        check(Settings(peft="lora"))
    with pytest.raises(Refused, match="ia3 has no rank that could be 4: of a size are lora"):
        check(Settings(str(base), "ia3", rank=4))
    with pytest.raises(Refused, match="prompt can be neither swapped in nor merged"):
        main(tmp_path, tmp_path / "out", Settings(str(base), "prompt", merge=True), lambda _: lambda *_: None, resume=True, overwrite=False)  # fmt: skip
    assert not list(tmp_path.iterdir())
    GPT2Model(GPT2Config(vocab_size=400, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path / "gpt2")  # type: ignore[no-untyped-call]
    byte_pairs(["a text"], 400).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(Refused, match="gpt2, which reads in one direction"):
        loaded(str(tmp_path / "gpt2"))
    with pytest.raises(Refused, match="a gpt2 of 8 tokens cannot read 9"):
        lengthened(GPT2Model(GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=8)), 9)  # type: ignore[no-untyped-call]
    assert set(OFFERED) == set(METHODS)
