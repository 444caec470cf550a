"""TLS, SCRAM and ACLs on a real Kafka and Redis: every service works with what the table gives it, and can do nothing else."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
import redis
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from services import probe
from services.access import ACCESS, page, redis_rules
from services.endpoints import connected
from services.settings import AgentsSettings, Common, SettingError
from services.settings_gateway import rdkafka_options
from streaming.contracts.topics import REWARDS, SHOP_EVENTS, STRATEGIES, TOPICS
from streaming.control import read_profile
from streaming.keys import BucketKeys, control_key
from tests.deploy.guarded import HOST, Guarded, guarded
from tests.services.cli_samples import ended, start
from tests.services.gateway_bench import free_port
from tests.services.up_samples import event, eventually, free_block

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
PREFIX = "acme."
SERVICES = ("agents", "worker", "updater", "gateway")
FLUSH_S = 60


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory, stratagem_home: Path) -> Iterator[Guarded]:
    """Both servers, with the table's ACLs and the topics that its one maker made."""
    with guarded(tmp_path_factory.mktemp("guarded"), stratagem_home / "cache") as found:
        found.allow_kafka(PREFIX)
        found.allow_redis(PREFIX)
        code, output = ended(start("topics", found.environ("topics", PREFIX)))
        assert code == 0, output
        yield found


def client_of(doors: Guarded, service: str) -> redis.Redis:
    """Redis, as a service meets it."""
    settings = connected(Common, doors.environ(service, PREFIX))
    return redis.Redis.from_url(settings.redis_url)


def settled(process: "subprocess.Popen[str]", port: int) -> bool:
    """Whether a service is ready, or has ended."""
    return process.poll() is not None or not probe.illness(port)


def refusal(doors: Guarded, service: str, topic: str) -> KafkaError | None:
    """Why Kafka does not let a service write into a topic; None when it does."""
    options = rdkafka_options(connected(Common, doors.environ(service, PREFIX)))
    told: list[KafkaError | None] = []

    def acknowledged(error: KafkaError | None, _: Message) -> None:
        told.append(error)

    producer = Producer({**options, "message.timeout.ms": FLUSH_S * 1000, "log_level": 0})
    try:
        producer.produce(topic, b"{}", b"key", on_delivery=acknowledged)
    except KafkaException as error:
        return KafkaError(error.args[0].code())
    producer.flush(FLUSH_S)
    return told[0]


def test_the_page_is_the_table() -> None:
    """`docs/access.md` is what `python -m services.access --page` prints."""
    assert (ROOT / "docs" / "access.md").read_text() == page()


def test_every_topic_has_one_who_writes_and_one_who_reads() -> None:
    """But those that a shop writes, and those that only people and its clock read."""
    written = {spec.name for access in ACCESS.values() for spec in access.writes}
    read = {spec.name for access in ACCESS.values() for spec in access.reads}
    assert {spec.name for spec in TOPICS} == written
    assert {spec.name for spec in TOPICS} - read == {"stream.progress"}


READ = ("/v1/users/customer-1/profile", "/v1/users/customer-1/strategies", "/v1/pause")
PAGES = ("", "rewards", "strategies", "customers/customer-1", "adapters", "letters", "settings", "audit")


def visited(door: int, key: str, deep: Callable[[], object]) -> None:
    """Everything that the gateway does for its callers and on its console; `deep` waits for the event's profile."""
    body = json.loads(event("Product Viewed", "customer-1", product_id="tea-1"))
    asked = {"user_id": "customer-1", "kind": "recommendation"}
    bearer = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"http://{HOST}:{door}", timeout=60, follow_redirects=True) as client:
        assert client.post("/v1/events", json=body, headers=bearer).json()["accepted"] == 1
        eventually(deep, "a profile")
        assert client.post("/v1/decide", json=asked, headers=bearer).status_code == 200
        assert (
            client.post("/v1/strategies/str_none/outcome", json={"outcome": "shown"}, headers=bearer).status_code == 404
        )
        for path in READ:
            assert client.get(path, headers=bearer).status_code == 200, path
        for path in ("/v1/pause", "/v1/resume"):
            assert client.post(path, headers=bearer).status_code == 200
        assert client.post("/console/login", data={"key": key}).url.path == "/console/"
        for page in PAGES:
            shown = client.get(f"/console/{page}")
            assert (shown.status_code, shown.url.path) == (200, f"/console/{page}")


