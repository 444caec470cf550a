"""What reference data bring to customers: price drops and starts of campaigns, found by the owner of their buckets.

Both are restart-safe: a drop by the price that the row remembers as told, a campaign by a mark in the bucket that
moves in the same call as the timers it set. Campaigns are spread by due times, so that their rate is bounded.
"""

from collections.abc import Iterable
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from streaming.acting import reach
from streaming.contracts.catalog import Campaign, Product
from streaming.contracts.codec import to_ms
from streaming.core import Context, on_campaign, on_price
from streaming.dead_letters import Deed
from streaming.folding import Folding
from streaming.keys import campaign_field
from streaming.processor import Processor
from streaming.timers import Timers

PAGE = 500
"""Customers looked at per bucket, campaign and turn."""
_DONE = "done"


class Changes(Protocol):
    """The catalog, as far as it is asked here."""

    def take_changes(self) -> set[str]:
        """Product ids changed since the last call."""
        ...


class Reaching:
    """Fires price drops and spreads campaigns over the customers of owned partitions."""

    def __init__(self, processor: Processor, timers: Timers, catalog: Changes) -> None:
        """Nothing is known of any partition yet."""
        self._processor = processor
        self._store = processor.store
        self._timers = timers
        self._catalog = catalog
        self._changed: dict[int, set[str]] = {}
        self._checked: set[int] = set()
        self._stale = False

    def forget(self) -> None:
        """After a rebalance everything is looked at once, from the next turn on (a turn may be under way)."""
        self._stale = True

    async def turn(self, owned: Iterable[int]) -> None:
        """One look at what changed, inside the processor's turn."""
        if self._stale:
            self._stale = False
            self._checked.clear()
            self._changed.clear()
        partitions = sorted(owned)
        changed = self._catalog.take_changes()
        for partition in partitions:
            self._changed.setdefault(partition, set()).update(changed)
        await self._processor.load(partitions)
        for partition in partitions:
            now_ms = self._timers.horizon_ms(partition)
            if now_ms is None:
                continue
            context = replace(self._processor.context(), watermark_ms=now_ms)
            await self._prices(partition, context)
            await self._campaigns(partition, context, now_ms)

    async def _prices(self, partition: int, context: Context) -> None:
        everything = partition not in self._checked
        products = [context.reference.product(product_id) for product_id in self._changed[partition]]
        if not everything and not products:
            return
        for number in self._timers.buckets(partition):
            if everything:
                pairs = [(context.reference.product(p), user) for p, user in await self._store.wants(number)]
            else:
                pairs = [(p, user) for p in products if p for user in await self._store.wanting(number, p.product_id)]
            found = [(product, user) for product, user in pairs if product is not None]
            await self._told(number, found, context)
        self._checked.add(partition)
        self._changed[partition].clear()

    async def _told(self, number: int, found: list[tuple[Product, str]], context: Context) -> None:
        if not found:
            return
        await self._processor.load([number])
        context = replace(context, paused=await self._store.look({number: [user for _, user in found]}))
        folding = Folding(self._store.bucket(number).states)
        for product, user in found:
            deed = Deed("price_drop", f"{product.product_id}@{product.price_minor}", context.now_ms(0))
            reach(folding, user, partial(on_price, product=product, context=context), deed)
        await self._processor.finish({number: folding}, context)

    async def _campaigns(self, partition: int, context: Context, now_ms: int) -> None:
        for campaign in list(context.reference.campaigns.values()):
            if to_ms(campaign.starts_at) <= now_ms < to_ms(campaign.ends_at):
                for number in self._timers.buckets(partition):
                    await self._spread(number, campaign, context)

    async def _spread(self, number: int, campaign: Campaign, context: Context) -> None:
        await self._processor.load([number])
        field = campaign_field(campaign.campaign_id, to_ms(campaign.starts_at))
        mark = self._store.bucket(number).meta.get(field, "0:0")
        if mark == _DONE:
            return
        cursor, seen = (int(part) for part in mark.split(":"))
        cursor, users = await self._store.customers(number, cursor, PAGE)
        await self._store.read({number: users})
        folding = Folding(self._store.bucket(number).states)
        buckets = len(self._store.bucket_numbers)
        deed = Deed("campaign_start", f"{campaign.campaign_id}@{campaign.starts_at.isoformat()}", context.now_ms(0))
        for rank, user in enumerate(users, seen):
            place = rank * buckets + number  # the rate holds over all buckets together
            reach(folding, user, partial(on_campaign, campaign=campaign, rank=place, context=context), deed)
        folding.writes.meta[field] = f"{cursor}:{seen + len(users)}" if cursor else _DONE
        await self._processor.finish({number: folding}, context)
