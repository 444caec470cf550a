"""`stratagem evaluate --from-kafka`, killed after it has read the topics: what it read whole is kept, what it did not is read again."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.clients import command_producer
from services.dumped_topics import COMPLETE
from services.local.stack import Endpoints
from services.settings import Common, load
from services.topics import ensure_topics
from streaming.contracts.codec import encode
from tests.model.evaluation.samples import logged
from tests.services.test_cli_evaluate import ROOT, invoke, read

ROUNDS = 6


@pytest.fixture
def environ(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> dict[str, str]:
    """A user's environment, with topics of the test's own."""
    return {
        "STRATAGEM_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
        "STRATAGEM_REDIS_URL": stack.redis_url,
        "STRATAGEM_TOPIC_PREFIX": topic_prefix,
        "STRATAGEM_HOME": str(tmp_path / "home"),
    }


def send(settings: Common, lines: list[bytes]) -> None:
    """Write rewards to their topic."""
    producer = command_producer(settings)
    for line in lines:
        producer.send(f"{settings.topic_prefix}strategy.rewards", key=line[:20], value=line)
    producer.flush()
    producer.close()


def killed_after_reading(command: list[str], environ: dict[str, str], topics: Path) -> None:
    """Run the command and kill it as soon as all topics are read."""
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | environ, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while not (topics / COMPLETE).exists():
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < until
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -9


def test_what_was_read_whole_is_kept_and_the_rest_read_again(environ: dict[str, str], tmp_path: Path) -> None:
    """After kill -9 the same command reports what the topics held then; --restart what they hold now; half a reading counts for nothing."""
    settings = load(Common, environ)
    ensure_topics(settings)
    lines = [encode(reward) for reward in logged(600).rewards]
    send(settings, [*lines[:590], *lines[:590] * ROUNDS])
    out, topics = tmp_path / "out", tmp_path / ".out.topics"
    given = ["--from-kafka", "--off-policy-rows", "0", "--out", str(out)]
    killed_after_reading([sys.executable, "-m", "services.cli", "evaluate", *given], environ, topics)
    assert not out.exists()
    send(settings, lines[590:])
    code, said = invoke(*given, environ=environ)
    assert code == 0, said
    books = read(out)["books"]
    assert (books["rewards"] - books["repeated"], books["refused"]) == (590, 0)
    assert not topics.exists()
    (topics).mkdir()
    (topics / "strategy.rewards.p0.from0.jsonl").write_bytes(lines[0] + b"\n" + lines[1][:100])
    code, said = invoke(*given, "--overwrite", environ=environ)
    assert code == 0, said
    books = read(out)["books"]
    assert (books["rewards"] - books["repeated"], books["refused"]) == (600, 0)
    topics.mkdir()
    (topics / "strategy.rewards.p0.from0.jsonl").write_bytes(lines[0] + b"\n")
    (topics / COMPLETE).touch()
    assert invoke(*given, "--overwrite", environ=environ)[0] == 0
    assert read(out)["books"]["rewards"] == 1
    topics.mkdir()
    (topics / COMPLETE).touch()
    assert invoke(*given, "--overwrite", "--restart", environ=environ)[0] == 0
    assert read(out)["books"]["rewards"] == 600 + 590 * ROUNDS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
