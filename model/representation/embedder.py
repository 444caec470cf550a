"""The trained encoder without torch: a new product's vectors in well under a millisecond, and the file that holds it. Pure but for the file.

The version is a hash over the weights, the recipe of words and the base that it goes with: vectors of two versions are never compared.
"""

import math
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from model.data.errors import Refused
from model.representation.kin import LANDMARKS
from model.representation.words import RECIPE, Said, hashed

FILE = "encoder.safetensors"
TOLD = "told"
VERSION_CHARS = 12
WEIGHTS = ("rarity", "bag.weight", "inner.weight", "inner.bias", "outer.weight", "outer.bias", "own.weight", "beside.weight", "landmarks")  # fmt: skip
Floats = npt.NDArray[np.float32]


class Told(msgspec.Struct, frozen=True):
    """What the file says of itself."""

    version: str
    recipe: str
    base_sha256: str
    sharpness: float


class Vectors(NamedTuple):
    """(N, width) float32 each: what products are, and what goes beside them; rows of length 1, zeros where nothing is said."""

    own: Floats
    beside: Floats


class Embedder:
    """An encoder that is ready. Never changed after it is made: threads may share it."""

    def __init__(self, weights: dict[str, Floats], base_sha256: str, sharpness: float) -> None:
        """Keep the weights, by the names of `encoder.Encoder`, and `landmarks` (`kin.py`).

        Args:
            base_sha256: of the base that this goes with (`model/identity.py`).
            sharpness: 1 / temperature of the trained scores.
        """
        self._weights, self.base_sha256, self.sharpness = weights, base_sha256, sharpness
        self.buckets, self.width = weights["bag.weight"].shape
        self.landmarks = weights["landmarks"]
        self.version = version_of(weights, base_sha256, sharpness)

    def embed(self, texts: Sequence[Said]) -> Vectors:
        """Vectors of texts."""
        w = self._weights
        whole: npt.NDArray[Any] = np.array([self._bag(said) for said in texts], np.float32)
        whole = whole.reshape(len(texts), self.width)
        told = np.linalg.norm(whole, axis=1, keepdims=True) > 0
        hidden = _gelu(whole * np.float32(math.sqrt(self.width)) @ w["inner.weight"].T + w["inner.bias"])
        whole = whole + hidden @ w["outer.weight"].T + w["outer.bias"]
        own, beside = (_unit(whole @ w[f"{head}.weight"].T) * told for head in ("own", "beside"))
        return Vectors(own.astype(np.float32), beside.astype(np.float32))

    def _bag(self, said: Said) -> Floats:
        index = hashed(said, self.buckets)
        found: Floats = _unit((self._weights["rarity"][index] @ self._weights["bag.weight"][index])[None])[0]
        return found

    def bytes(self) -> bytes:
        """The file's content: the same for the same encoder."""
        told = Told(self.version, RECIPE, self.base_sha256, self.sharpness)
        weights = {name: np.ascontiguousarray(self._weights[name]) for name in WEIGHTS}
        return save(weights, {TOLD: msgspec.json.encode(told).decode()})  # several entries would have no fixed order

    @classmethod
    def load(cls, folder: Path) -> "Embedder":
        """Read what `bytes` wrote to `folder / FILE`.

        Raises:
            Refused: there is none, it is none, it reads words in another way, or its content is not what its version says.
        """
        path = folder / FILE
        try:
            with safe_open(path, framework="numpy") as file:
                told = msgspec.json.decode((file.metadata() or {}).get(TOLD, ""), type=Told)
                weights: dict[str, Any] = {name: file.get_tensor(name) for name in WEIGHTS}
        except (OSError, SafetensorError, msgspec.MsgspecError) as error:
            raise Refused(f"{path} is no encoder of products ({' '.join(str(error).split())[:200]}): `stratagem pretrain --objective contrastive` makes one") from None  # fmt: skip
        if told.recipe != RECIPE:
            raise Refused(f"{path} reads texts by the recipe {told.recipe!r}, wanted {RECIPE!r}: make it anew")
        _check(path, weights)
        found = cls(weights, told.base_sha256, told.sharpness)
        if found.version != told.version:
            raise Refused(f"{path} says version {told.version}, its content is {found.version}: fetch it again")
        return found


def version_of(weights: dict[str, Floats], base_sha256: str, sharpness: float) -> str:
    """Short hex hash of everything that shapes a vector, and of the base that it goes with."""
    digest = sha256(f"{RECIPE} {base_sha256} {sharpness!r}".encode())
    for name in WEIGHTS:
        digest.update(f"{name} {weights[name].shape}".encode() + np.ascontiguousarray(weights[name]).tobytes())
    return digest.hexdigest()[:VERSION_CHARS]


def _check(path: Path, weights: dict[str, Any]) -> None:
    buckets, width = weights["bag.weight"].shape if weights["bag.weight"].ndim == 2 else (0, 0)  # noqa: PLR2004  # a matrix
    wanted = {
        "rarity": (buckets,), "bag.weight": (buckets, width), "inner.weight": (2 * width, width), "inner.bias": (2 * width,),
        "outer.weight": (width, 2 * width), "outer.bias": (width,), "own.weight": (width, width), "beside.weight": (width, width),
        "landmarks": (LANDMARKS, width),
    }  # fmt: skip
    for name, shape in wanted.items():
        held = weights[name]
        if held.shape != shape or held.dtype != np.float32 or not held.size or not np.isfinite(held).all():
            raise Refused(f"{path}: {name} is {held.dtype} {held.shape}, wanted finite float32 {shape}")


def _unit(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    found: npt.NDArray[Any] = rows / np.maximum(lengths, 1e-12)
    return found


def _gelu(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    from scipy.special import erf

    found: npt.NDArray[Any] = 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))
    return found
