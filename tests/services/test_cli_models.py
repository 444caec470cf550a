"""The commands of models as a user meets them: help that loads nothing, and one line for what is missing, broken or does not fit."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from click.testing import CliRunner
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

from model.data.errors import Refused
from model.objectives import texts
from model.response import tables
from model.response.encoder import loaded
from model.training.words import wordpiece
from services.cli import main
from tests.model.data.samples import EXTRACT, prepared

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "polars", "sklearn", "optuna", "matplotlib", "numpy", "scipy", "peft", "kafka", "rich", "tokenizers")  # fmt: skip
COMMANDS = ("pretrain", "finetune", "tune", "evaluate", "data", "data prepare", "label")
LEARNING = {
    "finetune": ["finetune", "--task", "response"],
    "tune": ["tune", "--task", "response"],
    "mlm": ["pretrain", "--objective", "mlm"],
    "contrastive": ["pretrain", "--objective", "contrastive"],
}
READS = {
    "finetune": "exposures", "tune": "behaviours", "mlm": "products", "contrastive": "transactions",
}  # fmt: skip
"""A table that each reads."""


def script(code: str) -> list[str]:
    """Lines that Python code prints, run by itself."""
    head = "import sys\nfrom click.testing import CliRunner\nfrom services.cli import main\n"
    done = subprocess.run([sys.executable, "-c", head + code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_help_loads_nothing_heavy() -> None:
    """What takes long to import is imported by no help: that is what keeps it within a second."""
    code = f"for name in {COMMANDS}:\n    done = CliRunner().invoke(main, [*name.split(), '--help'])\n    print(name, done.exit_code, *(m for m in {HEAVY} if m in sys.modules))\n"
    assert script(code) == [f"{name} 0" for name in COMMANDS]


@pytest.mark.parametrize(
    ("lacking", "command", "extra"),
    [
        ("sklearn", "finetune --task response --data x --out y", "models"),
        ("optuna", "tune --task response --data x --out y", "tuning"),
        ("polars", "pretrain --objective mlm --data x --out y", "data"),
        ("polars", "data prepare --source segment --out y x", "data"),
        ("polars", "label --data x --out y --name category --person p", "models"),
    ],
)
def test_a_missing_extra_is_named(lacking: str, command: str, extra: str) -> None:
    """Package or command, and what to install, in one line with exit code 3."""
    code = f"sys.modules[{lacking!r}] = None\ndone = CliRunner().invoke(main, {command.split()})\nprint(done.exit_code)\nprint(done.output, end='')\n"
    status, *said = script(code)
    assert status == "3", said
    assert len(said) == 1, said
    assert said[0].endswith(f"pip install 'stratagem[{extra}]'")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped extract of Complete Journey, prepared."""
    out = tmp_path_factory.mktemp("broken") / "data"
    prepared(out, EXTRACT, mapping="completejourney")
    return out


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _text(path: Path) -> None:
    path.write_bytes("größe\n".encode("latin-1") * 100)


def _ghost(path: Path) -> None:
    path.unlink()


def _columns(path: Path) -> None:
    pl.read_parquet(path).drop("customer_id", strict=False).drop("name", strict=False).write_parquet(path)


DAMAGE: dict[Callable[[Path], None], str] = {_emptied: "no whole Parquet file", _cut: "no whole Parquet file", _text: "no whole Parquet file", _ghost: "", _columns: "has no column"}  # fmt: skip


