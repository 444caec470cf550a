"""The console as one application, which the gateway mounts at `/console`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.console.following import Following
from services.console.guard import Guard
from services.console.pages_account import AccountPages
from services.console.pages_customers import CustomerPages
from services.console.pages_steer import SteerPages
from services.console.pages_watch import WatchPages
from services.console.processes import Watching, addresses
from services.console.rendering import STATIC
from services.console.room import Room
from services.console.shown_settings import Service
from services.settings import UpdaterSettings
from services.settings_gateway import GatewaySettings

if TYPE_CHECKING:
    import redis

_STATIC_HEADERS = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
"""Their addresses change with their content."""


class Console:
    """The pages and what they share.

    Args:
        store: a synchronous client of Redis, for any thread.
        services: every service's settings, as far as this process knows them.
    """

    def __init__(self, settings: GatewaySettings, store: "redis.Redis", services: Sequence[Service]) -> None:
        """Nothing is connected to, and no topic read, before somebody opens a page.

        Raises:
            SettingError: the addresses of processes cannot be read.
        """
        self._room, self._following = Room(settings, store), Following(settings)
        self._watching = Watching(addresses(settings.console_processes))
        acting = next((each.settings for each in services if isinstance(each.settings, UpdaterSettings)), None)
        self._watch = WatchPages(self._room, self._watching, self._following)
        self._customers = CustomerPages(self._room, self._following)
        self._steer = SteerPages(self._room, self._watching, acting)
        self._account = AccountPages(self._room, services)

    def application(self) -> Starlette:
        """The ASGI application; paths are those behind `/console`."""
        guard = Guard(self._room)
        handlers = {HTTPException: guard.unrouted}
        return Starlette(routes=[*self._shown(guard), *self._changing(guard)], exception_handlers=handlers)

    def _shown(self, guard: Guard) -> list[Route]:
        pages = {
            "/": self._watch.now,
            "/live": self._watch.live,
            "/rewards": self._watch.rewards,
            "/rewards.svg": self._watch.drawing,
            "/strategies": self._customers.strategies,
            "/strategies/{strategy_id}": self._customers.strategy,
            "/customers": self._customers.look_up,
            "/customers/{user_id:path}": self._customers.customer,
            "/adapters": self._steer.adapters,
            "/adapters/{name}": self._steer.adapter,
            "/adapters/{name}/{act}": self._steer.confirm,
            "/letters": self._steer.letters,
            "/letters/replay": self._steer.confirm_replay,
            "/letters/{letter_id}": self._steer.letter,
            "/settings": self._account.settings,
            "/audit": self._account.audit,
        }
        routes = [Route(path, guard.page(page)) for path, page in pages.items()]
        open_to_all = [Route("/login", guard.answered(self._account.login_form)), Route("/static/{name}", _static)]
        return [*open_to_all, *routes]

    def _changing(self, guard: Guard) -> list[Route]:
        acts = {
            "/logout": self._account.logout,
            "/pause": self._steer.pause,
            "/resume": self._steer.resume,
            "/adapters/{name}/{act}": self._steer.act,
            "/letters/replay": self._steer.replay_all,
            "/letters/{letter_id}/replay": self._steer.replay,
        }
        routes = [Route(path, guard.act(act), methods=["POST"]) for path, act in acts.items()]
        return [Route("/login", guard.answered(self._account.login), methods=["POST"]), *routes]

    def end(self) -> None:
        """Let every live page come to its end."""
        self._watch.end()

    def close(self) -> None:
        """Give back what was connected to."""
        self._following.close()
        self._watching.close()
        self._room.close()


async def _static(request: Request) -> Response:
    found = STATIC.get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    return Response(found.content, 200, _STATIC_HEADERS, found.media_type)
