"""The OpenAPI document: current, whole, and true of what the gateway takes and answers."""

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from msgspec.json import encode

from services.gateway_bodies import Bounds
from services.gateway_events import Taken, judge
from services.gateway_openapi import document, text
from services.gateway_paths import DOORS
from services.gateway_problems import refusal
from services.readme import ROOT
from tests.services.gateway_samples import NOW_MS, event

DOCUMENT = document()
SAMPLES = ROOT / "tests/streaming/contracts/samples"
BOUNDS = Bounds(body_bytes=100_000, events=50, event_bytes=20_000, depth=12)


def validator(name: str) -> Draft202012Validator:
    """What judges a value by a component of the document."""
    whole = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)


def references(part: Any) -> set[str]:
    """Every reference in it."""
    return set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(part)))


def test_the_committed_document_is_current() -> None:
    """`python -m services.gateway_openapi` would change nothing."""
    assert (ROOT / "docs/openapi.json").read_text(encoding="utf-8") == text()


def test_every_door_is_in_it_once() -> None:
    """Each path and method with its scope, its parameters declared; ids are unique."""
    described = {
        (method.upper(), path, tuple(operation["x-scopes"]))
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }
    assert described == {(door.method, door.path, door.scopes) for door in DOORS}
    operations = [operation for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == len(DOORS)
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            parameters = operation.get("parameters", [])
            declared = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path))


def test_every_reference_leads_somewhere() -> None:
    """No schema is named that is not there, and each is a schema."""
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert references(DOCUMENT) <= known
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("topic", ["shop.events", "ads.events"])
def test_events_of_the_topics_fit(topic: str) -> None:
    """Every committed sample of an event, and no nonsense."""
    lines = (SAMPLES / f"{topic}.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines
    for line in lines:
        validator("Event").validate(json.loads(line))
    assert not validator("Event").is_valid({"type": "track"})


def test_strategies_fit() -> None:
    """As they are published."""
    lines = (SAMPLES / "strategies.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines
    validator("Strategies").validate({"strategies": [json.loads(line) for line in lines]})


def test_answers_fit() -> None:
    """What is said of events, and a problem with verdicts."""
    found = judge([encode(event(1)), encode(event(1)), b"{}"], NOW_MS, BOUNDS)
    taken = Taken(accepted=1, duplicate=1, ignored=0, refused=1, verdicts=found.verdicts)
    validator("Taken").validate(json.loads(encode(taken)))
    problem = refusal("busy", "full", verdicts=found.verdicts, retry_after_s=2).problem
    validator("Problem").validate(json.loads(encode(problem)))
    assert not validator("Problem").is_valid({"title": "no status"})


@pytest.mark.parametrize(
    ("body", "fits"), [({"outcome": "shown"}, True), ({"outcome": "loved"}, False), ({"outcome": "shown", "x": 1}, False)]
)  # fmt: skip
def test_outcomes_fit(body: dict[str, Any], fits: bool) -> None:  # noqa: FBT001 -- pytest gives parameters by name
    """As the gateway reads them: known outcomes, no unknown field."""
    assert validator("Outcome").is_valid(body) == fits