@pytest.mark.parametrize("name", list(LEARNING))
@pytest.mark.parametrize("damage", list(DAMAGE), ids=lambda each: each.__name__)
def test_a_broken_folder_is_one_line(data: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    """Empty, cut short, of another encoding, missing or without a column: the file is named, with exit code 2, and nothing is left."""
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    damage(folder / f"{READS[name]}.parquet")
    if damage is _ghost and name == "mlm":
        (folder / "behaviours.parquet").unlink()
    done = CliRunner().invoke(main, [*LEARNING[name], "--data", str(folder), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2, done.output
    (line,) = done.output.splitlines()[-1:]
    assert READS[name] in line
    assert DAMAGE[damage] in line
    assert "Traceback" not in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_every_column_that_is_read_is_named_when_it_is_missing_or_of_another_type(data: Path, tmp_path: Path) -> None:
    """Of exposures, the labels' ends and the labels as well."""
    wanted = {name: [*columns] for name, columns in tables.READ.items()}
    wanted["exposures"] += ["purchase_until", "purchase"]
    for read, tabled in ((tables.read, wanted), (texts.read, texts.READ)):
        for table, columns in tabled.items():
            whole = pl.read_parquet(data / f"{table}.parquet")
            folder = tmp_path / f"{read.__module__}-{table}"
            shutil.copytree(data, folder)
            for column in columns:
                if column != "purchase":  # without it there is no label at all
                    _refused(read, folder, table, whole.drop(column), f"has no column {column}")
                other = pl.lit([1]) if whole.schema[column] == pl.String else pl.lit("x")
                _refused(read, folder, table, whole.with_columns(other.alias(column)), f"the column {column} holds")


def _refused(read: Callable[[Path], Any], folder: Path, table: str, frame: pl.DataFrame, said: str) -> None:
    frame.write_parquet(folder / f"{table}.parquet")
    with pytest.raises(Refused) as refused:
        read(folder)
    assert f"{table}.parquet" in str(refused.value)
    assert said in str(refused.value)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small checkpoints with random weights: one that is an encoder, and what is made of it or is none."""
    folder = tmp_path_factory.mktemp("checkpoints")
    words = wordpiece(["a text of words", "another text"], 300)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    made: dict[str, Any] = {
        "bert": BertForMaskedLM(BertConfig(vocab_size=len(words), **sizes)),  # type: ignore[no-untyped-call]
        "narrow": BertForMaskedLM(BertConfig(vocab_size=9, **sizes)),  # type: ignore[no-untyped-call]
        "gpt2": GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2)),  # type: ignore[no-untyped-call]
        "t5": T5ForConditionalGeneration(T5Config(vocab_size=300, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)),
    }  # fmt: skip
    for name, model in made.items():
        model.save_pretrained(folder / name)
        words.save_pretrained(folder / name)
    for name in ("lies", "cut", "pickled", "mute", "garbled", "padless"):
        shutil.copytree(folder / "bert", folder / name)
    shutil.copy(folder / "gpt2" / "model.safetensors", folder / "lies")
    _cut(folder / "cut" / "model.safetensors")
    (folder / "pickled" / "model.safetensors").unlink()
    torch.save(made["bert"].state_dict(), folder / "pickled" / "pytorch_model.bin")
    for path in (folder / "mute").glob("tokenizer*"):
        path.unlink()
    (folder / "garbled" / "tokenizer.json").write_text('{"version": "1.0", "model"')
    told = json.loads((folder / "padless" / "tokenizer_config.json").read_bytes())
    (folder / "padless" / "tokenizer_config.json").write_text(
        json.dumps({k: v for k, v in told.items() if k != "pad_token"})
    )
    return folder


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gpt2", "reads in one direction"),
        ("t5", "reads in one direction or writes"),
        ("lies", "its weights are not those of a bert"),
        ("cut", "cannot be loaded for an encoder"),
        ("pickled", "cannot be loaded for an encoder"),
        ("narrow", "the tokenizer does not fit"),
        ("mute", "it knows no word"),
        ("garbled", "no tokenizer at"),
        ("padless", "has no pad_token"),
        ("none", "cannot be loaded for an encoder"),
    ],
)
def test_a_base_that_does_not_fit_is_one_line(checkpoints: Path, name: str, said: str) -> None:
    """Another architecture, weights of another, broken or pickled, a tokenizer that is missing, broken or another's."""
    with pytest.raises(Refused) as refused:
        loaded(str(checkpoints / name))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("command", ["finetune", "tune"])
def test_a_wrong_base_leaves_nothing(data: Path, checkpoints: Path, command: str, tmp_path: Path) -> None:
    """Exit code 2, a line, and nothing in the way of the command put right."""
    given = ["--data", str(data), "--out", str(tmp_path / "out"), "--base", str(checkpoints / "gpt2")]
    done = CliRunner().invoke(main, [*LEARNING[command], *given])
    assert (done.exit_code, "reads in one direction" in done.output) == (2, True), done.output
    assert not list(tmp_path.iterdir())
