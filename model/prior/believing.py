"""A response model's answers folded into a learner that has learned nothing yet: evidence that real rewards soon outweigh. Pure.

The model is asked about customers of the log with actions of the log, each drawn on its own, and the critic learns its answers as if they had been
observed: fractional labels (a distillation, Hinton, Vinyals, Dean 2015), of the weight of a given number of strategies altogether. They are the
oldest rows of the learner's window, forgotten like any others: by the half-life, at a drift, and when the window is full.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from model.critic import OUTCOMES
from model.data.errors import Refused
from model.learner import CriticLearner
from model.lessons import row_of
from model.memory import STAGE_RANK, UNKNOWN, Example
from model.prior.logged import Coverage, decisions
from model.prior.mapping import ASKABLE, Mapping, OfKind
from model.prior.requests import Asking, Pair
from model.response.features import features
from model.response.proposals import probabilities
from model.response.served import Served
from model.response.tables import Tables

Floats = npt.NDArray[np.float64]
ORDERS_EVERY = 8
"""Of so many pairs one also says what follows a click, with the weight of the clicks of all of them."""
LEAST, SURE = 1e-4, 0.98
"""No answer is taken for surer than these."""


class Knobs(msgspec.Struct, frozen=True):
    """How much is believed.

    Args:
        strength: strategies that all answers together count as.
        pairs: answers asked for.
        logged: the log's newest answered exposures that are learned as they are beside the answers, each as one strategy.
        model: of the run; each label's best where empty.
    """

    strength: float = 500.0
    pairs: int = 2000
    logged: int = 0
    model: str = ""
    seed: int = 0


class Told(msgspec.Struct, frozen=True):
    """What a prior was made of.

    Args:
        models: label → the model that answered.
        click: mean probability of a click that was taught, per kind.
    """

    run: str
    models: dict[str, str]
    learned_until: str
    strength: float
    pairs: int
    logged: int
    coverage: tuple[Coverage, ...]
    left_out: dict[str, str]
    click: dict[str, float]
    spread: dict[str, float]


class Answered(NamedTuple):
    """Pairs with the model's chances, (n,); `ordered` is given a click, None where no label stands for it."""

    pairs: list[Pair]
    clicked: Floats
    ordered: Floats | None


def believe(
    learner: CriticLearner,
    served: Served,
    tables: Tables,
    mapping: Mapping,
    knobs: Knobs,
    told: Callable[[str], None] = lambda _: None,
) -> Told:
    """Teach a fresh learner what the run knows; with `knobs.pairs` 0 what the log itself says alone.

    Raises:
        Refused: the run's labels or the log's exposures are of no kind of the mapping.
    """
    logged, asking = features(tables), Asking(tables, mapping)
    kinds, coverage, left_out = _kinds(tables, mapping, served)
    share = knobs.pairs // len(kinds)
    click, spread = {}, {}
    for place, (said, frame) in enumerate(kinds):
        told(said.kind)
        rng = np.random.default_rng((knobs.seed, 23, place))
        if not share:
            continue
        answered = answers(served, tables, logged, asking, said, _drawn(frame, tables, share, rng), knobs, rng)
        _teach(learner, answered, knobs.strength / len(kinds) / share)
        click[said.kind], spread[said.kind] = float(answered.clicked.mean()), float(answered.clicked.std())
    taught = _observed(learner, tables, kinds, asking, knobs) if knobs.logged else 0
    told("critic")
    learner.refit()
    models = {label: knobs.model or served.best[label] for label in served.labels}
    until = served.learned_until.isoformat()
    return Told(str(served.run), models, until, knobs.strength, share * len(kinds), taught, tuple(coverage), left_out, click, spread)  # fmt: skip


def _observed(
    learner: CriticLearner,
    tables: Tables,
    kinds: Sequence[tuple[OfKind, pl.DataFrame]],
    asking: Asking,
    knobs: Knobs,
) -> int:
    """The newest exposures whose windows had closed, with what came of them, in the order of time; how many there were."""
    answered = tables.exposures.select("exposure", *tables.labels, *tables.own)
    rng, found = np.random.default_rng((knobs.seed, 29)), []
    for said, frame in kinds:
        rows = frame.join(answered, "exposure", how="left", maintain_order="left")
        rows = rows.filter(pl.col(said.outcomes["clicked"]).is_not_null())
        found += [(row["at"], row["exposure"], said, row) for row in rows.iter_rows(named=True)]
    newest = sorted(found, key=lambda one: one[:2])[-knobs.logged :]
    for number, (_, _, said, row) in enumerate(newest):
        labels = {"clicked": float(row[said.outcomes["clicked"]])}
        ordered = row.get(said.outcomes.get("ordered", ""))
        if labels["clicked"] and ordered is not None:
            labels["ordered"] = float(ordered)
        add(learner, asking.pair(said, row, number, rng), f"logged_{number:06d}", labels, 1.0)
    return len(newest)


