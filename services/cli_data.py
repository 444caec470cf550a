"""The commands of `stratagem` that publish, read and steer; see `services/cli.py` for the rest."""

import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from services.settings import Common, ShopSettings

EXIT_FOUND = 1
"""Exit code of a command that ran and found something wrong or nothing at all."""


def connected_settings() -> Common:
    """The common settings, with the embedded stack's addresses where none are set."""
    from services.endpoints import connected

    return connected(Common, os.environ)


def nothing(message: str) -> None:
    """Say that there is no such thing, and end."""
    click.echo(f"stratagem: {message}", err=True)
    sys.exit(EXIT_FOUND)


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--dry-run", is_flag=True, help="Only check: needs no Kafka, publishes nothing.")
@click.option("--now", is_flag=True, help="Move all events in time so that the newest happens now.")
def publish(file: Any, *, dry_run: bool, now: bool) -> None:
    """Publish JSON lines (events, products, campaigns) from FILE or standard input, each to its topic.

    Every line is checked against the contract first. Refused lines are named with field, value and what was wanted;
    the others are published and acknowledged by all replicas. Exits with 1 when any line was refused.
    """
    from services.publish import shifted_to, verdicts, wall_ms

    lines = shifted_to(file, wall_ms()) if now else file
    judged = list(verdicts(lines, wall_ms()))
    good = [verdict.record for verdict in judged if verdict.record is not None]
    for verdict in judged:
        if verdict.refusal:
            click.echo(f"line {verdict.line} refused: {verdict.refusal}", err=True)
        elif verdict.record is not None and verdict.record.note:
            click.echo(f"line {verdict.line} {verdict.record.note}", err=True)
    sent = 0 if dry_run else _sent(good)
    refused = len(judged) - len(good)
    click.echo(f"{len(good)} good, {refused} refused, {sent} published")
    sys.exit(EXIT_FOUND if refused else 0)


def _sent(records: list[Any]) -> int:
    from services.delivery import deliver
    from services.publish import addressed

    settings = connected_settings()
    return deliver(settings, addressed(records, settings))


@click.command()
@click.option("--source", type=click.Choice(["completejourney"]), default="completejourney", show_default=True)
@click.option("--begin", type=click.DateTime(["%Y-%m-%d"]), default=None, help="First day; PATH's own when left out.")
@click.option(
    "--days", type=click.IntRange(1), default=None, help="Stop after so many days; PATH's last when left out."
)
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
def replay(source: str, begin: datetime | None, days: int | None, path: Path | None) -> None:
    """Play real purchases from PATH (the full data set's folder; the shipped extract when left out).

    Needs running services with STRATAGEM_CLOCK=replay, e.g. `STRATAGEM_CLOCK=replay stratagem up`. The clock runs as fast
    as answers come. STRATAGEM_DEMO_MINUTES bounds its wall time.
    """
    from services.endpoints import connected
    from services.shop.replay import replay_source

    settings = connected(ShopSettings, os.environ)
    logging.basicConfig(level=settings.log_level, stream=sys.stderr)
    first = begin.replace(tzinfo=UTC) if begin else None
    sys.exit(replay_source(settings, source, path, days=days, begin=first))


@click.command()
@click.argument("what", type=click.Choice(["strategies", "rewards", "suppressions", "adapters", "decisions"]))
@click.option("--from-beginning", is_flag=True, help="Begin with the oldest record instead of the next one.")
@click.option("--json", "as_json", is_flag=True, help="The records as they are, one JSON object a line.")
@click.option("--limit", type=click.IntRange(1), default=None, help="Stop after so many.")
def watch(what: str, *, from_beginning: bool, as_json: bool, limit: int | None) -> None:
    """Show strategies, rewards, suppressions, adapters or gate decisions as they come."""
    from services.reading import follow
    from services.watch import WATCHABLE, describe

    records = follow(connected_settings(), WATCHABLE[what][0], from_beginning=from_beginning)
    for number, record in enumerate(records, 1):
        click.echo((record.value or b"null").decode("utf-8", "replace") if as_json else describe(what, record))
        if number == limit:
            return


@click.command()
@click.argument("user")
def profile(user: str) -> None:
    """Print the profile of USER as JSON; exits with 1 when there is none."""
    row = with_redis(lambda client, prefix: _control().read_profile(client, user, prefix))
    if row is None:
        nothing(f"no profile of {user!r}")
    click.echo(row)


@click.command()
def pause() -> None:
    """Stop new strategies everywhere within a second; moments are recorded as suppressed (paused)."""
    with_redis(lambda client, prefix: _control().pause(client, prefix))
    click.echo("paused")


@click.command()
def resume() -> None:
    """Lift a pause."""
    with_redis(lambda client, prefix: _control().resume(client, prefix))
    click.echo("resumed")


def _control() -> Any:
    from streaming import control

    return control


def with_redis(act: Callable[[Any, str], Any]) -> Any:
    """What comes of `act(client, topic prefix)`."""
    from services.clients import redis_client

    settings = connected_settings()
    client = redis_client(settings, retries=0)  # somebody waits at a terminal
    try:
        return act(client, settings.topic_prefix)
    finally:
        client.close()


@click.group()
def adapters() -> None:
    """Look at the versions of adapters and critics, and say what is served."""


@adapters.command("list")
def adapters_list() -> None:
    """Every announced version that still stands, and what is served."""
    from services.adapters import lines

    for line in lines(connected_settings()):
        click.echo(line)


@adapters.command("show")
@click.argument("name")
def adapters_show(name: str) -> None:
    """One version's announcement and the gate's decisions on it, as JSON."""
    from services.adapters import show

    found = show(connected_settings(), name)
    if found is None:
        nothing(f"no version {name!r}; `stratagem adapters list` names them")
    click.echo(found)


def _act_options(command: Any) -> Any:
    by = click.option("--by", default=None, help="Your name on the decision; your login name when left out.")
    return by(click.option("--reason", required=True, help="Why, in your words; stands on the decision.")(command))


def _done(act: Callable[[Any, Any], Any], by: str | None, reason: str) -> None:
    """Do an operator's act, say what came of it; exits with 1 when it cannot be done."""
    from getpass import getuser

    from services.adapters import Act
    from services.endpoints import connected
    from services.settings import UpdaterSettings
    from streaming.contracts.errors import BadEvent

    if not reason.strip():
        raise click.BadParameter("a reason that says something is wanted", param_hint="--reason")
    try:
        decision = act(connected(UpdaterSettings, os.environ), Act(by or getuser(), reason.strip()))
    except BadEvent as error:
        nothing(str(error))
    click.echo(f"{decision.version} {decision.decision} by {decision.by}; {decision.checks[0].detail}")


@adapters.command("promote")
@click.argument("name")
@_act_options
def adapters_promote(name: str, by: str | None, reason: str) -> None:
    """Serve NAME to everybody as champion, whatever the gate says of it; it becomes its own anchor."""
    from services.adapters import promote

    _done(lambda settings, act: promote(settings, name, act), by, reason)


@adapters.command("rollback")
@click.argument("name")
@click.option("--to", default="", help="What to serve instead of a champion; its anchor or parent when left out.")
@_act_options
def adapters_rollback(name: str, to: str, by: str | None, reason: str) -> None:
    """Take NAME off trial if it is the canary; if it is the champion, serve what was served before it."""
    from services.adapters import roll_back

    _done(lambda settings, act: roll_back(settings, name, act, to), by, reason)


COMMANDS = (publish, replay, watch, profile, pause, resume, adapters)
"""What `services/cli.py` adds to the one command."""
