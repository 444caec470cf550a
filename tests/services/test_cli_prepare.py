"""`stratagem data prepare` as a user meets it: files, topics, mistakes, interruption."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from services.cli import main
from services.dumped_topics import dump, latest, one_line
from services.local.stack import Endpoints
from services.reading import TopicRecord
from services.settings import Common, load
from services.topics import ensure_topics

ROOT = Path(__file__).parents[2]
EXTRACT = ROOT / "tests/model/data/extract"
SHOP = ROOT / "docs/examples/shop.jsonl"


def invoke(*arguments: object, environ: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and output."""
    done = CliRunner().invoke(main, ["data", "prepare", *map(str, arguments)], env=environ)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_from_files_to_a_card(tmp_path: Path) -> None:
    """Prints each table's counts and warnings and where the card is; an output that is there is not overwritten unasked."""
    out = tmp_path / "out"
    code, said = invoke("--source", "completejourney", "--out", out, EXTRACT)
    assert code == 0
    assert "offers: 1,527 in, 1,507 out; dropped: duplicate 17, unknown_product 3" in said
    assert "split by type" in said
    assert json.loads((out / "card.json").read_bytes())["tables"]["offers"]["dropped"] == {
        "duplicate": 17,
        "unknown_product": 3,
    }
    code, said = invoke("--source", "completejourney", "--out", out, EXTRACT)
    assert (code, "--overwrite replaces it" in said) == (2, True)
    assert invoke("--source", "segment", "--out", out, "--overwrite", SHOP)[0] == 0
    assert json.loads((out / "card.json").read_bytes())["source"] == "segment"


def test_a_folder_with_something_else_is_never_replaced(tmp_path: Path) -> None:
    """What is no output of ours stays, --overwrite or not."""
    (tmp_path / "precious").write_text("x")
    code, said = invoke("--source", "segment", "--out", tmp_path, "--overwrite", SHOP)
    assert (code, "holds something else" in said) == (2, True)
    assert (tmp_path / "precious").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "nobody", "FILE"], "no source 'nobody'"),
        (["--source", "segment"], "name files or folders, or --from-kafka"),
        (["--source", "segment", "nowhere"], "there is no nowhere"),
        (["--source", "rees46", "FILE"], "no column"),
        (["--source", "x", "--mapping", "nowhere.toml", "FILE"], "nowhere.toml cannot be read"),
        (["--source", "segment", "--labels", "nowhere.toml", "FILE"], "nowhere.toml cannot be read"),
        (["--source", "rees46", "--from-kafka"], "--from-kafka goes with --source segment"),
        (["--source", "segment", "EMPTY"], "is empty"),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    """What is missing or wrong is named, with exit code 2, and nothing is left behind."""
    (tmp_path / "empty.jsonl").touch()
    names = {"FILE": str(SHOP), "EMPTY": str(tmp_path / "empty.jsonl")}
    code, output = invoke("--out", tmp_path / "out", *[names.get(argument, argument) for argument in arguments])
    assert code == 2
    assert said in output
    assert not (tmp_path / "out").exists()


def test_help_needs_no_polars() -> None:
    """The help is there without the extra, and loads nothing of it."""
    check = (
        "import sys; sys.modules['polars'] = None; from click.testing import CliRunner; from services.cli import main;"
        "done = CliRunner().invoke(main, ['data', 'prepare', '--help']); print(done.exit_code, 'torch' in sys.modules);"
        f"print(CliRunner().invoke(main, ['data', 'prepare', '--source', 'segment', '--out', 'x', {str(SHOP)!r}]).output)"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "0 False"
    assert "needs the extra `data`: pip install 'stratagem[data]'" in done.stdout


def test_ctrl_c_is_taken_and_the_command_goes_on(tmp_path: Path) -> None:
    """Interrupted it says how to go on and exits with 130; the same command finishes."""
    log = tmp_path / "log.jsonl"
    with log.open("w") as file:
        for i in range(150_000):
            file.write(json.dumps({"messageId": str(i), "type": "track", "event": "Product Viewed", "userId": f"u{i % 999}",
                                   "timestamp": f"2026-01-{1 + i % 28:02d}T10:00:00Z", "properties": {"product_id": str(i % 77)}}) + "\n")  # fmt: skip
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "services.cli",
        "data",
        "prepare",
        "--source",
        "segment",
        "--out",
        str(out),
        str(log),
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(".out.partial/0000-*.json")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "the same command goes on from here" in said
    assert not out.exists()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=240)
    assert "behaviours: 150,000 in" in done.stdout


