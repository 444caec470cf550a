"""What a caller without an event stream says of a strategy → the event that says the same."""

from hashlib import blake2b
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from services.gateway_bodies import decoded
from streaming.contracts.events import Id
from streaming.contracts.kinds import Grammar
from streaming.contracts.strategies import grammar_of

Name = Literal["shown", "clicked", "ordered", "refunded", "unsubscribed", "complained"]
_EVENTS: dict[Name, str] = {
    "ordered": "Order Completed",
    "refunded": "Order Refunded",
    "unsubscribed": "Unsubscribed",
    "complained": "Email Marked as Spam",
}
"""Those that are the same for every kind."""


class Asked(Struct, frozen=True):
    """The part of a strategy's request that an outcome needs."""

    grammar: Grammar | UnsetType = UNSET


class Said(Struct, frozen=True):
    """The part of a stored answer that an outcome needs; without `strategy_id` it is a suppression."""

    user_id: str
    kind: str
    strategy_id: str = ""
    request: Asked = Asked()

    @property
    def grammar(self) -> Grammar | UnsetType:
        """Of a kind that does not ship."""
        return self.request.grammar


class Outcome(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/strategies/{id}/outcome`.

    Args:
        timestamp: when it happened, ISO 8601; else the time of receipt.
        message_id: what it is deduplicated by; else a hash of strategy, outcome and properties, so that the same outcome of a
            strategy counts once.
        properties: of the event, e.g. the order's; the strategy's id is put in.
    """

    outcome: Name
    timestamp: Annotated[str, Meta(max_length=100)] = ""
    message_id: Id | None = None
    properties: dict[str, Raw] = {}


_BODY = msgspec.json.Decoder(Outcome)


def outcome_event(said: Said, body: bytes, now_iso: str) -> bytes:
    """The event, in bytes; the contract has still to judge it.

    Raises:
        Refused: the body is no outcome.
    """
    outcome = decoded(_BODY, body, "the body is no outcome")
    properties = {**outcome.properties, "strategy_id": Raw(msgspec.json.encode(said.strategy_id))}
    content = msgspec.json.encode((said.strategy_id, outcome.outcome, outcome.properties), order="sorted")
    return msgspec.json.encode(
        {
            "messageId": outcome.message_id or f"out_{blake2b(content, digest_size=16).hexdigest()}",
            "type": "track",
            "event": _event_of(grammar_of(said), outcome.outcome),
            "userId": said.user_id,
            "timestamp": outcome.timestamp or now_iso,
            "properties": properties,
        }
    )


def _event_of(grammar: Grammar, outcome: Name) -> str:
    if outcome == "shown":
        return grammar.shown_event
    return grammar.click_event if outcome == "clicked" else _EVENTS[outcome]
