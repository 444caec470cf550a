"""`stratagem evaluate` as a user meets it: files and topics alike, policies of the registry, mistakes, interruption, hostile text."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from click.testing import CliRunner

from model import adapter
from model.critic import TENSORS as CRITIC_TENSORS
from model.critic import Critic
from model.lm import LanguageModel
from model.registry import Registry
from services.cli import main
from services.clients import command_producer
from services.local.stack import Endpoints
from services.settings import Common, load
from services.topics import ensure_topics
from streaming.contracts.codec import encode
from streaming.reward import Formula
from tests.model.evaluation.samples import logged
from tests.model.evaluation.test_texts import strategies

ROOT = Path(__file__).parents[2]
HOSTILE = '"><script>alert(1)</script><img src="http://x.example/y">\u202e'


def invoke(*arguments: object, environ: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and output."""
    done = CliRunner().invoke(main, ["evaluate", *map(str, arguments)], env=environ)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def write(path: Path, values: Iterable[Any]) -> Path:
    """Values as JSON lines."""
    path.write_bytes(b"".join(encode(value) + b"\n" for value in values))
    return path


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the topics would be dumped."""
    folder = tmp_path_factory.mktemp("loop")
    write(folder / "strategy.rewards.p0.from0.jsonl", logged(600).rewards)
    write(folder / "strategies.p0.from0.jsonl", [*strategies("en"), *strategies("zh", 20)])
    return folder


def read(out: Path) -> dict[str, Any]:
    """The report."""
    found: dict[str, Any] = json.loads((out / "report.json").read_bytes())
    return found


def test_from_files_to_a_report(loop: Path, tmp_path: Path) -> None:
    """Every part is there, and the books account for every line; a report that is there is not overwritten unasked."""
    out = tmp_path / "out"
    code, said = invoke("--out", out, loop)
    assert code == 0, said
    assert "critic against random: +" in said
    report = read(out)
    books = report["books"]
    assert (books["rewards"], books["strategies"], books["refused"]) == (600, 60, 0)
    assert books["contacted"] + books["ghosts"] == books["closed"] == 600
    assert set(report["slices"]) == {"kind", "arm", "channel", "segment", "age", "language", "currency", "period"}
    for slices in report["slices"].values():
        assert sum(each["strategies"] for each in slices) == books["contacted"]
    assert {(c["arm"], c["against"]) for c in report["contrasts"] if c["dimension"] == "overall"} == {
        ("critic", "random"),
        ("critic", "no contact"),
        ("random", "no contact"),
    }
    assert [value["policy"] for value in report["off_policy"]] == ["random"]
    assert [(text["language"], text["texts"], text["agreeing"]) for text in report["texts"]] == [
        ("en", 40, 40),
        ("zh", 20, 20),
    ]
    html = (out / "report.html").read_text(encoding="utf-8")
    assert html.count("<svg") >= 8
    assert "critic against random" in html
    assert invoke("--out", out, loop)[0] == 2
    before = (out / "report.json").read_bytes()
    assert invoke("--out", out, "--overwrite", loop)[0] == 0
    assert (out / "report.json").read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out"]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Where the test's versions are published."""
    return Registry(str(tmp_path / "home" / "registry"), tmp_path / "cache")


def publish(registry: Registry, what: str, folder: Path, tensors: str, base_sha256: str, learned: int) -> str:
    """A version that has learned from so many rewards."""
    return registry.publish(
        what,  # type: ignore[arg-type]
        1, folder, tensors=tensors, base="b", base_sha256=base_sha256, parent="base", created_at=datetime.now(UTC),
        offsets={"strategy.rewards:0": learned}, metrics={}, lm_weight=0.5,
    ).name  # fmt: skip


