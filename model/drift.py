"""Drift: has a kind's customers' behaviour left what the critic predicts? River's ADWIN on prequential residuals.

A detected drift makes the critic forget faster and explore more for a stated number of rewards. The residual (label minus
prediction) is watched rather than the log loss: learning lowers the loss and rare clicks lower it too, while a residual that leaves
zero means that predictions are wrong, in whatever direction. A change back towards zero is learning, not drift.

References:
    Bifet, Gavaldà (2007), Learning from time-changing data with adaptive windowing, SDM.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

from river.drift import ADWIN

DELTA = 0.002
"""ADWIN's confidence: false alarms per check, at most."""
MEMORY = 4000
"""Residuals after which a detector is built anew from the newest half: it bounds what a snapshot must hold."""


class DriftWatch:
    """One detector per kind. Its state is the residuals since it was built, so that it can be restored exactly."""

    def __init__(self, residuals: dict[str, Sequence[float]] | None = None) -> None:
        """Start empty, or from what `residuals` returned."""
        self._seen: dict[str, deque[float]] = {}
        self._adwin: dict[str, Any] = {}  # river ships no types
        self._new: Any = ADWIN
        for kind, values in (residuals or {}).items():
            self._rebuild(kind, values)

    def update(self, kind: str, residual: float) -> bool:
        """Feed one residual in [-1, 1].

        Returns:
            True when the kind's residuals have just moved away from zero.
        """
        if kind not in self._adwin:
            self._rebuild(kind, ())
        elif len(self._seen[kind]) >= MEMORY:
            self._rebuild(kind, list(self._seen[kind])[-MEMORY // 2 :])
        adwin = self._adwin[kind]
        before = abs(adwin.estimation - 0.5)
        self._seen[kind].append(residual)
        adwin.update((residual + 1.0) / 2.0)
        worse = bool(adwin.drift_detected) and abs(adwin.estimation - 0.5) > before
        if worse:
            self._rebuild(kind, ())
        return worse

    def residuals(self) -> dict[str, list[float]]:
        """Everything needed to build the same watch again."""
        return {kind: list(values) for kind, values in self._seen.items()}

    def _rebuild(self, kind: str, values: Sequence[float]) -> None:
        self._seen[kind] = deque(values)
        self._adwin[kind] = self._new(delta=DELTA)
        for value in values:
            self._adwin[kind].update((value + 1.0) / 2.0)
