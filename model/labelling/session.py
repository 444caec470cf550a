"""One person's work: which item is next, what is proposed for it, what the answer means for the next ones. Pure: told the time by nobody.

What has been answered comes from the records alone, so that a session that was killed goes on with the next question.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from model.data.people import Key, Said
from model.labelling.agreement import disagreements
from model.labelling.choosing import Chooser, choose
from model.labelling.features import Features, Floats, Ladder
from model.labelling.items import Item
from model.labelling.learner import Learned, Strengths, fit
from model.labelling.pseudo import Semi, taught_further

MOST_TAUGHT, MOST_OPEN = 3_000, 5_000
"""Labelled items that are learned from and open items that are chosen from, at most: drawn, so that a question comes in seconds."""
RETUNE = 1.3
"""Strengths are chosen anew when the labels have grown by so much."""
SURE_ENOUGH_TO_SHOW = 0.01


class Wishes(msgspec.Struct, frozen=True):
    """How questions are chosen.

    Args:
        refit: answers after which the model is taught anew.
        overlap: share of the questions that somebody else has answered: how well two people agree is known from them.
        afresh: labels that rows have already are neither trusted nor taught.
        semi: teach what the model is sure of as well; off by default.
    """

    chooser: Chooser = "margin"
    refit: int = 10
    overlap: float = 0.1
    afresh: bool = False
    semi: Semi | None = None
    seed: int = 0


class Proposal(NamedTuple):
    """An answer and how likely it is right."""

    value: str
    probability: float


class Question(NamedTuple):
    """An item to ask about, how it was chosen, and what is proposed for it, the likeliest first."""

    place: int
    chosen: str
    proposals: tuple[Proposal, ...]


class Session:
    """The questions of one person."""

    def __init__(
        self,
        items: Sequence[Item],
        classes: tuple[str, ...],
        person: str,
        said: Said,
        wishes: Wishes,
        *,
        ladder: Ladder | None = None,
        chances: Floats | None = None,
    ) -> None:
        """Begin, or go on.

        Args:
            said: what everybody has said so far.
            ladder: fitted on the items' texts; not needed with `chances`.
            chances: (items, classes) of a model that was learned elsewhere; else one is learned from the answers.
        """
        assert (ladder is None) != (chances is None)
        self.items, self.classes, self.person, self.wishes = items, classes, person, wishes
        self.ladder, self.given = ladder, chances
        self.features: Features | None = ladder.of([item.text for item in items]) if ladder else None
        self.learned: Learned | None = None
        self.taught, self.tuned_at, self.pseudo = -1, 0, 0
        self.queue: list[tuple[int, str]] = []
        self.tell(said)

    def tell(self, said: Said) -> None:
        """What everybody has said by now, this person included."""
        self.said, self.decided = said, said.decided()
        self.mine = said.asked.get(self.person, set())

    def next(self) -> Question | None:
        """The next question; none when all is asked."""
        while self.queue and self._done(self.queue[0][0]):
            self.queue.pop(0)
        if not self.queue:
            self.queue = self._refilled()
        if not self.queue:
            return None
        place, how = self.queue[0]
        return Question(place, how, self._proposals(place))

    def again(self, place: int, how: str) -> None:
        """An answer was taken back: the item is asked about at once."""
        self.queue.insert(0, (place, how))

    def others(self, place: int) -> dict[str, str]:
        """What other people say of an item."""
        key = self.items[place].keys[0]
        return {who: labels[key] for who, labels in self.said.by.items() if who != self.person and key in labels}

    @property
    def left(self) -> int:
        """Items that nobody has labelled."""
        return len(self._open())

    def _done(self, place: int) -> bool:
        return self.items[place].keys[0] in self.mine

    def _label(self, item: Item) -> str | None:
        return self.decided.get(item.keys[0]) or (None if self.wishes.afresh else item.known)

    def _open(self) -> list[int]:
        spoken = {key for labels in self.said.by.values() for key in labels}
        return [
            place for place, item in enumerate(self.items)
            if item.keys[0] not in self.mine and item.keys[0] not in spoken and self._label(item) is None
        ]  # fmt: skip

    def _refilled(self) -> list[tuple[int, str]]:
        """The next batch: chosen ones, and now and then one that somebody else has answered."""
        rng = np.random.default_rng((self.wishes.seed, len(self.mine)))
        open_ = self._open()
        if len(open_) > MOST_OPEN:
            open_ = sorted(int(place) for place in rng.choice(open_, MOST_OPEN, replace=False))
        known = self._taught(rng)
        chances = self._chances(open_)
        if self.features is None:
            places = self._by_given(open_, rng)
        else:
            places = choose(self.wishes.chooser, self.wishes.refit, features=self.features, known=known, open_=open_, chances=chances, rng=rng)  # fmt: skip
        how = self.wishes.chooser if chances is not None or self.wishes.chooser == "random" else "diversity"
        queue: list[tuple[int, str]] = [(place, how) for place in places]
        theirs = [place for place in range(len(self.items)) if not self._done(place) and self.others(place)]
        wanted = (self.wishes.overlap > 0) * max(1, round(self.wishes.overlap * max(len(queue), self.wishes.refit)))
        for place in rng.permutation(theirs)[:wanted]:
            queue.insert(int(rng.integers(len(queue) + 1)), (int(place), "overlap"))
        return queue

    def _by_given(self, open_: list[int], rng: np.random.Generator) -> list[int]:
        """Of a model learned elsewhere: what it is least sure of, or at random."""
        assert self.given is not None
        if self.wishes.chooser == "random" or not open_:
            return [int(place) for place in rng.permutation(open_)[: self.wishes.refit]]
        from model.labelling.choosing import entropy, margin

        wanted = (entropy if self.wishes.chooser == "entropy" else margin)(self.given[open_])
        return [open_[at] for at in np.argsort(-wanted, kind="stable")[: self.wishes.refit]]

    def _taught(self, rng: np.random.Generator) -> list[int]:
        """Teach the model what is known by now; return the items it learned from."""
        known = [place for place, item in enumerate(self.items) if self._label(item) in self.classes]
        if self.ladder is None or self.features is None or not known:
            return known
        if len(known) > MOST_TAUGHT:
            told = [place for place in known if self.items[place].keys[0] in self.decided][-MOST_TAUGHT:]
            rest = [place for place in known if self.items[place].keys[0] not in self.decided]
            drawn = [int(place) for place in rng.permutation(rest)[: MOST_TAUGHT - len(told)]]
            known = sorted({*told, *drawn})
        answers = [self._label(self.items[place]) or "" for place in known]
        if len(set(answers)) < 2:  # noqa: PLR2004
            return known
        strengths: Strengths | None = None
        if self.learned is not None and len(known) < RETUNE * self.tuned_at:
            strengths = self.learned.strengths
        else:
            self.tuned_at = len(known)
        groups = [self.items[place].group for place in known]
        names = self.ladder.of(self.classes)
        self.learned = fit(self.features.at(known), answers, self.classes, names, strengths=strengths, groups=groups)
        if self.wishes.semi is not None:
            texts = [self.items[place].text for place in self._open()[:MOST_OPEN]]
            self.learned, self.pseudo = taught_further(self.learned, answers, texts, self.ladder.of, self.wishes.semi, rng)  # fmt: skip
        return known

    def _chances(self, places: Sequence[int]) -> Floats | None:
        if self.given is not None:
            return self.given[list(places)]
        if self.learned is None or self.features is None or not len(places):
            return None
        return self.learned.chances(self.features.at(list(places)))

    def _proposals(self, place: int) -> tuple[Proposal, ...]:
        chances = self._chances([place])
        if chances is None:
            return ()
        order = np.argsort(-chances[0], kind="stable")
        found = [Proposal(self.classes[at], float(chances[0][at])) for at in order]
        return tuple(each for each in found if each.probability >= SURE_ENOUGH_TO_SHOW)


def to_settle(items: Sequence[Item], said: Said) -> list[tuple[int, dict[str, str]]]:
    """Items on which people differ, with what each says."""
    open_ = disagreements(said)
    place: dict[Key, int] = {item.keys[0]: at for at, item in enumerate(items)}
    return [(place[key], labels) for key, labels in open_.items() if key in place]