@pytest.mark.slow
def test_versions_of_the_registry_are_valued(loop: Path, registry: Registry, tmp_path: Path) -> None:
    """An adapter, a critic and both fused, on rewards newer than what they learned; the same numbers in the same report again."""
    lm = LanguageModel.load("", "cpu")
    adapter.attach(lm, adapter.SLOTS[:1])
    shapes = adapter.expected(lm).shapes
    draws = torch.Generator().manual_seed(1)
    adapter.place(lm, "slot_a", {key: 0.05 * torch.randn(shape, generator=draws) for key, shape in shapes.items()})
    adapter.save(lm, "slot_a", tmp_path / "a")
    Critic.prior(1, 4, Formula()).save(tmp_path / "c")
    tuned = publish(registry, "adapter", tmp_path / "a", adapter.TENSORS, lm.base_sha256, 500)
    critic = publish(registry, "critic", tmp_path / "c", CRITIC_TENSORS, "", 599)
    environ = {"STRATAGEM_HOME": str(tmp_path / "home"), "STRATAGEM_DEVICE": "cpu"}
    names = (tuned, critic, f"{tuned}+{critic}")
    wanted = [option for name in names for option in ("--policy", name)]
    code, said = invoke("--out", tmp_path / "out", "--off-policy-rows", 560, *wanted, loop, environ=environ)
    assert code == 0, said
    values = {each["policy"]: each for each in read(tmp_path / "out")["off_policy"]}
    assert set(values) == {"random", *names}
    assert values[tuned]["unseen"] is True
    assert values[tuned]["rows"] < 100
    assert values[critic]["unseen"] is False
    assert any("has learned from these rewards" in each for each in values[critic]["warnings"])
    assert all(0.0 < each["effective"] <= each["rows"] for each in values.values())
    other = write(tmp_path / "mine.jsonl", logged(600).rewards)
    assert invoke("--out", tmp_path / "again", "--policy", critic, other, environ=environ)[0] == 0
    unknown = read(tmp_path / "again")["off_policy"][1]
    assert unknown["unseen"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name files or folders, or --from-kafka"),
        (["nowhere"], "nowhere is not there"),
        (["EMPTY"], "holds no .jsonl or .ndjson file"),
        (["PIPE"], "a-pipe is neither a file nor a folder"),
        (["--policy", "adapter-000009-00000000", "LOOP"], "wanted a version of this registry"),
        (["--policy", "the best", "LOOP"], "a policy is random, base, adapter-"),
    ],
)
def test_mistakes_are_told_in_a_line(loop: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    """What is missing or wrong is named, with exit code 2, and nothing is left behind."""
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "a-pipe")
    names = {"LOOP": str(loop), "EMPTY": str(tmp_path / "empty"), "PIPE": str(tmp_path / "a-pipe")}
    environ = {"STRATAGEM_HOME": str(tmp_path / "home")}
    given = [names.get(argument, argument) for argument in arguments]
    code, output = invoke("--out", tmp_path / "out", *given, environ=environ)
    assert (code, said in output) == (2, True), output
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_what_is_no_report_of_ours_is_never_replaced(loop: Path, tmp_path: Path) -> None:
    """--overwrite or not."""
    (tmp_path / "precious").write_text("x")
    code, said = invoke("--out", tmp_path, "--overwrite", loop)
    assert (code, "holds something else" in said) == (2, True)
    assert (tmp_path / "precious").exists()


def test_lines_that_cannot_be_read_are_counted_and_quoted(tmp_path: Path) -> None:
    """No JSON, half a record, another encoding, a wrong type, a line of another topic, an empty file: each has its place in the books."""
    rewards = list(logged(600).rewards[:20])
    good = b"".join(encode(reward) + b"\n" for reward in rewards)
    wrong = json.loads(encode(rewards[0])) | {"propensity": 7}
    bad = [b"no json", encode(rewards[0])[:500], '{"reward_id": "é"}'.encode("latin-1"), json.dumps(wrong).encode()]
    other = [b'{"messageId": "1", "event": "Product Viewed"}', b"x" * 1_000_000]
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(good + b"\n".join([*bad, *other, b"", encode(rewards[0])]))
    code, said = invoke("--out", tmp_path / "out", path)
    assert code == 0, said
    report = read(tmp_path / "out")
    books = report["books"]
    assert (books["rewards"], books["repeated"], books["refused"], books["other"]) == (21, 1, 5, 1)
    assert [each["line"] for each in report["refusals"]] == [21, 22, 23, 24, 26]
    assert {"field": "propensity", "value": "7"}.items() <= report["refusals"][3].items()
    (tmp_path / "nothing.jsonl").touch()
    assert invoke("--out", tmp_path / "none", tmp_path / "nothing.jsonl")[0] == 0
    assert "Nothing is closed yet" in (tmp_path / "none" / "report.html").read_text()


