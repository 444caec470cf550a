"""`stratagem critic-prior`: what a response run knows, as what a new deployment's critic believes before its first reward."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from services.critic_prior import Written


@click.command("critic-prior")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="The prepared folder: its customers and exposures are asked about.")  # fmt: skip
@click.option("--mapping", type=click.Path(path_type=Path), help="Which exposures are which strategies (TOML); else the one that ships.")  # fmt: skip
@click.option("--model", default="", help="Of the run's report, for all labels; else each label's best.")
@click.option("--strength", type=click.FloatRange(0, min_open=True), default=500.0, show_default=True, help="Strategies that all answers together count as.")  # fmt: skip
@click.option("--pairs", type=click.IntRange(50, 4000), default=2000, show_default=True, help="Answers asked for.")
@click.option("--logged", type=click.IntRange(0, 3000), default=3000, show_default=True, help="Newest answered exposures of the log that are learned as they are beside.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.argument("run", type=click.Path(path_type=Path))
def critic_prior(*, run: Path, data: Path, mapping: Path | None, **wishes: Any) -> None:
    """Give the critic of a new deployment what the response run RUN knows.

    RUN is what `stratagem finetune --task response` made. Before the updater's first start on STRATAGEM_HOME: it then publishes this critic as its
    first version, and real rewards outweigh it from there on. Refused where the updater has learned from rewards already.
    """
    from services.cli_models import bound, need

    need("critic-prior", "polars", extra="models")
    from rich.console import Console

    from model.prior.believing import Knobs
    from services.critic_prior import write
    from services.settings import UpdaterSettings, load

    bound(1)
    settings = load(UpdaterSettings, os.environ)
    with Console(stderr=True).status("") as status:
        _tell(write(settings, run, data, mapping, Knobs(**wishes), status.update))


def _tell(written: "Written") -> None:
    told = written.told
    for one in told.coverage:
        slots = ", ".join(f"{slot} {share:.0%}" for slot, share in one.by_slot.items())
        chance = f"p(click) {told.click[one.kind]:.3f}, spread {told.spread[one.kind]:.3f}"
        click.echo(f"{one.kind}: {one.mapped:,} of {one.exposures:,} exposures; known of them: {slots}; {chance}")
        for slot, words in one.unread.items():
            click.echo(f"{one.kind}: no value of {slot} for {', '.join(map(repr, words))}")
    for kind, why in told.left_out.items():
        click.echo(f"{kind}: left out, {why}")
    click.echo(
        f"{told.pairs:,} answers count as {told.strength:g} strategies, {told.logged:,} logged exposures as one each; the updater begins with {written.snapshot}"
    )
