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

ALL = (Common, AgentsSettings, WorkerSettings, UpdaterSettings, ShopSettings)


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


def test_security_settings_reach_the_kafka_client() -> None:
    """SASL and TLS are passed on only when asked for."""
    settings = load(
        Common,
        {
            "STRATAGEM_KAFKA_BOOTSTRAP": "a:1,b:2",
            "STRATAGEM_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "STRATAGEM_KAFKA_SASL_MECHANISM": "PLAIN",
            "STRATAGEM_KAFKA_SASL_USERNAME": "u",
            "STRATAGEM_KAFKA_SASL_PASSWORD": "p",
            "STRATAGEM_KAFKA_SSL_CAFILE": "/ca.pem",
        },
    )
    options = kafka_options(settings)
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert (options["sasl_plain_username"], options["ssl_cafile"]) == ("u", "/ca.pem")
    assert "sasl_mechanism" not in kafka_options(Common(kafka_bootstrap="a:1"))
