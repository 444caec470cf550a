"""The peers of the sequential bound: tests made for one look, looked at all the time, on customers or on single rewards."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def welch_path(treated: Flags, values: Floats) -> Floats:
    """(n,) Welch's z of the treated mean minus the other after each value; 0 where a mean or a variance is unknown."""
    means, errors = [], []
    for arm in (treated, ~treated):
        count = np.cumsum(arm)
        known = np.maximum(count, 1)
        mean = np.cumsum(values * arm) / known
        variance = np.maximum(np.cumsum(values**2 * arm) / known - mean**2, 0.0)
        means.append(mean)
        errors.append(np.where(count > 1, variance / known, np.inf))
    error = np.sqrt(errors[0] + errors[1])
    known_error = np.isfinite(error) & (error > 0.0)
    path: Floats = np.divide(means[0] - means[1], error, out=np.zeros(len(values)), where=known_error)
    return path


def ever(path: Floats, treated: Flags, least: int, bound: float) -> tuple[bool, bool]:
    """Whether a path is ever above the bound, and ever below minus the bound, once each arm has so many values."""
    enough = np.minimum(np.cumsum(treated), np.cumsum(~treated)) >= least
    return bool((path[enough] >= bound).any()), bool((path[enough] <= -bound).any())