class Elements(HTMLParser):
    """Collects elements and addresses."""

    def __init__(self) -> None:
        """Nothing yet."""
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember."""
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "onerror", "onload")]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    """Markup in every text that data may bring: no element comes of it, nothing is loaded from anywhere."""
    rewards = [
        msgspec.structs.replace(
            each,
            request=msgspec.structs.replace(
                each.request,
                features=msgspec.structs.replace(
                    each.request.features,
                    categories=each.request.features.categories | {"lifecycle": f"{HOSTILE}{n % 2}"},
                ),
            ),
        )
        for n, each in enumerate(logged(600).rewards)
    ]
    first = next(strategies("en"))
    worst = msgspec.structs.replace(first, message=msgspec.structs.replace(first.message, title=HOSTILE, body=HOSTILE))
    write(tmp_path / "a.jsonl", [*rewards, worst])
    (tmp_path / "phrases.txt").write_text("alert(1)\n", encoding="utf-8")
    code, said = invoke("--out", tmp_path / "out", "--banned", tmp_path / "phrases.txt", tmp_path / "a.jsonl")
    assert code == 0, said
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    found = Elements()
    found.feed(html)
    assert not found.tags & {"script", "img", "link", "iframe", "object", "a", "form"}
    assert found.addresses == []
    assert "\u202e" not in html
    assert read(tmp_path / "out")["texts"][0]["banned"] == {"alert(1)": 1}


def test_interrupted_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Ctrl-C while it reads: exit 130, a line that says so, and nothing is left; begun again it succeeds."""
    path = write(tmp_path / "many.jsonl", logged(600).rewards)
    lines = path.read_bytes()
    with path.open("ab") as file:  # a hole that minutes of reading do not end: the signal cannot come too late
        file.truncate(1 << 40)
    command = [sys.executable, "-m", "services.cli", "evaluate", "--off-policy-rows", "0"]
    command += ["--out", str(tmp_path / "out"), str(path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        while not holds(process.pid, path):
            assert process.poll() is None, "it ended before it had begun"
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "nothing is written" in said
    assert sorted(each.name for each in tmp_path.iterdir()) == ["many.jsonl"]
    path.write_bytes(lines)
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=240).returncode == 0


def holds(pid: int, path: Path) -> bool:
    """Whether a process has a file open."""
    try:
        return path in {each.readlink() for each in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:  # one of them was closed meanwhile
        return False


def test_topics_and_their_file_give_the_same_report(
    stack: Endpoints, topic_prefix: str, loop: Path, tmp_path: Path
) -> None:
    """What real topics hold is reported as the dumped files are; what was read in between is gone; a missing topic is named."""
    environ = {
        "STRATAGEM_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
        "STRATAGEM_REDIS_URL": stack.redis_url,
        "STRATAGEM_TOPIC_PREFIX": topic_prefix,
        "STRATAGEM_HOME": str(tmp_path / "home"),
    }
    code, said = invoke("--from-kafka", "--out", tmp_path / "topics", environ=environ)
    assert (code, "is not on the broker" in said) == (3, True)
    settings = load(Common, environ)
    ensure_topics(settings)
    producer = command_producer(settings)
    for name in ("strategies", "strategy.rewards"):
        for line in (loop / f"{name}.p0.from0.jsonl").read_bytes().splitlines():
            producer.send(f"{topic_prefix}{name}", key=line[:20], value=line)
    producer.flush()
    producer.close()
    code, said = invoke("--from-kafka", "--out", tmp_path / "topics", environ=environ)
    assert code == 0, said
    assert invoke("--out", tmp_path / "files", loop, environ=environ)[0] == 0
    assert read(tmp_path / "topics") == read(tmp_path / "files")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["files", "topics"]
