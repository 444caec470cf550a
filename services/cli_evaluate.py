"""`stratagem evaluate`: what the strategies brought, and what other policies would have."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from model.evaluation.report import Report


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path(".stratagem/evaluation"), show_default=True
)
@click.option("--from-kafka", is_flag=True, help="Read the topics instead of files.")
@click.option("--policy", "policies", multiple=True, metavar="NAME",
              help="Also value this one on the logged traffic: base, adapter-..., critic-... or adapter-...+critic-...")  # fmt: skip
@click.option("--off-policy-rows", type=click.IntRange(0), default=2000, show_default=True,
              help="The newest closed rewards that policies are valued on; 0: none.")  # fmt: skip
@click.option("--direct", type=click.Path(file_okay=False, path_type=Path), metavar="RUN",
              help="A response run: policies are valued a second time by its model of clicks and orders; wants --direct-data.")  # fmt: skip
@click.option("--direct-data", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="The prepared folder that knows what the customers did before.")  # fmt: skip
@click.option("--direct-mapping", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Which exposures are which strategies (TOML), as for `critic-prior`.")  # fmt: skip
@click.option("--currency", metavar="CODE", help="Of the money; that of most strategies when left out.")
@click.option("--banned", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Your own banned phrases, one a line, in any language.")  # fmt: skip
@click.option(
    "--resume/--restart", default=True, show_default=True, help="Keep topics that an interrupted run has read."
)
@click.option("--overwrite", is_flag=True, help="Replace a report that is there.")
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, metavar="PATH...")
def evaluate(*, out: Path, paths: tuple[Path, ...], **wishes: Any) -> None:
    """Say what the strategies of the files or folders PATH brought: a report.html for people, a report.json for machines.

    PATH holds JSON lines of `strategy.rewards` and, for the quality of texts, of `strategies`. With --from-kafka all that the topics hold is read.
    """
    from services.evaluating import is_free

    if not is_free(out):
        raise click.UsageError(f"{out} holds something else; name a folder that is not there yet")
    if out.exists() and any(out.iterdir()) and not wishes["overwrite"]:
        raise click.UsageError(f"{out} is there already; --overwrite replaces it")
    if bool(wishes["direct"]) != bool(wishes["direct_data"]):
        raise click.UsageError(
            "--direct and --direct-data belong together: a run, and the prepared folder that knows the customers"
        )
    if bool(paths) == wishes["from_kafka"]:
        raise click.UsageError("name files or folders, or --from-kafka: one of the two")
    try:
        report = _evaluated(out, paths, wishes)
    except KeyboardInterrupt:
        click.echo("stratagem: interrupted; nothing is written, the same command begins again", err=True)
        raise
    _tell(report, out)


def _evaluated(out: Path, paths: tuple[Path, ...], wishes: dict[str, Any]) -> "Report":
    from rich.console import Console
    from rich.progress import Progress

    from services.evaluated_direct import Direct
    from services.evaluating import Wishes, evaluate, write
    from services.settings import WorkerSettings, load
    from services.sharing import bound_threads

    settings = load(WorkerSettings, os.environ)
    bound_threads(os.environ, settings.threads)
    banned = _phrases(wishes["banned"])
    direct = Direct(wishes["direct"], wishes["direct_data"], wishes["direct_mapping"]) if wishes["direct"] else None
    if direct:
        from services.cli_models import need

        need("evaluate --direct", "polars", extra="models")
    asked = Wishes(wishes["policies"], banned, wishes["currency"], wishes["off_policy_rows"], direct)
    topics = out.parent / f".{out.name}.topics"
    with Progress(console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        if wishes["from_kafka"]:
            from services.cli_data import connected_settings
            from services.dumped_topics import dump_loop

            told("topics", 0, 1)
            paths = (dump_loop(connected_settings(), topics, resume=wishes["resume"]),)
            told("topics", 1, 1)
        report = evaluate(paths, settings, asked, told)
        write(report, out)
    shutil.rmtree(topics, ignore_errors=True)
    return report


def _phrases(path: Path | None) -> tuple[str, ...]:
    from model.data.errors import Refused

    if path is None:
        return ()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise Refused(f"{path} is not UTF-8") from None
    return tuple(line.strip() for line in lines if line.strip())


def _tell(report: "Report", out: Path) -> None:
    books = report.books
    click.echo(
        f"{books.contacted:,} closed strategies, {books.ghosts:,} moments without contact, {books.open:,} open; "
        f"{books.refused:,} lines refused"
    )
    for each in report.contrasts:
        if each.dimension == "overall":
            sure = "beyond chance" if each.found else f"not beyond chance (detectable: {each.detectable:.3f})"
            click.echo(
                f"{each.arm} against {each.against}: {each.difference:+.3f} ({each.low:+.3f} to {each.high:+.3f}), {sure}"
            )
    for value in report.off_policy:
        click.echo(
            f"policy {value.policy}: {value.dr.value:.3f} by DR ({value.reward_model}), {value.logged.value:.3f} as logged"
        )
    for warning in report.warnings:
        click.echo(f"warning: {warning}")
    click.echo(os.fspath(out / "report.html"))
