"""The AsyncAPI 3.0 document and the JSON Schemas, generated from the types.

`python -m streaming.contracts.asyncapi` writes them to `docs/`; with `--check` it says what is not current.
"""

import json
import sys
from pathlib import Path
from typing import Any

from streaming.contracts.events import EVENTS
from streaming.contracts.schemas import CONTRACTS, EVENT_TOPICS, Schema, components, event_name, letter_headers, schemas
from streaming.contracts.topics import ADAPTERS, CAMPAIGNS, CATALOG, DEAD_LETTERS, PROGRESS, TOPICS, TopicSpec

VERSION = "1.4.0"
"""Of the contracts: the major number changes when a reader of the old ones would break."""
BINDING = "0.5.0"
"""Version of AsyncAPI's Kafka bindings."""
WRITTEN_BY_YOU = frozenset({*EVENT_TOPICS, CATALOG.name, CAMPAIGNS.name})

_ABOUT = """Stratagem reads a shop's events and publishes marketing strategies, their rewards and the versions that \
wrote them. Every value is one JSON object in UTF-8. Every topic name may carry a prefix (STRATAGEM_TOPIC_PREFIX). \
Publishers partition by murmur2 of the key: the default of Java and kafka-python; librdkafka must be told \
partitioner=murmur2_random. Delivery is at least once: deduplicate by the id in the value."""

_DESCRIPTIONS = {
    "shop.events": "Clickstream, orders, refunds, consent and identity, as Segment's e-commerce events (v2).",
    "ads.events": "Impressions, clicks, e-mail events and ad costs. An event may go to either event topic.",
    "shop.catalog": "Products, compacted by id; a tombstone removes one.",
    "shop.campaigns": "Ads and promotions, compacted by id; a tombstone removes one.",
    "strategy.requests": "What the model is asked, with everything it may use.",
    "strategy.suppressions": "What was not asked or not answered, and why.",
    "strategies": "Finished strategies: one content per strategy_id for ever. See docs/consuming-strategies.md.",
    "strategy.rewards": "What a strategy brought, in stages; one partition, so that its order is one.",
    "model.adapters": "Versions of adapters and critics, and one record `serving`: what is served now.",
    "model.decisions": "Every decision of the gate with its numbers.",
    "stream.progress": "The watermark each input partition has been read to; key `topic:partition`.",
    "dead-letters": "Records that could not be processed, as received; the reason stands in the headers.",
}
_EXAMPLE: Schema = {
    "messageId": "m-1",
    "type": "track",
    "event": "Order Completed",
    "userId": "u-1",
    "timestamp": "2026-01-31T12:00:00Z",
    "properties": {
        "order_id": "o-1",
        "currency": "USD",
        "products": [{"product_id": "coffee-1", "quantity": 2, "price": 7.99}],
    },
    "context": {"locale": "en-US", "timezone": "America/New_York"},
}
_CLICK: Schema = {
    "messageId": "m-2",
    "type": "track",
    "event": "Promotion Clicked",
    "userId": "u-1",
    "timestamp": "2026-01-31T11:59:00Z",
    "properties": {"promotion_id": "coffee-1", "strategy_id": "str_0123456789abcdef01234567"},
}
_PRODUCT: Schema = {
    "product_id": "coffee-1",
    "name": "Ground coffee, medium roast, 12 oz",
    "category": ["grocery", "coffee", "ground coffee"],
    "brand": "Harbor",
    "price_minor": 799,
    "currency": "USD",
    "unit_cost_minor": 480,
    "stock": 100,
    "launched_at": "2026-01-01T00:00:00Z",
}
_CAMPAIGN: Schema = {
    "campaign_id": "tea-weeks",
    "kind": "ad",
    "name": "Tea weeks",
    "creatives": [{"language": "en", "title": "Time for tea"}, {"language": "zh", "title": "喝茶时间"}],
    "starts_at": "2026-01-01T00:00:00Z",
    "ends_at": "2026-02-01T00:00:00Z",
    "budget_minor": 100000,
    "currency": "USD",
    "product_ids": ["tea-1"],
}
EXAMPLES: dict[str, Schema] = {
    "OrderCompleted": _EXAMPLE,
    "PromotionClicked": _CLICK,
    CATALOG.name: _PRODUCT,
    CAMPAIGNS.name: _CAMPAIGN,
    PROGRESS.name: {
        "topic": "shop.events",
        "partition": 0,
        "watermark": "2026-01-31T12:00:00Z",
        "offset": 42,
        "schema_version": 1,
    },
}
"""Message → an example of its payload."""


