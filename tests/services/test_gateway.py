"""The gateway as a process: what it takes, what it refuses, whom it lets in, on the real Kafka and Redis."""

import asyncio
import contextlib
import gzip
import json
import select
import socket
import threading
import uuid
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import httpx
import msgspec
import pytest
import redis

from services.gateway_keys import SCOPES
from services.gateway_paths import DOORS, OPENAPI_PATH
from services.local.stack import Endpoints
from streaming.contracts.partition import bucket_of, partition_of
from streaming.control import is_paused
from streaming.keys import BUCKETS_FIELD, BucketKeys, control_key
from streaming.row import Row, encode_row
from tests.services.gateway_bench import PATIENCE_S, ROOT, Bench
from tests.services.gateway_samples import event

LINES = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def gateway(stack: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A gateway for the tests that leave it as it was."""
    prefix, home = f"gateway-{uuid.uuid4().hex[:8]}.", tmp_path_factory.mktemp("gateway")
    bounds = {"gateway_body_timeout_s": 2.0, "gateway_head_timeout_s": 2.0}
    with Bench(stack, prefix, home, **bounds).process() as bench:
        bench.until(lambda: bench.health("ready")[0] == 200)
        yield bench


def text(*events: dict[str, Any]) -> bytes:
    """JSON lines."""
    return b"\n".join(json.dumps(each).encode() for each in events)


def values(gateway: Bench, topic: str = "shop.events") -> list[dict[str, Any]]:
    """What lies in a topic."""
    return [json.loads(record.value) for record in gateway.published()[topic]]


def test_each_form_of_events_is_in_its_topic_once_answered(gateway: Bench) -> None:
    """One event, an array, JSON lines, zipped or not: keyed and partitioned as the topics want it, byte for byte."""
    one, shop = event(100), [event(number) for number in range(101, 140)]
    ads = event(140, event="Promotion Clicked", properties={"strategy_id": "s"})
    bodies: list[tuple[bytes, dict[str, str]]] = [
        (json.dumps(one).encode(), {}),
        (json.dumps(shop[:20]).encode(), {"Content-Type": "application/json"}),
        (gzip.compress(text(*shop[20:], ads)), {**LINES, "Content-Encoding": "gzip"}),
    ]
    with gateway.client() as client:
        for body, headers in bodies:
            answer = client.post("/v1/events", content=body, headers=headers)
            assert answer.status_code == 202
            assert {verdict["verdict"] for verdict in answer.json()["verdicts"]} == {"accepted"}
    found = gateway.published()
    wanted = {json.dumps(each).encode() for each in (one, *shop)}
    assert wanted <= {record.value for record in found["shop.events"]}
    assert json.dumps(ads).encode() in {record.value for record in found["ads.events"]}
    for record in found["shop.events"]:
        assert record.key == json.loads(record.value)["userId"].encode()
        assert record.partition == partition_of(record.key, gateway.settings.partitions)


def test_a_verdict_on_each_event(gateway: Bench) -> None:
    """The good ones are published, the others named; a request without a good one is a problem with all verdicts."""
    bad, good = event(200, properties={"product_id": "p", "price": -1, "currency": "USD"}), event(201)
    with gateway.client() as client:
        answer = client.post("/v1/events", content=text(bad, good, good), headers=LINES)
        assert answer.status_code == 202
        said = answer.json()
        assert {name: said[name] for name in ("accepted", "duplicate", "refused")} == {
            "accepted": 1,
            "duplicate": 1,
            "refused": 1,
        }
        verdict = said["verdicts"][0]
        assert (verdict["index"], verdict["verdict"], verdict["field"]) == (0, "refused", "properties.price")
        assert "-1" in verdict["value"]
        assert ">= 0" in verdict["wanted"]
        refused = client.post("/v1/events", json=bad)
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
    assert refused.json()["verdicts"][0]["field"] == "properties.price"
    assert [each["messageId"] for each in values(gateway) if each["messageId"] in ("m-200", "m-201")] == ["m-201"]


def test_segments_libraries_can_point_here(gateway: Bench) -> None:
    """A write key as basic-auth user; single calls and batches become events; the status is the one they take for success."""
    track = event(300, type=None, context={"ip": "10.0.0.1", "locale": "de-DE"})
    batch = {"batch": [event(301), {"type": "page", "userId": "u"}], "sentAt": "2026-01-31T12:00:00Z"}
    with httpx.Client(base_url=gateway.url, auth=(gateway.keys["publish"], "")) as client:
        first = client.post("/v1/track", json=track)
        zipped = gzip.compress(json.dumps(batch).encode())
        second = client.post("/v1/batch", content=zipped, headers={"Content-Encoding": "gzip"})
    assert [(each.status_code, each.json()["success"]) for each in (first, second)] == [(200, True), (200, True)]
    assert (second.json()["accepted"], second.json()["ignored"]) == (1, 1)
    (record,) = [each for each in values(gateway) if each["messageId"] == "m-300"]
    assert record == event(300, context={"locale": "de-DE"})


def test_each_door_opens_to_its_scopes_alone(gateway: Bench) -> None:
    """Each endpoint of the served document with each set of scopes, without a key, and with one that is none."""
    described = httpx.get(gateway.url + OPENAPI_PATH).json()["paths"]
    doors = [
        (method, path.replace("{user_id}", "somebody"), set(operation["x-scopes"]))
        for path, methods in described.items()
        for method, operation in methods.items()
    ]
    assert len(doors) == len(DOORS)
    sets = [scopes for count in range(1, len(SCOPES) + 1) for scopes in combinations(SCOPES, count)]
    keys = {scopes: gateway.key(scopes) for scopes in sets}
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE_S) as client:

        def answered(method: str, path: str, key: str) -> httpx.Response:
            with client.stream(method, path, headers={"Authorization": f"Bearer {key}"} if key else {}) as response:
                return response  # its head is enough: one of them never ends

        for method, path, wanted in doors:
            for scopes, key in keys.items():
                status = answered(method, path, key).status_code
                assert (status == 403) == (not wanted <= set(scopes)), (method, path, scopes, status)
                assert status < 500
            for wrong in ("", gateway.keys["publish"][:-1]):
                answer = answered(method, path, wrong)
                assert answer.status_code == 401
                assert "Bearer" in answer.headers["www-authenticate"]
    gateway.until(lambda: gateway.metric("stratagem_gateway_streams") == 0)


def test_an_operator_pauses_and_resumes(gateway: Bench) -> None:
    """What `stratagem pause` and `resume` do, and whether it is so."""
    with gateway.client("operate") as client, redis.Redis.from_url(gateway.settings.redis_url) as store:
        for path, paused in (("pause", True), ("pause", True), ("resume", False)):
            assert client.post(f"/v1/{path}").json() == {"paused": paused}
            assert client.get("/v1/pause").json() == {"paused": paused}
            assert is_paused(store, gateway.settings.topic_prefix) == paused


def test_many_callers_at_once_wait_for_redis_and_are_all_answered(gateway: Bench) -> None:
    """More than there are connections to Redis, which each needs for its key: nobody is told that Redis does not answer."""

    async def call() -> list[int]:
        key, limits = {"Authorization": f"Bearer {gateway.keys['read']}"}, httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=gateway.url, headers=key, limits=limits, timeout=PATIENCE_S) as client:
            answers = await asyncio.gather(*(client.get(f"/v1/users/nobody-{number}/profile") for number in range(300)))
        return [answer.status_code for answer in answers]

    assert set(asyncio.run(call())) == {404}


def test_a_key_that_has_used_up_its_rate_is_told_when_to_come_again(gateway: Bench) -> None:
    """429 with Retry-After; what was refused is not published."""
    headers = {"Authorization": f"Bearer {gateway.key(('publish',), rate_per_s=1.0)}"}
    with httpx.Client(base_url=gateway.url, headers=headers) as client:
        assert client.post("/v1/events", json=event(400)).status_code == 202
        answer = client.post("/v1/events", json=[event(number) for number in range(401, 420)])
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert not [each for each in values(gateway) if "m-401" <= each["messageId"] <= "m-419"]


def test_hostile_bodies_are_refused_with_bounded_memory(gateway: Bench) -> None:
    """Too large, too deep, bombs, too many, malformed, from many callers at once: problems, and little more memory."""
    limit = gateway.settings.gateway_max_body_bytes
    hostile: list[tuple[bytes, dict[str, str], int]] = [
        (b"[" * (limit - 10), {}, 400),
        (b'{"a":' * 1000 + b"1" + b"}" * 1000, {}, 422),
        (gzip.compress(bytes(200_000_000), 9), {"Content-Encoding": "gzip"}, 413),
        (b"[" + b"1," * (limit // 2 - 10) + b"1]", {}, 413),
        (b"\n" * (limit - 1), LINES, 413),
        (b"\xff\xfe", {}, 422),
        (b"{", {}, 422),
        (b"{}", {"Content-Encoding": "gzip"}, 400),
        (b"{}", {"Content-Type": "text/html"}, 415),
    ]  # fmt: skip
    before = gateway.peak_bytes()
    found: list[tuple[int, int]] = []

    def call() -> None:
        with gateway.client() as client:
            for body, headers, status in hostile:
                found.append((client.post("/v1/events", content=body, headers=headers).status_code, status))

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(found) == 8 * len(hostile)
    assert [pair for pair in found if pair[0] != pair[1]] == []
    assert gateway.peak_bytes() - before < 150_000_000
    gateway.until(lambda: gateway.metric("stratagem_gateway_in_flight_bytes") == 0)


def raw(gateway: Bench, length: str, body: bytes) -> socket.socket:
    """A connection on which a request with this length and the beginning of its body was sent."""
    made = socket.create_connection(("127.0.0.1", gateway.settings.gateway_port), timeout=60)
    head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.keys['publish']}\r\n{length}\r\n\r\n"
    made.sendall(head.encode() + body)
    return made


def status_on(connection: socket.socket) -> int:
    """The status that is answered."""
    with connection, connection.makefile("rb") as file:
        return int(file.readline().split()[1])


def test_a_body_is_bounded_in_size_and_time(gateway: Bench) -> None:
    """Said to be too large: refused before it is sent; in chunks without an end: refused on the way; dribbling: refused in time."""
    limit = gateway.settings.gateway_max_body_bytes
    assert status_on(raw(gateway, f"Content-Length: {limit + 1}", b"")) == 413
    assert (
        status_on(raw(gateway, "Transfer-Encoding: chunked", f"{limit + 1:x}\r\n".encode() + b"x" * (limit + 1))) == 413
    )
    assert status_on(raw(gateway, "Content-Length: 100", b"{")) == 408


def test_a_head_is_bounded_in_size_and_time(gateway: Bench) -> None:
    """Heads that never end, dribbled by many callers at once: 408 to each, after which others are served; one too long: 400."""
    address = ("127.0.0.1", gateway.settings.gateway_port)
    before, cut = gateway.peak_bytes(), 'stratagem_gateway_connections_cut_total{why="slow head"}'
    slow = [socket.create_connection(address, timeout=60) for _ in range(100)]
    dribbling = socket.create_connection(address, timeout=60)
    for connection in (dribbling, *slow):
        connection.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    with dribbling, contextlib.suppress(ConnectionError):  # the end may come between a look and a byte
        while not select.select([dribbling], [], [], 0.05)[0]:
            dribbling.sendall(b"x")
    assert {status_on(connection) for connection in slow} == {408}
    assert gateway.metric(cut) > len(slow)
    with socket.create_connection(address, timeout=60) as endless:
        endless.sendall(b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 70_000)
        assert endless.recv(12) == b"HTTP/1.1 400"
    assert gateway.peak_bytes() - before < 50_000_000
    with gateway.client() as client:
        assert client.post("/v1/events", json=event(500)).status_code == 202


def test_a_caller_who_goes_away_costs_nothing(gateway: Bench) -> None:
    """Half a body, then the end of the connection: its room is given back, and nothing is published."""
    with raw(gateway, "Transfer-Encoding: chunked", b"3e8\r\n" + b"x" * 500):
        gateway.until(lambda: gateway.metric("stratagem_gateway_in_flight_bytes") == 500)
    gateway.until(lambda: gateway.metric("stratagem_gateway_in_flight_bytes") == 0)


def test_a_profile_is_read_by_its_customers_id(gateway: Bench) -> None:
    """The row as it is stored, whatever the id looks like; 404 for a customer nobody heard of."""
    user, prefix = "a/b c", gateway.settings.topic_prefix
    with redis.Redis.from_url(gateway.settings.redis_url) as client:
        client.hset(control_key(prefix), BUCKETS_FIELD, 4)
        client.hset(BucketKeys.of(prefix, bucket_of(user, 4)).rows, user, encode_row(Row(user_id=user, arm="lm")))
    with gateway.client("read") as client:
        found = client.get("/v1/users/a%2Fb%20c/profile")
        missing = client.get("/v1/users/nobody/profile")
    assert (found.status_code, found.json()["user_id"]) == (200, user)
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/not-found")


def test_the_interface_describes_itself_to_everybody(gateway: Bench) -> None:
    """The committed OpenAPI document, byte for byte, without a key."""
    answer = httpx.get(gateway.url + OPENAPI_PATH)
    assert answer.status_code == 200
    assert answer.content == (ROOT / "docs/openapi.json").read_bytes()


def test_what_is_not_there_is_a_problem_too(gateway: Bench) -> None:
    """Another path, another method."""
    assert httpx.get(gateway.url + "/").json()["status"] == 404
    wrong = httpx.get(gateway.url + "/v1/events")
    assert (wrong.status_code, wrong.headers["content-type"], wrong.headers["allow"]) == (
        405,
        "application/problem+json",
        "POST",
    )
    assert msgspec.json.decode(wrong.content)["title"]
