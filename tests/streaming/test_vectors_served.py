"""Real agents with vectors of products: a request on Kafka says how each candidate goes with what the customer looked at, a product launched since too."""

import json
from pathlib import Path
from typing import Any

from model.representation.embedder import FILE
from model.representation.words import Said
from streaming.contracts.topics import REQUESTS
from tests.model.representation.test_words import encoder, ready
from tests.streaming.conftest import MakeWorld
from tests.streaming.edge_world import START, World


def relations(world: World, user: str) -> dict[str, dict[str, Any]]:
    """Candidate → its relations, of the customer's first request."""
    found = world.wait(lambda: [r for r in world.read(REQUESTS) if r.key == user.encode()], f"a request of {user}")
    return {
        each["id"]: each.get("relation", {})
        for each in json.loads(found[0].value)["candidates"]
        if each["what"] == "product"
    }


def test_requests_carry_relations_by_version(make_world: MakeWorld, tmp_path: Path) -> None:
    """The numbers are the encoder's own, under names with its version; a catalog record that comes later is encoded as it comes."""
    made = ready(encoder())
    (tmp_path / FILE).write_bytes(made.bytes())
    world = make_world(representation=str(tmp_path))
    for name in ("p1", "p2", "p3"):
        world.product(name)
    world.start()
    world.clock(START)
    world.wait(world.applied, "the first clock")
    world.publish(world.event("one"))
    told = relations(world, "one")
    vectors = made.embed([Said(f"Tea {name}", ("grocery", "tea"), "Leaf") for name in ("p1", "p2", "p4")])
    goes = f"goes_with:{made.version}"
    assert {"p1", "p2", "p3"} == set(told)
    assert goes not in told["p1"]
    assert abs(told["p2"].get(goes, 0.0) - max(0.0, float(vectors.beside[0] @ vectors.own[1]))) < 2e-3
    assert all(any(name.startswith(f"kin:{made.version}:") for name in relation) for relation in told.values())
    world.product("p4")
    world.wait(lambda: "p4" in _offered(world), "the launched product among candidates")
    assert any(name.startswith(f"kin:{made.version}:") for name in _offered(world)["p4"])
    assert world.stop() == [0]


def _offered(world: World) -> dict[str, dict[str, Any]]:
    """Every candidate of every request so far; another customer comes with each look."""
    world.publish(world.event(f"next{len(list(world.read(REQUESTS)))}"))
    return {
        each["id"]: each.get("relation", {})
        for record in world.read(REQUESTS)
        for each in json.loads(record.value)["candidates"]
    }
