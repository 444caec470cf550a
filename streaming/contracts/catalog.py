"""`shop.catalog` and `shop.campaigns`: the reference records, compacted by id; a tombstone removes one."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from streaming.contracts.kinds import Channel
from streaming.contracts.money import MAX_MINOR, Currency

Text = Annotated[str, Meta(max_length=2000)]
Positive = Annotated[int, Meta(ge=0, le=MAX_MINOR, description="integer minor units")]


class Product(Struct, frozen=True):
    """One product. `unit_cost_minor` is needed: no offer may sell below it."""

    product_id: Annotated[str, Meta(min_length=1, max_length=200)]
    name: Annotated[str, Meta(min_length=1, max_length=300)]
    category: Annotated[tuple[str, ...], Meta(min_length=1, max_length=6)]
    """Path from the general to the particular, e.g. `["grocery", "coffee", "ground coffee"]`."""
    brand: str
    price_minor: Positive
    currency: Currency
    unit_cost_minor: Positive
    stock: Annotated[int, Meta(ge=0)]
    launched_at: datetime
    description: Text = ""
    image_url: str = ""
    attributes: dict[str, str] = {}
    schema_version: int = 1


class Creative(Struct, frozen=True):
    """One text of a campaign in one language."""

    language: Literal["en", "zh"]
    title: Text
    body: Text = ""


class Campaign(Struct, frozen=True):
    """An ad or a promotion of the marketer's. Empty `audience` means everybody."""

    campaign_id: Annotated[str, Meta(min_length=1, max_length=200)]
    kind: Literal["ad", "promotion"]
    name: Annotated[str, Meta(min_length=1, max_length=300)]
    creatives: Annotated[tuple[Creative, ...], Meta(min_length=1)]
    starts_at: datetime
    ends_at: datetime
    budget_minor: Positive
    currency: Currency
    channels: tuple[Channel, ...] = ()
    product_ids: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    offer_types: tuple[str, ...] = ()
    min_discount_pct: Annotated[int, Meta(ge=0, le=100)] = 0
    max_discount_pct: Annotated[int, Meta(ge=0, le=100)] = 30
    audience: tuple[str, ...] = ()
    """User ids, or `segment:NAME`; everybody when empty."""
    schema_version: int = 1
