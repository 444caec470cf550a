"""What vectors of products say, where a shop has them: which go beside one, and how a product relates to what a customer has of late.

The agents do not know how vectors are made (`model/representation` does); without any, nothing is asked of them and nothing is said.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from streaming.contracts.catalog import Product


class Placed(Protocol):
    """The products of one snapshot by their vectors. Its names of relations carry the version that made the vectors."""

    def beside(self, product_id: str, limit: int) -> Sequence[str]:
        """Ids of the products that go best beside one, the best first; empty where it is unknown."""

    def relation(self, product_id: str, recent: Sequence[str]) -> dict[str, float]:
        """Relations of a product, by name, each in [0, 1], to what a customer has of late."""


class Vectors(Protocol):
    """Makes vectors of whatever products a snapshot has."""

    def placed(self, products: Mapping[str, Product]) -> Placed:
        """The products of a snapshot by their vectors; those known already are not encoded again."""
