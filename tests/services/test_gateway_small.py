"""Short bodies, which are read before the key is known, and long ones, which are not; what goes on with an event; on the real Kafka and Redis."""

import json
import socket
import uuid
from collections.abc import Iterator

import httpx
import pytest

from services.local.stack import Endpoints
from streaming.contracts.tracing import TRACEPARENT
from tests.services.gateway_bench import PATIENCE_S, Bench
from tests.services.gateway_samples import event


@pytest.fixture(scope="module")
def gateway(stack: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A gateway for the tests that leave it as it was."""
    prefix, home = f"small-{uuid.uuid4().hex[:8]}.", tmp_path_factory.mktemp("gateway")
    with Bench(stack, prefix, home).process() as bench:
        bench.until(lambda: bench.health("ready")[0] == 200)
        yield bench


def test_a_small_body_is_heard_of_those_alone_who_have_a_key(gateway: Bench) -> None:
    """Without a key, or with one that is none: 401 whatever the body is, at once where no key is shown, and no room is taken."""
    wrong = gateway.keys["publish"][:-1] + "!"
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE_S) as client:
        for body in (json.dumps(event(1)).encode(), b"[" * 60_000, b"", b"\xff"):
            for headers in ({}, {"Authorization": f"Bearer {wrong}"}):
                assert client.post("/v1/events", content=body, headers=headers).status_code == 401
    address, text_ = (
        ("127.0.0.1", gateway.settings.gateway_port),
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\n%bContent-Length: 9\r\n\r\n{",
    )
    with socket.create_connection(address, timeout=60) as nobody:
        nobody.sendall(text_ % b"")
        assert nobody.recv(12) == b"HTTP/1.1 401"
    with socket.create_connection(address, timeout=60) as somebody:
        somebody.sendall(text_ % b"Authorization: Bearer sk_1_2\r\n")
        assert gateway.metric("stratagem_gateway_in_flight_bytes") == 0
        somebody.sendall(b"       }")
        assert somebody.recv(12) == b"HTTP/1.1 401"


def test_a_large_batch_is_taken_like_a_small_one(gateway: Bench) -> None:
    """More than the server holds before it is asked for: the same verdicts, all of it in its topic."""
    events = [event(number, note="x" * 400) for number in range(1000, 1300)]
    with gateway.client() as client:
        answer = client.post("/v1/events", json=events)
    assert (answer.status_code, answer.json()["accepted"]) == (202, len(events))
    found = {json.loads(record.value)["messageId"] for record in gateway.published()["shop.events"]}
    assert {each["messageId"] for each in events} <= found


def test_a_callers_trace_goes_on_with_what_is_published(gateway: Bench) -> None:
    """By each door that publishes; a header that is none of the standard's is dropped, and nobody is refused for it."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    asked = {"user_id": "user-1", "kind": "ad", "deadline_ms": 1, "message_id": "m-2003"}
    with gateway.client() as client:
        for said, number in ((trace, 2000), ("00-hostile\u00ff", 2001)):
            headers = {TRACEPARENT.encode(): said.encode("latin-1")}
            assert client.post("/v1/events", json=event(number), headers=headers).status_code == 202
        client.post("/v1/track", json=event(2002), headers={TRACEPARENT: trace})
        both = {TRACEPARENT: trace, "Authorization": f"Bearer {gateway.key(('publish', 'read'))}"}
        assert client.post("/v1/decide", json=asked, headers=both).status_code == 200

    def traces() -> dict[str, list[tuple[str, bytes]]]:
        records = gateway.published()["shop.events"]
        return {json.loads(each.value)["messageId"]: each.headers for each in records}

    gateway.until(lambda: "m-2003" in traces())  # a call is answered at its deadline, perhaps before its event is there
    wanted = [(TRACEPARENT, trace.encode())]
    found = {name: headers for name, headers in traces().items() if "m-2000" <= name <= "m-2003"}
    assert found == {"m-2000": wanted, "m-2001": [], "m-2002": wanted, "m-2003": wanted}
