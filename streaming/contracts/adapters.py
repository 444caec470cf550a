"""`model.adapters` and `model.decisions`: versions, the one record `serving`, and what the gate decided."""

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from streaming.contracts.codec import decode
from streaming.contracts.strategies import Check

SERVING_KEY = "serving"
BASE_ALONE = "base"
"""Adapter name that means: the base without any adapter."""


class Version(Struct, frozen=True, tag="version", tag_field="record"):
    """An immutable version in the registry. The announcement is the commit.

    Args:
        name: `adapter-000012-1a2b3c4d` or `critic-...`: sequence and content hash, never reused.
        uri: fsspec address of the version's directory.
        sha256: of the safetensors file.
        base_sha256: of the base's weights: a version that fits another base is refused.
        offsets: `topic:partition` → next offset of the data it has learned from.
        lm_weight: weight of the language model in the fused distribution, ramped up by the updater.
    """

    name: str
    what: Literal["adapter", "critic"]
    uri: str
    sha256: str
    base: str
    base_sha256: str
    parent: str
    created_at: datetime
    offsets: dict[str, int]
    metrics: dict[str, float]
    lm_weight: float = 0.0
    schema_version: int = 1


class Serving(Struct, frozen=True, tag="serving", tag_field="record"):
    """What is served now.

    An operator's act raises `epoch`; readers ignore lower epochs, and within an epoch lower sequences.
    """

    epoch: int
    sequence: int
    champion: str
    anchor: str
    canary: str
    critic: str
    salts: dict[str, str]
    anchor_share: float
    decided_at: datetime
    schema_version: int = 1


AdapterRecord = Version | Serving


def decode_record(value: bytes) -> AdapterRecord:
    """A record of `model.adapters`.

    Raises:
        BadEvent: with field, value and what was wanted.
    """
    kind: Any = AdapterRecord  # a union is no `type` to the checker; msgspec tells its members by their tag
    record: AdapterRecord = decode(value, kind)
    return record


class GateDecision(Struct, frozen=True):
    """Every decision of the gate with its numbers."""

    decision_id: str
    version: str
    what: Literal["adapter", "critic"]
    decision: Literal["promoted", "refused", "rolled_back"]
    reason: str
    checks: tuple[Check, ...]
    numbers: dict[str, float]
    decided_at: datetime
    by: str
    schema_version: int = 1
