"""How often products are ordered, over all customers: read back from the buckets now and then. Advisory."""

import time
from collections.abc import Iterable

from streaming.catalog_reader import CatalogReader
from streaming.store import Store

EVERY_S = 10.0
MOST = 2000
"""Products read per bucket."""


class Popularity:
    """Keeps the popularity in the snapshot of reference data."""

    def __init__(self, store: Store, catalog: CatalogReader) -> None:
        """Read at the first turn."""
        self._store = store
        self._catalog = catalog
        self._next_s = 0.0

    async def turn(self, _owned: Iterable[int]) -> None:
        """Read, at most every `EVERY_S` seconds."""
        if time.monotonic() < self._next_s:
            return
        orders = await self._store.orders(MOST)
        self._catalog.reference = self._catalog.reference.with_popularity(orders)
        self._next_s = time.monotonic() + EVERY_S
