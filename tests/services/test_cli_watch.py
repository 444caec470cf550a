"""`watch` and `adapters`: what is on the topics, in words, whoever wrote it."""

from datetime import UTC, datetime

import msgspec
import pytest
from msgspec import structs

from services.delivery import deliver
from services.settings import Common, load
from streaming.contracts.adapters import SERVING_KEY, GateDecision, Serving, Version
from streaming.contracts.codec import encode
from streaming.contracts.strategies import Suppression
from tests.model.closed import closed_rewards
from tests.model.sample import request_of
from tests.services.shop.shop_samples import make_strategy
from tests.services.test_cli import environ, invoke

__all__ = ["environ"]  # a fixture

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOSTILE = "\x1b[2J\u202ename"


def version(name: str, parent: str = "base") -> Version:
    """An announced adapter."""
    return Version(name, "adapter", "file:///x", "s", "b", "h", parent, AT, {}, {"loss": 0.25})


@pytest.fixture
def told(environ: dict[str, str]) -> dict[str, str]:
    """An installation whose topics hold a record of each kind, a strange one and a removed one."""
    assert invoke(["topics"], environ)[0] == 0
    request = structs.replace(request_of(3, candidates=2), user_id=HOSTILE)
    suppression = Suppression(
        suppression_id="s", request_id="r", user_id="user-9", kind="ad", trigger="session_start", reason="daily_cap",
        issued_at=AT, detail="three today", arm="fused", by="agents",
    )  # fmt: skip
    serving = Serving(1, 2, "adapter-000002-b", "adapter-000002-b", "", "critic-000007-c", {}, 0.1, AT)
    decision = GateDecision("d", "adapter-000002-b", "adapter", "promoted", "all checks", (), {}, AT, "gate")
    records = [
        ("strategies", b"u", encode(make_strategy(request))),
        ("strategy.rewards", b"s", encode(closed_rewards(1)[0])),
        ("strategy.suppressions", b"user-9", encode(suppression)),
        ("model.adapters", b"adapter-000001-a", encode(version("adapter-000001-a"))),
        ("model.adapters", b"adapter-000002-b", encode(version("adapter-000002-b", "adapter-000001-a"))),
        ("model.adapters", SERVING_KEY.encode(), encode(serving)),
        ("model.adapters", b"stranger", b"{nonsense"),
        ("model.decisions", b"adapter-000002-b", encode(decision)),
        ("model.decisions", b"stranger", b"[]"),
    ]
    settings = load(Common, environ)
    deliver(settings, [(settings.topic_prefix + topic, key, value) for topic, key, value in records])
    return environ


def watched(what: str, limit: int, environ: dict[str, str], *options: str) -> list[str]:
    """The lines of `watch` from the beginning."""
    code, output = invoke(["watch", what, "--from-beginning", "--limit", str(limit), *options], environ)
    assert code == 0, output
    return output.splitlines()


def test_watch_says_in_words_what_comes(told: dict[str, str]) -> None:
    """Strategies, rewards, suppressions, adapters: a line each; strange names are made harmless, strange records named."""
    (strategy,) = watched("strategies", 1, told)
    assert " recommendation [" in strategy
    assert "p=" in strategy
    assert not {"\x1b", "\u202e"} & set(strategy)
    (reward,) = watched("rewards", 1, told)
    assert f" {closed_rewards(1)[0].stage} " in reward
    assert f"[{closed_rewards(1)[0].assigned_arm}]" in reward
    (suppression,) = watched("suppressions", 1, told)
    assert suppression == "2026-03-01 12:00 user-9 ad not asked: daily_cap three today"
    adapters = watched("adapters", 4, told)
    assert adapters[0] == "2026-03-01 12:00:00 adapter-000001-a after base (loss 0.25)"
    assert (
        "serving: champion adapter-000002-b, anchor adapter-000002-b to 10%, critic critic-000007-c (epoch 1)"
        in adapters
    )
    assert adapters[3].startswith("stranger unreadable: ")
    assert "adapter-000002-b promoted: all checks" in watched("decisions", 1, told)[0]


def test_watch_gives_the_records_as_they_are(told: dict[str, str]) -> None:
    """With `--json` a line is the record's own bytes."""
    (line,) = watched("suppressions", 1, told, "--json")
    assert msgspec.json.decode(line, type=Suppression).reason == "daily_cap"


def test_adapters_list_and_show_what_stands(told: dict[str, str]) -> None:
    """The newest record of every name; what was removed is gone, what nobody can read is named and stops nothing."""
    settings = load(Common, told)
    name = f"{settings.topic_prefix}model.adapters"
    deliver(settings, [(name, b"adapter-000002-b", encode(version("adapter-000002-b", "base")))])
    code, output = invoke(["adapters", "list"], told)
    assert code == 0
    listed = output.splitlines()
    assert len(listed) == 4
    assert listed[-1] == "2026-03-01 12:00:00 adapter-000002-b after base (loss 0.25)"
    assert any(line.startswith("serving: champion adapter-000002-b") for line in listed)
    code, shown = invoke(["adapters", "show", "adapter-000002-b"], told)
    assert code == 0
    found = msgspec.json.decode(shown)
    assert found["version"]["parent"] == "base"
    assert [each["decision"] for each in found["decisions"]] == ["promoted"]
    code, output = invoke(["adapters", "show", "nobody"], told)
    assert (code, output.strip()) == (1, "stratagem: no version 'nobody'; `stratagem adapters list` names them")


def test_pause_and_resume_say_what_they_did(environ: dict[str, str]) -> None:
    """Both may be repeated; each says how it stands now, and the flag is where agents and workers look."""
    from services.clients import redis_client
    from streaming.control import is_paused

    settings = load(Common, environ)
    with redis_client(settings) as client:
        for command, said, stands in (("pause", "paused", True), ("resume", "resumed", False)):
            for _ in range(2):
                assert invoke([command], environ) == (0, f"{said}\n")
                assert is_paused(client, settings.topic_prefix) is stands
