"""A response run as the model of the reward: what `stratagem evaluate --direct` takes. polars and torch only where it is asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from model.critic import Critic
from model.data.errors import Refused
from model.evaluation.estimates import Floats
from streaming.contracts.rewards import Reward

if TYPE_CHECKING:
    from model.prior.direct import Told

LEAST_NEWER = 30
"""Rewards newer than what the run has learned from, at least: with fewer nothing can be said of it."""


class Direct(NamedTuple):
    """A run, the prepared folder that knows the customers, and how requests are told to it."""

    run: Path
    data: Path
    mapping: Path | None


class Asked(NamedTuple):
    """Place of a reward → q of every action, and how far the run was asked."""

    values: dict[int, Floats]
    told: "Told"


def direct_models(
    direct: Direct, rewards: Sequence[Reward], fits: Sequence[Critic], told: Callable[[str], None]
) -> Asked:
    """What the run says of the rewards that it cannot have learned from: those decided after its newest origin.

    Raises:
        Refused: the run, the folder or the mapping cannot be used, or hardly any reward is newer.
    """
    from model.prior.direct import newer, valued
    from model.prior.mapping import read_mapping
    from model.response.served import Served
    from model.response.tables import read

    served, mapping = Served.load(direct.run), read_mapping(direct.mapping)
    places = newer(served, rewards)
    if len(places) < LEAST_NEWER:
        raise Refused(
            f"--direct {direct.run} may have learned from these rewards: {len(places)} of {len(rewards)} were decided after "
            f"{served.learned_until.isoformat()}, wanted {LEAST_NEWER}"
        )
    told(f"model of the reward: {served.run.name}")
    values, said = valued(
        served, read(direct.data), mapping, [rewards[place] for place in places], [fits[place] for place in places]
    )
    return Asked(dict(zip(places, values, strict=True)), said)
