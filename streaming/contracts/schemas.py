"""JSON Schemas of every topic (draft 2020-12), generated from the types; kept in `docs/schemas/`.

Unknown properties are allowed everywhere: a newer writer may say more than an older reader knows.
"""

from typing import Any

import msgspec

from streaming.contracts.adapters import AdapterRecord, GateDecision
from streaming.contracts.catalog import Campaign, Product
from streaming.contracts.events import EVENTS, Context
from streaming.contracts.progress import Progress
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import Strategy, StrategyRequest, Suppression
from streaming.contracts.topics import (
    ADAPTERS,
    ADS_EVENTS,
    CAMPAIGNS,
    CATALOG,
    DEAD_LETTERS,
    DECISIONS,
    PROGRESS,
    REQUESTS,
    REWARDS,
    SHOP_EVENTS,
    STRATEGIES,
    SUPPRESSIONS,
)

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
EVENT_TOPICS = (SHOP_EVENTS.name, ADS_EVENTS.name)
CONTRACTS: dict[str, Any] = {
    CATALOG.name: Product,
    CAMPAIGNS.name: Campaign,
    REQUESTS.name: StrategyRequest,
    SUPPRESSIONS.name: Suppression,
    STRATEGIES.name: Strategy,
    REWARDS.name: Reward,
    ADAPTERS.name: AdapterRecord,
    DECISIONS.name: GateDecision,
    PROGRESS.name: Progress,
}
"""Topic → type of its values, apart from the event topics and the dead letters."""

_AMOUNT = {"type": ["number", "string"], "minimum": 0, "pattern": r"^\d+(\.\d+)?$"}
"""A decimal in major units: a JSON number, or a string where the writer's numbers are not exact."""
_TIMES = ("timestamp", "valid_until", "watermark")
_ID = {"type": "string", "minLength": 1, "maxLength": 200}
_ID_OR_NULL = {"anyOf": [_ID, {"type": "null"}]}
_LETTER = ("reason", "blame", "field", "value", "wanted", "topic", "partition", "offset", "at")
_LETTER_OPTIONAL = ("traceback", "sha256", "original_bytes", "key_sha256", "replay_of", "attempt", "letter")

_LETTER_ABOUT = """Kafka headers, UTF-8. The record's key and value are the original's; over 64 kB a prefix. Where there \
is no original (`unknown_strategy`, `settled_order`, `refund_currency`, `late_order`, `too_many_orders`: an event that was \
folded before; `bug` of a timer, a price or a campaign) `topic` is empty, `partition` and `offset` are -1, the key is the user id and the value a JSON object that names what it is \
about: of an event its envelope with the `strategy_id` or `order_id`. Such a letter cannot be sent again. A record that had been \
sent again and failed once more says so: `attempt` counts its failures, `replay_of` is the letter before. Reason `replayed` \
is no letter: a marker with an empty value that the letter whose id stands in `letter` was sent again."""


def event_name(name: str) -> str:
    """The component's name of an event: letters only, `Product Viewed` → `ProductViewed`."""
    return "".join(word[:1].upper() + word[1:] for word in name.split())


def components(ref: str) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """Schemas by topic and by component name; an event's envelope is a component.

    Args:
        ref: template of references to components, e.g. `#/$defs/{name}`.
    """
    kinds = [*CONTRACTS.values(), Context, *dict.fromkeys(EVENTS.values())]
    roots, named = msgspec.json.schema_components(kinds, ref_template=ref)
    by_type = dict(zip(map(str, kinds), roots, strict=True))
    named |= {event_name(name): _envelope(name, named, ref) for name in EVENTS}
    topics = {topic: by_type[str(kind)] for topic, kind in CONTRACTS.items()}
    every = {"oneOf": [{"$ref": ref.format(name=event_name(name))} for name in EVENTS]}
    topics |= dict.fromkeys(EVENT_TOPICS, every)
    topics[DEAD_LETTERS.name] = letter_headers()
    return ({k: _readable(v) for k, v in topics.items()}, {k: _readable(v) for k, v in sorted(named.items())})


def schemas() -> dict[str, Schema]:
    """Topic → its self-contained schema."""
    topics, named = components("#/$defs/{name}")
    made = {}
    for topic, root in sorted(topics.items()):
        used = _reached(root, named)
        body = {"$schema": DIALECT, "title": topic, **root}
        made[topic] = {**body, "$defs": used} if used else body
    return made


def letter_headers() -> Schema:
    """The headers of a dead letter; its value is the original's bytes, as received."""
    return {
        "title": "headers of a dead letter",
        "description": _LETTER_ABOUT,
        "type": "object",
        "properties": {name: {"type": "string"} for name in (*_LETTER, *_LETTER_OPTIONAL)},
        "required": list(_LETTER),
    }


def _envelope(name: str, named: dict[str, Schema], ref: str) -> Schema:
    identify = name == "identify"
    kind = EVENTS[name].__name__
    properties: Schema = {
        "messageId": {**_ID, "description": "unique per event: the deduplication key"},
        "type": {"const": "identify" if identify else "track"},
        "timestamp": {"type": "string", "description": "ISO 8601 with a time zone"},
        "userId": _ID_OR_NULL,
        "anonymousId": _ID_OR_NULL,
        "properties": {"$ref": ref.format(name=kind)},
        "context": {"$ref": ref.format(name="Context")},
    }
    required = ["messageId", "type", "timestamp"]
    if not identify:
        properties["event"] = {"const": name}
        required.append("event")
    if named[kind].get("required"):
        required.append("properties")
    known = [{"required": [key], "properties": {key: _ID}} for key in ("userId", "anonymousId")]
    described = {"title": name, "description": named[kind].get("description", ""), "type": "object"}
    return {**described, "properties": properties, "required": required, "anyOf": known}


def _readable(schema: Any) -> Any:
    """Decimals as numbers or strings, moments as date-times, whole bounds as integers, descriptions on one line."""
    if isinstance(schema, list):
        return [_readable(each) for each in schema]
    if isinstance(schema, float) and schema.is_integer():
        return int(schema)  # typing caches types that are equal, so 0 and 0.0 depend on who was imported first
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "decimal":
        return {**{k: v for k, v in schema.items() if k not in ("type", "format")}, **_AMOUNT}
    clean = {key: _readable(value) for key, value in schema.items()}
    if isinstance(clean.get("description"), str):
        clean["description"] = " ".join(clean["description"].split())
    for name, value in (clean.get("properties") or {}).items():
        if name.endswith("_at") or name in _TIMES:
            clean["properties"][name] = _as_moment(value)
    return clean


def _as_moment(schema: Schema) -> Schema:
    if schema.get("type") == "string":
        return {**schema, "format": "date-time"}
    return {key: [_as_moment(each) for each in value] if key == "anyOf" else value for key, value in schema.items()}


def _reached(root: Schema, named: dict[str, Schema]) -> dict[str, Schema]:
    """The components that a schema refers to, directly or not."""
    found: set[str] = set()
    waiting: list[Any] = [root]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            waiting += each.values()
            name = str(each.get("$ref", "")).rpartition("/")[2]
            if name in named and name not in found:
                found.add(name)
                waiting.append(named[name])
    return {name: named[name] for name in sorted(found)}