def test_services_work_with_what_the_table_gives_them(doors: Guarded, tmp_path: Path) -> None:
    """All become ready by TLS, SCRAM and ACL users; every door and page of the gateway opens; nothing is denied to anybody."""
    block, door = free_block(), free_port()
    environs = {
        name: doors.environ(name, PREFIX)
        | {
            "STRATAGEM_HOME": str(tmp_path / name),
            "STRATAGEM_REGISTRY": str(tmp_path / "registry"),
            "STRATAGEM_METRICS_PORT": str(block + number),
            "STRATAGEM_GATEWAY_PORT": str(door),
        }
        for number, name in enumerate(SERVICES)
    }
    code, said = ended(start("keys create shop --scope publish --scope read --scope operate", environs["gateway"]))
    assert code == 0, said
    key = next(word for word in said.split() if word.count("_") >= 2)
    processes = {name: start(name, environs[name]) for name in SERVICES}
    try:
        for number, name in enumerate(SERVICES):
            eventually(partial(settled, processes[name], block + number), f"{name} to be ready")
        with client_of(doors, "gateway") as client:
            visited(door, key, lambda: read_profile(client, "customer-1", PREFIX))
    finally:
        for process in processes.values():
            process.terminate()
        ends = {name: ended(process) for name, process in processes.items()}
        for name, end in ends.items():  # what pytest shows of a test that failed
            told = [line for line in end.output.splitlines() if " INFO " not in line]
            sys.stdout.write("\n".join([f"{name} ended with {end.code}", *told[:40]]) + "\n")
    for name, (code, said) in ends.items():
        assert code == 0, f"{name}: {said[-3000:]}"
        assert "NOPERM" not in said, name
        assert "AuthorizationFailed" not in said, name
        assert "not authorized" not in said.lower(), name
        assert doors.passwords[name] not in said, name


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_writes_where_the_table_says_alone(doors: Guarded, service: str) -> None:
    """Every topic is tried: the gateway cannot write rewards, nor the worker adapters. Of a prefix that nobody reads."""
    doors.allow_kafka("tried.")
    code, output = ended(start("topics", doors.environ("topics", "tried.")))
    assert code == 0, output
    found = {spec.name: refusal(doors, service, f"tried.{spec.name}") for spec in TOPICS}
    allowed = {spec.name for spec in ACCESS[service].writes}
    assert {name for name, error in found.items() if error is None} == allowed
    denied = {error.code() for error in found.values() if error is not None}
    assert denied == {KafkaError.TOPIC_AUTHORIZATION_FAILED}


def test_the_gateway_writes_no_rewards_and_the_worker_reads_no_profiles() -> None:
    """What the table has to say, whatever else is changed in it."""
    assert REWARDS not in ACCESS["gateway"].writes
    assert STRATEGIES not in ACCESS["gateway"].writes
    assert SHOP_EVENTS not in ACCESS["worker"].reads
    for service in ("worker", "updater"):
        assert "{b" not in "".join((*ACCESS[service].keys, *ACCESS[service].seen))
    assert "{b" not in "".join(ACCESS["gateway"].keys)


def denied(client: redis.Redis, *commands: tuple[str | int, ...]) -> None:
    """Each is refused for want of a permission."""
    for command in commands:
        with pytest.raises((redis.exceptions.NoPermissionError, redis.ResponseError), match=r"NOPERM|permission|ACL"):
            client.execute_command(*command)  # type: ignore[no-untyped-call]


def reads_no_profile(client: redis.Redis, prefix: str) -> None:
    """Neither rows nor open strategies, by no command that it has; nor may it ask who is there."""
    rows = BucketKeys.of(prefix, 0).rows
    assert client.ping()
    denied(client, ("HGET", rows, "customer-1"), ("GET", rows), ("EVAL", "return redis.call('GET', KEYS[1])", 1, rows))
    denied(client, ("KEYS", "*"), ("SCAN", 0), ("ACL", "LIST"), ("CONFIG", "GET", "*"), ("FLUSHALL",))


@pytest.mark.parametrize("service", ["worker", "updater"])
def test_a_worker_reads_no_profile(doors: Guarded, service: str) -> None:
    """By the rules that this Redis is given."""
    with client_of(doors, service) as client:
        reads_no_profile(client, PREFIX)


