"""Events as a shop sends them to the gateway."""

from datetime import UTC, datetime
from typing import Any

NOW_MS = 1_780_000_000_000
NOW_ISO = datetime.fromtimestamp(NOW_MS / 1000, UTC).isoformat()


def event(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A valid event; some fields changed, those given as None left out."""
    fields = {
        "messageId": f"m-{number}",
        "type": "track",
        "event": "Product Added",
        "userId": f"user-{number % 7}",
        "timestamp": NOW_ISO,
        "properties": {"product_id": "p-1", "quantity": 1, "price": 1.99, "currency": "USD"},
    }
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}
