"""`stratagem finetune`: models learned from prepared data, each with a report that tells whether to go on."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.cli_strategy import ByTask

if TYPE_CHECKING:
    from model.training.loop import Told

EXIT_FOUND = 1
METHODS = ("lora", "adalora", "dora", "ia3", "full", "prefix", "prompt", "adapter")
"""Of `model/peft_methods/kinds.py`, named here so that help needs no torch."""


@click.command(cls=ByTask)
@click.option("--task", type=click.Choice(["response", "strategy"]), required=True, help="What to learn; --task strategy --help tells of its own options.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), required=True, help="What `stratagem data prepare` made.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The run's folder to make."
)
@click.option(
    "--base", default="", help="A bidirectional checkpoint, by path or hub name; else a small BERT from scratch."
)
@click.option(
    "--peft", type=click.Choice(METHODS), default="full", show_default=True, help="What of the base is trained."
)
@click.option(
    "--rank", type=click.IntRange(0), default=0, help="Of the method: rank, tokens or width; its own when left out."
)
@click.option("--merge", is_flag=True, help="Write the method into the base's weights: one model as any other.")
@click.option(
    "--known",
    "fewest",
    type=click.FloatRange(0, 0.95, min_open=True),
    default=0.15,
    show_default=True,
    help="Share of the exposures that the first origin knows; what is sent later is judged.",
)
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True)
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=1e-3, show_default=True)
@click.option("--weight-decay", type=click.FloatRange(0), default=0.05, show_default=True)
@click.option("--dropout", type=click.FloatRange(0, 0.9), default=0.2, show_default=True)
@click.option("--class-weight", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True, help="How often an answered exposure counts.")  # fmt: skip
@click.option("--members", type=click.IntRange(1), default=1, show_default=True, help="Encoders averaged per origin.")
@click.option("--patience", type=click.IntRange(0), default=4, show_default=True, help="Evaluations (two per epoch) without gain before stopping; 0: never.")  # fmt: skip
@click.option("--accumulate", type=click.IntRange(1), default=1, show_default=True, help="Batches per step.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, auto.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Bytes repeat with one.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--tracker",
    "track",
    type=click.Choice(["none", "tensorboard", "wandb", "mlflow"]),
    default="none",
    show_default=True,
)
@click.option("--resume/--restart", default=True, show_default=True, help="Go on where an interrupted run stopped.")
@click.option("--overwrite", is_flag=True, help="Replace a run that is there.")
def finetune(*, task: str, data: Path, out: Path, threads: int, track: str, **wishes: Any) -> None:
    """Learn from prepared data and report beside simpler models on the same split.

    response: who answers an ad (click, collect, purchase), by an encoder of behaviour and the ad's text, beside the customers' prior rate,
    logistic regression and gradient boosting; judged on what was sent after all that was learned from had ended. Writes report.json,
    plots, the encoder, and what it was made from.

    Exits with 1 when no model is better than the prior rate beyond chance.
    """
    need("finetune", "polars", "sklearn", "matplotlib", extra="models")
    from rich.console import Console
    from rich.progress import Progress

    from model.response.finetune import main
    from model.response.fitting import Settings

    bound(threads)
    resume, overwrite = wishes.pop("resume"), wishes.pop("overwrite")
    try:
        with Progress(*Progress.get_default_columns(), "{task.fields[said]}", console=Console(stderr=True)) as bar:
            report = main(data, out, Settings(**wishes), telling(bar), resume=resume, overwrite=overwrite, track=track)
    except KeyboardInterrupt:
        click.echo("stratagem: interrupted; the same command goes on from here", err=True)
        raise
    assert task == report["task"]
    _tell(report, out)
    sys.exit(0 if report["verdict"]["go_on"] else EXIT_FOUND)


def need(command: str, *modules: str, extra: str) -> None:
    """Name the packages that a command lacks, and the extra that has them."""
    from importlib.util import find_spec

    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        from services.local.process import MissingPart

        raise MissingPart(
            f"{', '.join(missing)} is not here; `stratagem {command}` needs the extra `{extra}`: pip install 'stratagem[{extra}]'"
        )


def bound(threads: int) -> None:
    """Let torch use so many threads."""
    import torch

    torch.set_num_threads(threads)


def telling(bar: Any) -> "Callable[[str], Told]":
    """A row of progress per training; what it will cost is said once, when it is known."""
    begun: dict[str, Any] = {}

    def of(name: str) -> "Told":
        def told(step: int, steps: int, metrics: dict[str, float], cost: Any) -> None:
            if name not in begun:
                begun[name] = bar.add_task(name, total=steps, said="")
            said = " ".join(f"{key.rpartition('/')[2]} {value:.3f}" for key, value in metrics.items())
            if cost is not None:
                said += f", about {cost.minutes:.1f} min, {cost.memory_gb:.1f} GB"
                if f"cost {name}" not in begun:
                    begun[f"cost {name}"] = True
                    bar.console.print(
                        f"{name}: {steps} steps, at most {cost.minutes:.1f} minutes, {cost.memory_gb:.1f} GB of memory"
                    )
            bar.update(begun[name], completed=step, total=steps, said=said)

        return told

    return of


def _tell(report: dict[str, Any], out: Path) -> None:
    click.echo(
        f"{report['label']}: {report['judged']:,} of {report['exposures']:,} exposures judged, {report['answered']:,} answered"
    )
    for name, scores in report["models"].items():
        shown = ", ".join(f"{key} {s['value']:.3f} ({s['low']:.3f} to {s['high']:.3f})" for key, s in scores.items())
        click.echo(f"{name}: {shown}")
    click.echo(report["verdict"]["says"])
    click.echo(f"{out / 'report.json'}")
