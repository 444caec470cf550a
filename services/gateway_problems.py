"""What the gateway answers when it does not do what was asked: problem documents of RFC 9457, as data."""

from typing import Any, Literal

from msgspec import Struct

MEDIA_TYPE = "application/problem+json"

Name = Literal[
    "malformed",
    "too-large",
    "too-many-events",
    "unsupported-media-type",
    "unsupported-encoding",
    "all-refused",
    "unauthenticated",
    "forbidden",
    "too-many-requests",
    "too-slow",
    "busy",
    "unavailable",
    "not-found",
    "method-not-allowed",
    "bug",
]
KINDS: dict[Name, tuple[int, str]] = {
    "malformed": (400, "The body cannot be read"),
    "too-large": (413, "The body is too large"),
    "too-many-events": (413, "Too many events in one request"),
    "unsupported-media-type": (415, "This media type is not read here"),
    "unsupported-encoding": (415, "This content coding is not read here"),
    "all-refused": (422, "No event of the request fits the contract"),
    "unauthenticated": (401, "A key is needed"),
    "forbidden": (403, "The key may not do this"),
    "too-many-requests": (429, "The key has used up its rate"),
    "too-slow": (408, "The body did not come in time"),
    "busy": (503, "Too much is under way"),
    "unavailable": (503, "Something that is needed does not answer"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "This is not done here"),
    "bug": (500, "The gateway has a bug"),
}
"""Status and title by name; the name is the last part of `type`."""


class Problem(Struct, frozen=True, omit_defaults=True):
    """One problem document.

    Args:
        type: `/problems/NAME`, relative to the gateway.
        verdicts: of the events, where the body was read as far as that.
        retry_after_s: when it is worth trying again, seconds; sent as `Retry-After` too.
    """

    type: str
    title: str
    status: int
    detail: str
    verdicts: tuple[Any, ...] = ()
    retry_after_s: int = 0


class Refused(Exception):
    """A request that is not done; the problem says why."""

    def __init__(self, problem: Problem) -> None:
        """Keep the document to answer with."""
        self.problem = problem
        super().__init__(f"{problem.title}: {problem.detail}")


def refusal(name: Name, detail: str, *, verdicts: tuple[Any, ...] = (), retry_after_s: int = 0) -> Refused:
    """The exception to raise for a problem of this name."""
    status, title = KINDS[name]
    return Refused(Problem(f"/problems/{name}", title, status, detail, verdicts, retry_after_s))
