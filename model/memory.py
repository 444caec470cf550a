"""What the learner remembers: a window of closed strategies for the critic, and requests that the LoRA replays. Pure."""

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.critic import OUTCOMES, OutcomeSpec
from streaming.contracts.rewards import Outcomes, Reward, Stage
from streaming.contracts.strategies import PolicyRecord, StrategyRequest

STAGE_RANK: dict[Stage, int] = {"response": 1, "final": 2, "correction": 3}
UNKNOWN = math.nan
"""Label of an outcome that this stage cannot know, or whose condition did not happen."""

Labels = tuple[float, ...]
"""One per outcome of `OUTCOMES`, in order: 0, 1 or `UNKNOWN`; of an order that several strategies share, the part."""


class Row(NamedTuple):
    """Features of one decision: context, then closed slots, then candidates, then closed slots together with candidates.

    Args:
        indices: (f,) uint16; data: (f,) float32.
        context: length of the first part; closed: of the first two; candidates: of the first three.
    """

    indices: npt.NDArray[np.uint16]
    data: npt.NDArray[np.float32]
    context: int
    closed: int
    candidates: int

    def part(self, spec: OutcomeSpec) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32]]:
        """What a model of this outcome sees."""
        if spec.slots == "all":
            return self.indices, self.data
        if spec.slots == "closed":
            return self.indices[: self.closed], self.data[: self.closed]
        keep = np.r_[0 : self.context, self.closed : self.candidates]
        return self.indices[keep], self.data[keep]


@dataclass(slots=True)
class Example:
    """One closed strategy as the critic sees it.

    Args:
        labels: amended by later stages.
        rank: of the highest stage seen.
        tick: its kind's forgetting clock when it came, half-lives.
        unit_margin: the formula's margin of one unit; margin: of the attributed order, both major units.
    """

    strategy_id: str
    kind: str
    row: Row
    labels: Labels
    rank: int
    tick: float
    unit_margin: float
    margin: float


class Window:
    """The newest closed strategies in the order they closed."""

    def __init__(self, size: int, examples: Iterable[Example] = ()) -> None:
        """Keep at most `size` examples."""
        self._size = size
        self._examples: OrderedDict[str, Example] = OrderedDict((e.strategy_id, e) for e in examples)

    def __len__(self) -> int:
        """Examples now remembered."""
        return len(self._examples)

    def __iter__(self) -> Iterator[Example]:
        """Oldest first."""
        return iter(self._examples.values())

    def get(self, strategy_id: str) -> Example | None:
        """The strategy's example while it is in the window."""
        return self._examples.get(strategy_id)

    def add(self, example: Example) -> None:
        """Remember one more, forget the oldest beyond the window."""
        self._examples[example.strategy_id] = example
        while len(self._examples) > self._size:
            self._examples.popitem(last=False)

    def drop(self, strategy_ids: Iterable[str]) -> None:
        """Forget some, e.g. those of an outage."""
        for strategy_id in strategy_ids:
            self._examples.pop(strategy_id, None)


class SeenIds:
    """The newest ids, to recognise duplicates; bounded, oldest forgotten first."""

    def __init__(self, size: int, ids: Iterable[str] = ()) -> None:
        """Keep at most `size` ids."""
        self._size = size
        self._ids: OrderedDict[str, None] = OrderedDict.fromkeys(ids)

    def add(self, identity: str) -> bool:
        """Remember an id.

        Returns:
            True when it is new.
        """
        if identity in self._ids:
            return False
        self._ids[identity] = None
        if len(self._ids) > self._size:
            self._ids.popitem(last=False)
        return True

    def discard(self, identity: str) -> None:
        """Forget an id whose record could not be learned."""
        self._ids.pop(identity, None)

    def __contains__(self, identity: object) -> bool:
        """Whether an id is remembered."""
        return identity in self._ids

    def __iter__(self) -> Iterator[str]:
        """Oldest first."""
        return iter(self._ids)


