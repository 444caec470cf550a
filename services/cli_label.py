"""`stratagem label`: a person labels rows of prepared data at a terminal, one key per answer."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.cli_models import need

if TYPE_CHECKING:
    from model.labelling.session import Session
    from services.labelling import Work


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="What `stratagem data prepare` made.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File of answers; it is appended to.")  # fmt: skip
@click.option("--table", type=click.Choice(["products", "ads", "exposures"]), default="products", show_default=True)
@click.option("--name", required=True, help="The label, e.g. category.")
@click.option("--person", help="Who answers; needed unless --report.")
@click.option("--answer", "answers", multiple=True, help="An answer there is; give each. Else those that rows have.")
@click.option("--field", "fields", multiple=True, help="A column that is shown and learned from; give each.")
@click.option("--choose", "chooser", type=click.Choice(["margin", "entropy", "diversity", "random"]), default="margin", show_default=True, help="How the next rows are chosen.")  # fmt: skip
@click.option("--encoder", default="", help="A sentence encoder, by path or hub name, beside tf-idf.")
@click.option("--base", is_flag=False, flag_value="", help="The served base's states beside tf-idf; the base by path or hub name, else the one that ships.")  # fmt: skip
@click.option("--proposals", type=click.Path(path_type=Path), help="A response run that proposes; for exposures.")
@click.option("--pseudo/--no-pseudo", default=False, show_default=True, help="Teach also what the model is sure of.")
@click.option("--afresh", is_flag=True, help="Ask about rows that have the label already, and do not learn from it.")
@click.option("--refit", type=click.IntRange(1), default=10, show_default=True, help="Answers until it learns anew.")
@click.option("--overlap", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="Share of questions that another person has answered.")  # fmt: skip
@click.option("--most", type=click.IntRange(1), help="Answers after which to end.")
@click.option("--settle", is_flag=True, help="Ask about rows on which people differ, with what each says in sight.")
@click.option("--report", "only_report", is_flag=True, help="Say who labelled how much and how far people agree.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def label(*, person: str | None, only_report: bool, **wishes: Any) -> None:
    """Label rows of prepared data: one key per answer, the likeliest answer proposed, the most telling rows first.

    Every answer is on the disk before the next question; the same command goes on where it was left, however it ended. Several people may
    write to one file, each under a name. `stratagem data prepare --people FILE` takes the file as a source of labels.
    """
    need("label", "polars", "sklearn", extra="models")
    from services.labelling import Work

    work = Work(person=person or "", **wishes)
    if only_report:
        for line in work.report():
            click.echo(line)
        return
    if not person:
        raise click.UsageError("--person NAME: who answers?")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("label asks at a terminal; input or output is none")
    session = work.begun()
    try:
        _settle(work) if wishes["settle"] else _asked(work, session, wishes["most"])
    finally:
        for line in work.report():
            click.echo(line)


def _asked(work: "Work", session: "Session", most: int | None) -> None:
    """Question after question, until there is none, enough are answered, or the person ends."""
    from rich.console import Console

    from services.label_screen import asked, offered

    console, said, given = Console(), "", 0
    while most is None or given < most:
        question = session.next()
        if question is None:
            click.echo("nothing is left to ask")
            return
        item, shown = session.items[question.place], offered(session.classes, question.proposals)
        console.clear()
        console.print(said, markup=False, highlight=False)
        console.print(asked(item, question, shown, work.head(session, question)), end="")
        chosen = _key(work.classes, shown, question.proposals)
        if chosen.wish == "quit":
            return
        if chosen.wish == "undo":
            said = work.undo(session, now_ms())
            continue
        given += 1
        said = work.answer(session, question, chosen.value, now_ms())


def _settle(work: "Work") -> None:
    """Each row on which people differ, once."""
    from rich.console import Console

    from model.labelling.session import Proposal, Question
    from services.label_screen import asked, offered

    console, open_ = Console(), work.unsettled()
    for at, (place, others) in enumerate(open_, start=1):
        both = [Proposal(value, 0.0) for value in dict.fromkeys(others.values())]
        shown = offered(work.classes, both)
        question = Question(place, "settle", ())
        console.clear()
        console.print(asked(work.items[place], question, shown, f"{at} of {len(open_)} to settle", others), end="")
        chosen = _key(work.classes, shown, ())
        if chosen.wish == "quit":
            return
        if chosen.value is not None:
            work.settled(place, chosen.value, now_ms())
    click.echo("nothing is left to settle")


def _key(classes: tuple[str, ...], shown: list[str], proposals: Any) -> Any:
    """Wait for a key that means something."""
    from services.label_screen import Choice, choice

    while True:
        found = choice(click.getchar(), shown, proposals)
        if found.wish == "search":
            value = _searched(classes)
            found = Choice(value) if value is not None else Choice()
        if found.value is not None or found.wish:
            return found


def _searched(classes: tuple[str, ...]) -> str | None:
    """An answer by its letters: what is typed narrows the list, a digit takes one, Enter the first, Escape leaves."""
    from model.labelling.items import plain
    from services.label_screen import DIGITS, matching

    typed = ""
    while True:
        found = matching(classes, typed)
        listed = "   ".join(f"{digit} {plain(name)}" for digit, name in zip(DIGITS, found, strict=False))
        click.echo(f"/{typed}   {listed}")
        key = click.getchar()
        if key == "\x1b":
            return None
        if key in ("\r", "\n"):
            return found[0] if found else None
        if key in DIGITS and DIGITS.index(key) < len(found):
            return found[DIGITS.index(key)]
        typed = typed[:-1] if key in ("\x7f", "\b") else typed + key if key.isprintable() else typed


def now_ms() -> int:
    """The time, milliseconds since 1970."""
    return round(time.time() * 1000)
