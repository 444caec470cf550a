"""What the gateway sends back: results and problems as responses, each request counted and timed."""

import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from services import metrics
from services.gateway_intake import SERVICE
from services.gateway_problems import MEDIA_TYPE, Name, Problem, Refused, refusal
from streaming.contracts.errors import Unavailable

LOG = logging.getLogger(__name__)
Endpoint = Callable[[Request], Awaitable[Response]]
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_UNAUTHORIZED, _NOT_FOUND = 401, 404


def done(result: Any, status: int) -> Response:
    """A result as JSON; bytes are JSON already."""
    content = result if isinstance(result, bytes) else msgspec.json.encode(result)
    return Response(content, status, _HEADERS, "application/json")


def problem(found: Problem) -> Response:
    """A problem document with the headers that go with it."""
    headers = dict(_HEADERS)
    if found.retry_after_s:
        headers["Retry-After"] = str(found.retry_after_s)
    if found.status == _UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="stratagem", Basic realm="stratagem"'
    return Response(msgspec.json.encode(found), found.status, headers, MEDIA_TYPE)


def answered(route: str, endpoint: Endpoint, retry_after_s: int) -> Endpoint:
    """The endpoint, whose every end is an answer: of the caller's fault, of the world's, of ours.

    Args:
        route: names it in the metrics.
        retry_after_s: what a caller is told when something that is needed does not answer.
    """

    async def answer(request: Request) -> Response:
        began_s = time.perf_counter()
        try:
            response = await endpoint(request)
        except Refused as refused:
            response = problem(refused.problem)
        except Unavailable as error:
            LOG.warning("%s: %s", route, error)
            detail = "Kafka or Redis does not answer; what was sent may be sent again"
            response = problem(refusal("unavailable", detail, retry_after_s=retry_after_s).problem)
        except ClientDisconnect:
            response = problem(refusal("malformed", "the body ended early").problem)
        except Exception:  # noqa: BLE001 -- the last line of a request: our bug is said, counted and stops nobody else
            LOG.error("%s: %s", route, traceback.format_exc())  # noqa: TRY400 -- the same, in one record
            metrics.BUGS.labels(SERVICE).inc()
            response = problem(refusal("bug", "the log of the gateway says more").problem)
        metrics.GATEWAY_REQUESTS.labels(route, str(response.status_code)).inc()
        metrics.GATEWAY_SECONDS.labels(route).observe(time.perf_counter() - began_s)
        return response

    return answer


async def unrouted(_: Request, error: Exception) -> Response:
    """No such path, or not by this method."""
    assert isinstance(error, HTTPException)
    name: Name = "not-found" if error.status_code == _NOT_FOUND else "method-not-allowed"
    metrics.GATEWAY_REQUESTS.labels("none", str(error.status_code)).inc()
    response = problem(refusal(name, "see docs/http.md for what there is").problem)
    response.headers.update(error.headers or {})
    return response
