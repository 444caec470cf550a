"""The pretraining run: killed and resumed it is the undisturbed one; it learns; its figures are those of formulas."""

import json
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from model.data.errors import Refused
from model.objectives.figures import Judged, figures
from model.objectives.pretrain import Settings, Work, main
from model.objectives.texts import read
from model.peft_methods.making import load
from model.response.encoder import loaded
from model.training.runs import Run, identity_of
from tests.model.training.killing import digests, killed_and_resumed

COMMAND = ["pretrain", "--objective", "mlm", "--steps", "40", "--width", "16", "--layers", "1", "--vocabulary", "300"]  # fmt: skip
GOODS = [f"{kind}{number}" for kind in ("tea", "bread", "soap") for number in range(4)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small prepared folder: customers who each buy two goods of their own, in sessions a day apart."""
    out = tmp_path_factory.mktemp("shop")
    parts = ["train"] * 8 + ["valid", "test"]
    products = [
        {"product_id": good, "name": f"fine {good}", "description": None, "category": good[:3], "type": None, "brand": "b",
         "size": None, "alike": good, "split": parts[at % 10]} for at, good in enumerate(GOODS)
    ]  # fmt: skip
    deeds = [
        {"customer_id": f"c{who:02d}", "day": day, "action": "purchase", "product_id": GOODS[(who + 3 * turn) % 12],
         "query": None, "session_id": None, "split": "train" if day < 12 else "valid" if day < 16 else "test"}
        for who in range(24) for day in range(20) for turn in range(2)
    ]  # fmt: skip
    at = pl.datetime(2026, 1, 1) + pl.duration(days=pl.col("day"))
    pl.DataFrame(products, infer_schema_length=None).write_parquet(out / "products.parquet")
    frame = pl.DataFrame(deeds, schema_overrides={"query": pl.String, "session_id": pl.String})
    frame.with_columns(at.alias("at")).drop("day").write_parquet(out / "behaviours.parquet")
    return out


@pytest.mark.timeout(400)
def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(shop: Path, tmp_path: Path) -> None:
    """Killed after a checkpoint and started again, every file is the same; the model is one that finetune takes as its base."""
    whole, said = killed_and_resumed([*COMMAND, "--data", shop], tmp_path)
    assert "minutes" in said
    assert {"report.json", "run.json", "metrics.jsonl", "model/model.safetensors", "model/tokenizer.json"} <= set(digests(whole))  # fmt: skip
    backbone, tokenizer = loaded(str(whole / "model"))
    assert len(tokenizer) == backbone.config.vocab_size


def test_a_causal_model_learns_and_goes_on_from_its_checkpoint(shop: Path, tmp_path: Path) -> None:
    """On regular texts it beats the unigram with its interval; going on from it begins where it ended."""
    wish = Settings("causal", width=32, layers=1, steps=150, vocabulary=400, rate=5e-3, dropout=0.0)
    report = main(shop, tmp_path / "run", wish, lambda *_: None, resume=True, overwrite=False)
    assert report["verdict"]["go_on"]
    assert report["models"]["causal"]["loss"]["high"] < report["models"]["unigram"]["loss"]["low"]
    assert json.loads((tmp_path / "run" / "report.json").read_bytes()) == report
    more = Work(shop, Settings("causal", base=str(tmp_path / "run" / "model")))
    assert float(more.judge(more.test).loss.mean()) == pytest.approx(report["models"]["causal"]["loss"]["value"])


@pytest.mark.parametrize(("shape", "peft"), [("llama", "lora"), ("gpt2", "adalora"), ("gpt2", "prompt")])
def test_a_checkpoint_is_adapted_by_name(shop: Path, tmp_path: Path, shape: str, peft: str) -> None:
    """What a method trained lies alone in the run and, beside its base, has the report's loss; merged it is a checkpoint with that loss."""
    made = Settings("causal", shape=shape, width=16, layers=1, steps=20, vocabulary=300, rate=5e-3, dropout=0.0)
    main(shop, tmp_path / "base", made, lambda *_: None, resume=True, overwrite=False)
    base = str(tmp_path / "base" / "model")
    wish = Settings("causal", base=base, peft=peft, steps=20, rate=2e-2, dropout=0.0)
    report = main(shop, tmp_path / "run", wish, lambda *_: None, resume=True, overwrite=False)
    assert not (tmp_path / "run" / "model").exists()
    assert 0 < report["adapted"]["trained"] < report["parameters"] / 2
    reached = report["models"]["causal"]["loss"]["value"]
    plain = Work(shop, Settings("causal", base=base))
    begun = float(plain.judge(plain.test).loss.mean())
    plain.model, _ = load(plain.model, tmp_path / "run" / "method")
    assert float(plain.judge(plain.test).loss.mean()) == pytest.approx(reached, abs=1e-5)
    assert reached != pytest.approx(begun, abs=1e-4)
    assert reached < begun - 0.01 or peft != "lora"  # twenty steps are few for the others
    merged = msgspec.structs.replace(wish, merge=True)
    if peft == "prompt":
        with pytest.raises(Refused, match="prompt can be neither swapped in nor merged"):
            main(shop, tmp_path / "merged", merged, lambda *_: None, resume=True, overwrite=False)
        return
    main(shop, tmp_path / "merged", merged, lambda *_: None, resume=True, overwrite=False)
    assert not (tmp_path / "merged" / "method").exists()
    whole = Work(shop, Settings("causal", base=str(tmp_path / "merged" / "model")))
    assert float(whole.judge(whole.test).loss.mean()) == pytest.approx(reached, abs=1e-4)


def test_a_model_of_pairs_learns_who_comes_back(shop: Path, tmp_path: Path) -> None:
    """Where customers keep to their goods, which session is the next is told better than by a coin, with the interval."""
    wish = Settings("nsp", width=32, steps=300, vocabulary=300, length=32, rate=3e-3, dropout=0.0)
    report = main(shop, tmp_path / "run", wish, lambda *_: None, resume=True, overwrite=False)
    assert report["verdict"]["go_on"]
    assert report["models"]["nsp"]["accuracy"]["low"] > 0.5
    assert report["models"]["chance"]["loss"]["value"] == pytest.approx(np.log(2))


def test_sessions_end_with_pauses_and_parts(shop: Path) -> None:
    """A session is told by type or open name; pairs are of one customer and one part; no held-out name is told."""
    texts = read(shop)
    assert len(texts.sessions) == 24 * 20
    assert len(texts.follows) == 24 * (11 + 3 + 3)
    assert texts.sessions[0].said == "purchase fine tea0 , purchase fine tea3"
    assert all((a.group, a.part) == (b.group, b.part) for a, b in ((texts.sessions[i], texts.sessions[j]) for i, j in texts.follows))  # fmt: skip
    held = {text.group.removeprefix("product ") for text in texts.products if text.part != "train"}
    assert held
    assert not any(f"fine {good} " in f"{text.said} " for text in texts.of("train") for good in held)


def test_figures_are_those_of_formulas() -> None:
    """Mean loss, its exponent, the share right, and a gain whose interval is above 0 where every group gains."""
    rng = np.random.default_rng(0)
    loss, groups = rng.uniform(0.5, 1.5, 400), [f"g{at % 40}" for at in range(400)]
    found = figures(Judged(loss, (loss < 1).astype(float), loss + 0.5, np.zeros(400), groups), 0)
    assert found["model"]["loss"].value == pytest.approx(loss.mean())
    assert found["model"]["perplexity"].value == pytest.approx(np.exp(loss.mean()))
    assert found["model"]["accuracy"].value == pytest.approx((loss < 1).mean())
    assert found["model"]["loss"].low < loss.mean() < found["model"]["loss"].high
    assert (found["gain"].low, found["gain"].high) == pytest.approx((0.5, 0.5))


def test_what_cannot_be_used_is_named(shop: Path, tmp_path: Path) -> None:
    """An empty folder, a cut file, one customer alone for pairs and a shape of the other kind are each refused by name."""
    with pytest.raises(Refused, match=r"neither products\.parquet"):
        read(tmp_path)
    (tmp_path / "products.parquet").write_bytes((shop / "products.parquet").read_bytes()[:200])
    with pytest.raises(Refused, match="no whole Parquet file"):
        read(tmp_path)
    (tmp_path / "products.parquet").unlink()
    alone = pl.read_parquet(shop / "behaviours.parquet").filter(pl.col("customer_id") == "c00")
    alone.write_parquet(tmp_path / "behaviours.parquet")
    with pytest.raises(Refused, match="fewer than two customers"):
        Work(tmp_path, Settings("nsp", vocabulary=300, width=16))
    with pytest.raises(Refused, match="a gpt2 cannot learn mlm"):
        Work(shop, Settings("mlm", shape="gpt2", vocabulary=300))
    with pytest.raises(Refused, match="--peft lora adapts a base that has learned something"):
        Work(shop, Settings("causal", peft="lora"))
    with pytest.raises(Refused, match="--peft lora adapts causal models here"):
        Work(shop, Settings("mlm", base="anything", peft="lora"))
    with pytest.raises(Refused, match="no tokenizer at"):
        main(shop, tmp_path / "none", Settings("mlm", tokenizer=str(tmp_path / "x")), lambda *_: None, resume=True, overwrite=False)  # fmt: skip
    assert not list(tmp_path.glob(".none*"))
    Run(tmp_path / "run", identity_of({"objective": "mlm"}, "data", 0)).close()
    with pytest.raises(Refused, match="another config"):
        main(shop, tmp_path / "run", Settings("mlm"), lambda *_: None, resume=True, overwrite=False)
