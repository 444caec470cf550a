"""Where Kafka and Redis are: the settings say, or else the embedded stack that `stratagem up` runs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from services.local.stack import Endpoints
from services.redis_address import with_credentials
from services.settings import Common, SettingError, load

S = TypeVar("S", bound=Common)

_FILE = "endpoints.json"


def remember(home: Path, endpoints: Endpoints) -> None:
    """Write the running stack's endpoints, readable by its owner only: the Redis URL may hold a password."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / _FILE
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(endpoints))


def forget(home: Path) -> None:
    """Remove what `remember` wrote; commands then say that nothing runs."""
    (home / _FILE).unlink(missing_ok=True)


def connected(kind: type[S], environ: Mapping[str, str], **overrides: object) -> S:
    """Settings whose Kafka and Redis addresses are filled in from the running embedded stack where unset.

    Raises:
        SettingError: a setting is wrong, or neither an address is set nor a stack runs.
    """
    settings = load(kind, environ, **overrides)
    if settings.kafka_bootstrap and settings.redis_url:
        return with_credentials(settings)
    path = settings.home / _FILE
    if not path.exists():
        message = "no Kafka and Redis: run `stratagem up`, or set STRATAGEM_KAFKA_BOOTSTRAP and STRATAGEM_REDIS_URL"
        raise SettingError(message)
    found = msgspec.json.decode(path.read_bytes(), type=Endpoints)
    if settings.redis_url:
        settings = with_credentials(settings)
    return msgspec.structs.replace(
        settings,
        kafka_bootstrap=settings.kafka_bootstrap or found.kafka_bootstrap,
        redis_url=settings.redis_url or found.redis_url,
    )
