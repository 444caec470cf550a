"""The doors of the gateway: every path that is answered, and the scope that a key must have to come in."""

from typing import NamedTuple

from services import gateway_segment as segment
from services.gateway_keys import Scope


class Door(NamedTuple):
    """One path that is answered.

    Args:
        name: of its endpoint, in the metrics too.
        scope: what a key must have to come in.
    """

    name: str
    method: str
    path: str
    scope: Scope


DOORS = (
    Door("events", "POST", "/v1/events", "publish"),
    *(Door("segment", "POST", f"/v1/{name}", "publish") for name in (*segment.CALLS, "batch", "import")),
    Door("outcome", "POST", "/v1/strategies/{strategy_id}/outcome", "publish"),
    Door("profile", "GET", "/v1/users/{user_id}/profile", "read"),
    Door("strategies", "GET", "/v1/users/{user_id}/strategies", "read"),
)
OPENAPI_PATH = "/v1/openapi.json"
"""Open to everybody: it says nothing of anybody."""


def pattern(path: str) -> str:
    """The path as it is matched: a customer's id may hold a slash."""
    return path.replace("{user_id}", "{user_id:path}")
