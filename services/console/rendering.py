"""Pages from templates. Everything is escaped: what a customer or a product is called is text, never markup."""

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from starlette.responses import Response

from services.reading import printable
from streaming.contracts.money import exponent, to_major

HERE = Path(__file__).parent
CSP = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # under `no-referrer` a browser would send forms with `Origin: null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every page."""


class Static(NamedTuple):
    """A file of the console as it is sent."""

    content: bytes
    media_type: str


_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
STATIC = {
    path.name: Static(path.read_bytes(), _TYPES[path.suffix])
    for path in sorted((HERE / "static").iterdir())
    if path.suffix in _TYPES
}
VERSION = sha256(b"".join(file.content for file in STATIC.values())).hexdigest()[:12]
"""Of the static files: a part of their addresses, so that a browser may keep them."""


def moment(at: datetime | int | None) -> str:
    """A moment in UTC to the second; epoch milliseconds, or a datetime."""
    if at is None:
        return "never"
    when = datetime.fromtimestamp(at / 1000, UTC) if isinstance(at, int) else at.astimezone(UTC)
    return f"{when:%Y-%m-%d %H:%M:%S}"


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits; a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"


def signed(value: float | None) -> str:
    """A number with its sign."""
    return "–" if value is None else f"{value:+.4f}"


def share(value: float | None) -> str:
    """A probability or share, as percent."""
    return "–" if value is None else f"{100 * value:.1f} %"


def words(name: str) -> str:
    """A name of ours as words: `cart_abandoned` is cart abandoned."""
    return name.replace("_", " ")


def money(minor: int, currency: str) -> str:
    """An amount of minor units with its currency."""
    return f"{to_major(minor, currency):,.{exponent(currency)}f} {currency}"


def _clean(value: object) -> object:
    """Text without control or direction characters, which could make a page read otherwise than it is."""
    return printable(value, limit=4000) if isinstance(value, str) and not hasattr(value, "__html__") else value


def environment() -> jinja2.Environment:
    """Templates that escape everything, and refuse a name that nobody gave them."""
    made = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )
    made.filters |= {"moment": moment, "number": number, "signed": signed, "share": share, "words": words}
    made.filters["money"] = money
    made.globals["static_version"] = VERSION
    return made


class Renderer:
    """Makes pages."""

    def __init__(self) -> None:
        """Templates are read when they are first needed."""
        self._templates = environment()

    def page(self, name: str, status: int = 200, /, **values: Any) -> Response:
        """A page of this template."""
        text = self._templates.get_template(name).render(values)
        return Response(text.encode("utf-8", "replace"), status, HEADERS, "text/html")