def test_a_gateway_reads_profiles_and_writes_none(doors: Guarded) -> None:
    """Redis 7 and later can tell the two apart; neither a command nor a script writes what it only sees."""
    if doors.before_7:
        pytest.skip("this Redis is older than 7 (Debian: apt-get install redis-tools)")
    rows = BucketKeys.of(PREFIX, 0).rows
    with client_of(doors, "gateway") as client:
        assert client.hget(rows, "nobody") is None
        script = "return redis.call('HSET', KEYS[1], 'customer-1', '{}')"
        denied(client, ("HSET", rows, "customer-1", "{}"), ("HDEL", rows, "customer-1"), ("DEL", rows))
        denied(client, ("EVAL", script, 1, rows), ("SET", BucketKeys.of(PREFIX, 0).open, "{}"))
    with client_of(doors, "worker") as client:
        denied(client, ("HSET", control_key(PREFIX), "paused", "1"), ("SET", control_key(PREFIX), "1"))


@pytest.mark.parametrize("service", SERVICES)
def test_a_redis_before_7_takes_the_rules_that_are_made_for_it(redis_url: str, service: str) -> None:
    """The one that comes with us is of 6.2: a worker reads no profile there either, and who may read one reads it."""
    user, password, prefix = f"of-a-test-{service}", "p-1", "older."
    rules = redis_rules(service, Common(topic_prefix=prefix), before_7=True)
    with redis.Redis.from_url(redis_url) as admin:
        admin.execute_command("ACL", "SETUSER", user, "on", f">{password}", *rules.split())
        try:
            with redis.Redis.from_url(redis_url, username=user, password=password) as client:
                if service in ("worker", "updater"):
                    reads_no_profile(client, prefix)
                else:
                    assert client.hget(BucketKeys.of(prefix, 0).rows, "nobody") is None
        finally:
            admin.execute_command("ACL", "DELUSER", user)


def test_no_two_services_share_more_than_they_must() -> None:
    """The updater's lease is nobody else's; rules name no key of another installation."""
    lease = {name for name, access in ACCESS.items() if any("updater" in key for key in access.keys)}
    assert lease == {"updater"}
    for service, prefix in itertools.product(SERVICES, ("acme.",)):
        rules = redis_rules(service, Common(topic_prefix=prefix))
        assert all("acme." in rule for rule in rules.split() if "~" in rule)


def test_a_wrong_password_and_an_unknown_authority_are_refused(doors: Guarded) -> None:
    """In one line each, without a traceback or a password; certificates are verified at both."""
    good = doors.environ("topics", PREFIX) | {"STRATAGEM_KAFKA_TIMEOUT_S": "10"}
    wrong = good | {"STRATAGEM_KAFKA_SASL_PASSWORD": "wrong-1"}
    foreign = good | {"STRATAGEM_KAFKA_SSL_CAFILE": ""}
    for environ in (wrong, foreign):
        code, said = ended(start("topics", environ))
        assert code in {2, 3}, said
        assert "Traceback" not in said
        assert "wrong-1" not in said
    told = doors.environ("gateway", PREFIX)
    for changed in ({"STRATAGEM_REDIS_PASSWORD": "wrong-1"}, {"STRATAGEM_REDIS_SSL_CAFILE": ""}):
        code, said = ended(start("pause", told | changed))
        assert code in {2, 3}, said
        assert "Traceback" not in said
        assert "wrong-1" not in said


def test_what_contradicts_itself_is_a_wrong_setting(tmp_path: Path) -> None:
    """Two passwords, certificates without TLS, a file that is not there: refused by name."""
    plain = {"STRATAGEM_KAFKA_BOOTSTRAP": "a:1", "STRATAGEM_REDIS_URL": "redis://u:p@a:1/0"}
    with pytest.raises(SettingError, match="REDIS_URL"):
        connected(AgentsSettings, plain | {"STRATAGEM_REDIS_PASSWORD": "q"})
    file = tmp_path / "ca.pem"
    file.touch()
    with pytest.raises(SettingError, match="rediss://"):
        connected(AgentsSettings, plain | {"STRATAGEM_REDIS_SSL_CAFILE": str(file)})
    tls = plain | {"STRATAGEM_REDIS_URL": "rediss://a:1/0", "STRATAGEM_REDIS_SSL_CAFILE": str(tmp_path / "none.pem")}
    with pytest.raises(SettingError, match="no such file"):
        connected(AgentsSettings, tls)
