"""What `stratagem label` shows, and what a key means. Pure: a question in, lines out; a key in, a choice out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.text import Text

from model.labelling.agreement import Agreement
from model.labelling.items import Item, plain
from model.labelling.session import Proposal, Question

DIGITS = "123456789"
ENTER, SKIP, UNDO, SEARCH, QUIT = "\r", "s", "u", "/", "q"
HELP = "Enter: the marked answer   s: I do not know   u: take back   q: end"


class Choice(NamedTuple):
    """What a key says: an answer, a wish (`skip`, `undo`, `search`, `quit`), or nothing."""

    value: str | None = None
    wish: str = ""


def offered(classes: Sequence[str], proposals: Sequence[Proposal]) -> list[str]:
    """The answers that have a digit: every one where there are few, always in the same places; else the likeliest."""
    if len(classes) <= len(DIGITS):
        return list(classes)
    likely = [proposal.value for proposal in proposals]
    rest = [name for name in classes if name not in likely]
    return [*likely, *rest][: len(DIGITS)]


def choice(key: str, shown: Sequence[str], proposals: Sequence[Proposal]) -> Choice:
    """What a key means where these answers have digits."""
    if key in ("\r", "\n"):
        return Choice(proposals[0].value) if proposals else Choice()
    if key in DIGITS and DIGITS.index(key) < len(shown):
        return Choice(shown[DIGITS.index(key)])
    wishes = {SKIP: "skip", UNDO: "undo", SEARCH: "search", QUIT: "quit", "\x04": "quit"}
    return Choice(wish=wishes.get(key.lower(), ""))


def asked(item: Item, question: Question, shown: Sequence[str], head: str, others: Mapping[str, str] | None = None) -> Text:  # fmt: skip
    """The whole screen of a question. Texts of products are shown as they are, without markup or control characters."""
    text = Text(f"{plain(head)}\n\n", style="dim")
    width = max(len(name) for name, _ in item.said)
    for name, value in item.said:
        text.append(f"{name:>{width}}  ", style="dim").append(f"{value}\n", style="bold")
    if len(item.keys) > 1:
        text.append(f"{'':>{width}}  {len(item.keys):,} rows say this\n", style="dim")
    for who, said in (others or {}).items():
        text.append(f"\n{plain(who)} says {plain(said)}", style="yellow")
    text.append("\n")
    chances = {proposal.value: proposal.probability for proposal in question.proposals}
    first = question.proposals[0].value if question.proposals else None
    for digit, name in zip(DIGITS, shown, strict=False):
        mark = ">" if name == first else " "
        text.append(f" {mark} {digit}  ", style="bold cyan").append(plain(name))
        text.append(f"  {chances[name]:.2f}\n" if name in chances else "\n", style="dim")
    return text.append(f"\n{HELP}\n" if len(shown) < len(DIGITS) else f"\n/: another answer   {HELP}\n", style="dim")


def matching(classes: Sequence[str], typed: str) -> list[str]:
    """Answers of which every typed word is a part, those that begin with it first."""
    words = typed.casefold().split()
    found = [name for name in classes if all(word in name.casefold() for word in words)]
    return sorted(found, key=lambda name: (not name.casefold().startswith(typed.casefold()), name))[: len(DIGITS)]


def agreement_lines(found: Sequence[Agreement]) -> list[str]:
    """A line per two people."""
    return [
        f"{plain(each.left)} and {plain(each.right)}: {each.both:,} items of both, {each.differ:,} differ, kappa "
        + ("not defined (one label throughout)" if each.kappa is None else f"{each.kappa:.2f}")
        for each in found
    ]