@pytest.fixture
def environ(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> dict[str, str]:
    """A user's environment, with topics of the test's own."""
    return {
        "STRATAGEM_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
        "STRATAGEM_REDIS_URL": stack.redis_url,
        "STRATAGEM_TOPIC_PREFIX": topic_prefix,
        "STRATAGEM_HOME": str(tmp_path / "home"),
    }


def test_from_topics(environ: dict[str, str], tmp_path: Path) -> None:
    """What was published is prepared as the file would be; the newest record of a product counts; bad records are quarantined."""
    settings = load(Common, environ)
    ensure_topics(settings)
    assert CliRunner().invoke(main, ["publish", str(SHOP)], env=environ).exit_code == 0
    from services.clients import command_producer

    with_price = json.loads(
        next(line for line in SHOP.read_text().splitlines() if '"product_id"' in line and '"type"' not in line)
    )
    newer = json.dumps(with_price | {"price_minor": 12_345}, indent=1).encode()  # line ends in the record
    producer = command_producer(settings)
    producer.send(settings.topic_prefix + "shop.catalog", key=with_price["product_id"].encode(), value=newer)
    producer.send(settings.topic_prefix + "shop.events", key=b"u", value=b"no json")
    producer.flush()
    producer.close()
    out = tmp_path / "out"
    code, said = invoke("--source", "segment", "--from-kafka", "--out", out, environ=environ)
    assert code == 0, said
    products = pl.read_parquet(out / "products.parquet")
    assert products.filter(product_id=with_price["product_id"])["price_minor"].to_list() == [12_345]
    assert products["product_id"].n_unique() == products.height
    (refused,) = pl.read_ndjson(out / "quarantine.jsonl").to_dicts()
    assert (refused["value"], refused["reason"]) == ("no json", "against_the_contract")
    assert refused["file"].startswith("shop.events.p")
    assert not (tmp_path / ".out.topics").exists()
    assert invoke("--source", "segment", "--out", tmp_path / "file", SHOP)[0] == 0
    own, file = (
        pl.read_parquet(folder / "behaviours.parquet")["event_id"].sort() for folder in (out, tmp_path / "file")
    )
    assert own.equals(file)


def test_a_lines_number_is_its_offset(environ: dict[str, str], tmp_path: Path) -> None:
    """Line n of a dumped partition is the record of offset n - 1 beyond the one in its name."""
    settings = load(Common, environ)
    ensure_topics(settings)
    assert CliRunner().invoke(main, ["publish", str(SHOP)], env=environ).exit_code == 0
    folder = dump(settings, tmp_path / "topics", resume=False)
    lines = {path.name: path.read_text().splitlines() for path in folder.glob("shop.events.*")}
    assert sum(map(len, lines.values())) > 0
    assert all(".from0." in name and all(lines[name]) for name in lines)


class _Raw:
    """A record as the client gives it."""

    def __init__(self, key: bytes, value: bytes | None, offset: int) -> None:
        self.key, self.value, self.offset = key, value, offset
        self.headers, self.topic, self.partition, self.timestamp = (), "t", 0, 0


def test_of_compacted_topics_the_last_counts() -> None:
    """As compaction would leave them: the newest of each key, none for a tombstone."""
    records = [
        TopicRecord(_Raw(b"a", b"1", 0)),
        TopicRecord(_Raw(b"b", b"1", 1)),
        TopicRecord(_Raw(b"a", b"2", 2)),
        TopicRecord(_Raw(b"b", None, 3)),
    ]
    assert [(record.key, record.value) for record in latest(records)] == [(b"a", b"2")]
    assert one_line(b'{"a":\r\n 1}') == b'{"a":   1}'