class Outages:
    """Per channel the run of closed strategies that nobody saw; a long one means the channel is broken, not disliked."""

    def __init__(self, after: int, runs: Mapping[str, list[str]] | None = None) -> None:
        """Call `after` unseen closed strategies in a row an outage."""
        self._after = after
        self.runs: dict[str, list[str]] = {channel: list(run) for channel, run in (runs or {}).items()}

    def update(self, channel: str, strategy_id: str, *, shown: bool) -> tuple[bool, list[str]]:
        """Count one closed strategy.

        Returns:
            Whether the channel is out now, and the strategies learned meanwhile that must be forgotten.
        """
        run = self.runs.setdefault(channel, [])
        if shown:
            run.clear()
            return False, []
        run.append(strategy_id)
        if len(run) < self._after:
            return False, []
        forget = list(run) if len(run) == self._after else []
        del run[: -self._after - 1]  # one more than `after`: the next ones forget nothing again
        return True, forget


class Replayed(NamedTuple):
    """A closed decision of the replay buffer, for the LoRA and the gate.

    Args:
        number: position among all closed rewards learned: newer than a candidate's data means a higher number.
        propensity: None for a ghost, which never gets here; kept as logged.
        reward: of its last stage, major units.
        rank: of that stage.
        shown: what that stage knows of the response; None in snapshots that are older than this field.
        clicked: likewise.
    """

    strategy_id: str
    number: int
    request: StrategyRequest
    decision: dict[str, str]
    policy: PolicyRecord
    propensity: float
    reward: float
    rank: int
    shown: bool | None = None
    clicked: bool = False

    @property
    def final(self) -> bool:
        """Whether its outcomes are all known; a response knows exposure and click."""
        return self.rank >= STAGE_RANK["final"]


class Replay:
    """The newest closed decisions; later stages replace their reward in place."""

    def __init__(self, size: int, items: Iterable[Replayed] = ()) -> None:
        """Keep at most `size` decisions."""
        self._size = size
        self._items: OrderedDict[str, Replayed] = OrderedDict((item.strategy_id, item) for item in items)

    def __len__(self) -> int:
        """Decisions now remembered."""
        return len(self._items)

    def __iter__(self) -> Iterator[Replayed]:
        """Oldest first."""
        return iter(self._items.values())

    def learn(self, reward: Reward, number: int) -> None:
        """Add a closed decision, or replace its reward by that of a higher stage."""
        rank, what = STAGE_RANK[reward.stage], reward.outcomes
        known = self._items.get(reward.strategy_id)
        if known is not None:
            if rank >= known.rank:
                self._items[reward.strategy_id] = known._replace(
                    reward=reward.reward, rank=rank, shown=what.shown, clicked=what.clicked
                )
            return
        if reward.policy is None or reward.propensity is None or reward.stage == "correction":
            return
        item = Replayed(
            reward.strategy_id,
            number,
            reward.request,
            reward.decision,
            reward.policy,
            reward.propensity,
            reward.reward,
            rank,
            what.shown,
            what.clicked,
        )
        self._items[reward.strategy_id] = item
        while len(self._items) > self._size:
            self._items.popitem(last=False)


def labels_of(outcomes: Outcomes, stage: Stage) -> Labels:
    """What a stage teaches: a response the exposure and the click, later stages everything.

    An order that the shop credits without a click counts as answered: the arithmetic has no other way to an order.
    An order that several strategies share (linear and time-decay attribution) labels each with its part: money is shared
    by the same parts, so p(order) times the margin of a whole order remains what the strategy brings, and the parts of
    all add up to one order. Labelling the largest part alone would give its strategy a whole order's chance with a
    part of its money, and the others none.
    """
    clicked = outcomes.clicked or outcomes.ordered
    known = {
        "shown": float(outcomes.shown or clicked),
        "clicked": float(clicked) if outcomes.shown or clicked else UNKNOWN,
    }
    if stage != "response":
        part = outcomes.order_credit if outcomes.ordered else 0.0
        known["ordered"] = part if clicked else UNKNOWN
        known["refunded"] = float(outcomes.refunded) if outcomes.ordered else UNKNOWN
        known["unsubscribed"] = float(outcomes.unsubscribed) if outcomes.shown else UNKNOWN
    return tuple(known.get(spec.name, UNKNOWN) for spec in OUTCOMES)


def merged(old: Labels, old_rank: int, new: Labels, new_rank: int) -> Labels:
    """A higher stage replaces what it knows; a lower one that comes late fills only what is unknown."""
    first, second = (new, old) if new_rank >= old_rank else (old, new)
    return tuple(b if math.isnan(a) else a for a, b in zip(first, second, strict=True))
