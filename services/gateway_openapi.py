"""The gateway's interface as an OpenAPI 3.1 document, made from the doors and the types.

`python -m services.gateway_openapi` writes `docs/openapi.json`; the gateway serves the same.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct

from services.gateway_bodies import LINES_TYPES
from services.gateway_deciding import Decide, Decision
from services.gateway_events import Taken, Verdict
from services.gateway_outcomes import Outcome
from services.gateway_paths import DOORS, Door
from services.gateway_problems import MEDIA_TYPE, Problem
from streaming.contracts.schemas import components
from streaming.contracts.topics import SHOP_EVENTS, STRATEGIES, SUPPRESSIONS

VERSION = "1.0.0"
"""Of the interface: raised as that of the topics is, see docs/contracts.md."""
_REF = "#/components/schemas/{name}"
_RETRY = {"Retry-After": {"description": "seconds until it is worth trying again", "schema": {"type": "integer"}}}
_SUMMARIES = {
    "events": "Send events; answered once Kafka has them",
    "segment": "A call of Segment's HTTP API; sent on as an event",
    "decide": "Ask for a strategy now",
    "outcome": "Say what became of a strategy",
    "stream": "Every strategy as a server-sent event, from now on or from where the client stood",
    "profile": "A customer's profile",
    "strategies": "The strategies of a customer that may still be shown, newest first",
    "paused": "Whether new strategies are paused",
    "pause": "Stop new strategies everywhere",
    "resume": "Lift the pause",
}

_DONE = {
    "decide": "Decision",
    "profile": "Profile",
    "strategies": "Strategies",
    "paused": "Paused",
    "pause": "Paused",
    "resume": "Paused",
}
"""What is answered where it is not the verdicts on events."""

Document = dict[str, Any]


def document() -> Document:
    """The whole document."""
    paths: Document = {}
    for door in DOORS:
        paths.setdefault(door.path, {})[door.method.lower()] = _operation(door)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stratagem's HTTP gateway",
            "version": VERSION,
            "description": "Events in, strategies out, for those who do not speak Kafka. See docs/http.md.",
        },
        "security": [{"bearer": []}, {"basic": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "a key of `stratagem keys create`"},
                "basic": {"type": "http", "scheme": "basic", "description": "the key as user, any password"},
            },
        },
    }


def text() -> str:
    """As it is committed and served."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def _operation(door: Door) -> Document:
    last = door.path.rpartition("/")[2]
    name = f"{door.name}_{last}" if door.name == "segment" else door.name
    made: Document = {"operationId": name, "summary": _SUMMARIES[door.name], "x-scopes": list(door.scopes)}
    parameters: list[Document] = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
        for part in door.path.split("/")
        if part.startswith("{")
    ]
    if door.name == "stream":
        resume = "the id of the last event that came; without it the stream begins now"
        parameters.append(
            {"name": "Last-Event-ID", "in": "header", "description": resume, "schema": {"type": "string"}}
        )
    if parameters:
        made["parameters"] = parameters
    if door.method == "POST" and door.name not in ("pause", "resume"):
        made["requestBody"] = {"required": True, "content": _bodies(door)}
    status = "202" if door.name in ("events", "outcome") else "200"
    problem = _content("Problem", MEDIA_TYPE)
    made["responses"] = {
        status: {"description": "done", "content": _answer(door)},
        "429": {"description": "the key has used up its rate", "headers": _RETRY, "content": problem},
        "503": {"description": "Kafka or Redis does not answer, or too much waits for them", "headers": _RETRY, "content": problem},
        "default": {"description": "not done: the problem says why", "content": problem},
    }  # fmt: skip
    return made


def _answer(door: Door) -> Document:
    if door.name == "stream":
        return {
            "text/event-stream": {"schema": {"type": "string", "description": "`data` of each event is a Strategy"}}
        }
    return _content(_DONE.get(door.name, "Taken"))


def _bodies(door: Door) -> Document:
    if door.name in ("outcome", "decide"):
        return _content(door.name.capitalize())
    if door.name == "segment":
        return {"application/json": {"schema": {"type": "object", "description": "as Segment's HTTP API has it"}}}
    one = {"$ref": _REF.format(name="Event")}
    lines = {"schema": {"type": "string", "description": "one event a line"}}
    return {
        "application/json": {"schema": {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]}},
        **dict.fromkeys(sorted(LINES_TYPES), lines),
    }


def _content(name: str, media_type: str = "application/json") -> Document:
    return {media_type: {"schema": {"$ref": _REF.format(name=name)}}}


def _schemas() -> Document:
    topics, named = components(_REF)
    kinds: list[type[Struct]] = [Taken, Verdict, Problem, Outcome, Decide, Decision]
    _, ours = msgspec.json.schema_components(kinds, schema_hook=_hook, ref_template=_REF)
    for each in ours.values():
        if isinstance(each.get("description"), str):
            each["description"] = each["description"].partition("\n")[0]
    ours["Problem"]["properties"]["verdicts"]["items"] = {"$ref": _REF.format(name="Verdict")}
    strategy = topics[STRATEGIES.name]
    ours["Decision"]["properties"] |= {"strategy": strategy, "suppression": topics[SUPPRESSIONS.name]}
    return {
        **named,
        **ours,
        "Event": topics[SHOP_EVENTS.name],
        "Strategies": {
            "type": "object",
            "properties": {"strategies": {"type": "array", "items": strategy}},
            "required": ["strategies"],
        },
        "Paused": {"type": "object", "properties": {"paused": {"type": "boolean"}}, "required": ["paused"]},
        "Profile": {
            "type": "object",
            "description": "the row as it is stored; its `schema_version` says how to read it",
        },
    }


def _hook(kind: type) -> Document:
    """What JSON a type of msgspec's own holds: any."""
    if kind is Raw:
        return {}
    raise NotImplementedError(kind)


if __name__ == "__main__":
    Path("docs/openapi.json").write_text(text(), encoding="utf-8")
