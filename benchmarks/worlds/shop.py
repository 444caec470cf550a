"""What a simulated shop sells, and when: products and campaigns that wave after wave replaces. Pure."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.lexicon import BRAND_ENDS, BRAND_STARTS, CATEGORIES, OCCASIONS, SEASONS, STYLES
from streaming.contracts.ids import stable_seed

INTERACTIONS_PER_DAY = 480
PRICE_TIERS = 3
MEDIAN_PRICE_MINOR = 350
INITIAL_AGE_DAYS = (90.0, 700.0)


@dataclass(frozen=True)
class Good:
    """A product or a campaign.

    Args:
        wave: 0 for the first assortment, then the wave that brought it.
        born: interaction from which it is sold.
        category: position in `CATEGORIES`; styles: positions in `STYLES`.
        residual: what customers think of it that no word says, logits.
        tier: of its price within the shop, 0 to `PRICE_TIERS` - 1.
        level: log of its price over the shop's median.
    """

    id: str
    what: str
    wave: int
    born: int
    category: int
    styles: tuple[int, ...]
    name: str
    brand: str
    text: str
    price_minor: int
    margin_minor: int
    max_discount_pct: int
    residual: float
    tier: int
    level: float
    refund: float
    first_age_days: float

    def age_days(self, number: int) -> float:
        """Since launch, at interaction `number`."""
        return self.first_age_days + (number - self.born) / INTERACTIONS_PER_DAY


class Shop:
    """The assortment of a seed over time."""

    def __init__(self, seed: int, knobs: WorldKnobs) -> None:
        """Nothing is drawn before it is asked for."""
        self._seed, self._knobs = seed, knobs
        self.assortment = lru_cache(maxsize=None)(self._assortment)  # by wave: a few dozen at most

    def wave_at(self, number: int) -> int:
        """How many waves have come by interaction `number`."""
        knobs = self._knobs
        return 0 if number < knobs.wave_start else 1 + (number - knobs.wave_start) // knobs.wave_every

    def _assortment(self, wave: int, what: str) -> tuple[Good, ...]:
        """What is sold after a wave."""
        size = self._knobs.products if what == "product" else self._knobs.campaigns
        draw = draw_product if what == "product" else draw_campaign
        rng = self._rng("goods", what, str(wave))
        if wave == 0:
            return tuple(draw(f"{what[0]}{place:04d}", 0, 0, rng) for place in range(size))
        born = self._knobs.wave_start + (wave - 1) * self._knobs.wave_every
        goods = list(self.assortment(wave - 1, what))
        share = float(self._rng("share", str(wave)).uniform(*self._knobs.replaced))
        gone = rng.choice(size, max(1, round(share * size)), replace=False)
        for place in sorted(int(place) for place in gone):
            goods[place] = draw(f"{what[0]}{1000 * wave + place:04d}", wave, born, rng)
        return tuple(goods)

    def latest(self, wave: int) -> tuple[Good, ...]:
        """The products that a wave brought."""
        return tuple(good for good in self.assortment(wave, "product") if good.wave == wave)

    def _rng(self, *names: str) -> np.random.Generator:
        return np.random.default_rng(stable_seed("shop", str(self._seed), *names))


def draw_product(identity: str, wave: int, born: int, rng: np.random.Generator) -> Good:
    """A product of random attributes; its name says category and styles, its residual nobody says."""
    category = int(rng.integers(len(CATEGORIES)))
    styles = tuple(int(style) for style in rng.choice(len(STYLES), 2, replace=False))
    label, nouns = CATEGORIES[category]
    brand = BRAND_STARTS[rng.integers(len(BRAND_STARTS))] + BRAND_ENDS[rng.integers(len(BRAND_ENDS))]
    level = float(np.clip(rng.normal(0.0, 0.6), -1.3, 1.3))
    price = round(MEDIAN_PRICE_MINOR * np.exp(level))
    margin = round(price * rng.uniform(0.2, 0.45))
    noun = nouns[rng.integers(len(nouns))]
    words = " ".join(STYLES[style] for style in styles)
    return Good(
        id=identity,
        what="product",
        wave=wave,
        born=born,
        category=category,
        styles=styles,
        name=f"{words} {noun}",
        brand=brand,
        text=f"{words} {noun} for {label}",
        price_minor=price,
        margin_minor=margin,
        max_discount_pct=20,
        residual=float(rng.normal()),
        tier=min(int((level + 1.0) / 2.0 * PRICE_TIERS), PRICE_TIERS - 1) if level > -1.0 else 0,
        level=level,
        refund=float(np.clip(rng.beta(1.5, 18.0), 0.0, 0.5)),
        first_age_days=0.0 if wave else float(rng.uniform(*INITIAL_AGE_DAYS)),
    )


def draw_campaign(identity: str, wave: int, born: int, rng: np.random.Generator) -> Good:
    """A campaign for a category in one style."""
    category = int(rng.integers(len(CATEGORIES)))
    style = int(rng.integers(len(STYLES)))
    season, occasion = SEASONS[rng.integers(len(SEASONS))], OCCASIONS[rng.integers(len(OCCASIONS))]
    label = CATEGORIES[category][0]
    return Good(
        id=identity,
        what="campaign",
        wave=wave,
        born=born,
        category=category,
        styles=(style,),
        name=f"{season} {label} {occasion}",
        brand="",
        text=f"{STYLES[style]} {label}",
        price_minor=MEDIAN_PRICE_MINOR,
        margin_minor=round(MEDIAN_PRICE_MINOR * rng.uniform(0.2, 0.45)),
        max_discount_pct=0,
        residual=float(rng.normal()),
        tier=1,
        level=0.0,
        refund=float(np.clip(rng.beta(1.5, 18.0), 0.0, 0.5)),
        first_age_days=0.0 if wave else float(rng.uniform(0.0, 20.0)),
    )
