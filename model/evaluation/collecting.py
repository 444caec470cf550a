"""Lines of rewards and strategies → rows, texts and what policies can be valued on; nothing is dropped without a record. Pure."""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from model.evaluation.policies import valuable
from model.evaluation.rows import FINAL, Books, row_of
from model.evaluation.texts import TextQuality, Texts, banned_of
from model.memory import STAGE_RANK, SeenIds
from streaming.contracts.codec import decode
from streaming.contracts.errors import BadEvent
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import Strategy

MOST_REFUSALS = 20
"""Refused lines that are quoted; all are counted."""


class Refusal(msgspec.Struct, frozen=True):
    """A line that could not be read."""

    file: str
    line: int
    field: str
    value: str
    wanted: str


class Placed(NamedTuple):
    """A reward with its offset in `strategy.rewards`, None where the file does not say."""

    reward: Reward
    offset: int | None


class _Kind(msgspec.Struct):
    """What tells a line's kind."""

    reward_id: Any = None
    strategy_id: Any = None
    message: Any = None


class Collector:
    """Takes lines in their order; equal lines give equal results, however they are cut into files.

    Attributes:
        counts: `rewards`, `strategies`, `repeated`, `refused`, `other` → lines.
    """

    def __init__(self, banned: Iterable[str], most_valued: int) -> None:
        """Begin empty.

        Args:
            banned: a shop's own phrases.
            most_valued: closed rewards kept with their requests, the newest, to value policies on.
        """
        self.books = Books()
        self.counts: Counter[str] = Counter()
        self.refusals: list[Refusal] = []
        self._banned, self._most = tuple(banned), most_valued
        self._texts: dict[str, Texts] = {}
        self._valued: OrderedDict[str, Placed] = OrderedDict()
        self._seen = SeenIds(5_000_000)

    def take(self, line: bytes, file: str, number: int, offset: int | None) -> None:
        """One line; what cannot be read is refused with field, value and what was wanted."""
        if not line.strip():
            return
        try:
            self._take(line, offset)
        except BadEvent as bad:
            self.counts["refused"] += 1
            if len(self.refusals) < MOST_REFUSALS:
                self.refusals.append(Refusal(file, number, bad.field, str(bad.value), bad.wanted))

    def _take(self, line: bytes, offset: int | None) -> None:
        kind = decode(line, _Kind)
        if kind.reward_id is not None:
            self._reward(decode(line, Reward), offset)
        elif kind.strategy_id is not None and kind.message is not None:
            self._strategy(decode(line, Strategy))
        else:
            self.counts["other"] += 1

    def _reward(self, reward: Reward, offset: int | None) -> None:
        row = row_of(reward)
        self.counts["rewards"] += 1
        if not self.books.take(row) or STAGE_RANK[reward.stage] < FINAL:
            return
        first = self._valued.pop(reward.strategy_id, None)
        if valuable(reward):
            # What a policy may have learned from is the first word on it, not its correction.
            self._valued[reward.strategy_id] = Placed(reward, first.offset if first else offset)
            if len(self._valued) > self._most:
                self._valued.popitem(last=False)

    def _strategy(self, strategy: Strategy) -> None:
        if not self._seen.add(strategy.strategy_id):
            self.counts["repeated"] += 1
            return
        self.counts["strategies"] += 1
        language = strategy.message.language
        if language not in self._texts:
            self._texts[language] = Texts(language, banned_of(language, self._banned))
        self._texts[language].take(strategy)

    @property
    def valued(self) -> list[Placed]:
        """What policies are valued on, in the order of closing."""
        return sorted(self._valued.values(), key=lambda each: (each.reward.closed_at, each.reward.strategy_id))

    @property
    def texts(self) -> Sequence[TextQuality]:
        """Per language."""
        return [self._texts[language].quality() for language in sorted(self._texts)]
