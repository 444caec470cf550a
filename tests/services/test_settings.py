"""Settings: read once, typed, and refused in words."""

from pathlib import Path

import pytest

from services.settings import (
    AgentsSettings,
    Common,
    SettingError,
    ShopSettings,
    UpdaterSettings,
    WorkerSettings,
    kafka_options,
    load,
)
from services.settings_gateway import GatewaySettings

ALL = (Common, AgentsSettings, WorkerSettings, UpdaterSettings, GatewaySettings, ShopSettings)


@pytest.mark.parametrize("kind", ALL)
def test_defaults_need_no_environment(kind: type[Common]) -> None:
    """Every service has a complete default configuration."""
    assert load(kind, {}) == kind()


def test_environment_is_converted_to_the_fields_type() -> None:
    """Numbers, paths and switches arrive as what the field says."""
    environ = {"STRATAGEM_HOME": "/x", "STRATAGEM_BUCKETS": "12", "STRATAGEM_KAFKA_SSL_CHECK_HOSTNAME": "false"}
    settings = load(Common, environ)
    assert (settings.home, settings.buckets, settings.kafka_ssl_check_hostname) == (Path("/x"), 12, False)


def test_an_empty_variable_keeps_the_default() -> None:
    """`VAR=` means unset, as container tools write it."""
    assert load(Common, {"STRATAGEM_PARTITIONS": ""}).partitions == Common().partitions


@pytest.mark.parametrize(
    ("variable", "value"),
    [("STRATAGEM_BUCKETS", "0"), ("STRATAGEM_CLOCK", "sundial"), ("STRATAGEM_PARTITIONS", "four")],
)
def test_a_wrong_value_names_the_variable(variable: str, value: str) -> None:
    """The message holds variable and value, so that nobody has to guess."""
    with pytest.raises(SettingError, match=variable) as caught:
        load(Common, {variable: value})
    assert value in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"KAFKA_BOOTSTRAP": "localhost"}, "STRATAGEM_KAFKA_BOOTSTRAP"),
        ({"KAFKA_BOOTSTRAP": "a:1,b:kafka"}, "STRATAGEM_KAFKA_BOOTSTRAP"),
        ({"REDIS_URL": "user:geheim@localhost:6379"}, "STRATAGEM_REDIS_URL"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "STRATAGEM_KAFKA_SASL_MECHANISM"),
        ({"KAFKA_SASL_MECHANISM": "PLAIN"}, "STRATAGEM_KAFKA_SECURITY_PROTOCOL"),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_MECHANISM": "PLAIN"},
            "STRATAGEM_KAFKA_SASL_USERNAME",
        ),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CAFILE": "/no/ca.pem"}, "STRATAGEM_KAFKA_SSL_CAFILE"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(environ: dict[str, str], variable: str) -> None:
    """What one field's type cannot say is said at the start, not by a client's time-out; no password is shown."""
    with pytest.raises(SettingError, match=variable) as caught:
        load(Common, {f"STRATAGEM_{name}": value for name, value in environ.items()})
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("bootstrap", ["localhost:9092", "a.b-c.example:1,10.0.0.1:9092", "[::1]:9092"])
def test_addresses_of_every_form_are_taken(bootstrap: str) -> None:
    """Names, IPv4 and bracketed IPv6, one or several."""
    assert load(Common, {"STRATAGEM_KAFKA_BOOTSTRAP": bootstrap}).kafka_bootstrap == bootstrap


def test_security_settings_reach_the_kafka_client(tmp_path: Path) -> None:
    """SASL and TLS are passed on only when asked for."""
    authority = tmp_path / "ca.pem"
    authority.touch()
    settings = load(
        Common,
        {
            "STRATAGEM_KAFKA_BOOTSTRAP": "a:1,b:2",
            "STRATAGEM_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "STRATAGEM_KAFKA_SASL_MECHANISM": "PLAIN",
            "STRATAGEM_KAFKA_SASL_USERNAME": "u",
            "STRATAGEM_KAFKA_SASL_PASSWORD": "p",
            "STRATAGEM_KAFKA_SSL_CAFILE": str(authority),
        },
    )
    options = kafka_options(settings)
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert (options["sasl_plain_username"], options["ssl_cafile"]) == ("u", str(authority))
    assert "sasl_mechanism" not in kafka_options(Common(kafka_bootstrap="a:1"))
