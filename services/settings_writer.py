"""Who writes the worker's message texts: the base itself, or a server that speaks OpenAI's chat completions."""

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from services.settings import PREFIX, SettingError
from services.settings_prefixes import PrefixSettings

SCHEME = "openai:"


class WriterSettings(PrefixSettings, frozen=True, kw_only=True):
    """The model worker, with who writes its texts."""

    writer: Annotated[
        str,
        Meta(
            description="`openai:<base url>`, e.g. `openai:http://localhost:8000/v1`: writes the texts; empty: the base does"
        ),
    ] = ""
    writer_model: Annotated[str, Meta(description="of that server; empty: the first that it names")] = ""
    writer_key: Annotated[str, Meta(description="of that server, sent as bearer token", extra={"secret": True})] = ""
    writer_wait_ms: Annotated[
        int,
        Meta(ge=0, le=60_000, description="a batch waits so long for texts, and never past a deadline; then templates"),
    ] = 250
    writer_timeout_s: Annotated[
        float,
        Meta(gt=0, le=600, description="a text that takes longer is given up; what comes before serves later requests"),
    ] = 20.0
    writer_concurrency: Annotated[int, Meta(ge=1, le=256, description="texts asked for at once, at most")] = 4
    writer_temperature: Annotated[float, Meta(ge=0, le=2, description="of the texts' words")] = 0.7


def writer_url(settings: WriterSettings) -> str:
    """The server's base URL without a slash at its end, empty where the base writes.

    Raises:
        SettingError: no such writer, no address, or a key that would travel in the clear.
    """
    if not settings.writer:
        return ""
    wanted = f"{PREFIX}WRITER={settings.writer!r}: wanted {SCHEME}http(s)://host[:port][/path]"
    try:
        parts = urlsplit(settings.writer.removeprefix(SCHEME))
        _ = parts.port
    except ValueError:
        raise SettingError(wanted) from None
    if not settings.writer.startswith(SCHEME) or parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError(wanted)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingError(f"{PREFIX}WRITER: an address alone is wanted; a key belongs into {PREFIX}WRITER_KEY")
    if settings.writer_key and parts.scheme == "http" and not _loopback(parts.hostname):
        raise SettingError(f"{PREFIX}WRITER_KEY: not sent in the clear to {parts.hostname}; wanted https://")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
