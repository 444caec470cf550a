"""A labelling session joined with its file: answers out, what everybody said in. What it is to ask: `model/labelling/session.py`."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from model.data.errors import Refused
from model.data.people import Answer, Said, said
from model.labelling.agreement import agreements, by_item, disagreements
from model.labelling.features import Floats, Ladder
from model.labelling.items import NO, YES, Item, classes_of, items, plain
from model.labelling.pseudo import Semi
from model.labelling.records import Answers
from model.labelling.session import Question, Session, Wishes, to_settle
from services.label_screen import agreement_lines


class Work:
    """One person's work on one label of one table."""

    def __init__(
        self, *, data: Path, out: Path, table: str, name: str, person: str, answers: Sequence[str], fields: Sequence[str],
        chooser: Any, encoder: str, base: str | None, proposals: Path | None, pseudo: bool, afresh: bool, refit: int,
        overlap: float, seed: int, **_: Any,
    ) -> None:  # fmt: skip
        """Read the rows and what has been said of them.

        Raises:
            Refused: a file or column is not there, or options do not go together.
        """
        if proposals and table != "exposures":
            raise Refused("--proposals is a response run: it proposes for --table exposures")
        self.file = Answers(out)
        self.data, self.table, self.name, self.person = data, table, name, person
        self.items: list[Item] = items(data, table, name, fields)
        self._answers = (NO, YES) if table == "exposures" else tuple(answers)
        self.encoder, self.base = encoder, base
        self.run = proposals
        self.wishes = Wishes(chooser, refit, overlap, afresh, Semi() if pseudo else None, seed)
        self.given: list[tuple[int, str]] = []

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The answers there are."""
        return classes_of(self._answers, self.items, self._values())

    def _values(self) -> list[str]:
        found = said(self.file.all(), self.table, self.name)
        return [value for labels in found.by.values() for value in labels.values()]

    def _said(self) -> Said:
        return by_item(self.file.all(), self.table, self.name)

    def begun(self) -> Session:
        """The session, begun or gone on with."""
        if not self.items:
            raise Refused(f"{self.data}: {self.table} says nothing that could be shown; name other --field")
        chances = self._proposed() if self.run else None
        ladder = None if chances is not None else Ladder([*[item.text for item in self.items], *self.classes], encoder=self.encoder, base=self.base)  # fmt: skip
        return Session(self.items, self.classes, self.person, self._said(), self.wishes, ladder=ladder, chances=chances)

    def _proposed(self) -> Floats:
        """(exposures, 2) of a response run: not answered, answered."""
        from model.data.prepared import table
        from model.response.proposals import probabilities
        from model.response.served import Served
        from model.response.tables import read

        assert self.run is not None
        served = Served.load(self.run)
        if self.name not in served.labels:
            raise Refused(f"{self.run} proposes {', '.join(served.labels)}, not {self.name}")
        rows = table(self.data, "exposures").sort("at", "exposure")
        yes = probabilities(served, read(self.data), rows)[:, served.labels.index(self.name)]
        return np.stack((1.0 - yes, yes), 1).astype(np.float32)

    def head(self, session: Session, question: Question) -> str:
        """The line above a question."""
        pseudo = f" · {session.pseudo:,} pseudo-labels" if session.pseudo else ""
        return f"{self.name} of {self.table} · {len(session.mine):,} answered by {self.person} · {session.left:,} unlabelled · {question.chosen}{pseudo}"

    def answer(self, session: Session, question: Question, value: str | None, at_ms: int) -> str:
        """Write an answer down; what is to be said of it."""
        first = question.proposals[0] if question.proposals else None
        self._write(question.place, value, at_ms, question.chosen, first)
        self.given.append((question.place, question.chosen))
        session.tell(self._said())
        others = session.others(question.place)
        differ = [f"{plain(who)} says {plain(other)}" for who, other in others.items() if value is not None and other != value]  # fmt: skip
        return "written: " + (plain(value) if value is not None else "not known") + "".join(f"; {each}" for each in differ)  # fmt: skip

    def undo(self, session: Session, at_ms: int) -> str:
        """Take this session's newest answer back."""
        if not self.given:
            return "nothing of this session to take back"
        place, how = self.given.pop()
        self._write(place, None, at_ms, how, None, taken_back=True)
        session.tell(self._said())
        session.again(place, how)
        return "taken back"

    def settled(self, place: int, value: str, at_ms: int) -> None:
        """Write down what counts instead of what people said."""
        self._write(place, value, at_ms, "settle", None, settles=True)

    def unsettled(self) -> list[tuple[int, dict[str, str]]]:
        """Items on which people differ."""
        return to_settle(self.items, self._said())

    def _write(self, place: int, value: str | None, at_ms: int, chosen: str, first: Any, **more: bool) -> None:
        proposed, chance = (first.value, round(first.probability, 4)) if first else (None, None)
        keys = self.items[place].keys
        self.file.add(Answer(self.table, self.name, keys, value, self.person, at_ms, proposed, chance, chosen, **more))

    def report(self) -> list[str]:
        """Who labelled how much, how far people agree, on what they differ, how often the proposal was taken."""
        found = self._said()
        lines = [
            f"{plain(who)}: {len(labels):,} labelled, {len(found.asked.get(who, set())) - len(labels):,} not known"
            for who, labels in found.by.items()
        ] or ["nobody has labelled anything"]
        lines += agreement_lines(agreements(found))
        open_ = disagreements(found)
        if open_:
            lines.append(f"{len(open_):,} items to settle (--settle)")
        mine = [a for a in self.file.all() if (a.table, a.name) == (self.table, self.name) and a.proposed and a.value]
        if mine:
            taken = sum(answer.value == answer.proposed for answer in mine)
            lines.append(f"the proposal was right in {taken:,} of {len(mine):,} answers")
        return lines
