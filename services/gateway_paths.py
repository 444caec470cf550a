"""The doors of the gateway: every path that is answered, and the scope that a key must have to come in."""

from typing import NamedTuple

from services import gateway_segment as segment
from services.gateway_keys import Scope


class Door(NamedTuple):
    """One path that is answered.

    Args:
        name: of its endpoint, in the metrics too.
        scopes: what a key must have to come in, all of them.
    """

    name: str
    method: str
    path: str
    scopes: tuple[Scope, ...]


EVENTS = Door("events", "POST", "/v1/events", ("publish",))
DOORS = (
    EVENTS,
    *(Door("segment", "POST", f"/v1/{name}", ("publish",)) for name in (*segment.CALLS, "batch", "import")),
    # It publishes an event, and what it answers says something of a customer.
    Door("decide", "POST", "/v1/decide", ("publish", "read")),
    Door("outcome", "POST", "/v1/strategies/{strategy_id}/outcome", ("publish",)),
    Door("stream", "GET", "/v1/strategies/stream", ("read",)),
    Door("profile", "GET", "/v1/users/{user_id}/profile", ("read",)),
    Door("strategies", "GET", "/v1/users/{user_id}/strategies", ("read",)),
    Door("paused", "GET", "/v1/pause", ("operate",)),
    Door("pause", "POST", "/v1/pause", ("operate",)),
    Door("resume", "POST", "/v1/resume", ("operate",)),
)
OPENAPI_PATH = "/v1/openapi.json"
"""Open to everybody: it says nothing of anybody."""


def pattern(path: str) -> str:
    """The path as it is matched: a customer's id may hold a slash."""
    return path.replace("{user_id}", "{user_id:path}")
