"""Forms as browsers send them: read with bounds, and only where they come from a page of ours."""

import hmac
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from services.gateway_problems import refusal

MAX_BYTES = 16 * 1024
MAX_FIELDS = 20
MEDIA_TYPE = "application/x-www-form-urlencoded"
CSRF = "csrf"
"""The hidden field that holds the session's token."""


async def form(request: Request) -> dict[str, str]:
    """The fields of a form; of one that is sent twice the last.

    Raises:
        Refused: it is no such form, too large, or comes from another site.
    """
    check_origin(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise refusal("unsupported-media-type", f"wanted {MEDIA_TYPE}")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise refusal("too-large", f"a form has at most {MAX_BYTES} bytes")
    try:
        pairs = parse_qsl(bytes(body).decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise refusal("malformed", "the form cannot be read") from None
    return dict(pairs)


def check_origin(request: Request) -> None:
    """What changes something comes from a page of this host: a browser says so in `Origin`, others do not send it.

    Raises:
        Refused: it comes from elsewhere.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise refusal("forbidden", "the form was sent from another site")


def check_token(fields: dict[str, str], wanted: str) -> None:
    """The form is one that this session was given.

    Raises:
        Refused: it has no token, or another session's.
    """
    sent = fields.get(CSRF, "")
    if not hmac.compare_digest(sent.encode("utf-8", "replace"), wanted.encode()):
        raise refusal("forbidden", "the form is of another session: open the page again, then send it")
