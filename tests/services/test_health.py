"""Liveness and readiness over HTTP, beside the metrics."""

import urllib.error
import urllib.request

import pytest

from services.health import Health
from services.metrics import serve


def ask(port: int, path: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def test_readiness_says_what_is_missing() -> None:
    """503 with a line per unmet condition; 200 once all are met, and 503 again when one is lost."""
    health = Health("kafka", "redis")
    port = serve("shop", "127.0.0.1", 0, health)
    assert ask(port, "/-/ready") == (503, "kafka: starting\nredis: starting\n")
    health.met("kafka")
    health.met("redis")
    assert ask(port, "/-/ready") == (200, "ok\n")
    health.unmet("redis", "does not answer")
    assert ask(port, "/-/ready") == (503, "redis: does not answer\n")
    assert ask(port, "/-/healthy") == (200, "ok\n")


def test_metrics_stay_where_they_were() -> None:
    """At `/metrics`, as Prometheus looks for them."""
    status, text = ask(serve("shop", "127.0.0.1", 0, Health()), "/metrics")
    assert status == 200
    assert "stratagem_live" in text


def test_a_silent_loop_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a sign of life for longer than the patience; a beat makes it healthy again."""
    now_s = [100.0]
    monkeypatch.setattr("services.health.time.monotonic", lambda: now_s[0])
    health = Health(patience_s=60.0)
    now_s[0] += 59.0
    assert not health.illness()
    now_s[0] += 2.0
    assert health.illness() == "the loop has not turned for 61 s"
    health.beat()
    assert not health.illness()


def test_work_that_stands_still_is_not_healthy() -> None:
    """Whatever the loop says."""
    health = Health(patience_s=60.0)
    port = serve("shop", "127.0.0.1", 0, health)
    health.stands("nothing was applied")
    health.beat()
    assert ask(port, "/-/healthy") == (503, "nothing was applied\n")


def test_a_process_without_a_loop_is_well() -> None:
    """No conditions, no patience: always healthy and ready."""
    assert Health().illness() == ""
    assert Health().missing() == []
