"""Sessions as merged intervals. Pure."""

from streaming.profile_parts import Session
from streaming.rules import SESSION_GAP_MS

MAX_SESSIONS = 16
"""Sessions remembered; the oldest are forgotten."""


def with_activity(sessions: tuple[Session, ...], at_ms: int) -> tuple[Session, ...]:
    """The sessions after activity at a time, in any order of times."""
    if not sessions:
        return (Session(at_ms, at_ms),)
    last = sessions[-1]
    if last.start_ms <= at_ms <= last.end_ms:
        return sessions
    if at_ms > last.end_ms:
        if at_ms - last.end_ms < SESSION_GAP_MS:
            return (*sessions[:-1], Session(last.start_ms, at_ms))
        return (*sessions, Session(at_ms, at_ms))[-MAX_SESSIONS:]
    return merged(sessions, (Session(at_ms, at_ms),))


def merged(one: tuple[Session, ...], other: tuple[Session, ...]) -> tuple[Session, ...]:
    """Two lists of sessions as one: what lies closer than the gap is one session."""
    joined: list[Session] = []
    for session in sorted((*one, *other), key=lambda s: (s.start_ms, s.end_ms)):
        if joined and session.start_ms - joined[-1].end_ms < SESSION_GAP_MS:
            last = joined[-1]
            joined[-1] = Session(last.start_ms, max(last.end_ms, session.end_ms))
        else:
            joined.append(session)
    return tuple(joined[-MAX_SESSIONS:])


def current(sessions: tuple[Session, ...], at_ms: int) -> Session | None:
    """The session under way at a time, or None."""
    for session in reversed(sessions):
        if session.start_ms <= at_ms:
            return session if at_ms - session.end_ms < SESSION_GAP_MS else None
    return None
