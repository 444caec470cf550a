"""`stratagem up` as a user has it: metrics, pause, restarts, Ctrl-C, and what is kept until the next time."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from services.clients import redis_client
from services.delivery import deliver
from services.metrics import DEFAULT_PORTS
from services.settings import SettingError
from services.up import SERVICES, Supervisor, others, port_of
from services.worker_answers import TOLD_APART
from streaming.contracts.topics import REWARDS, STRATEGIES, SUPPRESSIONS
from streaming.control import read_profile
from tests.services.test_cli import invoke
from tests.services.up_samples import (
    PATIENCE_S,
    Up,
    event,
    eventually,
    free_block,
    metrics_urls,
    running,
    scraped,
    values,
)

pytestmark = pytest.mark.timeout(400)
QUICK = {
    "ALLOWED_LATENESS_S": "0",
    "RESPONSE_WINDOW_H": "0.0005",
    "HORIZON_H": "0.001",
    "DEADLINE_S": "600",
    "BATCH": "1",
    "TRAIN_EVERY": "1",
    "GROUP_PREFIX": "up-",
}
"""Windows of seconds and steps of one reward, so that a small run goes all the way; a slow machine makes nothing late."""
PAUSE_SEEN_S = 1.0
"""What `stratagem pause` promises."""
COUNTED = {
    "agents": "events dead_letters event_lag_seconds watermark_timestamp_seconds requests suppressions batch_size "
    "batch_seconds folded rebalances live last_loop_timestamp_seconds",
    "worker": "strategies messages request_to_strategy_seconds answered rebalances batch_size tokens adapter_info live "
    "last_loop_timestamp_seconds",
    "updater": "rewards finals reward_sum reward_parts outcomes reward_delay_seconds critic_error training_loss training_steps gate_decisions "
    "served_share adapter_info live last_loop_timestamp_seconds",
}
"""Per service the families in which a small run must have left a number."""
OF_TROUBLE = (
    "kafka_errors redis_errors registry_errors bugs swap_seconds swaps drifts gate_number reward_to_adapter_seconds "
    "trial_customers trial_difference trial_harm adapters_resident queued_records net_margin_sum"
).split()
"""Families that are there although a small run need not move them."""


def answers(up: Up, user: str) -> list[dict[str, Any]]:
    """Strategies and suppressions of a customer."""
    return values(up, STRATEGIES, user_id=user) + values(up, SUPPRESSIONS, user_id=user)


def profile_of(up: Up, user: str) -> str:
    """What `stratagem profile` prints; empty when there is none."""
    with redis_client(up.settings) as client:
        return read_profile(client, user) or ""


def moved(url: str) -> set[str]:
    """Families of which some sample is not zero."""
    return {family for family, samples in scraped(url).items() if any(value for _, value in samples)}


def small_run(up: Up) -> None:
    """A strategy shown and clicked, its reward, a dead letter, a moment during a pause."""
    up.command("publish", "--now", "docs/examples/shop.jsonl")
    deliver(up.settings, [("shop.events", b"customer-1", b"{")])
    strategy = eventually(lambda: values(up, STRATEGIES, user_id="customer-1"), "a strategy")[0]
    told = [
        event(f"Promotion {what}", "customer-1", strategy_id=strategy["strategy_id"]) for what in ("Viewed", "Clicked")
    ]
    up.command("publish", text="\n".join(told))
    eventually(lambda: values(up, REWARDS, stage="final"), "a final reward")
    assert up.command("pause") == "paused\n"
    time.sleep(PAUSE_SEEN_S)
    up.command("publish", text=event("Product Viewed", "customer-during", product_id="tea-1"))
    eventually(lambda: answers(up, "customer-during"), "an answer during the pause")
    assert up.command("resume") == "resumed\n"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, stratagem_home: Path) -> Iterator[Up]:
    """One `up` on ports of its own, after a small run."""
    home = tmp_path_factory.mktemp("up") / "home"
    with running(Up(home, stratagem_home / "cache", METRICS_PORT=str(free_block()), **QUICK)) as begun:
        small_run(begun)
        yield begun


@pytest.mark.slow
def test_each_service_is_scraped_on_its_port(up: Up) -> None:
    """STRATAGEM_METRICS_PORT=N gives N, N+1, N+2; each has counted what it must have counted by then."""
    first = int(up.environ["STRATAGEM_METRICS_PORT"])
    urls = metrics_urls(up.said)
    assert [urls[name] for name in SERVICES] == [f"http://127.0.0.1:{first + n}/metrics" for n in range(3)]
    for name, families in COUNTED.items():
        wanted = {f"stratagem_{family}" for family in families.split()}
        eventually(lambda n=name, w=wanted: w <= moved(urls[n]), f"{name} counting {sorted(wanted)}")  # type: ignore[misc]
    for name in SERVICES:
        found = scraped(urls[name])
        assert found["stratagem_live"] == [({"service": name}, 1.0)]
        assert {f"stratagem_{family}" for family in OF_TROUBLE} <= set(found)


@pytest.mark.slow
def test_numbers_are_told_apart_as_they_must_be(up: Up) -> None:
    """Tokens by what they are, requests, strategies and rewards by kind and assigned arm, letters by reason."""
    urls = metrics_urls(up.said)
    agents, worker, updater = (scraped(urls[name]) for name in SERVICES)
    assert {labels["what"] for labels, _ in worker["stratagem_tokens"]} == set(TOLD_APART)
    assert ({"service": "agents", "reason": "undecodable"}, 1.0) in agents["stratagem_dead_letters"]
    assert {"paused"} == {labels["reason"] for labels, _ in agents["stratagem_suppressions"]}
    asked = {(labels["kind"], labels["arm"]) for labels, _ in agents["stratagem_requests"]}
    answered = {(labels["kind"], labels["arm"]) for labels, _ in worker["stratagem_strategies"]}
    paid = {(labels["kind"], labels["arm"]) for labels, _ in updater["stratagem_rewards"]}
    assert paid <= answered <= asked
    served = worker["stratagem_adapter_info"][0][0]
    assert served["champion"] == "base"
    assert served["critic"].startswith("critic-")


@pytest.mark.slow
def test_a_strategy_is_asked_for_over_http(up: Up) -> None:
    """Through agents and worker like any other: decided, in its topic, counted; suppressed where the customer forbids it."""
    url = up.wait_for("HTTP at http://").partition("HTTP at ")[2].strip()
    key = up.command("keys", "create", "shop", "--scope", "publish", "--scope", "read").strip()
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE_S) as client:

        def decide(user: str, **more: object) -> dict[str, Any]:
            body = {"user_id": user, "kind": "recommendation", "deadline_ms": 60_000, **more}
            answer = client.post("/v1/decide", json=body)
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

        decided = decide("customer-web")
        said = msgspec.json.decode(event("Segment Consent Preference Updated", "customer-no"))
        said["context"] = {"consent": {"categoryPreferences": {"personalization": False}}}
        assert client.post("/v1/events", json=said).status_code == 202
        suppressed = decide("customer-no")
        eventually(lambda: client.get("/v1/users/customer-web/strategies").json().get("strategies"), "one to be shown")
    assert decided["status"] == "decided", decided
    assert decided["strategy"] in values(up, STRATEGIES, user_id="customer-web")
    assert (suppressed["status"], suppressed["suppression"]["reason"]) == ("suppressed", "no_consent")


@pytest.mark.slow
def test_a_pause_suppresses_what_comes_a_second_later(up: Up) -> None:
    """While paused a moment becomes a suppression `paused` and no strategy; after `resume` strategies come again."""
    (suppressed,) = answers(up, "customer-during")
    assert suppressed["reason"] == "paused"
    time.sleep(PAUSE_SEEN_S)
    up.command("publish", text=event("Product Viewed", "customer-after", product_id="tea-1"))
    eventually(lambda: values(up, STRATEGIES, user_id="customer-after"), "a strategy after the pause")


@pytest.mark.slow
def test_a_killed_service_is_started_again(up: Up) -> None:
    """`kill -9` of the agents: `up` says so, starts them, and events are folded as before."""
    killed = up.pid_of("agents")
    os.kill(killed, signal.SIGKILL)
    up.wait_for("agents ended with status 137; starting it again")
    eventually(lambda: killed not in up.processes(), "the killed process")
    up.command("publish", text=event("Product Viewed", "customer-again", product_id="tea-1"))
    eventually(lambda: profile_of(up, "customer-again"), "a profile by the new agents")


@pytest.mark.slow
def test_ctrl_c_leaves_no_child_and_the_next_run_has_the_data(up: Up) -> None:
    """Ctrl-C: 130, nothing is left running, no address is left behind; the next `up` knows the customers."""
    before = profile_of(up, "customer-1")
    assert '"coffee-1"' in before
    assert up.end() == 130
    assert up.processes() == {}
    assert "stratagem: stopping\n" in up.said
    assert not (Path(up.environ["STRATAGEM_HOME"]) / "endpoints.json").exists()
    up.begin()
    after = up.command("profile", "customer-1")
    assert msgspec.json.decode(after)["profile"] == msgspec.json.decode(before)["profile"]


@pytest.mark.parametrize("only", ["KAFKA_BOOTSTRAP", "REDIS_URL"])
def test_only_one_address_is_refused_in_words(only: str, tmp_path: Path) -> None:
    """An embedded Redis beside somebody's Kafka would be neither: exit 2, both variables named, nothing started."""
    address = {"KAFKA_BOOTSTRAP": "127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1"}[only]
    unset = {"STRATAGEM_KAFKA_BOOTSTRAP": "", "STRATAGEM_REDIS_URL": ""}
    code, output = invoke(["up"], {**unset, f"STRATAGEM_{only}": address, "STRATAGEM_HOME": str(tmp_path)})
    assert code == 2
    assert "set both STRATAGEM_KAFKA_BOOTSTRAP and STRATAGEM_REDIS_URL" in output
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """STRATAGEM_METRICS_PORT was asked for: a port of the row that is taken is named with its service."""
    first = free_block()
    with socket.create_server(("127.0.0.1", first + 1)):
        environ = {"STRATAGEM_HOME": str(tmp_path), "STRATAGEM_METRICS_PORT": str(first)}
        with (
            pytest.raises(SettingError, match=f"port {first + 1} of 127.0.0.1, for worker, is not free"),
            Supervisor(environ, fresh=True, progress=lambda _: None),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_default_port_that_is_taken_is_said(tmp_path: Path) -> None:
    """Nobody asked for a port: another is taken, told, and never one that connections get."""
    said: list[str] = []
    supervisor = Supervisor({"STRATAGEM_HOME": str(tmp_path)}, fresh=True, progress=said.append)
    usual = DEFAULT_PORTS["agents"]
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", usual)):  # or somebody else has it
        assert supervisor._port_of("agents") in others(usual)
    assert not said or f"port {usual} of 127.0.0.1 is taken" in said[0]


def test_ports_follow_the_order_of_the_defaults() -> None:
    """One setting, a port for each."""
    assert [port_of(name, 7000) for name in DEFAULT_PORTS] == [7000, 7001, 7002, 7003, 7004]
    assert {port_of(name, 0) for name in DEFAULT_PORTS} == {0}
