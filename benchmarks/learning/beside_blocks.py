"""Blocks of a policy and of what others would have chosen beside it, and what is summed up within one. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from benchmarks.learning.play import Block, Gap
from benchmarks.learning.results import Line
from benchmarks.worlds.world import Moment, World
from model.decode import Floats

OTHERS = {"lm": ("critic",), "fused": ("critic", "without_adapter")}
"""Policy → who else chooses, unless it is said."""
EVERYBODY = ("critic", "lm", "without_adapter")
"""Who may choose beside a policy, in the order in which they are kept and told."""


class Choice(NamedTuple):
    """What was drawn, and (values,) the probabilities of the first slot that it was drawn from."""

    action: tuple[int, ...]
    first: Floats


class Beside(Line, frozen=True, kw_only=True):
    """A block of the policy, and the same of what others would have chosen; new products are new as the policy has shown them.

    Args:
        new_campaign_lift: policy or other → lift of ads that may show a campaign of the latest wave; empty where there was none.
        new_campaigns: such ads.
        new_product_slot: policy or other → expected lift of the product slot, on the requests of `new_product_lift`; empty in runs
            from before it was kept.
        new_campaign_slot: the same of the campaign slot, on such ads.
    """

    others: dict[str, Block]
    new_campaign_lift: dict[str, float] = msgspec.field(default_factory=dict)
    new_campaigns: int = 0
    new_product_slot: dict[str, float] = msgspec.field(default_factory=dict)
    new_campaign_slot: dict[str, float] = msgspec.field(default_factory=dict)


@dataclass
class Gaps:
    """Of one chooser, within a block: ads of new campaigns by what was drawn, and the first slot of those and of new products."""

    ads: Gap = field(default_factory=Gap)
    campaigns: Gap = field(default_factory=Gap)
    products: Gap = field(default_factory=Gap)

    def add(self, moment: Moment, choice: Choice, *, new_product: bool, new_campaign: bool) -> None:
        """Count one decision where it belongs."""
        if new_campaign:
            self.ads.add(float(moment.values[choice.action]), moment.random, moment.oracle)
            self.campaigns.add(*_expected(moment, choice.first))
        if new_product:
            self.products.add(*_expected(moment, choice.first))


def _expected(moment: Moment, first: Floats) -> tuple[float, float, float]:
    """(value, uniform, best) of the first slot's distribution, the other slots chosen uniformly."""
    means = moment.by_candidate()
    return float(np.nansum(first * means)), float(np.nanmean(means)), float(np.nanmax(means))


def lifts_of(gaps: Mapping[str, Gap]) -> dict[str, float]:
    """Chooser → lift, of those that there was something to choose for."""
    return {name: gap.lift for name, gap in gaps.items() if gap.lift is not None}


def has_new_campaign(world: World, moment: Moment) -> bool:
    """Whether a campaign of the latest wave may be shown."""
    wave = world.shop.wave_at(moment.number)
    return wave > 0 and any(good.what == "campaign" and good.wave == wave for good in moment.setting.goods.values())
