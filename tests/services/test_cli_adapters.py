"""`stratagem adapters promote|rollback`: what is served is changed on the topic, with who did it and why."""

from datetime import UTC, datetime

import msgspec
import pytest

from services.adapters import standing
from services.delivery import deliver
from services.settings import Common, load
from streaming.contracts.adapters import SERVING_KEY, Serving, Version, decode_record
from streaming.contracts.codec import encode
from tests.services.test_cli import environ, invoke

__all__ = ["environ"]  # a fixture

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLD, CHAMPION, CANARY, STRANGE = (f"adapter-00000{n}-{n}aaaaaaa" for n in (1, 2, 3, 4))


@pytest.fixture
def running(environ: dict[str, str]) -> dict[str, str]:
    """An installation with a champion, its parent, a canary, and an adapter of another base."""
    assert invoke(["topics"], environ)[0] == 0
    settings = load(Common, environ)
    versions = [
        Version(name, "adapter", "file:///x", "s", "b", base, parent, AT, {}, {})
        for name, base, parent in (
            (OLD, "h", "base"),
            (CHAMPION, "h", OLD),
            (CANARY, "h", CHAMPION),
            (STRANGE, "other", "base"),
        )
    ]
    salts = {"anchor": "salt-a", "canary": "salt-c"}
    serving = Serving(2, 7, CHAMPION, CHAMPION, CANARY, "critic-000009-c", salts, 0.1, AT, canary_share=0.2)
    topic = f"{settings.topic_prefix}model.adapters"
    records = [(topic, version.name.encode(), encode(version)) for version in versions]
    deliver(settings, [*records, (topic, SERVING_KEY.encode(), encode(serving))])
    return environ


def served(environ: dict[str, str]) -> Serving:
    """The record that stands."""
    record = decode_record(standing(load(Common, environ))[SERVING_KEY].value or b"")
    assert isinstance(record, Serving)
    return record


def decisions(environ: dict[str, str], name: str) -> list[dict[str, object]]:
    """What `show` tells of the decisions on a version."""
    code, shown = invoke(["adapters", "show", name], environ)
    assert code == 0, shown
    found: list[dict[str, object]] = msgspec.json.decode(shown)["decisions"]
    return found


def test_promote_serves_a_version_and_leaves_name_and_reason(running: dict[str, str]) -> None:
    """A higher epoch, the version as champion and its own anchor, the critic untouched; `show` tells who and why."""
    code, output = invoke(["adapters", "promote", CANARY, "--by", "alice", "--reason", "measured elsewhere"], running)
    assert code == 0, output
    assert output == f"{CANARY} promoted by alice; epoch 3: champion {CHAMPION} → {CANARY}, canary {CANARY} → none\n"
    now = served(running)
    assert (now.epoch, now.sequence, now.champion, now.anchor, now.canary) == (3, 8, CANARY, CANARY, "")
    assert (now.critic, now.canary_share, set(now.salts)) == ("critic-000009-c", 0.0, {"anchor"})
    (told,) = decisions(running, CANARY)
    assert (told["by"], told["reason"], told["decision"]) == ("alice", "measured elsewhere", "promoted")


def test_rollback_takes_off_what_it_names(running: dict[str, str]) -> None:
    """The canary first, then the champion, which goes back to its parent, or to what `--to` names."""
    assert invoke(["adapters", "rollback", CANARY, "--reason", "complaints by phone"], running)[0] == 0
    now = served(running)
    assert (now.epoch, now.champion, now.canary) == (3, CHAMPION, "")
    assert decisions(running, CANARY)[0]["by"]  # the login name
    assert invoke(["adapters", "rollback", CHAMPION, "--reason", "worse since Monday"], running)[0] == 0
    assert (served(running).epoch, served(running).champion) == (4, OLD)
    assert invoke(["adapters", "rollback", OLD, "--to", "base", "--reason", "begin anew"], running)[0] == 0
    assert (served(running).champion, served(running).anchor) == ("base", "base")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["promote", "adapter-000009-9aaaaaaa", "--reason", "x"], 1, "`stratagem adapters list` names"),
        (["promote", STRANGE, "--reason", "x"], 1, "base_sha256: got other"),
        (["promote", CANARY], 2, "--reason"),
        (["promote", CANARY, "--reason", "  "], 2, "a reason that says something"),
        (["rollback", OLD, "--reason", "x"], 1, f"the canary or the champion, {CHAMPION}"),
        (["rollback", CHAMPION, "--to", CHAMPION, "--reason", "x"], 1, "a version to go back to"),
    ],
)
def test_an_act_that_cannot_be_done_changes_nothing(
    running: dict[str, str], arguments: list[str], code: int, said: str
) -> None:
    """It is refused in words: unknown, of another base, without a reason, of a version that has no such role."""
    found, output = invoke(["adapters", *arguments], running)
    assert found == code
    assert said in output
    assert (served(running).epoch, served(running).sequence) == (2, 7)


def test_nothing_is_served_before_an_updater_ran(environ: dict[str, str]) -> None:
    """Empty topics are said to be so."""
    assert invoke(["topics"], environ)[0] == 0
    code, output = invoke(["adapters", "promote", "base", "--reason", "x"], environ)
    assert code == 1
    assert "a running updater" in output
