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
        lm_weight: weight of the language model in the fused distribution, as its line has earned it.
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

    A customer of a model's arm whose `stable_unit(salts[role], user_id)` is below the role's share is served that role's
    version: the canary first, then the anchor; everybody else the champion.

    Args:
        anchor_carried: what the line may have lost against former anchors, units of reward per customer.
        anchor_trial: which of this anchor's trials it is, from 1.
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
    canary_share: float = 0.0
    anchor_carried: float = 0.0
    anchor_trial: int = 1


AdapterRecord = Version | Serving


def decode_record(value: bytes) -> AdapterRecord:
    """A record of `model.adapters`.

    Raises:
        BadEvent: with field, value and what was wanted.
    """
    kind: Any = AdapterRecord  # a union is no `type` to the checker; msgspec tells its members by their tag
    record: AdapterRecord = decode(value, kind)
    return record


Decided = Literal["promoted", "refused", "rolled_back", "on_trial", "timed_out", "renewed"]


class GateDecision(Struct, frozen=True):
    """Every decision of the gate with its numbers.

    Args:
        version: what was decided about. Of an anchor's trial: `rolled_back` names the champion that is served no more, `renewed`
            and `timed_out` the anchor.
        decision: `on_trial` and what ends it (`promoted`, `rolled_back`, `timed_out`) are of a canary; `renewed` is of an anchor.
        by: `gate`, or the operator's name, whose own words `reason` then has.
    """

    decision_id: str
    version: str
    what: Literal["adapter", "critic"]
    decision: Decided
    reason: str
    checks: tuple[Check, ...]
    numbers: dict[str, float]
    decided_at: datetime
    by: str
    schema_version: int = 1
