"""The documents of a request → a verdict on each, by the very contract of the topics, and the records to publish."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from services.gateway_bodies import Bounds, checked
from services.publish import Record, event_record, fitting_record
from streaming.contracts.errors import BadEvent
from streaming.contracts.fitting import latest


class Verdict(Struct, frozen=True, omit_defaults=True, gc=False):
    """What becomes of one event.

    Args:
        index: its place in the request, from 0.
        verdict: `duplicate`: an earlier event of the request has its customer and its id; `ignored`: nothing reads it.
        field: of a refused one, with `value` (what stood there) and `wanted`.
        note: what is worth knowing of one that is not refused.
    """

    index: int
    verdict: Literal["accepted", "duplicate", "ignored", "refused"]
    message_id: str = ""
    field: str = ""
    value: str = ""
    wanted: str = ""
    note: str = ""


class Judged(Struct, frozen=True):
    """Every verdict in order, and what of it is to be published."""

    verdicts: tuple[Verdict, ...]
    records: tuple[Record, ...]

    @property
    def all_refused(self) -> bool:
        """Whether there is nothing in it that we can use."""
        return all(verdict.verdict == "refused" for verdict in self.verdicts)

    def counts(self) -> dict[str, int]:
        """How many of each verdict, those that occur."""
        found: dict[str, int] = {}
        for verdict in self.verdicts:
            found[verdict.verdict] = found.get(verdict.verdict, 0) + 1
        return found


class Taken(Struct, frozen=True, omit_defaults=True):
    """The answer to events: every accepted one is in the topic.

    Args:
        success: said to Segment's libraries.
    """

    accepted: int
    duplicate: int
    ignored: int
    refused: int
    verdicts: tuple[Verdict, ...]
    success: bool = False


def judge(documents: Iterable[bytes | Verdict], now_ms: int, bounds: Bounds) -> Judged:
    """Judge each document; a verdict among them was reached before, and stands.

    The first event of a customer with an id that fits the contract is the one that is published: agents would skip the
    others. Two requests with the same event publish it twice, and agents skip the second.

    Args:
        now_ms: when the request was received, milliseconds since the epoch.
    """
    verdicts: list[Verdict] = []
    records: list[Record] = []
    seen: set[tuple[bytes, str]] = set()
    until, longest, deepest = latest(now_ms), bounds.event_bytes, bounds.depth
    for index, document in enumerate(documents):
        if isinstance(document, Verdict):
            verdicts.append(document)
            continue
        try:
            if len(document) > longest or document.count(b"{") + document.count(b"[") > deepest:
                checked(document, bounds)
            record = fitting_record(document, until) or event_record(document, now_ms)
        except BadEvent as bad:
            verdicts.append(Verdict(index, "refused", field=bad.field, value=bad.value, wanted=bad.wanted))
            continue
        if (identity := (record.key, record.message_id)) in seen:
            verdicts.append(Verdict(index, "duplicate", record.message_id))
            continue
        seen.add(identity)
        records.append(record)
        note = record.note
        verdicts.append(
            Verdict(index, "accepted", record.message_id, note=note)
            if note
            else Verdict(index, "accepted", record.message_id)
        )
    return Judged(tuple(verdicts), tuple(records))