def _kinds(
    tables: Tables, mapping: Mapping, served: Served
) -> tuple[list[tuple[OfKind, pl.DataFrame]], list[Coverage], dict[str, str]]:
    found, coverage, left_out = [], [], {}
    for said in mapping.kind:
        label = said.outcomes["clicked"]
        if label not in served.labels:
            left_out[said.kind] = f"the run has no label {label!r} for a click; it has {', '.join(served.labels)}"
            continue
        try:
            frame, covered = decisions(tables, said)
        except Refused as error:
            left_out[said.kind] = str(error)
            continue
        found.append((said, frame))
        coverage.append(covered)
    if not found:
        said_why = "; ".join(f"{kind}: {why}" for kind, why in left_out.items())
        raise Refused(f"nothing of the log can be told to the critic ({said_why}); a mapping of your own says more: --mapping FILE")  # fmt: skip
    return found, coverage, left_out


def _drawn(frame: pl.DataFrame, tables: Tables, count: int, rng: np.random.Generator) -> pl.DataFrame:
    """Customers and moments of some exposures with what was shown in others, each drawn on its own."""
    whom = frame.select("exposure", "customer_id", "at")[rng.integers(frame.height, size=count)]
    whom = whom.join(tables.exposures.select("exposure", *tables.own), "exposure", how="left", maintain_order="left")
    what = frame.drop("exposure", "customer_id", "at")[rng.integers(frame.height, size=count)]
    return pl.concat((whom.drop("exposure"), what), how="horizontal")


def answers(
    served: Served,
    tables: Tables,
    logged: pl.DataFrame,
    asking: Asking,
    said: OfKind,
    rows: pl.DataFrame,
    knobs: Knobs,
    rng: np.random.Generator,
) -> Answered:
    """What the run says of exposures of a kind, made or not. `rows`: customers, moments, what is shown, and slots."""
    shown = rows.select("customer_id", "at", *ASKABLE, *tables.own)
    chances = probabilities(served, tables, shown, knobs.model, logged)
    pairs = [asking.pair(said, row, number, rng) for number, row in enumerate(rows.iter_rows(named=True))]
    return Answered(pairs, *of_labels(served, said, chances))


def of_labels(served: Served, said: OfKind, chances: Floats) -> tuple[Floats, Floats | None]:
    """(n,) p(clicked) and p(ordered | clicked) of (n, labels) chances."""
    clicked = np.clip(chances[:, served.labels.index(said.outcomes["clicked"])], LEAST, SURE)
    label = said.outcomes.get("ordered", "")
    if label not in served.labels:
        return clicked, None
    ordered = chances[:, served.labels.index(label)]
    return clicked, np.clip(ordered / clicked, LEAST, SURE)


def _teach(learner: CriticLearner, answered: Answered, weight: float) -> None:
    """Each answer as a closed strategy that counts `weight`."""
    for number, (pair, clicked) in enumerate(zip(answered.pairs, answered.clicked, strict=True)):
        add(learner, pair, f"prior_{pair.request.kind}_{number:06d}", {"clicked": float(clicked)}, weight)
        if answered.ordered is not None and number % ORDERS_EVERY == 0:
            ordered = {"ordered": float(answered.ordered[number])}
            add(learner, pair, f"prior_{pair.request.kind}_{number:06d}_order", ordered, weight * ORDERS_EVERY * float(clicked))  # fmt: skip


def add(learner: CriticLearner, pair: Pair, name: str, labels: dict[str, float], weight: float) -> None:
    """One row of the window, of labels that are fractions or answers. Its weight is how long ago it would have come: the learner knows no other.

    Its unit's margin is 0: nothing is claimed of what orders bring.
    """
    example = Example(
        strategy_id=name,
        kind=pair.request.kind,
        row=row_of(pair.request, pair.decision),
        labels=tuple(labels.get(spec.name, UNKNOWN) for spec in OUTCOMES),
        rank=STAGE_RANK["final"],
        tick=learner.kinds[pair.request.kind].tick + math.log2(weight),
        unit_margin=0.0,
        margin=0.0,
    )
    learner.window.add(example)
