"""What stands before every page: the session, the form's token, and an answer whatever happens."""

import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kafka.errors import KafkaError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from services import metrics
from services.console import access, forms
from services.console.rendering import HEADERS
from services.gateway_intake import SERVICE
from services.gateway_problems import Refused, refusal
from streaming.contracts.errors import Unavailable

if TYPE_CHECKING:
    from services.console.room import Room

LOG = logging.getLogger(__name__)
ROUTE = "console"
HOME, LOGIN = "/console/", "/console/login"
Endpoint = Callable[[Request], Awaitable[Response]]
_SEE_OTHER, _NOT_FOUND = 303, 404


def to(path: str) -> Response:
    """Go there, by GET."""
    return RedirectResponse(path, _SEE_OTHER, HEADERS)


def inner(path: str) -> str:
    """The path where it is one of the console's own, else its first page: nobody is sent elsewhere by a link."""
    plain = path.startswith(HOME) and "\\" not in path and all(c.isprintable() for c in path)
    return path if plain else HOME


class Guard:
    """Wraps endpoints."""

    def __init__(self, room: "Room") -> None:
        """Nothing is asked before a request comes."""
        self._room = room

    def page(self, endpoint: Endpoint) -> Endpoint:
        """For whoever is logged in."""

        async def opened(request: Request) -> Response:
            if not await self._is_known(request):
                return to(f"{LOGIN}?next={quote(request.url.path, safe='')}")
            return await endpoint(request)

        return self.answered(opened)

    def act(self, endpoint: Endpoint) -> Endpoint:
        """The same, for a form that changes something: it has the session's token, and lies in `request.state.form`."""

        async def opened(request: Request) -> Response:
            if not await self._is_known(request):
                return to(LOGIN)
            request.state.form = await forms.form(request)
            forms.check_token(request.state.form, request.state.visitor.csrf)
            return await endpoint(request)

        return self.answered(opened)

    async def _is_known(self, request: Request) -> bool:
        request.state.visitor = await self._room.read(access.visitor_of, request.cookies)
        return request.state.visitor is not None

    def answered(self, endpoint: Endpoint) -> Endpoint:
        """Every end is a page: of the visitor's fault, of the world's, of ours."""

        async def answer(request: Request) -> Response:
            began_s = time.perf_counter()
            request.state.visitor = None
            try:
                response = await endpoint(request)
            except Refused as refused:
                response = self._problem(request, refused)
            except (Unavailable, KafkaError, LookupError) as error:
                if not isinstance(error, KafkaError | Unavailable) and type(error) is not LookupError:
                    response = self._bug(request)
                else:
                    response = self._unavailable(request, error)
            except ClientDisconnect:
                response = self._problem(request, refusal("malformed", "the form ended early"))
            except Exception:  # noqa: BLE001 -- the last line of a request: our bug is said, counted and stops nobody else
                response = self._bug(request)
            metrics.GATEWAY_REQUESTS.labels(ROUTE, str(response.status_code)).inc()
            metrics.GATEWAY_SECONDS.labels(ROUTE).observe(time.perf_counter() - began_s)
            return response

        return answer

    def _unavailable(self, request: Request, error: Exception) -> Response:
        LOG.warning("console: %s", error)
        retry_s = self._room.settings.gateway_retry_after_s
        detail = "Kafka or Redis does not answer now, or lacks what is asked for; the gateway's log says more"
        return self._problem(request, refusal("unavailable", detail, retry_after_s=retry_s))

    def _bug(self, request: Request) -> Response:
        LOG.error("console: %s", traceback.format_exc())
        metrics.BUGS.labels(SERVICE).inc()
        return self._problem(request, refusal("bug", "the log of the gateway says more"))

    def _problem(self, request: Request, refused: Refused) -> Response:
        found = refused.problem
        visitor = request.state.visitor
        shown: dict[str, Any] = {"visitor": visitor, "paused": None, "path": "", "problem": found}
        response = self._room.renderer.page("problem.html", found.status, **shown)
        if found.retry_after_s:
            response.headers["Retry-After"] = str(found.retry_after_s)
        return response

    async def unrouted(self, request: Request, error: Exception) -> Response:
        """No such page, or not by this method."""
        assert isinstance(error, HTTPException)
        missing = error.status_code == _NOT_FOUND
        name, detail = ("not-found", "the console has no such page") if missing else ("method-not-allowed", "")

        async def refuse(_: Request) -> Response:
            raise refusal(name, detail)  # type: ignore[arg-type]  # one of two names

        return await self.answered(refuse)(request)
