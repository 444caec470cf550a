"""Who decides, by arm, and with what probability (laws 2 and 6). Pure: torch stays behind `Decoder`.

    p(action) = mean over heads k of product over slots of p_k(v | prefix), with p_k from `model/decode.py`

| arm | language model | critic |
|---|---|---|
| fused | `knobs.lm_weight` | the rest to 1, its heads spread the more |
| lm | 1 | 0 |
| critic, or late | 0 | 1 |
| random | uniform over allowed actions: one head whose values are all equal | |
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from model.decode import Floats, Mix, SlotDistribution, Walk, draw
from model.grid import ActionGrid
from streaming.contracts.kinds import Arm
from streaming.contracts.strategies import PolicyRecord, StrategyRequest

NO_MODEL = "none"
"""In a policy record: no adapter or no critic took part."""


class Valuer(Protocol):
    """What the policy needs of a critic snapshot (`model/critic.py`)."""

    @property
    def version(self) -> str:
        """Immutable name."""

    @property
    def heads(self) -> int:
        """Posterior heads, besides the mean."""

    @property
    def beta(self) -> float:
        """Temperature of the softmax over actions, units of reward."""

    def values(self, request: StrategyRequest, grid: ActionGrid) -> npt.NDArray[np.floating]:
        """(1 + heads, *grid.shape); row 0 is the posterior mean."""


class Decoder(Protocol):
    """What the policy needs of a decoding session (`model/lm.py`), for one batch; kinds may be mixed."""

    def log_probs(self) -> Sequence[npt.NDArray[np.floating]]:
        """Per request: log p_LM(value | prefix) over the current slot's values, temperature 1; empty after its last.

        Empty as well where the language model has no share in the decision.
        """

    def choose(self, indices: Sequence[int]) -> None:
        """Append each request's value and move to the next slot; ignored for requests that have all slots."""


class Knobs(Struct, frozen=True):
    """What is served besides the critic.

    Args:
        base: name of the base model.
        adapter: version name of the adapter in the slot, `base` for none.
        temperature: of the language model's slot distributions.
        lm_weight: of the language model in the fused distribution, in [0, 1].
        alone: temperature where the language model decides without a critic; None: the same.
    """

    base: str
    adapter: str
    temperature: float
    lm_weight: float
    alone: float | None = None


class Decided(Struct, frozen=True):
    """One decision with its exact probability.

    Args:
        index: position in the grid.
        propensity: marginal over heads of the chosen action.
        slot_propensities: slot → probability given the prefix; their product is `propensity`.
        slots: per slot its distribution, as sampled.
    """

    decision: dict[str, str]
    index: tuple[int, ...]
    propensity: float
    slot_propensities: dict[str, float]
    record: PolicyRecord
    slots: tuple[SlotDistribution, ...]


def record_of(request: StrategyRequest, grid: ActionGrid, critic: Valuer, knobs: Knobs, *, late: bool) -> PolicyRecord:
    """The distribution that will be sampled for this request, as its strategy will log it."""
    acting: Arm = "critic" if late else request.arm
    lm_weight = {"fused": knobs.lm_weight, "lm": 1.0}.get(acting, 0.0)
    critic_weight = {"fused": 1.0 - knobs.lm_weight, "critic": 1.0}.get(acting, 0.0)
    asked = critic_weight > 0.0
    return PolicyRecord(
        base=knobs.base,
        adapter=NO_MODEL if late else knobs.adapter,
        critic=critic.version if asked else NO_MODEL,
        assigned_arm=request.arm,
        acting_arm=acting,
        temperature=knobs.alone if acting == "lm" and knobs.alone is not None else knobs.temperature,
        lm_weight=lm_weight,
        critic_weight=critic_weight,
        beta=critic.beta,
        heads=critic.heads if asked else 1,
        actions=grid.count,
        late=late,
        head_scale=head_scale(lm_weight),
    )


def head_scale(lm_weight: float) -> float:
    """How much further the heads lie from their mean beside a language model with this share; 1 where no share is left to the critic.

    The language model says what the mean says. Its share takes the mean's place, and must not take the heads' distance from it, which
    is the exploration: (1 - share) * scale = 1.
    """
    return 1.0 / (1.0 - lm_weight) if lm_weight < 1.0 else 1.0


def spread(values: npt.NDArray[np.floating], scale: float) -> Floats:
    """(heads, *shape) values of the heads at `scale` times their distance from the mean, of (1 + heads, *shape), the mean first."""
    heads = np.asarray(values[1:], np.float64)
    if scale == 1.0:
        return heads
    mean = np.asarray(values[0], np.float64)
    return mean + scale * (heads - mean)


