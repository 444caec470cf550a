"""The reward formula as the critic needs it, handed in by the caller: the critic learns outcomes, money is arithmetic."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from streaming.contracts.rewards import Outcomes
from streaming.contracts.strategies import StrategyRequest

Floats = npt.NDArray[np.float64]


class RewardFormula(Protocol):
    """The one formula (`streaming/reward.py`), as the critic needs it. Linear in outcomes: probabilities may be given."""

    def margin_grid(self, request: StrategyRequest) -> Floats:
        """Margin of one unit after discount for every action, major units."""

    def expected_cost_grid(self, request: StrategyRequest, shown: Floats) -> Floats:
        """What saying it costs on the mean, for every action, major units; `shown`: chance of being seen."""

    def discount_grid(self, request: StrategyRequest) -> Floats:
        """What one unit is sold below full price, for every action, major units."""

    def offer_grid(self, request: StrategyRequest) -> Floats:
        """What the offer costs per order beyond the discount, for every action, major units."""

    def margin_of(self, outcomes: Outcomes) -> float:
        """The attributed margin of what happened, in the units of `margin_grid`."""

    def components(
        self,
        *,
        clicked: Floats,
        ordered: Floats,
        margin: Floats,
        refunded_margin: Floats,
        unsubscribed: Floats,
        complained: Floats,
        cost: Floats,
        offer: Floats,
        discount: Floats,
    ) -> Mapping[str, Any]:
        """Named parts that sum to the reward; floats or arrays alike."""
