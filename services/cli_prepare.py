"""`stratagem data`: a shop's raw files made into what a model may learn from."""

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from model.data.card import Card

EXIT_FOUND = 1
SOURCES = ("segment", "completejourney", "rees46", "yoochoose")


@click.group()
def data() -> None:
    """Prepare data for training."""


@data.command()
@click.option("--source", required=True, help=f"{', '.join(SOURCES)}, or a name of your own with --mapping.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to make.")
@click.option("--mapping", type=click.Path(path_type=Path), help="Which column is which field (TOML).")
@click.option("--labels", type=click.Path(path_type=Path), help="Label functions (TOML); else the source's own.")
@click.option("--people", type=click.Path(path_type=Path), multiple=True, help="What people said with `stratagem label`; it counts before other labels.")  # fmt: skip
@click.option("--features", type=click.Path(path_type=Path), help="Your own features of exposures: CSV or Parquet.")
@click.option("--from-kafka", is_flag=True, help="Read the topics instead of files.")
@click.option("--valid-from", type=click.DateTime(["%Y-%m-%d"]), help="Where validation begins; else at 70 %.")
@click.option("--test-from", type=click.DateTime(["%Y-%m-%d"]), help="Where the test begins; else at 85 %.")
@click.option(
    "--near-duplicates", type=click.Choice(["drop", "group"]), help="Texts nearly alike; else as the source says."
)
@click.option("--pseudonym-key", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="File whose bytes name people the same in every run; else a key is drawn and thrown away.")  # fmt: skip
@click.option("--resume/--restart", default=True, show_default=True, help="Go on where an interrupted run stopped.")
@click.option("--overwrite", is_flag=True, help="Replace an output that is there.")
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, metavar="PATH...")
def prepare(*, source: str, out: Path, paths: tuple[Path, ...], **wishes: Any) -> None:
    """Clean, deduplicate, label and split the files or folders PATH, and tell all about it in a data card.

    Writes below --out: one Parquet file per table, exposures with their labels and features, labels/, quarantine.jsonl with
    every refused value and why, card.html and card.json. The folder appears when all of it is there.

    Exits with 1 when a check finds that a feature knows the future: then no exposures are written.
    """
    _check_out(out, overwrite=wishes["overwrite"])
    if bool(paths) == wishes["from_kafka"]:
        raise click.UsageError("name files or folders, or --from-kafka: one of the two")
    try:
        import polars as pl  # noqa: F401 -- only whether it is there
    except ImportError:
        from services.local.process import MissingPart

        raise MissingPart("`stratagem data` needs the extra `data`: pip install 'stratagem[data]'") from None
    try:
        card = _prepared(source, out, paths, wishes)
    except KeyboardInterrupt:
        click.echo("stratagem: interrupted; the same command goes on from here", err=True)
        raise
    _tell(card, out)
    sys.exit(0 if card.trainable else EXIT_FOUND)


def _check_out(out: Path, *, overwrite: bool) -> None:
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / "card.json").is_file():
        raise click.UsageError(f"{out} holds something else; name a folder that is not there yet")
    if not overwrite:
        raise click.UsageError(f"{out} is there already; --overwrite replaces it")


def _prepared(source: str, out: Path, paths: tuple[Path, ...], wishes: dict[str, Any]) -> "Card":
    from rich.console import Console
    from rich.progress import Progress

    from model.data.finish import Wishes, finish
    from model.data.labels import of_people, read_labels
    from model.data.mapping import read_mapping, shipped
    from model.data.prepare import Order, collect, fingerprint
    from model.data.stage import Stage

    if wishes["mapping"] is None and source not in SOURCES:
        raise click.UsageError(f"no source {source!r}: one of {', '.join(SOURCES)}, or any name with --mapping FILE")
    mapping = read_mapping(wishes["mapping"]) if wishes["mapping"] else None if source == "segment" else shipped(source)
    if wishes["from_kafka"]:
        if mapping is not None:
            raise click.UsageError("topics hold lines of our own format: --from-kafka goes with --source segment")
        paths = (_topics(out, resume=wishes["resume"]),)
    labels = mapping.label if mapping and mapping.label and not wishes["labels"] else read_labels(wishes["labels"])
    labels = (*[label for path in wishes["people"] for label in of_people(path)], *labels)
    key = wishes["pseudonym_key"].read_bytes() if wishes["pseudonym_key"] else None
    order = Order(source, paths, mapping, round(time.time() * 1000), wishes["near_duplicates"], key)
    chosen = Wishes(source, labels, _utc(wishes["valid_from"]), _utc(wishes["test_from"]), wishes["features"])
    stage = Stage(out, fingerprint(order), resume=wishes["resume"])
    with Progress(console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        try:
            return finish(collect(order, stage, told), chosen, stage, told)
        finally:
            stage.close()
            if wishes["from_kafka"] and out.exists():
                _forget_topics(out)


def _topics(out: Path, *, resume: bool) -> Path:
    from services.cli_data import connected_settings
    from services.dumped_topics import dump

    return dump(connected_settings(), _topics_folder(out), resume=resume)


def _forget_topics(out: Path) -> None:
    import shutil

    shutil.rmtree(_topics_folder(out), ignore_errors=True)


def _topics_folder(out: Path) -> Path:
    return out.parent / f".{out.name}.topics"


def _utc(day: datetime | None) -> datetime | None:
    return day.replace(tzinfo=UTC) if day else None


def _tell(card: "Card", out: Path) -> None:
    for name, table in card.tables.items():
        dropped = ", ".join(f"{reason} {rows:,}" for reason, rows in table.dropped.items())
        click.echo(
            f"{name}: {table.rows_in:,} in, {table.rows_out:,} out" + (f"; dropped: {dropped}" if dropped else "")
        )
    for finding in card.leakage:
        click.echo(f"{'leak' if finding.failed else 'warning'}: {finding.about}: {finding.message}")
    click.echo(f"{os.fspath(out / 'card.html')}")
