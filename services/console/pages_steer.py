"""Pages that change something: adapters, dead letters, pause. Each change is confirmed, has a token, and is in the audit."""

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from model import roles
from services.adapters import Act, promote, roll_back
from services.console import figures, lineage, mail
from services.console.guard import to
from services.console.processes import Watching
from services.console.room import ACT_S, Room
from services.gateway_problems import refusal
from services.letters_replay import replay
from services.settings import UpdaterSettings
from streaming import control
from streaming.contracts.adapters import GateDecision
from streaming.contracts.errors import BadEvent

MIN_REASON, MAX_REASON = 3, 400
UPDATER = "updater"


class SteerPages:
    """What an operator may do.

    Args:
        acting: the updater's settings, by which adapters are served; None where they cannot be read.
    """

    def __init__(self, room: Room, watching: Watching, acting: UpdaterSettings | None) -> None:
        """Nothing is done yet."""
        self._room, self._watching, self._acting = room, watching, acting

    async def pause(self, request: Request) -> Response:
        """No new strategies; a button on every page."""
        await self._done(request, "pause", "", "", partial(self._room.read, control.pause))
        return to("/console/")

    async def resume(self, request: Request) -> Response:
        """Strategies again."""
        await self._done(request, "resume", "", "", partial(self._room.read, control.resume))
        return to("/console/")

    async def adapters(self, request: Request) -> Response:
        """What is served, what is on trial, where it came from, what was decided."""
        found = await self._room.slow(lambda: lineage.read(self._room.settings))
        now = await self._watching.now()
        return await self._room.page(
            request,
            "adapters.html",
            found=found,
            line=lineage.line(found.versions, found.serving.champion) if found.serving else [],
            roles=lambda name: lineage.roles(found.serving, name),
            acts=lambda version: lineage.acts(found.serving, version),
            trials=figures.trials(now.reading.of.get(UPDATER, {})),
            decisions=found.decisions[: lineage.MOST_DECISIONS],
        )

    async def adapter(self, request: Request) -> Response:
        """One version with its numbers and the decisions on it."""
        name = request.path_params["name"]
        found = await self._room.slow(lambda: lineage.read(self._room.settings))
        version = found.versions.get(name)
        decisions = [decision for decision in found.decisions if decision.version == name]
        if version is None and not decisions:
            raise refusal("not-found", "no version of this name is announced, and nothing was decided on one")
        return await self._room.page(
            request,
            "adapter.html",
            name=name,
            version=version,
            decisions=decisions,
            line=lineage.line(found.versions, name),
            roles=lineage.roles(found.serving, name),
            acts=lineage.acts(found.serving, version) if version else [],
        )

    async def confirm(self, request: Request) -> Response:
        """What would be done to a version, before it is."""
        return await self._confirm(request, "", "")

    async def _confirm(self, request: Request, reason: str, problem: str) -> Response:
        act, name = request.path_params["act"], request.path_params["name"]
        found = await self._room.slow(lambda: lineage.read(self._room.settings))
        version = found.versions.get(name)
        if found.serving is None or version is None or act not in lineage.acts(found.serving, version):
            raise refusal("not-found", "this cannot be done to this version now; the page of adapters says what can")
        status = 422 if problem else 200
        shown: dict[str, Any] = {"name": name, "act": act, "serving": found.serving, "reason": reason}
        back = roles.former(found.serving, found.versions) if act == "rollback" else ""
        return await self._room.page(request, "confirm.html", status, **shown, back=back, problem=problem)

    async def act(self, request: Request) -> Response:
        """Promote or roll back, with a reason."""
        act, name = request.path_params["act"], request.path_params["name"]
        reason = request.state.form.get("reason", "").strip()
        if not MIN_REASON <= len(reason) <= MAX_REASON:
            return await self._confirm(
                request, reason, f"a reason of {MIN_REASON} to {MAX_REASON} characters is wanted"
            )
        do = self._serving(act, name, Act(request.state.visitor.key.name, reason))
        try:
            await self._done(request, act, name, reason, lambda: self._room.slow(do))
        except BadEvent as error:
            return await self._confirm(request, reason, str(error))
        return to(f"/console/adapters/{name}")

    def _serving(self, act: str, name: str, said: Act) -> Callable[[], GateDecision]:
        settings = self._acting
        if settings is None:
            raise refusal("unavailable", "the updater's settings in this gateway's environment cannot be read")
        if act == "promote":
            return lambda: promote(settings, name, said)
        return lambda: roll_back(settings, name, said)

    async def letters(self, request: Request) -> Response:
        """The newest dead letters, and how many there are of each sort."""
        choice = mail.choice(request.query_params)
        found = await self._room.slow(lambda: mail.shelf(self._room.settings, choice))
        return await self._room.page(request, "letters.html", found=found, choice=choice, known=mail.TOPIC_NAMES)

    async def letter(self, request: Request) -> Response:
        """One letter: why, and the original as text."""
        found = await self._letter(request)
        return await self._letter_page(request, found, "")

    async def _letter_page(self, request: Request, found: mail.Letter, problem: str) -> Response:
        shown: dict[str, Any] = {"lines": mail.lines(found.original), "where": mail.where(found)}
        status = 409 if problem else 200
        return await self._room.page(request, "letter.html", status, letter=found, problem=problem, **shown)

    async def replay(self, request: Request) -> Response:
        """Send one letter's record again."""
        found = await self._letter(request)
        if found.replayed or not found.topic:
            raise refusal("malformed", "it was sent again already, or tells of no record")
        done = await self._done(
            request, "replay", f"{mail.where(found)} (letter {found.id})", found.reason,
            lambda: self._room.slow(lambda: replay(self._room.settings, [found])),
        )  # fmt: skip
        if done.left:
            await self._room.tell(request.state.visitor, "replay failed", found.id, done.left[0][1])
            return await self._letter_page(request, found, done.left[0][1])
        return to(f"/console/letters/{found.id}")

    async def _letter(self, request: Request) -> mail.Letter:
        identity = request.path_params["letter_id"]
        found = await self._room.slow(lambda: mail.one(self._room.settings, identity))
        if found is None:
            raise refusal("not-found", "no dead letter has this id, or its topic does not keep it any more")
        return found

    async def confirm_replay(self, request: Request) -> Response:
        """How many would be sent again, before they are."""
        choice = mail.choice(request.query_params)
        offered = await self._room.slow(lambda: mail.offered(self._room.settings, choice))
        return await self._room.page(request, "replay.html", choice=choice, offered=offered, done=None)

    async def replay_all(self, request: Request) -> Response:
        """Send all letters of a sort again."""
        choice = mail.choice(request.state.form)
        settings = self._room.settings
        done = await self._done(
            request, "replay all", choice.topic or "every topic", choice.reason or "every reason",
            lambda: self._room.slow(lambda: replay(settings, mail.chosen_of(settings, choice)), ACT_S),
        )  # fmt: skip
        return await self._room.page(request, "replay.html", choice=choice, offered=None, done=done)

    async def _done(self, request: Request, what: str, on: str, why: str, act: Callable[[], Any]) -> Any:
        """Write it into the audit, then do it; what could not be done is written too."""
        await self._room.tell(request.state.visitor, what, on, why)
        try:
            return await act()
        except Exception as error:
            await self._room.tell(request.state.visitor, f"{what} failed", on, str(error))
            raise
