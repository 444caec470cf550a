"""`stratagem tune`: a search for settings of `stratagem finetune`, in trials."""

import sys
import time
from pathlib import Path
from typing import Any

import click

from services.cli_models import EXIT_FOUND, METHODS, bound, need, telling


@click.command()
@click.option("--task", type=click.Choice(["response"]), required=True, help="What is to be learned.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="What `stratagem data prepare` made.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The run's folder to make.")  # fmt: skip
@click.option("--trials", type=click.IntRange(1), default=20, show_default=True, help="At most.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="No trial is begun after so many.")
@click.option("--pruner", type=click.Choice(["median", "halving", "none"]), default="median", show_default=True, help="What ends trials early.")  # fmt: skip
@click.option("--base", default="", help="A bidirectional checkpoint, by path or hub name; else a small BERT from scratch.")  # fmt: skip
@click.option("--peft", type=click.Choice(METHODS), default="full", show_default=True, help="What of the base is trained; where it has a rank, that is searched as well.")  # fmt: skip
@click.option("--known", "fewest", type=click.FloatRange(0, 0.95, min_open=True), default=0.35, show_default=True, help="Share of the exposures that the search may know; what is sent later is left to judge by.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True, help="Of a trial, at most.")
@click.option("--patience", type=click.IntRange(0), default=4, show_default=True, help="Evaluations (two per epoch) without gain before a trial stops; 0: never.")  # fmt: skip
@click.option("--accumulate", type=click.IntRange(1), default=1, show_default=True, help="Batches per step.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, auto.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Trials repeat with one.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--tracker", "track", type=click.Choice(["none", "tensorboard", "wandb", "mlflow"]), default="none", show_default=True)  # fmt: skip
@click.option("--resume/--restart", default=True, show_default=True, help="Go on where an interrupted search stopped.")
@click.option("--overwrite", is_flag=True, help="Replace a run that is there.")
def tune(*, task: str, data: Path, out: Path, threads: int, minutes: float | None, **wishes: Any) -> None:
    """Search for a learning rate, batch size, dropout, weight decay and, for a method that has one, a rank.

    Trials learn from what was known at the first origin that will be judged, and are scored on the newest quarter of it: nothing that a report
    judges is read. Writes report.json: every trial, the best, what mattered, and the `stratagem finetune` line that judges it on later exposures.

    Exits with 1 when nothing is better, beyond chance, than the settings it began with.
    """
    need("tune", "polars", "sklearn", "matplotlib", "optuna", extra="tuning")
    bound(threads)
    until = float("inf") if minutes is None else time.monotonic() + 60 * minutes
    report = _run(data, out, wishes, until)
    assert task == report["tunes"]
    _tell(report, out)
    sys.exit(0 if report["verdict"]["go_on"] else EXIT_FOUND)


def _run(data: Path, out: Path, wishes: dict[str, Any], until: float) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import Progress

    from model.response.fitting import Settings
    from model.tuning.search import Wish, main

    how = {name: wishes.pop(name) for name in ("resume", "overwrite", "track")}
    trials, pruner = wishes.pop("trials"), wishes.pop("pruner")
    wish = Wish(Settings(**wishes), trials, pruner)
    try:
        with Progress(*Progress.get_default_columns(), "{task.fields[said]}", console=Console(stderr=True)) as bar:
            return main(data, out, wish, telling(bar), lambda: time.monotonic() < until, **how)
    except KeyboardInterrupt:
        click.echo("stratagem: interrupted; the same command goes on from here", err=True)
        raise


def _tell(report: dict[str, Any], out: Path) -> None:
    for trial in report["trials"]:
        settings = ", ".join(f"{name} {value:.4g}" for name, value in trial["settings"].items())
        came = "pruned" if trial["value"] is None else f"{trial['value']:.4f}"
        click.echo(f"trial {trial['number']}: {came} after {len(trial['scores'])} evaluations; {settings}")
    shares = sorted(report["importance"].items(), key=lambda each: -each[1])
    if shares:
        click.echo("what mattered: " + ", ".join(f"{name} {share:.0%}" for name, share in shares))
    click.echo(report["verdict"]["says"])
    click.echo(report["command"])
    click.echo(f"{out / 'report.json'}")
