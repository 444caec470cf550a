"""One address of Redis that holds all that its settings say of it: user, password, certificates. Every client takes a URL."""

from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec

from services.settings import PREFIX, Common, SettingError

S = TypeVar("S", bound=Common)

_FILES = {"ssl_ca_certs": "cafile", "ssl_certfile": "certfile", "ssl_keyfile": "keyfile"}
"""redis-py's option → ours after `redis_ssl_`."""


def with_credentials(settings: S) -> S:
    """The settings with an address that holds what the others say of Redis; what the address says itself stands.

    Raises:
        SettingError: two of them contradict each other, or a file is not there.
    """
    parts = urlsplit(settings.redis_url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if settings.redis_username or settings.redis_password:
        if parts.username or parts.password or not {"username", "password"}.isdisjoint(options):
            raise SettingError(f"{PREFIX}REDIS_URL holds a user or a password: wanted there or in variables, not both")
        options |= _named(username=settings.redis_username, password=settings.redis_password)
    if parts.scheme == "rediss":
        options = _tls(settings) | options
    elif any(getattr(settings, f"redis_ssl_{name}") for name in _FILES.values()):
        raise SettingError(f"{PREFIX}REDIS_SSL_*: wanted with an address that begins with rediss://")
    address, query = (
        settings.redis_url.partition("?")[0],
        urlencode(options, quote_via=quote),
    )  # urllib makes unix:/ of unix:///
    return msgspec.structs.replace(settings, redis_url=f"{address}?{query}" if query else address)


def _named(**options: str) -> dict[str, str]:
    return {name: value for name, value in options.items() if value}


def _tls(settings: Common) -> dict[str, str]:
    """Certificates are always verified; the name is, unless told otherwise."""
    options = {"ssl_check_hostname": str(settings.redis_ssl_check_hostname)}
    for option, name in _FILES.items():
        if path := getattr(settings, f"redis_ssl_{name}"):
            if not Path(path).is_file():
                raise SettingError(f"{PREFIX}REDIS_SSL_{name.upper()}={path!r}: there is no such file")
            options[option] = path
    return options
