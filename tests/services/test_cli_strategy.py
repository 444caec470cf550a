"""`stratagem finetune --task strategy` as a user meets it: files and topics, mistakes in a line, killed and resumed."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from model.data.errors import Refused
from services.cli import main
from services.clients import command_producer
from services.local.stack import Endpoints
from services.settings import Common, load
from services.strategy_log import read_log
from services.topics import ensure_topics
from streaming.contracts.codec import encode
from tests.model.evaluation.samples import logged, repeated
from tests.model.training.killing import killed_and_resumed

QUICK = ["finetune", "--task", "strategy", "--steps", "3", "--batch", "4", "--judged", "20", "--critics", "2", "--lora-steps", "4", "--customers", "16"]  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as topics would be dumped: a holdout is in it, and a final with its correction."""
    folder = tmp_path_factory.mktemp("log")
    rewards = logged(200).rewards
    lines = [encode(reward) for reward in (*rewards, repeated(rewards[0]))]
    (folder / "strategy.rewards.p0.from0.jsonl").write_bytes(b"\n".join(lines))
    return folder


def invoke(*arguments: object, environ: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and output."""
    done = CliRunner().invoke(main, [*QUICK, *map(str, arguments)], env=environ)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def unheard(*_: Any) -> None:
    """Nobody listens."""


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(log: Path, tmp_path: Path) -> None:
    """Killed while it learns, started again, killed while it is examined, and started again: every file is the same."""
    ripe = [
        lambda partial, name=name: (partial / name).exists()
        for name in ("checkpoints/strategy.pt", "examined/trial-new-0.json")
    ]
    whole, said = killed_and_resumed([*QUICK, "--data", log], tmp_path, *ripe)
    assert "minutes" in said
    report = json.loads((whole / "report.json").read_bytes())
    assert report["origin"]["rewards"] == 201
    counts = report["strategies"]
    assert counts["train"] + counts["valid"] + counts["judged"] + counts["straddling"] <= report["origin"]["taken"]
    assert {"report.json", "run.json", "metrics.jsonl"} <= {path.name for path in whole.iterdir()}
    assert (whole / "base").is_dir() == report["verdict"]["go_on"]


def test_a_log_without_closed_strategies_is_refused_in_a_line(log: Path, tmp_path: Path) -> None:
    """Nothing, garbage, another topic, a holdout alone, too little: each says what there was; nothing is left behind."""
    ghosts = [encode(reward) for reward in logged(200).rewards if reward.ghost]
    contacted = [encode(reward) for reward in logged(200).rewards if not reward.ghost]
    said = {
        b"": "0 rewards, 0 still open, 0 lines refused",
        b"no json\n\xff\xfe": "2 lines refused, 0 of something else; first refused, log.jsonl:1",
        b'{"messageId": "1", "event": "Product Viewed"}': "1 of something else",
        b"\n".join(ghosts): f"no closed strategy with its probability (a final of `strategy.rewards` that is no holdout): {len(ghosts)} rewards",
        b"\n".join(contacted[:40]): "too few closed strategies",
    }  # fmt: skip
    for content, line in said.items():
        (tmp_path / "log.jsonl").write_bytes(content)
        code, output = invoke("--data", tmp_path / "log.jsonl", "--out", tmp_path / "out")
        assert (code, line in output) == (2, True), output
        assert output.strip().splitlines()[-1].startswith("stratagem: ")
        assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
    code, output = invoke("--data", log, "--out", tmp_path / "out", "--base", tmp_path / "nowhere")
    assert (code, "cannot be loaded for causal" in output) == (2, True), output
    assert invoke("--out", tmp_path / "out")[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_the_newest_strategies_are_taken_with_their_last_word(log: Path) -> None:
    """A correction takes the place of its final, and no holdout and no response is learned from."""
    everything = read_log([log], 10_000, unheard)
    contacted = [reward for reward in logged(200).rewards if not reward.ghost]
    assert len(everything.rewards) == len(contacted)
    assert len(read_log([log], 50, unheard).rewards) == 50
    with pytest.raises(Refused, match="is not there"):
        read_log([log / "nowhere"], 50, unheard)


def test_topics_are_learned_from_as_their_file(stack: Endpoints, topic_prefix: str, log: Path, tmp_path: Path) -> None:
    """What real topics hold gives the report of the dumped file; what was read in between is gone."""
    environ = {
        "STRATAGEM_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
        "STRATAGEM_REDIS_URL": stack.redis_url,
        "STRATAGEM_TOPIC_PREFIX": topic_prefix,
        "STRATAGEM_HOME": str(tmp_path / "home"),
    }
    settings = load(Common, environ)
    ensure_topics(settings)
    producer = command_producer(settings)
    for line in (log / "strategy.rewards.p0.from0.jsonl").read_bytes().splitlines():
        producer.send(f"{topic_prefix}strategy.rewards", key=line[:20], value=line)
    producer.flush()
    producer.close()
    codes = [invoke("--from-kafka", "--out", tmp_path / "topics", environ=environ)[0], invoke("--data", log, "--out", tmp_path / "files", environ=environ)[0]]  # fmt: skip
    assert codes[0] == codes[1]
    assert codes[0] in (0, 1)
    reports = [json.loads((tmp_path / name / "report.json").read_bytes()) for name in ("topics", "files")]
    assert reports[0] == reports[1]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["files", "home", "topics"]
    assert [each.name for each in (tmp_path / "home").iterdir()] == ["examined"]


def test_each_task_has_its_own_options() -> None:
    """The help of the command names both tasks; each task's help its own options."""
    runner = CliRunner()
    strategy = runner.invoke(main, ["finetune", "--task=strategy", "--help"]).output
    response = runner.invoke(main, ["finetune", "--task", "response", "--help"]).output
    assert "--teacher-weight" in strategy
    assert "--class-weight" not in strategy
    assert "--class-weight" in response
    assert "[response|strategy]" in response
    assert runner.invoke(main, ["finetune", "--task", "strategy", "--out", "x"]).exit_code == 2
