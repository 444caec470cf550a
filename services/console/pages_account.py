"""Coming in and going out, the settings, the audit."""

from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address

from starlette.requests import Request
from starlette.responses import Response

from services.console import access, audit, forms
from services.console.guard import HOME, LOGIN, inner, to
from services.console.room import Room
from services.console.shown_settings import Service, rows

PATH = "/console"
"""The cookie is sent to the console alone."""
AUDIT_PAGE = 100
MAX_KEY_CHARACTERS = 300


class AccountPages:
    """Session, settings, audit."""

    def __init__(self, room: Room, services: Sequence[Service]) -> None:
        """Nothing is asked yet."""
        self._room, self._services = room, services

    async def login_form(self, request: Request) -> Response:
        """The one page that needs no session."""
        return self._login(request.query_params.get("next", HOME), "", 200)

    def _login(self, wanted: str, problem: str, status: int) -> Response:
        values = {"visitor": None, "paused": None, "path": LOGIN, "next": inner(wanted), "problem": problem}
        return self._room.renderer.page("login.html", status, **values)

    async def login(self, request: Request) -> Response:
        """A session for whoever holds a key of the scope `operate`."""
        fields = await forms.form(request)
        ttl_s = max(1, round(self._room.settings.console_session_h * 3600))
        key = fields.get("key", "").strip()[:MAX_KEY_CHARACTERS]
        opened = await self._room.read(access.log_in, key, datetime.now(UTC), ttl_s)
        if opened is None:
            problem = f"this is no key that stands, or it lacks the scope {access.SCOPE}"
            return self._login(fields.get("next", HOME), problem, 401)
        cookie, found = opened
        await self._room.read(audit.write, audit.entry_of(found, "log in"))
        response = to(inner(fields.get("next", HOME)))
        response.set_cookie(
            access.COOKIE, cookie, max_age=ttl_s, path=PATH, secure=self._is_secure, httponly=True, samesite="strict"
        )
        return response

    async def logout(self, request: Request) -> Response:
        """The session is over, here and in Redis."""
        await self._room.tell(request.state.visitor, "log out")
        await self._room.read(access.log_out, request.state.visitor)
        response = to(LOGIN)
        response.delete_cookie(access.COOKIE, path=PATH, httponly=True, samesite="strict")
        return response

    @property
    def _is_secure(self) -> bool:
        settings = self._room.settings
        return settings.console_secure_cookie or not is_loopback(settings.gateway_host)

    async def settings(self, request: Request) -> Response:
        """Every service's settings as this process knows them; nothing secret."""
        tables = [(service, rows(service)) for service in self._services]
        return await self._room.page(request, "settings.html", tables=tables)

    async def audit(self, request: Request) -> Response:
        """Who did what, newest first."""
        before = request.query_params.get("before", "+")
        plain = before == "+" or before.replace("-", "", 1).isdecimal()
        found = await self._room.read(audit.newest, AUDIT_PAGE, before if plain else "+")
        older = found[-1][0] if len(found) == AUDIT_PAGE else ""
        return await self._room.page(request, "audit.html", entries=[kept for _, kept in found], older=older)


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
