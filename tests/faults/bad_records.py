"""Records among the good ones that nobody can fold: each kind of refusal, what is ignored, a strategy that never came."""

import json
from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

from streaming.contracts.topics import ADS_EVENTS, SHOP_EVENTS, STRATEGIES
from tests.streaming.edge_world import START

HOUR_MS = 3_600_000
NOBODYS = "str_000000000000000000000000"
KEY = "bad"

Raw = tuple[str, bytes | None, bytes | None, int]
"""Topic, key, value, when it is said (event time after the start)."""


def among(rng: Random, within_h: int) -> Iterator[Raw]:
    """Every kind of bad record a few times, at any time of the first hours."""
    for index in range(3):
        for topic, key, value in _kinds(index, rng):
            yield topic, key, value, rng.randrange(HOUR_MS, within_h * HOUR_MS)


def _kinds(index: int, rng: Random) -> Iterator[tuple[str, bytes | None, bytes | None]]:
    user = f"{KEY}{index}"
    key = user.encode()
    shop, ads = SHOP_EVENTS.name, ADS_EVENTS.name
    yield shop, key, b"["
    yield ads, key, bytes(rng.randrange(256) for _ in range(40))
    yield shop, key, b"\xff\xfe{}"
    yield shop, key, None
    yield ads, key, b""
    yield shop, key, _event(user, "Cart Viewed", {})
    yield shop, key, _event(user, "Product Viewed", {"product_id": 7})
    yield shop, key, _event(user, "Product Added", {"product_id": "p1", "price": 3})
    yield shop, b"somebody else", _event(user, "Product Viewed", {"product_id": "p1"})
    yield shop, None, _event(user, "Product Viewed", {"product_id": "p1"})
    yield shop, key, _event(user, "Product Viewed", {"product_id": "p1"}, timestamp="2031-01-01T00:00:00Z")
    yield ads, key, _event(user, "Promotion Clicked", {"strategy_id": ["x"]})
    yield ads, key, _event(user, "Promotion Clicked", {"strategy_id": f"{NOBODYS[:-1]}{index}"})
    yield STRATEGIES.name, key, b'{"strategy_id": 1}'
    yield STRATEGIES.name, key, None


def _event(user: str, name: str, properties: dict[str, Any], **more: Any) -> bytes:
    made = {
        "messageId": f"{user}-{name}-{json.dumps(properties)}",
        "type": "track",
        "event": name,
        "userId": user,
        "timestamp": (START + timedelta(hours=1)).isoformat(),
        "properties": properties,
    }
    return json.dumps(made | more).encode()
