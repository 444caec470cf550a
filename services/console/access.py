"""Who is logged in to the console: sessions in Redis, known by a cookie, bound to a key and gone with it."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from services.gateway_keys import Key, Scope, fits, keys_key, parted
from streaming.keys import namespace

SCOPE: Scope = "operate"
"""What a key must have to come in."""
COOKIE = "stratagem_session"
_TOKEN_BYTES = 32
_MAX_COOKIE_CHARACTERS = 100


class Session(Struct, frozen=True):
    """What is kept of a session, under the hash of its cookie.

    Args:
        csrf: what every form of it must send back.
    """

    key_id: str
    csrf: str
    began_at: datetime


class Visitor(NamedTuple):
    """Somebody who is logged in."""

    key: Key
    csrf: str
    session: str


def session_key(prefix: str, cookie: str) -> str:
    """String: `Session` as JSON; whoever reads Redis cannot make a cookie of it."""
    return f"{namespace(prefix)}console:{sha256(cookie.encode('utf-8', 'surrogatepass')).hexdigest()}"


def log_in(client: Any, prefix: str, text: str, now: datetime, ttl_s: int) -> tuple[str, Key] | None:
    """A fresh cookie for whoever holds this key; None where it is no key, or may not operate."""
    key_id, secret = parted(text)
    key = fits(secret, client.hget(keys_key(prefix), key_id))
    if key is None or SCOPE not in key.scopes:
        return None
    cookie = secrets.token_urlsafe(_TOKEN_BYTES)
    session = Session(key.key_id, secrets.token_urlsafe(_TOKEN_BYTES), now)
    client.set(session_key(prefix, cookie), msgspec.json.encode(session), ex=ttl_s)
    return cookie, key


def visitor_of(client: Any, prefix: str, cookies: Mapping[str, str]) -> Visitor | None:
    """Who comes with these cookies. The key is looked up each time, so that a revoked one is out at once."""
    cookie = cookies.get(COOKIE, "")
    if not cookie or len(cookie) > _MAX_COOKIE_CHARACTERS:
        return None
    stored = client.get(session_key(prefix, cookie))
    if stored is None:
        return None
    session = msgspec.json.decode(stored, type=Session)
    kept = client.hget(keys_key(prefix), session.key_id)
    key = None if kept is None else msgspec.json.decode(kept, type=Key)
    return Visitor(key, session.csrf, cookie) if key is not None and SCOPE in key.scopes else None


def log_out(client: Any, prefix: str, visitor: Visitor) -> None:
    """The cookie opens nothing any more."""
    client.delete(session_key(prefix, visitor.session))
