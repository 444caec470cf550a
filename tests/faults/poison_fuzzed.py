"""Poison by Hypothesis: any bytes, any JSON, envelopes with anything in any field. Always the same for the same count."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from streaming.contracts.events import EVENTS
from tests.faults.poison import Poison


def fuzzed(count: int, topics: Sequence[str]) -> list[Poison]:
    """So many records by Hypothesis: any bytes, any JSON, envelopes with anything in any field."""
    found: list[Poison] = []

    @settings(
        max_examples=count, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(_records(topics))
    def collect(record: Poison) -> None:
        found.append(record)

    collect()
    return found


def _records(topics: Sequence[str]) -> st.SearchStrategy[Poison]:
    texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.text(max_size=5)
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
    anything = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
    )
    users = st.sampled_from(["fuzz-1", "fuzz-2", "fuzz-\u00e9\u4e2d", "\x00", "u" * 200])
    ids = st.integers(0, 10**9).map(lambda number: f"fuzzed-{number}")
    times = st.datetimes().map(lambda moment: moment.isoformat() + "Z") | st.just("2026-03-02T12:00:00Z")
    envelope = st.fixed_dictionaries(
        {
            "messageId": ids | anything,
            "type": st.sampled_from(["track", "identify"]) | anything,
            "event": st.sampled_from(sorted(set(EVENTS) - {"Clock Advanced"})) | anything,
            "userId": users,
            "timestamp": times | anything,
            "properties": st.dictionaries(st.sampled_from(FIELDS), anything) | _fitting() | anything,
        },
        optional={"anonymousId": users | anything, "context": anything, "extra": anything},
    )

    def made(topic: str, value: Any, key: bytes | None) -> Poison:
        text = (
            value
            if isinstance(value, bytes)
            else json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
        )
        named = value.get("userId") if isinstance(value, dict) else None
        right = named.encode("utf-8", "surrogatepass") if isinstance(named, str) else b"fuzz"
        return Poison(topic, right if key is None else key, text)

    keys = st.none() | st.none() | st.none() | st.binary(max_size=9)
    return st.builds(
        made, st.sampled_from(topics), st.binary(max_size=99) | anything | envelope | envelope | envelope, keys
    )


FIELDS = (
    "product_id",
    "quantity",
    "price",
    "currency",
    "strategy_id",
    "order_id",
    "products",
    "query",
    "total",
    "cost",
    "kind",
)


def _fitting() -> st.SearchStrategy[dict[str, Any]]:
    """Properties that many events take."""
    return st.fixed_dictionaries(
        {"product_id": st.sampled_from(["p1", "p2", "p-none"]), "query": st.text(max_size=9), "order_id": st.text("o1", min_size=1)},
        optional={
            "price": st.decimals(0, 10**11, places=2).map(str) | st.floats(),
            "currency": st.sampled_from(["USD", "EUR", "JPY"]),
            "quantity": st.integers(-1, 10**6),
            "products": st.lists(st.fixed_dictionaries({"product_id": st.just("p1"), "price": st.integers(0, 9)}), max_size=3),
        },
    )  # fmt: skip