def document() -> Schema:
    """The AsyncAPI document."""
    topics, named = components("#/components/schemas/{name}")
    messages = {event_name(name): _event_message(name) for name in EVENTS}
    messages |= {spec.name: _message(spec, topics[spec.name]) for spec in TOPICS if spec.name not in EVENT_TOPICS}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Stratagem", "version": VERSION, "description": _ABOUT},
        "defaultContentType": "application/json",
        "servers": {"kafka": _server()},
        "channels": {spec.name: _channel(spec) for spec in TOPICS},
        "operations": {_operation_name(spec): _operation(spec) for spec in TOPICS},
        "components": {"messages": messages, "schemas": named},
    }


def files() -> dict[str, str]:
    """Path below `docs/` → content."""
    made = {f"schemas/{topic}.json": _text(schema) for topic, schema in schemas().items()}
    return {**made, "asyncapi.json": _text(document())}


def main(arguments: list[str], docs: Path) -> int:
    """Write the files, or with `--check` name those that are not current; 1 when there are any."""
    wanted = files()
    stale = [name for name, text in wanted.items() if not _is_current(docs / name, text)]
    if "--check" in arguments:
        for name in stale:
            sys.stderr.write(f"{name} is not current: run python -m streaming.contracts.asyncapi\n")
        return int(bool(stale))
    for name in stale:
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(wanted[name], encoding="utf-8")
        sys.stderr.write(f"wrote {name}\n")
    return 0


def _server() -> Schema:
    return {
        "host": "{bootstrap}",
        "protocol": "kafka",
        "description": "Your Kafka, or the embedded one.",
        "variables": {"bootstrap": {"default": "localhost:9092", "description": "host:port of a broker"}},
    }


def _channel(spec: TopicSpec) -> Schema:
    names = [event_name(name) for name in EVENTS] if spec.name in EVENT_TOPICS else [spec.name]
    topic: Schema = {"topic": spec.name, "bindingVersion": BINDING}
    if spec.partitions:
        topic["partitions"] = spec.partitions
    settings: Schema = {"cleanup.policy": [spec.cleanup]}
    if spec.retention_ms:
        settings["retention.ms"] = spec.retention_ms
    return {
        "address": spec.name,
        "description": f"{_DESCRIPTIONS[spec.name]} Key: {spec.key}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"kafka": {**topic, "topicConfiguration": settings}},
        "x-partitioner": "murmur2",
    }


def _operation_name(spec: TopicSpec) -> str:
    words = spec.name.replace("-", ".").split(".")
    verb = "receive" if spec.name in WRITTEN_BY_YOU else "send"
    return verb + "".join(word.capitalize() for word in words)


def _operation(spec: TopicSpec) -> Schema:
    """From Stratagem's side, as AsyncAPI 3 has it: it receives what you publish and sends what you consume."""
    action = "receive" if spec.name in WRITTEN_BY_YOU else "send"
    return {"action": action, "channel": {"$ref": f"#/channels/{spec.name}"}, "summary": _DESCRIPTIONS[spec.name]}


def _event_message(name: str) -> Schema:
    message: Schema = {
        "name": name,
        "title": name,
        "payload": {"$ref": f"#/components/schemas/{event_name(name)}"},
        "bindings": _key("the user id, or the anonymous id"),
    }
    return _with_example(message, event_name(name))


def _message(spec: TopicSpec, root: Schema) -> Schema:
    if spec.name == DEAD_LETTERS.name:
        return {
            "name": spec.name,
            "contentType": "application/octet-stream",
            "headers": letter_headers(),
            "payload": {"description": "the original's bytes"},
            "bindings": _key("as received"),
        }
    message: Schema = {"name": spec.name, "title": _title(spec.name), "payload": root, "bindings": _key(spec.key)}
    if spec.name == ADAPTERS.name:
        message["bindings"] = _key("the version's name, or `serving`")
    return _with_example(message, spec.name)


def _title(topic: str) -> str:
    return str(getattr(CONTRACTS[topic], "__name__", topic))


def _key(meaning: str) -> Schema:
    return {"kafka": {"key": {"type": "string", "description": meaning}, "bindingVersion": BINDING}}


def _with_example(message: Schema, name: str) -> Schema:
    return {**message, "examples": [{"payload": EXAMPLES[name]}]} if name in EXAMPLES else message


def _is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path("docs")))
