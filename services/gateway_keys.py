"""API keys: random, kept hashed in Redis under the installation's prefix, shown once."""

import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta, Struct

from streaming.keys import namespace

Scope = Literal["publish", "read", "operate"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_MARK = "sk"
"""What every key begins with, so that a scanner for leaked secrets can tell one."""
_ID_BYTES, _SECRET_BYTES = 8, 32
_MAX_CHARACTERS = 200
_NONE = "0" * 64
"""No secret's digest that anybody could name."""


class Key(Struct, frozen=True):
    """What is kept of a key: enough to recognise it, nothing to make it from.

    Args:
        key_id: the part of the key that is no secret; names it in lists and logs.
        digest: SHA-256 of the secret part, hexadecimal. It has 256 random bits, so that no slow hash is needed.
        rate_per_s: events and requests per second; 0: the gateway's setting.
    """

    key_id: str
    name: Annotated[str, Meta(min_length=1, max_length=100)]
    scopes: tuple[Scope, ...]
    digest: str
    created_at: datetime
    rate_per_s: Annotated[float, Meta(ge=0)] = 0.0


class Issued(NamedTuple):
    """A fresh key: `text` is what its holder sends, and is nowhere else."""

    text: str
    key: Key


def keys_key(topic_prefix: str) -> str:
    """Hash: key id → `Key` as JSON."""
    return f"{namespace(topic_prefix)}keys"


def issue(name: str, scopes: tuple[Scope, ...], now: datetime, *, rate_per_s: float = 0.0) -> Issued:
    """A key of fresh randomness; it counts once it is `add`ed."""
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    return Issued(f"{_MARK}_{key_id}_{secret}", Key(key_id, name, scopes, digest(secret), now, rate_per_s))


def parted(text: str) -> tuple[str, str]:
    """Id and secret of a key as sent; empty where it is none."""
    mark, _, rest = text.partition("_") if len(text) <= _MAX_CHARACTERS else ("", "", "")
    key_id, _, secret = rest.partition("_")
    return (key_id, secret) if mark == _MARK and key_id and secret else ("", "")


def fits(secret: str, stored: bytes | None) -> Key | None:
    """The key that is stored, where this is its secret; takes as long where there is none, or where it is another."""
    return matching(digest(secret), stored)


def matching(said: str, stored: bytes | None) -> Key | None:
    """The key that is stored, where this is its digest."""
    key = None if stored is None else msgspec.json.decode(stored, type=Key)
    same = hmac.compare_digest(said, key.digest if key else _NONE)
    return key if same and key else None


def add(client: Any, prefix: str, key: Key) -> None:
    """It opens doors from now on."""
    client.hset(keys_key(prefix), key.key_id, msgspec.json.encode(key))


def listed(client: Any, prefix: str) -> list[Key]:
    """Every key that stands, oldest first."""
    stored: Mapping[bytes, bytes] = client.hgetall(keys_key(prefix))
    found = [msgspec.json.decode(value, type=Key) for value in stored.values()]
    return sorted(found, key=lambda key: (key.created_at, key.key_id))


def revoke(client: Any, prefix: str, key_id: str) -> bool:
    """It opens nothing any more, at once; whether there was one."""
    return bool(client.hdel(keys_key(prefix), key_id))


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
