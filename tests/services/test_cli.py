"""The command: help that documents, codes that mean something, and the real Kafka behind it."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from services.cli import main
from services.local.stack import Endpoints
from tests.services.test_publish import line

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environ(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose Kafka and Redis run already."""
    return {
        "STRATAGEM_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
        "STRATAGEM_REDIS_URL": stack.redis_url,
        "STRATAGEM_TOPIC_PREFIX": topic_prefix,
        "STRATAGEM_HOME": str(tmp_path),
    }


def invoke(arguments: list[str], environ: dict[str, str], text: str = "") -> tuple[int, str]:
    """Exit code and whole output of one call."""
    result = CliRunner().invoke(main, arguments, input=text, env=environ)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.output


def commands(group: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command's path."""
    nested = getattr(group, "commands", None)
    if nested is None:
        return [path]
    return [found for name, sub in nested.items() for found in commands(sub, (*path, name))]


@pytest.mark.parametrize("path", commands(main), ids=" ".join)
def test_every_command_documents_itself(path: tuple[str, ...]) -> None:
    """`--help` of every command says in a sentence what it does."""
    code, output = invoke([*path, "--help"], {})
    assert code == 0
    assert len(output.splitlines()) > 4


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    """The command line imports neither torch nor Faust nor Kafka before it must."""
    check = "import services.cli, sys; print([m for m in ('torch', 'faust', 'kafka', 'redis') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_without_kafka_one_line_says_what_to_do(tmp_path: Path) -> None:
    """No address and no running stack: exit 2 and the way out."""
    code, output = invoke(["topics"], {"STRATAGEM_HOME": str(tmp_path), "STRATAGEM_KAFKA_BOOTSTRAP": ""})
    assert code == 2
    assert "stratagem up" in output


def test_dry_run_refuses_with_exit_1_and_needs_no_kafka(tmp_path: Path) -> None:
    """A shop can check its own events before it has anything running."""
    text = line().decode() + "\n" + line(userId=3).decode()
    code, output = invoke(["publish", "--dry-run"], {"STRATAGEM_HOME": str(tmp_path)}, text)
    assert code == 1
    assert "line 2 refused: userId: got 3" in output


def test_published_lines_can_be_read_back(environ: dict[str, str]) -> None:
    """Publish → the topic; a second `topics` finds everything there."""
    assert invoke(["topics"], environ)[0] == 0
    code, output = invoke(["publish", "--now"], environ, line().decode())
    assert (code, output.strip()) == (0, "1 good, 0 refused, 1 published")
    assert invoke(["topics"], environ)[0] == 0


def test_watch_shows_records_in_words_and_as_json(environ: dict[str, str]) -> None:
    """Watch prints one safe line per record, or the record itself."""
    from services.clients import producer
    from services.settings import Common, load

    invoke(["topics"], environ)
    settings = load(Common, environ)
    decision = {
        "decision_id": "d", "version": "adapter-000001-x", "what": "adapter", "decision": "refused", "reason": "corrupt\x1b[2J",
        "checks": [], "numbers": {}, "decided_at": "2026-01-01T00:00:00Z", "by": "gate",
    }  # fmt: skip
    client = producer(settings)
    client.send(environ["STRATAGEM_TOPIC_PREFIX"] + "model.decisions", value=msgspec.json.encode(decision), key=b"x")
    client.flush()
    client.close()
    code, words = invoke(["watch", "decisions", "--from-beginning", "--limit", "1"], environ)
    assert code == 0
    assert "adapter-000001-x refused" in words
    assert "\x1b" not in words
    _, raw = invoke(["watch", "decisions", "--from-beginning", "--limit", "1", "--json"], environ)
    assert msgspec.json.decode(raw)["reason"] == decision["reason"]
    code, shown = invoke(["adapters", "show", "adapter-000001-x"], environ)
    assert code == 0
    assert "refused" in shown


def test_an_unknown_user_has_no_profile(environ: dict[str, str]) -> None:
    """Profile of nobody: exit 1 and a line."""
    code, output = invoke(["profile", "nobody"], environ)
    assert code == 1
    assert "nobody" in output
