"""The same peers where a product is its id: no word of it, no category, no brand; what new products are to be compared with.

Prices, margins and what the customer did with that very product stay; the id takes the category's place, so that it is crossed with the customer.

Usage: python -m benchmarks.learning.by_id --seeds 6 7 8 9 10 --interactions 7000 --json
"""

import argparse
import sys
from collections.abc import Sequence

import msgspec

from benchmarks.learning.arms import PEERS, Arm, make
from benchmarks.learning.play import Block, play
from benchmarks.worlds.deliveries import Acted
from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.world import World
from model.grid import ActionGrid
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import Candidate, StrategyRequest

KINDRED = ("category_affinity", "brand_affinity")
"""Relations that a new product has by its kind, not by what anyone did with it."""


class Told(Block, frozen=True, kw_only=True):
    """A block of a peer, as printed."""

    seed: int
    arm: str


class ById:
    """A peer that is shown products by their ids."""

    def __init__(self, peer: Arm) -> None:
        """Around a peer that has learned nothing yet."""
        self._peer = peer

    def decide(self, requests: Sequence[StrategyRequest], grids: Sequence[ActionGrid]) -> list[Acted]:
        """As the peer does on what it is shown."""
        return self._peer.decide([by_id(request) for request in requests], grids)

    def learn(self, reward: Reward) -> None:
        """The same reward of what was shown."""
        self._peer.learn(msgspec.structs.replace(reward, request=by_id(reward.request)))

    def turn(self, number: int) -> None:
        """As the peer does."""
        self._peer.turn(number)


def by_id(request: StrategyRequest) -> StrategyRequest:
    """The request with candidates that are known by their ids."""
    return msgspec.structs.replace(request, candidates=tuple(_bare(one) for one in request.candidates))


def _bare(one: Candidate) -> Candidate:
    relation = {name: share for name, share in one.relation.items() if name not in KINDRED}
    return msgspec.structs.replace(one, name="", text="", brand="", category=(one.id,), relation=relation)


def main(arguments: list[str]) -> int:
    """One line per seed, peer and block of a thousand."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning.by_id", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--interactions", type=int, default=7000)
    parser.add_argument("--peers", default=",".join(PEERS), help=f"of {','.join(PEERS)}")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    options = parser.parse_args(arguments)
    for seed in options.seeds:
        for name in options.peers.split(","):
            world = World(seed, WorldKnobs())
            for block in play(world, ById(make(name, world)), options.interactions):
                told = Told(seed=seed, arm=f"{name}_by_id", **msgspec.structs.asdict(block))
                print(msgspec.json.encode(told).decode() if options.json else _shown(told), flush=True)
    return 0


def _shown(told: Told) -> str:
    new = "–" if told.new_product_lift is None else f"{told.new_product_lift:.2f}"
    return f"seed {told.seed:3d}  {told.arm:14s} block {told.block:2d}  lift {told.lift:6.3f}  new products {new}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
