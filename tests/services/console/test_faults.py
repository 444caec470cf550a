"""The console when something is not there: it says so, holds nothing up, and comes back."""

import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from services.gateway_keys import keys_key
from services.local.stack import Endpoints
from tests.services.console.test_console import log_in, token
from tests.services.gateway_bench import PATIENCE_S, Bench, free_port

Make = Callable[..., Bench]


@pytest.fixture
def make(stack: Endpoints, redis_url: str, topic_prefix: str, tmp_path: Path) -> Make:
    """Gateways of the test's own installation."""

    def made(**more: Any) -> Bench:
        return Bench(stack, topic_prefix, tmp_path, **{"redis_url": redis_url, **more})

    return made


def visitor(bench: Bench) -> httpx.Client:
    """Somebody who has not logged in."""
    return httpx.Client(base_url=bench.url, timeout=PATIENCE_S, follow_redirects=True)


def test_without_kafka_the_pages_that_need_it_say_so(make: Make) -> None:
    """503 with when to come again, in words; what Redis has alone is shown; no bug is counted."""
    bench = make(kafka_bootstrap=f"127.0.0.1:{free_port()}", kafka_timeout_s=1.0)
    with bench.process(), visitor(bench) as client:
        log_in(client, bench.keys["operate"])
        for page in ("letters", "adapters"):
            answer = client.get(f"/console/{page}")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            assert "Kafka or Redis does not answer now" in answer.text
        for page in ("", "rewards", "strategies", "customers", "settings", "audit"):
            assert client.get(f"/console/{page}").status_code == 200, page
        assert client.post("/console/pause", data={"csrf": token(client)}).status_code == 200
        assert bench.metric('stratagem_bugs_total{service="gateway"}') == 0


def test_a_console_that_is_off_is_not_there(make: Make) -> None:
    """404, as any other path."""
    bench = make(console=False)
    with bench.process(), visitor(bench) as client:
        assert client.get("/console/login").status_code == 404


def test_a_polite_stop_ends_live_pages(make: Make) -> None:
    """A browser that looks holds nothing up: its stream ends, and the process with 0."""
    bench = make(console_streams=1)
    with bench.process(), visitor(bench) as client:
        log_in(client, bench.keys["operate"])
        begun, ended = threading.Event(), threading.Event()

        def look() -> None:
            with client.stream("GET", "/console/live") as stream:
                for line in stream.iter_lines():
                    if line.startswith("data: "):
                        begun.set()
            ended.set()

        looking = threading.Thread(target=look)
        looking.start()
        assert begun.wait(PATIENCE_S)
        with visitor(bench) as other:
            log_in(other, bench.keys["operate"])
            assert other.get("/console/live").status_code == 503  # one at a time, by the setting
        bench.running.send_signal(signal.SIGTERM)
        assert bench.running.wait(PATIENCE_S) == 0, bench.log.read_text()
        assert ended.wait(PATIENCE_S)
        looking.join()


def test_a_cookie_beyond_loopback_is_for_https_alone(make: Make) -> None:
    """Where the setting says that browsers come by https; on loopback it need not be."""
    for secure in (False, True):
        bench = make(console_secure_cookie=secure)
        with bench.process(), visitor(bench) as client:
            said = log_in(client, bench.keys["operate"]).history[0].headers["set-cookie"]
            assert ("Secure" in re.split("; ?", said)) == secure


def test_a_session_ends_by_itself(make: Make) -> None:
    """Redis forgets it after the time of the setting."""
    bench = make(console_session_h=1.0)
    with bench.process(), visitor(bench) as client, redis.Redis.from_url(bench.settings.redis_url) as store:
        log_in(client, bench.keys["operate"])
        (key,) = store.scan_iter("*console:*")
        assert 3500 < store.ttl(key) <= 3600
        assert store.hlen(keys_key(bench.settings.topic_prefix)) == 3
        store.delete(key)
        assert client.get("/console/audit").url.path == "/console/login"
