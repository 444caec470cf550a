"""What stops a command is one line with an address and a way out, and a code that means something."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from services.cli_errors import EXIT_MISSING, EXIT_USAGE, explained, redis_address
from services.endpoints import remember
from services.local.broker import pick_free_ports
from services.local.stack import Endpoints
from tests.services.cli_samples import Said, run_all
from tests.services.test_cli import environ, invoke

__all__ = ["environ"]  # a fixture

SECRET = "geheim"  # noqa: S105 -- it must not be shown
NOBODY = "127.0.0.1:1"
"""A port that nobody listens on."""
NEED_TOPICS = (
    "dead-letters list",
    "watch strategies",
    "adapters list",
    "publish docs/examples/shop.jsonl",
    "replay --days 1",
)
NEED_KAFKA = ("topics", "up", *NEED_TOPICS)
NEED_REDIS = ("profile x", "pause")


def away(home: Path) -> dict[str, str]:
    """The environment of a user whose Kafka and Redis are not running."""
    return {
        "STRATAGEM_HOME": str(home),
        "STRATAGEM_KAFKA_BOOTSTRAP": NOBODY,
        "STRATAGEM_KAFKA_TIMEOUT_S": "0.3",
        "STRATAGEM_REDIS_URL": f"redis://user:{SECRET}@{NOBODY}/0",
        "STRATAGEM_GATEWAY_PORT": str(pick_free_ports()[0]),  # the usual one may be taken, which `up` would say
    }


def test_what_cannot_be_reached_is_one_line_and_exit_3(tmp_path: Path) -> None:
    """What, where, what to do: no traceback, no client's log, no password."""
    ended = run_all((*NEED_KAFKA, *NEED_REDIS), away(tmp_path))
    for command, said in ended.items():
        what, field = ("Redis", "REDIS_URL") if command in NEED_REDIS else ("Kafka", "KAFKA_BOOTSTRAP")
        line = f"stratagem: {what} at {NOBODY} cannot be reached: start it, or correct STRATAGEM_{field}"
        assert said == Said(EXIT_MISSING, line + "\n"), command


def test_addresses_left_by_a_killed_up_say_to_start_it_again(tmp_path: Path) -> None:
    """After `kill -9` of `stratagem up` its file of addresses is still there."""
    remember(tmp_path, Endpoints(kafka_bootstrap=NOBODY, redis_url=f"unix://{tmp_path}/redis.sock"))
    unset = {"STRATAGEM_KAFKA_BOOTSTRAP": "", "STRATAGEM_REDIS_URL": ""}
    for command, said in run_all(["topics", "profile x"], away(tmp_path) | unset).items():
        assert said.code == EXIT_MISSING, command
        assert said.output.endswith("not running any more; start it again with `stratagem up`\n"), command
        assert len(said.output.splitlines()) == 1


def test_missing_topics_say_how_to_make_them(environ: dict[str, str]) -> None:
    """A command that finds no topic neither hangs nor finds nothing: exit 3 and the command that creates them."""
    for command, said in run_all(NEED_TOPICS, environ | {"STRATAGEM_KAFKA_TIMEOUT_S": "3"}).items():
        assert said.code == EXIT_MISSING, f"{command}\n{said.output}"
        assert said.output.endswith("create it with `stratagem topics`\n"), command


def test_a_refused_password_of_redis_is_a_wrong_setting(environ: dict[str, str], stack: Endpoints) -> None:
    """Redis is there and does not want us: exit 2, and the password is not shown."""
    parts = urlsplit(stack.redis_url)
    at = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port}"
    url = f"{parts.scheme}://nobody:{SECRET}@{at}"
    code, output = invoke(["profile", "x"], environ | {"STRATAGEM_REDIS_URL": url})
    assert code == EXIT_USAGE, output
    assert "refuses us" in output
    assert SECRET not in output


def test_what_an_answering_kafka_refuses_is_said_as_it_is(environ: dict[str, str]) -> None:
    """A replication factor it cannot give is a wrong setting: exit 2, the topic and Kafka's own words."""
    said = run_all(["topics"], environ | {"STRATAGEM_REPLICATION_FACTOR": "3"})["topics"]
    assert said.code == EXIT_USAGE, said.output
    (line,) = said.output.splitlines()
    assert "shop.events: cannot be created as the settings want it" in line
    assert "replication factor" in line


def test_our_own_bugs_are_not_disguised() -> None:
    """A KeyError is no missing topic: it keeps its traceback."""
    assert explained(KeyError("x"), {}) is None
    assert explained(ValueError("x"), {}) is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://user:{SECRET}@host:7000/3", "host:7000"),
        (f"rediss://:{SECRET}@host", "host:6379"),
        (f"unix:///run/redis.sock?password={SECRET}&db=1", "unix:///run/redis.sock"),
    ],
)
def test_a_redis_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    """User, password and options stay hidden."""
    assert redis_address(url) == shown
