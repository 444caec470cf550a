"""How the agents reach brokers that want to know who asks: each protocol by its options, one on a real broker."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from services.agents import security_of, stream_settings
from services.clients import redis_client
from services.local.broker import Broker
from services.settings import AgentsSettings, SettingError
from services.topics import Topics
from streaming.app import _aiokafka_options, _faust_app
from streaming.control import read_profile
from tests.services.cli_samples import Said, ended, start
from tests.services.test_cli import invoke
from tests.services.up_samples import event, eventually

USER, PASSWORD, WRONG = "shop", "right-1", "wrong-1"
SASL_LISTENER = """
listeners=PLAINTEXT://127.0.0.1:{{broker_port}},CONTROLLER://127.0.0.1:{{controller_port}},GUARDED://127.0.0.1:{port}
advertised.listeners=PLAINTEXT://127.0.0.1:{{broker_port}},GUARDED://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.guarded.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
"""


def options_of(tmp_path: Path, **settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Faust's consumer and the catalog's reader are given."""
    made = AgentsSettings(kafka_bootstrap="a:1", redis_url="redis://a:1", home=tmp_path, **settings)
    stream = stream_settings(made, Topics({}, 2, (), {}))
    auth = dict(credentials_to_aiokafka_auth(_faust_app(stream).conf.broker_credentials))
    return auth, _aiokafka_options(stream)


def test_plain_text_needs_nothing(tmp_path: Path) -> None:
    """Without settings no credentials and no TLS."""
    auth, options = options_of(tmp_path)
    assert auth == {"security_protocol": "PLAINTEXT"}
    assert (options["security_protocol"], options["ssl_context"]) == ("PLAINTEXT", None)
    assert "sasl_mechanism" not in options


@pytest.mark.parametrize("check", [True, False])
def test_tls_verifies_the_broker(tmp_path: Path, *, check: bool) -> None:
    """SSL gives one context to both clients; the certificate is always verified, its name unless told otherwise."""
    auth, options = options_of(tmp_path, kafka_security_protocol="SSL", kafka_ssl_check_hostname=check)
    assert auth["security_protocol"] == options["security_protocol"] == "SSL"
    assert auth["ssl_context"] is options["ssl_context"]
    assert (auth["ssl_context"].check_hostname, auth["ssl_context"].verify_mode.name) == (check, "CERT_REQUIRED")
    assert "sasl_mechanism" not in options


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_sasl_reaches_both_clients(tmp_path: Path, protocol: str, mechanism: str) -> None:
    """Mechanism, user and password are the settings', with TLS exactly where the protocol says so."""
    auth, options = options_of(
        tmp_path,
        kafka_security_protocol=protocol,
        kafka_sasl_mechanism=mechanism,
        kafka_sasl_username=USER,
        kafka_sasl_password=PASSWORD,
    )
    wanted = {
        "security_protocol": protocol,
        "sasl_mechanism": mechanism,
        "sasl_plain_username": USER,
        "sasl_plain_password": PASSWORD,
    }
    for found in (auth, options):
        assert {key: found[key] for key in wanted} == wanted
        assert (found["ssl_context"] is not None) == (protocol == "SASL_SSL")


def test_a_certificate_that_is_none_is_a_wrong_setting(tmp_path: Path) -> None:
    """A file that holds no certificate is refused in words, not by a traceback."""
    (tmp_path / "ca.pem").write_text("nothing")
    settings = AgentsSettings(kafka_security_protocol="SSL", kafka_ssl_cafile=str(tmp_path / "ca.pem"))
    with pytest.raises(SettingError, match="STRATAGEM_KAFKA_SSL_CAFILE"):
        security_of(settings)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, stratagem_home: Path) -> Iterator[str]:
    """The address of a listener, of a broker of its own, that wants user and password."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    broker = Broker(
        tmp_path_factory.mktemp("guarded"),
        cache=stratagem_home / "cache",
        progress=lambda _: None,
        more_properties=SASL_LISTENER.format(port=port, user=USER, password=PASSWORD),
    )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        broker.stop()


@pytest.fixture
def environ(guarded: str, redis_url: str, topic_prefix: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a user who knows the password."""
    return {
        "STRATAGEM_HOME": str(tmp_path),
        "STRATAGEM_KAFKA_BOOTSTRAP": guarded,
        "STRATAGEM_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "STRATAGEM_KAFKA_SASL_MECHANISM": "PLAIN",
        "STRATAGEM_KAFKA_SASL_USERNAME": USER,
        "STRATAGEM_KAFKA_SASL_PASSWORD": PASSWORD,
        "STRATAGEM_REDIS_URL": redis_url,
        "STRATAGEM_TOPIC_PREFIX": topic_prefix,
        "STRATAGEM_GROUP_PREFIX": topic_prefix,
    }


@pytest.mark.slow
def test_the_right_password_opens_topics_and_agents(environ: dict[str, str]) -> None:
    """Topics are made and an event is folded, all of it through a listener with SASL."""
    assert invoke(["topics"], environ)[0] == 0
    code, output = invoke(["publish"], environ, event("Product Viewed", "customer-1", product_id="tea-1"))
    assert (code, output.strip()) == (0, "1 good, 0 refused, 1 published")
    process = start("agents", environ)
    try:
        with redis_client(AgentsSettings(redis_url=environ["STRATAGEM_REDIS_URL"])) as client:
            eventually(lambda: read_profile(client, "customer-1", environ["STRATAGEM_TOPIC_PREFIX"]), "a profile")
    finally:
        process.terminate()
        code, output = ended(process)
    assert code == 0, output
    assert PASSWORD not in output


@pytest.mark.slow
def test_what_the_broker_refuses_is_said_in_one_line(environ: dict[str, str]) -> None:
    """Nobody waits for what will not change: the settings to look at, a code, no traceback and no password."""
    at = f"stratagem: Kafka at {environ['STRATAGEM_KAFKA_BOOTSTRAP']}"
    environ = environ | {"STRATAGEM_KAFKA_TIMEOUT_S": "10"}  # a first handshake takes long on a busy machine
    wrong = environ | {"STRATAGEM_KAFKA_SASL_PASSWORD": WRONG}
    plain = environ | {"STRATAGEM_KAFKA_SECURITY_PROTOCOL": "", "STRATAGEM_KAFKA_SASL_MECHANISM": ""}
    tls = environ | {"STRATAGEM_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
    # By twos: a broker that is slow to refuse among four that start is taken for one that cannot be reached.
    topics, agents = map(ended, [start("topics", wrong), start("agents", wrong)])
    by_plain_text, by_tls = map(ended, [start("topics", plain), start("topics", tls)])
    assert len(topics.output.splitlines()) == 1
    for line in (topics.output.splitlines()[-1], agents.output.splitlines()[-1]):  # agents have a log before it
        assert line.startswith(f"{at} refuses us")
        assert "STRATAGEM_KAFKA_SASL_*" in line
    assert (topics.code, agents.code) == (2, 2)
    assert by_plain_text == Said(3, f"{at} hangs up on us: check STRATAGEM_KAFKA_SECURITY_PROTOCOL\n")
    assert by_tls.code == 2
    assert "STRATAGEM_KAFKA_SSL_*" in by_tls.output
    for said in (topics, agents, by_tls):
        assert "Traceback" not in said.output
        assert WRONG not in said.output
        assert PASSWORD not in said.output
