"""The commands `stratagem dead-letters list` and `stratagem dead-letters replay`."""

import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from services.cli_data import EXIT_FOUND, connected_settings
from services.settings import Common

if TYPE_CHECKING:
    from services.letters import Choice, Letter
    from services.letters_replay import Sent

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Since(click.ParamType):
    """An ISO 8601 moment (UTC where it names no zone), or how long ago: `90m`, `2h`, `3d`. Gives milliseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds since the epoch."""
        if isinstance(value, int):
            return value
        if ago := re.fullmatch(r"(\d{1,9})([smhd])", value):
            return round(time.time() * 1000) - int(ago[1]) * UNITS_S[ago[2]] * 1000
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r}: wanted e.g. 2026-01-31T12:00:00Z, or 90m, 2h, 3d", param, ctx)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _choosing(command: Callable[..., None]) -> Callable[..., None]:
    """The options by which letters are chosen."""
    for option in (
        click.option("--since", type=Since(), default=0, help="Only written since: ISO 8601, or e.g. 90m, 2h, 3d ago."),
        click.option("--topic", default="", help="Only from this topic."),
        click.option("--reason", default="", help="Only with this reason."),
    ):
        command = option(command)
    return command


@click.group("dead-letters")
def dead_letters() -> None:
    """Records that could not be processed: why, and sending them again."""


@dead_letters.command("list")
@_choosing
@click.option("--all", "everything", is_flag=True, help="Those that were sent again too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--limit", type=click.IntRange(1), default=None, help="Stop after so many.")
def dead_letters_list(
    reason: str, topic: str, since: int, *, everything: bool, as_json: bool, limit: int | None
) -> None:
    """One line per dead letter: when it was written, where its record stood, why.

    Letters that were sent again are left out, unless --all is given; what fails again is a new letter.
    """
    from services.letters import as_json as told_as_json
    from services.letters import line

    settings = connected_settings()
    for found in islice(_letters(settings, _choice(settings, reason, topic, since, replayed=everything)), limit):
        click.echo(told_as_json(found) if as_json else line(found))


@dead_letters.command("replay")
@_choosing
@click.option("--dry-run", is_flag=True, help="Only say what would be sent, and what cannot be.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def dead_letters_replay(reason: str, topic: str, since: int, *, dry_run: bool, yes: bool) -> None:
    """Send the original bytes again, under the original key, to the topic they came from.

    Letters that were sent again once are not offered again; a record that fails a second time makes a new letter that names
    the first. Of a record that was too large for its letter the whole is taken from its topic, while that keeps it. Safe to
    repeat: what was applied meanwhile is known by its id. Exits with 1 when a letter could not be sent.
    """
    from services.letters_replay import replay

    settings = connected_settings()
    choice = _choice(settings, reason, topic, since)
    offered = _offered(settings, choice)
    if dry_run or not offered:
        _report(
            replay(settings, _letters(settings, choice), dry=True), "would be sent again" if dry_run else "sent again"
        )
        return
    for (origin, why), count in sorted(offered.items()):
        click.echo(f"{count} of {origin}, {why}", err=True)
    if not yes:
        click.confirm(f"Send {offered.total()} again?", abort=True, err=True)
    _report(replay(settings, _letters(settings, choice)), "sent again")


def _choice(settings: Common, reason: str, topic: str, since_ms: int, *, replayed: bool = False) -> "Choice":
    from services.letters import Choice
    from streaming.contracts.topics import TOPICS

    name = topic.removeprefix(settings.topic_prefix)
    known = [each.name for each in TOPICS]
    if name and name not in known:
        raise click.BadParameter(f"{topic!r}: wanted one of {', '.join(known)}", param_hint="--topic")
    return Choice(reason, name, since_ms, replayed)


def _letters(settings: Common, choice: "Choice") -> "Iterator[Letter]":
    from services.letters import chosen
    from services.reading import read_all
    from streaming.contracts.topics import DEAD_LETTERS

    return chosen(lambda: read_all(settings, DEAD_LETTERS), choice)


def _offered(settings: Common, choice: "Choice") -> Counter[tuple[str, str]]:
    """How many letters behind which a record stands, by topic and reason."""
    return Counter((found.topic, found.reason) for found in _letters(settings, choice) if found.topic)


def _report(done: "Sent", verb: str) -> None:
    from services.letters import where

    for letter, why in done.left:
        click.echo(f"stratagem: {letter.id} {where(letter)} cannot be sent again: {why}", err=True)
    click.echo(f"{done.sent} {verb}, {len(done.left)} cannot be, {done.recordless} tell of no record")
    sys.exit(EXIT_FOUND if done.left else 0)
