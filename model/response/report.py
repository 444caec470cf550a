"""The response report: every model's scores with intervals, who is best, and whether to go on. `report.json` for machines, plots for people."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from model.data.errors import Refused
from model.response.scores import Estimate, scored

Floats = npt.NDArray[np.float64]
PRIOR = "prior_rate"
BEST_BY = "log_loss"
LEARNED = ("encoder", "logistic_regression", "gradient_boosting", "blend")


class Verdict(msgspec.Struct, frozen=True):
    """What came of it, in words and in figures."""

    best: str
    encoder_beats_prior: bool
    go_on: bool
    says: str


class OfLabel(msgspec.Struct, frozen=True):
    """One label's scores. `beside_prior`: model minus the customer's prior rate, on the same resamples."""

    rows: int
    answered: int
    models: dict[str, dict[str, Estimate]]
    beside_prior: dict[str, dict[str, Estimate]]
    beside_encoder: dict[str, dict[str, Estimate]]
    classification: dict[str, Any]
    verdict: Verdict


def of_label(predictions: dict[str, Floats], answers: Floats, customers: npt.NDArray[Any], seed: int) -> OfLabel:
    """Judge the models on one label.

    Args:
        predictions: model → (n,) probabilities, NaN where no origin answers.
        answers: (n,) 0, 1, or NaN where the window was open.

    Raises:
        Refused: the rows that are answered by some origin are all of one kind.
    """
    judged = ~np.isnan(answers) & ~np.isnan(predictions[PRIOR])
    y = answers[judged]
    if not 0 < y.sum() < len(y):
        raise Refused(
            f"{int(y.sum())} of {len(y)} exposures after the first origin were answered: nothing can be judged"
        )
    mine = {name: p[judged] for name, p in predictions.items()}
    models, beside = scored(mine, y, customers[judged], PRIOR, seed)
    _, encoder = scored({name: mine[name] for name in LEARNED}, y, customers[judged], "encoder", seed)
    verdict = _verdict(models, beside)
    return OfLabel(len(y), int(y.sum()), models, beside, encoder, _classified(mine, y), verdict)


def _verdict(models: dict[str, dict[str, Estimate]], beside: dict[str, dict[str, Estimate]]) -> Verdict:
    best = min(models, key=lambda name: models[name][BEST_BY].value)
    beats = beside["encoder"]["auc"].low > 0
    gained = best != PRIOR and beside[best][BEST_BY].high < 0
    difference = beside["encoder"]["auc"]
    gain = "" if gained else ", but no better than the customers' prior rate beyond chance"
    how = "better than" if beats else "no better than"
    parts = [
        f"{best.replace('_', ' ')} is the best by log loss ({models[best][BEST_BY].value:.4f})" + gain,
        f"the encoder ranks {how} the prior rate (AUC {difference.value:+.3f}, {difference.low:+.3f} to {difference.high:+.3f})",
    ]
    if best not in ("encoder", PRIOR):
        parts.append("the encoder does not earn its cost here: serve the simpler model" if best != "blend" else "the blend of all three is what to serve")  # fmt: skip
    return Verdict(
        best, beats, gained, "; ".join(parts) + ". There is no group without ads here: no uplift is claimed."
    )


def _classified(predictions: dict[str, Floats], y: Floats) -> dict[str, Any]:
    """scikit-learn's report per model, at the threshold that calls as many answered as were."""
    from sklearn.metrics import classification_report

    found = {}
    for name, p in predictions.items():
        threshold = float(np.sort(p)[::-1][int(y.sum()) - 1])
        told = classification_report(y, (p >= threshold).astype(float), output_dict=True, zero_division=0.0, target_names=["ignored", "answered"])  # fmt: skip
        found[name] = {"threshold": threshold, **told}
    return found


def plots(predictions: dict[str, Floats], answers: Floats) -> dict[str, bytes]:
    """`pr.png` (precision against recall) and `reliability.png` (answered share against predicted, in tenths of the rows)."""
    judged = ~np.isnan(answers) & ~np.isnan(predictions[PRIOR])
    y = answers[judged]
    mine = {name: p[judged] for name, p in predictions.items()}
    return {"pr.png": _drawn(mine, y, _precision), "reliability.png": _drawn(mine, y, _reliability)}


def _drawn(predictions: dict[str, Floats], y: Floats, draw: Any) -> bytes:
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, p in predictions.items():
        draw(axes, name.replace("_", " "), p, y)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _precision(axes: Any, name: str, p: Floats, y: Floats) -> None:
    hits = np.cumsum(y[np.argsort(-p, kind="stable")])
    axes.plot(hits / hits[-1], hits / np.arange(1, len(y) + 1), label=name)
    axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1))


def _reliability(axes: Any, name: str, p: Floats, y: Floats) -> None:
    tenths = [part for part in np.array_split(np.argsort(p, kind="stable"), 10) if len(part)]
    axes.plot([p[t].mean() for t in tenths], [y[t].mean() for t in tenths], marker="o", label=name)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
    axes.set(xlabel="predicted", ylabel="answered", xlim=(0, 0.7), ylim=(0, 0.7))
