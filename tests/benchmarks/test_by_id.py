"""Peers that know a product by its id: no word reaches them, whatever it says, and they learn of products they have seen."""

import json

import msgspec
import numpy as np
import pytest

from benchmarks.learning.arms import make
from benchmarks.learning.by_id import ById, by_id, main
from benchmarks.worlds.deliveries import deliveries
from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.world import World
from streaming.contracts.strategies import Candidate, StrategyRequest


def reworded(request: StrategyRequest) -> StrategyRequest:
    """Other words, categories and brands for the same products."""

    def other(one: Candidate) -> Candidate:
        relation = {**one.relation, "category_affinity": 0.123, "brand_affinity": 0.456}
        return msgspec.structs.replace(one, name="x", text="x y z", brand="x", category=("x",), relation=relation)

    return msgspec.structs.replace(request, candidates=tuple(other(one) for one in request.candidates))


def test_no_word_reaches_them_and_they_learn_all_the_same() -> None:
    """The same choices from other words, in a world whose rewards are told; and these are not the choices of one who learned nothing."""
    world, same, fresh = World(11, WorldKnobs()), ById(make("lints", World(11))), make("lints", World(11))
    own = ById(make("lints", world))
    differ = 0
    for start in range(0, 160, 16):
        moments = [world.moment(number) for number in range(start, start + 16)]
        requests, grids = [moment.request for moment in moments], [moment.grid for moment in moments]
        acted = own.decide(requests, grids)
        assert [one.index for one in same.decide([reworded(one) for one in requests], grids)] == [
            one.index for one in acted
        ]
        unlearned = fresh.decide([by_id(one) for one in requests], grids)
        differ += sum(one.index != other.index for one, other in zip(acted, unlearned, strict=True))
        for moment, one in zip(moments, acted, strict=True):
            for delivery in deliveries(world, moment, one):
                own.learn(delivery.reward)
                told = msgspec.structs.replace(delivery.reward, request=reworded(delivery.reward.request))
                same.learn(told)
        own.turn(start + 16)
        same.turn(start + 16)
    assert differ > 16


def test_it_prints_a_line_per_block(capsys: pytest.CaptureFixture[str]) -> None:
    """Two peers, 48 interactions each."""
    assert main(["--seeds", "11", "--interactions", "48", "--peers", "lints,linucb", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["arm"] for line in lines] == ["lints_by_id", "linucb_by_id"]
    assert all(np.isfinite(line["lift"]) and line["seed"] == 11 for line in lines)
