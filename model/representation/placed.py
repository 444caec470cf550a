"""A catalog by its vectors, as the agents ask of it (`streaming/vectors.py`): neighbours, and relations that a request carries.

Everything is frozen into the request under names with the version, so worker, updater and a replay read the same numbers, and the critic's weights of one
version are never another's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from model.data.errors import Refused
from model.representation.embedder import Embedder
from model.representation.kin import kin
from model.representation.store import FILE, Store
from model.representation.words import Said
from streaming.contracts.catalog import Product

REMEMBERED = 4_096
"""Products whose neighbours are remembered."""
NEIGHBOURS = 12


class PlacedProducts:
    """Products of one snapshot by their vectors. One thread's own: it remembers neighbours."""

    def __init__(self, store: Store) -> None:
        """Tell every product by its landmarks."""
        self._store, self._version = store, store.embedder.version
        self._marks, self._shares = kin(store.vectors.own, store.embedder.landmarks)
        self._known: dict[str, list[str]] = {}

    def beside(self, product_id: str, limit: int) -> Sequence[str]:
        """Ids of the products that go best beside one, at most `NEIGHBOURS`, the best first."""
        found = self._known.get(product_id)
        if found is None:
            if len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            found = self._known[product_id] = self._store.beside(product_id, NEIGHBOURS)
        return found[:limit]

    def relation(self, product_id: str, recent: Sequence[str]) -> dict[str, float]:
        """`goes_with:VERSION`, the greatest cosine to what goes beside the others of `recent`, and `kin:VERSION:N`, shares of landmarks."""
        places = self._store.places
        at = places.get(product_id)
        if at is None:
            return {}
        marks, shares = self._marks[at].tolist(), self._shares[at].tolist()
        found = {f"kin:{self._version}:{mark}": share for mark, share in zip(marks, shares, strict=True) if share > 0}
        others = [places[key] for key in recent if key != product_id and key in places]
        if others:
            score = float((self._store.vectors.beside[others] @ self._store.vectors.own[at]).max())
            found[f"goes_with:{self._version}"] = min(max(score, 0.0), 1.0)
        return found


class CatalogVectors:
    """Vectors of whatever products a snapshot has, by one encoder. Remembers the last snapshot's, so that only what is new is encoded."""

    def __init__(self, embedder: Embedder, store: Store | None = None) -> None:
        """Begin with what was stored, where something was."""
        self.embedder, self._last = embedder, store

    @classmethod
    def load(cls, folder: Path) -> "CatalogVectors":
        """Read what `stratagem pretrain --objective contrastive` left below `representation`.

        Raises:
            Refused: a file is missing or broken, or both are not of one version.
        """
        if not folder.is_dir():
            raise Refused(f"{folder} is no folder: wanted what `stratagem pretrain --objective contrastive` left below `representation`")  # fmt: skip
        embedder = Embedder.load(folder)
        return cls(embedder, Store.load(folder, embedder) if (folder / FILE).is_file() else None)

    def placed(self, products: Mapping[str, Product]) -> PlacedProducts:
        """The products of a snapshot."""
        said = {key: Said(each.name, each.category, each.brand) for key, each in products.items()}
        self._last = Store.of(self.embedder, said, self._last)
        return PlacedProducts(self._last)
