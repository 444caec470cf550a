"""The simpler models as plain arrays: kept in a run without pickle, and answered from without scikit-learn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from model.response.peers import TINY

Floats = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[Any]]

_NODES = ("feature_idx", "num_threshold", "left", "right", "value", "is_leaf")


def frozen(name: str, model: Any) -> Arrays:
    """What a fitted peer (`model/response/peers.py`) answers from."""
    if name == "logistic_regression":
        scaler, regression = model[0], model[1]
        return {
            "mean": scaler.mean_,
            "scale": scaler.scale_,
            "weights": regression.coef_[0],
            "offset": regression.intercept_,
        }
    trees = [of_class[0].nodes for of_class in model._predictors]  # noqa: SLF001 -- no public way to a tree; a test holds it
    ends = np.cumsum([len(nodes) for nodes in trees])
    found: Arrays = {part: np.ascontiguousarray(np.concatenate([nodes[part] for nodes in trees])) for part in _NODES}
    return found | {"ends": ends, "offset": np.asarray(model._baseline_prediction, np.float64).ravel()}  # noqa: SLF001


def log_odds(arrays: Mapping[str, npt.NDArray[Any]], numbers: Floats) -> Floats:
    """(n,) of one label, for (n, F) numbers; bounded as the peers' own are."""
    if "weights" in arrays:
        odds: Floats = ((numbers - arrays["mean"]) / arrays["scale"]) @ arrays["weights"] + arrays["offset"][0]
    else:
        odds = np.full(len(numbers), arrays["offset"][0])
        start = 0
        for end in arrays["ends"]:
            odds = odds + _of_tree({part: arrays[part][start:end] for part in _NODES}, numbers)
            start = end
    bound = np.log((1 - TINY) / TINY)
    return np.clip(odds, -bound, bound)


def _of_tree(nodes: Arrays, numbers: Floats) -> Floats:
    at, rows = np.zeros(len(numbers), np.int64), np.arange(len(numbers))
    while not (leaf := nodes["is_leaf"][at].astype(bool)).all():
        goes_left = numbers[rows, nodes["feature_idx"][at]] <= nodes["num_threshold"][at]
        at = np.where(leaf, at, np.where(goes_left, nodes["left"][at], nodes["right"][at]).astype(np.int64))
    found: Floats = nodes["value"][at]
    return found
