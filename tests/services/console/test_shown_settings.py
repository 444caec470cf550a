"""The page of settings says every setting, and nothing secret."""

from typing import Any

import pytest

from services.console.shown_settings import HIDDEN, collected, masked, rows
from services.settings_gateway import GatewaySettings


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:hunter2@h:6379/0", f"redis://{HIDDEN}@h:6379/0"),
        ("rediss://user:p%40ss@h", f"rediss://{HIDDEN}@h"),
        ("unix:///r.sock?password=hunter2&db=3", f"unix:///r.sock?password={HIDDEN}&db=3"),
        ("s3://bucket/x?aws_secret_access_key=k", f"s3://bucket/x?aws_secret_access_key={HIDDEN}"),
        ("h:9092,g:9092", "h:9092,g:9092"),
    ],
)
def test_passwords_in_addresses_are_hidden(text: str, shown: str) -> None:
    """Before the `@`, and among the options."""
    assert masked(text) == shown


def test_secrets_are_hidden_wherever_they_stand() -> None:
    """In fields that are secret, in addresses, in what a wrong setting's complaint repeats."""
    secret = "hunter2"  # noqa: S105 -- what must not be shown
    own: dict[str, Any] = {"kafka_sasl_password": secret, "redis_url": f"redis://:{secret}@h"}
    services = collected(
        GatewaySettings(**own), {"STRATAGEM_HORIZON_H": "24", "STRATAGEM_BATCH": f"x?password={secret}"}
    )
    assert secret not in repr([rows(service) for service in services] + [service.problem for service in services])
    tables = {service.name: {row.variable: row for row in rows(service)} for service in services}
    assert tables["gateway"]["STRATAGEM_KAFKA_SASL_PASSWORD"].value == HIDDEN
    assert tables["agents"]["STRATAGEM_HORIZON_H"].value == "24.0"
    assert tables["agents"]["STRATAGEM_HORIZON_H"].changed
    assert not tables["agents"]["STRATAGEM_DAILY_CAP"].changed
    assert {service.name: bool(service.problem) for service in services} == {
        "gateway": False, "agents": False, "worker": False, "updater": True,
    }  # fmt: skip


def test_an_unset_secret_is_shown_to_be_unset() -> None:
    """Hidden is only what there is."""
    (gateway, *_) = collected(GatewaySettings(), {})
    found = {row.variable: row.value for row in rows(gateway)}
    assert found["STRATAGEM_KAFKA_SASL_PASSWORD"] == ""
