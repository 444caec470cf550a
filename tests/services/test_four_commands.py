"""From a foreign shop's files to a served base and a verdict, by four commands: prepare, pretrain, finetune, evaluate."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model.lm import LanguageModel
from streaming.contracts.topics import REWARDS, STRATEGIES
from tests.services.foreign_shop import catalog, export
from tests.services.up_samples import COMMAND, ROOT, Up, event, eventually, free_block, running, values

pytestmark = [pytest.mark.timeout(500), pytest.mark.slow]
CUSTOMERS = tuple(f"K{number}" for number in range(6))
QUICK = {
    "ALLOWED_LATENESS_S": "0", "RESPONSE_WINDOW_H": "0.0005", "HORIZON_H": "0.001", "DEADLINE_S": "600",
    "BATCH": "1", "TRAIN_EVERY": "1", "GROUP_PREFIX": "four-", "CURRENCY": "EUR",
}  # fmt: skip
"""Windows of seconds, so that a small run goes all the way; a slow machine makes nothing late."""
TINY = {
    "pretrain": ["--objective", "causal", "--width", "32", "--vocabulary", "400", "--steps", "250", "--rate", "0.003"],
    "finetune": ["--task", "response", "--epochs", "1"],
}
"""Models that are made in seconds."""


def run(*arguments: object, codes: tuple[int, ...] = (0,)) -> str:
    """A command of ours, as a team types it; what it said."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in codes, done.stderr[-3000:]
    return done.stdout


def report(folder: Path, name: str = "report.json") -> dict[str, Any]:
    """What a command left for machines."""
    found: dict[str, Any] = json.loads((folder / name).read_bytes())
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first three commands on the shop's exports."""
    at = tmp_path_factory.mktemp("four")
    files = export(at / "export")
    run("data", "prepare", "--source", "laden", "--mapping", files / "laden.toml", "--out", at / "data", files)
    run("pretrain", "--data", at / "data", "--out", at / "base", *TINY["pretrain"])
    run("finetune", "--data", at / "data", "--out", at / "response", *TINY["finetune"], codes=(0, 1))
    return at


@pytest.fixture(scope="module")
def up(made: Path, stratagem_home: Path) -> Iterator[Up]:
    """The loop with the base that was just made, after a small run."""
    settings = QUICK | {"METRICS_PORT": str(free_block()), "BASE_MODEL": str(made / "base" / "model")}
    with running(Up(made / "home", stratagem_home / "cache", **settings)) as begun:
        small_run(begun)
        yield begun


def small_run(up: Up) -> None:
    """Customers look, are told something, see it and click."""
    up.command("publish", text=catalog())
    up.command("publish", text="\n".join(event("Product Viewed", user, product_id="A-100") for user in CUSTOMERS))
    told = eventually(lambda: values(up, STRATEGIES), "strategies")
    for what in ("Promotion Viewed", "Promotion Clicked"):
        up.command("publish", text="\n".join(event(what, s["user_id"], strategy_id=s["strategy_id"]) for s in told))
    eventually(lambda: [reward for reward in values(up, REWARDS) if reward["stage"] == "final"], "a final reward")


def test_the_files_are_prepared_and_what_is_wrong_in_them_is_named(made: Path) -> None:
    """Both bad rows are in quarantine with field and value; the counts add up."""
    card = report(made / "data", "card.json")
    deeds = card["tables"]["behaviours"]
    assert deeds["dropped"] == {"not_a_time": 1, "unknown_value": 1}
    assert deeds["rows_in"] == deeds["rows_out"] + 2
    faults = [json.loads(line) for line in (made / "data" / "quarantine.jsonl").read_text("utf-8").splitlines()]
    bad = {(fault["field"], fault["value"]) for fault in faults if fault["table"] == "behaviours"}
    assert bad == {("at", "gestern"), ("action", "geträumt")}


def test_each_model_comes_with_a_verdict(made: Path) -> None:
    """The base beside frequencies, who answers beside the prior rate; never without an interval."""
    base, response = report(made / "base"), report(made / "response")
    assert set(base["models"]) == {"causal", "unigram"}
    assert {"prior_rate", "logistic_regression", "gradient_boosting", "encoder"} <= set(response["models"])
    for scores in (*base["models"].values(), *response["models"].values()):
        assert all(score["low"] <= score["value"] <= score["high"] for score in scores.values())
    assert isinstance(response["verdict"]["go_on"], bool)
    assert response["verdict"]["says"]


def test_the_base_that_was_made_is_served(made: Path, up: Up) -> None:
    """Strategies name its bytes, and some were decided by it, over the shop's own goods."""
    strategies = values(up, STRATEGIES)
    own = LanguageModel.load(str(made / "base" / "model"), "cpu").base_sha256[:12]
    by_model = [each for each in strategies if each["policy"]["adapter"] != "none"]
    assert by_model
    assert {each["policy"]["base"].rpartition("@")[2] for each in by_model} == {own}
    products = {each["decision"]["product"] for each in strategies if "product" in each["decision"]}
    assert products
    names = {candidate["id"]: candidate["name"] for each in strategies for candidate in each["request"]["candidates"]}
    assert any("Kaffee" in name or "kaffee" in name or "Tee" in name for name in names.values()), names


def test_what_was_served_is_judged(made: Path, up: Up) -> None:
    """The fourth command reads the topics: every closed strategy by arm, and the base itself as a policy."""
    closed = [reward for reward in values(up, REWARDS) if reward["stage"] == "final" and not reward["ghost"]]
    up.command("evaluate", "--from-kafka", "--policy", "base", "--out", str(made / "verdict"))
    said = (made / "verdict" / "report.json").read_text("utf-8")
    assert closed
    assert "base" in said
    assert (made / "verdict" / "report.html").stat().st_size > 0
