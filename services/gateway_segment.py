"""The calls of Segment's HTTP API → the same events as `POST /v1/events` takes.

Only what the contract reads goes on: of the context locale, time zone and consent; no traits, no address, no user agent.
"""

from hashlib import blake2b

import msgspec
from msgspec import Raw

from services.gateway_bodies import Bounds, decoded
from services.gateway_events import Verdict
from services.gateway_problems import refusal
from streaming.contracts.codec import UNREADABLE

CALLS = ("track", "identify", "alias", "page", "screen", "group")
"""Each has a path of its own; `batch` and `import` hold several of them."""
UNUSED = frozenset({"page", "screen", "group"})
_CONTEXT = ("locale", "timezone", "consent")
_AS_THEY_ARE = ("messageId", "event", "userId", "anonymousId", "properties")
_TIMES = ("timestamp", "originalTimestamp", "sentAt")
_NULL = b"null"

Fields = dict[str, Raw]
_FIELDS = msgspec.json.Decoder(Fields)
_CALLS = msgspec.json.Decoder(list[Raw])


def calls(body: bytes, name: str, bounds: Bounds) -> tuple[list[bytes], bytes]:
    """The calls in the body of a path, and the context that all of them share.

    Args:
        name: last part of the path: one of `CALLS`, `batch` or `import`.

    Raises:
        Refused: a batch without calls, or with too many.
    """
    if name in CALLS:
        return [body], b"{}"
    whole = _fields(body) or {}
    found = decoded(_CALLS, whole.get("batch", Raw(b"[]")), "`batch` is no array of calls")
    if not found:
        raise refusal("malformed", "the body is no JSON object with calls in `batch`")
    if len(found) > bounds.events:
        raise refusal("too-many-events", f"at most {bounds.events} calls are read from one batch")
    return [bytes(call) for call in found], bytes(whole.get("context", Raw(b"{}")))


def event(index: int, call: bytes, name: str, shared: bytes, now_iso: str) -> bytes | Verdict:
    """One call as an event; the verdict on a call that nothing reads; the call itself where it cannot be understood.

    What has no time is of the time it was received at; what has no id gets one of its content, so that the same call sent
    again is the same event.

    Args:
        name: of the path; a call in a batch says its own.
        shared: the batch's context, for what the call's own does not say.
        now_iso: when the request was received.
    """
    fields = _fields(call)
    if fields is None:
        return call  # the contract says what is wrong with it
    said = _text(fields.get("type", Raw(_NULL))) or (name if name in CALLS else "")
    if said in UNUSED:
        return Verdict(index, "ignored", _text(fields.get("messageId", Raw(_NULL))), note=f"nothing reads {said} calls")
    made = {key: fields[key] for key in _AS_THEY_ARE if key in fields and not _is_null(fields[key])}
    made["type"] = Raw(msgspec.json.encode("identify" if said == "alias" else said))
    if said == "alias" and "previousId" in fields:
        made["anonymousId"] = fields["previousId"]
    if said in ("identify", "alias"):
        made.pop("event", None)
    made["context"] = _context(bytes(fields.get("context", Raw(b"{}"))), shared)
    times = [fields[key] for key in _TIMES if key in fields and not _is_null(fields[key])]
    made["timestamp"] = times[0] if times else Raw(msgspec.json.encode(now_iso))
    if "messageId" not in made:
        content = blake2b(msgspec.json.encode(made, order="sorted"), digest_size=16).hexdigest()
        made["messageId"] = Raw(msgspec.json.encode(content))
    return msgspec.json.encode(made)


def _context(own: bytes, shared: bytes) -> Raw:
    both = {**(_fields(shared) or {}), **(_fields(own) or {})}
    kept = {key: both[key] for key in _CONTEXT if key in both and not _is_null(both[key])}
    return Raw(msgspec.json.encode(kept))


def _fields(document: bytes) -> Fields | None:
    """The members of an object, as they came; None for what is none."""
    try:
        return _FIELDS.decode(document)
    except UNREADABLE:
        return None


def _is_null(raw: Raw) -> bool:
    return bytes(raw) == _NULL


def _text(raw: Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
