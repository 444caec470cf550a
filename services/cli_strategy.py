"""`stratagem finetune --task strategy`: a base learned from logged strategies; and the choice between the command's tasks."""

import itertools
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click

NAME = "strategy"


@click.command("finetune")
@click.option("--task", type=click.Choice([NAME]), required=True, help="What to learn.")
@click.option("--data", type=click.Path(path_type=Path), multiple=True, help="Files or folders of `strategy.rewards`, JSON lines, as `stratagem evaluate` takes them.")  # fmt: skip
@click.option("--from-kafka", is_flag=True, help="Read the topics instead of files.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The run's folder to make.")  # fmt: skip
@click.option("--base", default="", help="A causal checkpoint, by path or hub name; else the base that ships.")
@click.option("--rows", type=click.IntRange(1), default=20_000, show_default=True, help="The newest closed strategies, at most so many.")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), default=200, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True, help="Logged strategies per step.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=2e-4, show_default=True)
@click.option("--weight-decay", type=click.FloatRange(0), default=0.01, show_default=True)
@click.option("--accumulate", type=click.IntRange(1), default=1, show_default=True, help="Batches per step.")
@click.option("--beta", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True, help="Spreads of the advantage by which a weight grows e-fold.")  # fmt: skip
@click.option("--most-weight", type=click.FloatRange(1), default=20.0, show_default=True, help="Largest weight of an outcome.")  # fmt: skip
@click.option("--importance", type=click.FloatRange(0), default=0.0, show_default=True, help="Largest weight of what was improbable; 0: propensities do not count.")  # fmt: skip
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), default=0.5, show_default=True, help="Of the way from the base's weights to the learned ones; a base that never met the teachers goes all of it.")  # fmt: skip
@click.option("--teacher-weight", type=click.FloatRange(0), default=1.0, show_default=True, help="Of the teachers' loss; at 0 a base forgets how to be taught.")  # fmt: skip
@click.option("--message-weight", type=click.FloatRange(0), default=0.3, show_default=True)
@click.option("--judged", type=click.IntRange(20), default=1_000, show_default=True, help="Held-out strategies, at most.")  # fmt: skip
@click.option("--critics", type=click.IntRange(2), default=6, show_default=True, help="Distilled to compare teachability.")  # fmt: skip
@click.option("--lora-steps", type=click.IntRange(4), default=200, show_default=True, help="Of each distillation.")
@click.option("--customers", type=click.IntRange(16), default=512, show_default=True, help="Of each distillation; half as many judge it.")  # fmt: skip
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, auto.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Bytes repeat with one.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--tracker", "track", type=click.Choice(["none", "tensorboard", "wandb", "mlflow"]), default="none", show_default=True)  # fmt: skip
@click.option("--resume/--restart", default=True, show_default=True, help="Go on where an interrupted run stopped.")
@click.option("--overwrite", is_flag=True, help="Replace a run that is there.")
def strategy(*, task: str, data: tuple[Path, ...], out: Path, from_kafka: bool, threads: int, **wishes: Any) -> None:
    """Learn to write strategies from logged ones, weighted by what they brought, with the teachers of pretraining mixed in.

    Judged on strategies issued after all that was learned from had closed: likelihood of what went well, worth as a policy, messages, and whether
    the base can still be taught, beside the base that ships. Writes report.json and, unless the base is refused, `base`, which
    STRATAGEM_BASE_MODEL takes.

    Exits with 1 when the base is refused: its weights are kept without what loads them.
    """
    assert task == NAME
    if bool(data) == from_kafka:
        raise click.UsageError("name --data, or --from-kafka: one of the two")
    from services.cli_models import EXIT_FOUND, bound

    bound(threads)
    try:
        report = _run(data, out, wishes)
    except KeyboardInterrupt:
        click.echo("stratagem: interrupted; the same command goes on from here", err=True)
        raise
    _tell(report, out)
    sys.exit(0 if report["verdict"]["go_on"] else EXIT_FOUND)


def _run(paths: tuple[Path, ...], out: Path, wishes: dict[str, Any]) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import Progress

    from model.strategy.finetune import main
    from model.strategy.work import Settings
    from services.cli_data import connected_settings
    from services.cli_models import telling
    from services.dumped_topics import dump_loop
    from services.settings import WorkerSettings, load
    from services.strategy_log import read_log, sha256_of
    from services.valuing import formula_of

    how: dict[str, Any] = {name: wishes.pop(name) for name in ("resume", "overwrite", "track")}
    most, settings = wishes.pop("rows"), load(WorkerSettings, os.environ)
    begun, topics = out.parent / f".{out.name}.partial", out.parent / f".{out.name}.topics"
    try:
        with Progress(*Progress.get_default_columns(), "{task.fields[said]}", console=Console(stderr=True)) as bar:
            of = telling(bar)
            if not paths:  # what was read is kept for the run that was begun with it alone
                paths = (dump_loop(connected_settings(), topics, resume=how["resume"] and begun.exists()),)
            log = read_log(paths, most, lambda what, done, total: of(what)(done, total, {}, None))
            origin = log.counts | {"rows": most, "reward": repr(formula_of(settings))}
            made = Settings(**wishes, temperature=settings.lm_temperature)
            how |= {"origin": origin, "data_sha256": sha256_of(paths), "kept": Path(settings.home) / "examined"}
            return main(log.rewards, formula_of(settings), out, made, of, **how)
    finally:
        if not begun.exists():
            shutil.rmtree(topics, ignore_errors=True)


def _tell(report: dict[str, Any], out: Path) -> None:
    counts, held = report["strategies"], report["held"]
    click.echo(
        f"{counts['train'] + counts['valid']:,} closed strategies learned from, {counts['judged']:,} of {held['customers']:,} customers judged, "
        f"{counts['straddling']:,} in between"
    )
    for name in ("even", "old", "new", "gain"):
        click.echo(f"log-likelihood, weighted, {name}: {_shown(held['likelihood'][name])} nats per decision")
    for name, value in held["value"].items():
        if value is not None:
            click.echo(f"policy, {name} base: {_shown(value['dr'])} by DR, {_shown(value['snips'])} by SNIPS, {value['logged']['value']:.3f} as logged")  # fmt: skip
            for warning in value["warnings"]:
                click.echo(f"warning: {name} base: {warning}")
    if held["value_gain"] is not None:
        click.echo(f"policy, new less old: {_shown(held['value_gain'])} by DR")
    taught = report["teachability"]
    for name in ("new", "shipped", "difference"):
        click.echo(f"teachability, {name}: {_shown(taught[name])}")
    words = report["composed_words"]
    click.echo(
        f"messages that pass the checks: {_shown(words['new'])}, of the base that ships {words['shipped']['value']:.3f}"
    )
    click.echo(report["verdict"]["says"])
    click.echo(f"{out / ('base' if report['verdict']['go_on'] else 'report.json')}")


def _shown(found: dict[str, Any]) -> str:
    if found["low"] is None:
        return f"{found['value']:.3f}"
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


class ByTask(click.Command):
    """A command whose options are those of its task: `--task strategy` has its own, `--task strategy --help` shows them."""

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:  # fmt: skip
        """The context of the command that the arguments name."""
        if f"--task={NAME}" in args or any(pair == ("--task", NAME) for pair in itertools.pairwise(args)):
            return strategy.make_context(info_name, args, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)
