"""The settings of an installation that a test makes for itself on the shared Kafka and Redis."""

from pathlib import Path
from typing import Any, TypeVar

from services.local.stack import Endpoints
from services.settings import Common

S = TypeVar("S", bound=Common)
PARTITIONS = 2


def installation(kind: type[S], endpoints: Endpoints, prefix: str, home: Path, **more: Any) -> S:
    """Settings of a service whose topics and groups begin with `prefix`; `more` adds to them, or replaces some."""
    values: dict[str, Any] = {
        "home": home,
        "kafka_bootstrap": endpoints.kafka_bootstrap,
        "redis_url": endpoints.redis_url,
        "topic_prefix": prefix,
        "group_prefix": prefix,
        "partitions": PARTITIONS,
    }
    return kind(**values | more)
