"""Vectors of all products of a shop in one file, by the version that made them. Pure but for the file.

A product whose text has changed since is encoded anew: its vector is kept with a hash of what it said.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from model.data.errors import Refused
from model.representation.embedder import Embedder, Vectors
from model.representation.words import Said

FILE = "products.safetensors"
AT_ONCE = 1_024


class Store:
    """Products by id, with their vectors. Never changed after it is made."""

    def __init__(self, embedder: Embedder, ids: list[str], texts: npt.NDArray[np.uint32], vectors: Vectors) -> None:
        """Keep vectors that `embedder` made; `texts` (N,) are hashes of what the products said."""
        self.embedder, self.ids, self.texts, self.vectors = embedder, ids, texts, vectors
        self.places = {product_id: at for at, product_id in enumerate(ids)}

    @classmethod
    def of(cls, embedder: Embedder, products: Mapping[str, Said], before: "Store | None" = None) -> "Store":
        """Vectors of products, in the order of their ids. What `before` holds of the same version and text is taken from it."""
        ids = sorted(products)
        texts = np.array([text_hash(products[key]) for key in ids], np.uint32)
        own, beside = (np.zeros((len(ids), embedder.width), np.float32) for _ in range(2))
        known = before.places if before is not None and before.embedder.version == embedder.version else {}
        new = []
        for at, key in enumerate(ids):
            place = known.get(key)
            if before is not None and place is not None and before.texts[place] == texts[at]:
                own[at], beside[at] = before.vectors.own[place], before.vectors.beside[place]
            else:
                new.append(at)
        for start in range(0, len(new), AT_ONCE):
            part = new[start : start + AT_ONCE]
            own[part], beside[part] = embedder.embed([products[ids[at]] for at in part])
        return cls(embedder, ids, texts, Vectors(own, beside))

    def bytes(self) -> bytes:
        """The file's content; vectors in half precision."""
        named = np.frombuffer(msgspec.json.encode(self.ids), np.uint8)
        halves = {name: getattr(self.vectors, name).astype(np.float16) for name in ("own", "beside")}
        return save({"ids": named, "texts": self.texts, **halves}, {"version": self.embedder.version})

    @classmethod
    def load(cls, folder: Path, embedder: Embedder) -> "Store":
        """Read what `bytes` wrote.

        Raises:
            Refused: it is none, or another version's.
        """
        path = folder / FILE
        try:
            with safe_open(path, framework="numpy") as file:
                version = (file.metadata() or {}).get("version")
                held: dict[str, Any] = {name: file.get_tensor(name) for name in ("ids", "texts", "own", "beside")}
            ids = msgspec.json.decode(held["ids"].tobytes(), type=list[str])
        except (OSError, SafetensorError, msgspec.MsgspecError) as error:
            raise Refused(f"{path} holds no vectors of products ({' '.join(str(error).split())[:200]})") from None
        if version != embedder.version:
            raise Refused(
                f"{path} is of the version {version}, the encoder beside it of {embedder.version}: make both anew"
            )
        if {held[name].shape for name in ("own", "beside")} != {(len(ids), embedder.width)}:
            raise Refused(f"{path}: wanted ({len(ids)}, {embedder.width}) vectors, it has {held['own'].shape}")
        return cls(
            embedder, ids, held["texts"], Vectors(*(held[name].astype(np.float32) for name in ("own", "beside")))
        )

    def beside(self, product_id: str, count: int) -> list[str]:
        """The products that go best beside one, the best first; not itself. Empty where the product is unknown."""
        at = self.places.get(product_id)
        if at is None:
            return []
        scores = self.vectors.own @ self.vectors.beside[at]
        scores[at] = -np.inf
        count = min(count, len(scores) - 1)
        best = np.argpartition(-scores, count)[: count + 1] if count else np.zeros(0, np.int64)
        ranked = best[np.lexsort((best, -scores[best]))][:count]
        return [self.ids[place] for place in ranked.tolist() if np.isfinite(scores[place])]


def text_hash(said: Said) -> int:
    """A checksum of what a product says."""
    return zlib.crc32(msgspec.json.encode(said))