def walk_of(request: StrategyRequest, grid: ActionGrid, record: PolicyRecord, critic: Valuer | None) -> Walk:
    """The walk that a policy record describes, for sampling it or for recomputing its probabilities.

    Raises:
        ValueError: when the critic at hand is not the one recorded.
    """
    if record.acting_arm == "random":
        return Walk(grid, np.zeros((1, *grid.shape)), Mix(0.0, 1.0, 1.0, 1.0))
    mix = Mix(record.lm_weight, record.temperature, record.critic_weight, record.beta)
    if record.critic_weight == 0.0:
        return Walk(grid, np.zeros((1, *grid.shape)), mix)
    if critic is None or critic.version != record.critic or critic.heads != record.heads:
        found = None if critic is None else f"{critic.version} with {critic.heads} heads"
        message = f"recorded critic {record.critic} with {record.heads} heads, got {found}"
        raise ValueError(message)
    return Walk(grid, spread(critic.values(request, grid), record.head_scale), mix)


def decide(
    requests: Sequence[StrategyRequest],
    grids: Sequence[ActionGrid],
    critic: Valuer,
    decoder: Decoder | None,
    rngs: Sequence[np.random.Generator],
    knobs: Knobs | Sequence[Knobs],
) -> list[Decided]:
    """Sample one decision per request: a head first, then slot by slot from that head.

    Args:
        requests: of any kinds; none in the holdout arm.
        grids: theirs.
        critic: the snapshot that is served.
        decoder: the language model's session for these requests; None means late: the critic decides alone.
        rngs: one generator per request, so that a request's decision depends on no other of its batch.
        knobs: what else is served, to all of them or to each.
    """
    each = [knobs] * len(requests) if isinstance(knobs, Knobs) else knobs
    records = [
        record_of(request, grid, critic, own, late=decoder is None)
        for request, grid, own in zip(requests, grids, each, strict=True)
    ]
    walks = [
        walk_of(request, grid, record, critic) for request, grid, record in zip(requests, grids, records, strict=True)
    ]
    heads = [int(rng.integers(record.heads)) for rng, record in zip(rngs, records, strict=True)]
    seen: list[list[SlotDistribution]] = [[] for _ in requests]
    chances: list[list[float]] = [[] for _ in requests]
    for slot in range(max((len(grid.names) for grid in grids), default=0)):
        of_lm = [None] * len(walks) if decoder is None else decoder.log_probs()
        chosen = [0] * len(walks)
        for row, walk in enumerate(walks):
            if slot < len(grids[row].names):
                seen[row].append(walk.distribution(of_lm[row]))
                chosen[row] = draw(seen[row][-1].per_head[heads[row]], rngs[row].random())
                chances[row].append(walk.choose(chosen[row]))
        if decoder is not None:
            decoder.choose(chosen)
    return [
        _decided(grid, walk, record, per_slot, distributions)
        for grid, walk, record, per_slot, distributions in zip(grids, walks, records, chances, seen, strict=True)
    ]


def propensity(
    request: StrategyRequest,
    decision: dict[str, str],
    record: PolicyRecord,
    critic: Valuer | None,
    lm_log_probs: Sequence[npt.NDArray[np.floating]] | None,
) -> float:
    """The probability of a decision under the distribution its policy record describes.

    Args:
        request: as it was answered.
        decision: slot → value.
        record: the strategy's `policy`.
        critic: the snapshot named there; None when it had no share.
        lm_log_probs: per slot (values,), teacher-forced along `decision`, temperature 1, with the adapter named
            there; None when the language model had no share.

    Returns:
        The exact marginal over heads; 0 for a decision that was not allowed.
    """
    grid = ActionGrid.of(request)
    walk = walk_of(request, grid, record, critic)
    index = grid.index(decision)
    if not grid.allowed[index]:
        return 0.0
    for slot, chosen in enumerate(index):
        walk.distribution(None if lm_log_probs is None else lm_log_probs[slot])
        walk.choose(chosen)
    return float(np.exp(walk.log_propensity))


def _decided(
    grid: ActionGrid, walk: Walk, record: PolicyRecord, chances: Sequence[float], slots: Sequence[SlotDistribution]
) -> Decided:
    return Decided(
        decision=grid.decision(walk.index),
        index=walk.index,
        propensity=float(min(1.0, np.exp(walk.log_propensity))),
        # Rounding may carry a certain value a hair above one; the contract forbids that.
        slot_propensities={name: min(1.0, chance) for name, chance in zip(grid.names, chances, strict=True)},
        record=record,
        slots=tuple(slots),
    )


__all__ = [
    "Decided",
    "Decoder",
    "Floats",
    "Knobs",
    "Valuer",
    "decide",
    "head_scale",
    "propensity",
    "record_of",
    "spread",
    "walk_of",
]
