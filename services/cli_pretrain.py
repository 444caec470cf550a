"""`stratagem pretrain`: a model learned from a shop's own texts, or the base that ships from its committed recipe."""

import sys
from pathlib import Path
from typing import Any

import click

from services.cli_models import EXIT_FOUND, METHODS, bound, need, telling

BASE = Path(".stratagem/base")
OF_LANGUAGE = frozenset(
    {"shape", "tokenizer", "vocabulary", "layers", "length", "initial_scale", "dropout", "peft", "rank", "merge"}
)
OF_PRODUCTS = frozenset({"window_days", "correction", "buckets"})
"""Options that only language models have, and only contrastive learning has."""


@click.command()
@click.option("--objective", type=click.Choice(["causal", "mlm", "nsp", "contrastive"]), help="The next token, hidden words, whether a session follows another, or what is bought together; without it, the base that ships is made anew.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), help="What `stratagem data prepare` made.")
@click.option("--out", type=click.Path(path_type=Path), help=f"The run's folder to make; the base's is {BASE}.")
@click.option("--base", default="", help="A checkpoint to go on from, by path or hub name; else a model from scratch. Contrastive: the base that the vectors go with.")  # fmt: skip
@click.option("--peft", type=click.Choice(METHODS), default="full", show_default=True, help="What of a causal base is trained.")  # fmt: skip
@click.option("--rank", type=click.IntRange(0), default=0, help="Of the method: rank, tokens or width; its own when left out.")  # fmt: skip
@click.option("--merge", is_flag=True, help="Write the method into the base's weights: one model as any other.")
@click.option("--shape", type=click.Choice(["llama", "gpt2", "qwen2", "bert"]), help="From scratch: llama, for mlm and nsp bert.")  # fmt: skip
@click.option("--tokenizer", default="", help="bpe, wordpiece, or one by path or hub name.")
@click.option("--vocabulary", type=click.IntRange(300), default=2_000, show_default=True, help="Of a tokenizer made here.")  # fmt: skip
@click.option("--width", type=click.IntRange(8), default=64, show_default=True)
@click.option("--layers", type=click.IntRange(1), default=2, show_default=True)
@click.option("--length", type=click.IntRange(8), default=64, show_default=True, help="Tokens of a row, at most.")
@click.option("--initial-scale", type=click.FloatRange(0, 1), default=0.0, help="Of the first weights; .02, narrow nsp .1.")  # fmt: skip
@click.option(
    "--dropout", type=click.FloatRange(0, 0.9), default=0.1, show_default=True, help="From scratch; of a method."
)
@click.option("--steps", type=click.IntRange(1), default=1_000, show_default=True)
@click.option("--window-days", type=click.FloatRange(0), default=0.0, show_default=True, help="Contrastive: 0: an order is a basket; else all that a customer buys within so many days.")  # fmt: skip
@click.option("--correction", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Contrastive: share of a negative's popularity that is taken out of its score.")  # fmt: skip
@click.option("--buckets", type=click.IntRange(256, 1 << 20), default=1 << 14, show_default=True, help="Contrastive: features of texts told apart.")  # fmt: skip
@click.option("--batch", type=click.IntRange(1), default=None, help="Rows; contrastive: baskets.  [default: 32, contrastive 256]")  # fmt: skip
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=None, help="[default: .001, contrastive .002]")
@click.option("--weight-decay", type=click.FloatRange(0), default=0.01, show_default=True)
@click.option("--accumulate", type=click.IntRange(1), default=1, show_default=True, help="Batches per step.")
@click.option("--patience", type=click.IntRange(0), default=0, show_default=True, help="Evaluations (ten per run) without gain before stopping; 0: never.")  # fmt: skip
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, auto.")
@click.option("--tracker", "track", type=click.Choice(["none", "tensorboard", "wandb", "mlflow"]), default="none", show_default=True)  # fmt: skip
@click.option("--scale", type=click.FloatRange(0.001, 10), default=1.0, show_default=True, help="Of the base's recipe, its length.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Bytes repeat with one.")
@click.option("--resume/--restart", default=True, show_default=True, help="Go on where an interrupted run stopped.")
@click.option("--overwrite", is_flag=True, help="Replace a run that is there.")
def pretrain(*, objective: str | None, data: Path | None, out: Path | None, scale: float, threads: int, **wishes: Any) -> None:  # fmt: skip
    """Learn language from a shop's products and sessions, and report beside a peer that knows frequencies alone.

    With --objective: a model and its tokenizer in the run's folder below `model`, as transformers reads them, and report.json: loss, perplexity
    and accuracy on texts that were held out, with intervals. Exits with 1 when the model is not better than its peer beyond chance.

    contrastive: an encoder of products' texts, and each product's vectors, below `representation`; report.json: what was bought beside a product,
    found among all products and among those that are held out, beside tf-idf and popularity.

    Without --objective: make the base model that ships from its committed recipe: corpus, causal LM, fine-tuning with teachers.
    """
    if objective is None:
        if data is not None or wishes["base"]:
            raise click.UsageError("--data and --base need --objective causal, mlm, nsp or contrastive")
        _base(out or BASE, scale=scale, threads=threads, seed=wishes["seed"], resume=wishes["resume"])
        return
    if data is None or out is None:
        raise click.UsageError("--objective needs --data and --out")
    need("pretrain --objective", "polars", extra="data")
    bound(threads)
    _fits(objective)
    report = _run(data, out, wishes | {"objective": objective, "shape": wishes["shape"] or ""})
    for name, scores in report["models"].items():
        shown = ", ".join(f"{key} {s['value']:.3f} ({s['low']:.3f} to {s['high']:.3f})" for key, s in scores.items())
        click.echo(f"{name}: {shown}")
    click.echo(report["verdict"]["says"])
    click.echo(f"{out / 'report.json'}")
    sys.exit(0 if report["verdict"]["go_on"] else EXIT_FOUND)


def _fits(objective: str) -> None:
    """Refuse options that the objective does not have."""
    source = click.get_current_context().get_parameter_source
    other = OF_LANGUAGE if objective == "contrastive" else OF_PRODUCTS
    wrong = sorted(name for name in other if source(name) == click.core.ParameterSource.COMMANDLINE)
    if wrong:
        raise click.UsageError(f"--objective {objective} has no --{wrong[0].replace('_', '-')}")


def _run(data: Path, out: Path, wishes: dict[str, Any]) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import Progress

    how = {name: wishes.pop(name) for name in ("resume", "overwrite", "track")}
    wishes = {name: value for name, value in wishes.items() if value is not None}
    other = OF_LANGUAGE | {"objective"} if wishes["objective"] == "contrastive" else OF_PRODUCTS
    kept = {name: value for name, value in wishes.items() if name not in other}
    try:
        with Progress(*Progress.get_default_columns(), "{task.fields[said]}", console=Console(stderr=True)) as bar:
            if wishes["objective"] == "contrastive":
                from model.representation import pretrain as contrastive

                return contrastive.main(data, out, contrastive.Settings(**kept), telling(bar)(contrastive.NAME), **how)
            from model.objectives.pretrain import NAME, Settings, main

            return main(data, out, Settings(**kept), telling(bar)(NAME), **how)
    except KeyboardInterrupt:
        click.echo("stratagem: interrupted; the same command goes on from here", err=True)
        raise


def _base(out: Path, *, seed: int, scale: float, threads: int, resume: bool) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from model.pretrain import main as make_base
    from model.report import MARKS, measure

    with Progress(*Progress.get_default_columns(), "{task.fields[losses]}", console=Console(stderr=True)) as bar:
        task = bar.add_task("pretraining", total=None, losses="")

        def told(step: int, steps: int, losses: dict[str, float]) -> None:
            said = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            bar.update(task, completed=step, total=steps, losses=said)

        make_base(out, seed=seed, scale=scale, threads=threads, resume=resume, progress=told)
        if scale >= 1:  # a shortened recipe is for trying it out: its base would not pass
            measure(out, told=lambda trial, step, kl: told(step, max(MARKS), {f"measured on {trial}": kl}))
