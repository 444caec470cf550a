"""Who is served what: refreshes, changes on trial, anchors, operators' acts. It concludes trials and has training follow."""

import logging
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from model import roles
from model.gate import Judgement, corrupt
from model.trial import Role
from model.trial_judging import Verdict
from services.settings import UpdaterSettings
from services.updater_announcing import Announcer, Becomes
from services.updater_figures import TrialFigures
from services.updater_inbox import check, inbox_of, plain_name, put_away, waiting
from services.updater_learning import Learned
from services.updater_strategies import StrategyReader
from services.updater_trials import Trials, design_of, follow, judged, told_answer, told_reward
from streaming.contracts.adapters import BASE_ALONE, Decided
from streaming.contracts.errors import BadEvent

if TYPE_CHECKING:
    from model.critic import Critic
    from services.updater_learning import Learning
    from services.updater_training import Training

LOG = logging.getLogger(__name__)
OPERATOR = "operator"
"""Who put a folder into the inbox; nobody says a name there."""


class WriteLearning(Protocol):
    """Writes what was learned into a folder, for a version to hold."""

    def __call__(self, into: Path) -> None:
        """Write."""


class Rollout:
    """What is served, and the trials on it."""

    def __init__(self, settings: UpdaterSettings, announcer: Announcer, trials: Trials, stop: Event) -> None:
        """Go on with these trials."""
        self._settings, self._announcer, self.trials = settings, announcer, trials
        self._design = design_of(settings)
        self._strategies = StrategyReader(settings, stop)
        self._figures = TrialFigures()
        self._epoch = -1
        self._unfit: set[str] = set()

    def close(self) -> None:
        """Let go of Kafka."""
        self._strategies.close()

    def take(self, learned: Learned) -> None:
        """A reward that was learned, or that taught nothing; one that was told before counts once."""
        if learned.reward is not None and learned.lesson is not None and learned.lesson.fate != "duplicate":
            told_reward(self.trials, learned.reward)

    def follow(self, critic: str) -> None:
        """Bring trials into accord with what is announced; say again what an operator's act has overtaken.

        Args:
            critic: version that is served by us.
        """
        said = self._announcer.said
        if said.serving is None:
            return
        overtaken = self._epoch >= 0 and said.serving.epoch != self._epoch and said.serving.critic != critic
        if said.outranked or overtaken:
            self._announcer.serve(lambda serving: replace(serving, critic=critic))
            said.outranked = False
        self._epoch = said.serving.epoch
        follow(self.trials, said.serving, self._design)

    def turn(self) -> None:
        """Read answers while a trial stands, and conclude what is decided."""
        self._figures.show(self.trials, self._announcer.said.serving, self._design)
        if not self.trials.standing:
            self._strategies.close()
            return
        for item in self._strategies.poll(self.trials.offsets):
            told_answer(self.trials, item)
        each: tuple[Role, ...] = ("canary", "anchor")
        for role in each:
            if (verdict := judged(self.trials, role, self._design)) is not None:
                self._conclude(role, verdict)

    def _conclude(self, role: Role, verdict: Verdict) -> None:
        trial, serving = self.trials.of(role), self._announcer.said.serving
        assert trial is not None
        assert serving is not None
        named, decision = trial.version, _said(verdict)
        if role == "anchor" and verdict.decision != "time_out":
            named = serving.champion  # that is served no more, or is the next anchor
        LOG.info("%s %s: %s, %s", role, named, decision, verdict.reason)
        self._announcer.serve(self._becomes(role, trial.version, verdict))
        told = Judgement(
            "refused" if decision == "rolled_back" else "promoted", verdict.reason, verdict.checks, verdict.numbers
        )
        self._announcer.decided(named, "adapter", told, decision=decision)
        self._follow_trials()

    def _becomes(self, role: Role, version: str, verdict: Verdict) -> Becomes:
        share, carried = self._settings.anchor_share, verdict.carried
        if role == "canary":
            return (
                partial(roles.changed, version=version, share=share)
                if verdict.decision == "promote"
                else roles.without_canary
            )
        if verdict.decision == "roll_back":
            return partial(roles.rolled_back, share=share)
        if verdict.decision == "renew":
            return lambda serving: roles.anchored(serving, serving.champion, share, carried=carried)
        return lambda serving: roles.anchored(
            serving, version, share, trial=serving.anchor_trial + 1, carried=serving.anchor_carried
        )

    def _follow_trials(self) -> None:
        assert self._announcer.said.serving is not None
        follow(self.trials, self._announcer.said.serving, self._design)

    def publish(
        self, training: "Training", judgement: Judgement, offsets: dict[str, int], write_learning: WriteLearning
    ) -> None:
        """The candidate, judged: a refresh is served at once, a change on trial; training goes on accordingly."""
        candidate = training.candidate
        assert candidate is not None
        passed, foreign = judgement.decision == "promoted", candidate.foreign
        if foreign and not passed:
            self._refuse(Path(foreign), judgement)
            training.set_aside()
            return
        becomes = partial(roles.refreshed, share=self._settings.anchor_share)
        if foreign:
            becomes = partial(roles.on_trial, share=self._settings.canary_share)
        with TemporaryDirectory(prefix="adapter-") as folder:
            training.save_candidate(Path(folder))
            write_learning(Path(folder) / "learner")
            version = self._announcer.adapter(
                Path(folder),
                training.lm.base_sha256,
                candidate.parent,
                offsets,
                candidate.lm_weight,
                judgement.numbers,
                becomes=becomes if passed else None,
            )
        LOG.info("adapter %s: %s, %s", version.name, judgement.decision, judgement.reason)
        if foreign:
            told = replace(judgement, reason=f"{plain_name(Path(foreign))}: {judgement.reason}")
            self._announcer.decided(version.name, "adapter", told, by=OPERATOR, decision="on_trial")
            put_away(inbox_of(self._settings), Path(foreign))
            training.set_aside()
        else:
            self._announcer.decided(version.name, "adapter", judgement)
            training.promoted(version.name) if passed else training.refused(judgement)
        self._follow_trials()
        self._announcer.forget_adapters()

    def look_into_inbox(self, training: "Training", learning: "Learning", critic: "Critic") -> None:
        """The oldest entry becomes the gate's next candidate; what cannot be read is refused at once."""
        if training.candidate is not None or self.trials.canary is not None:
            return
        for path in waiting(inbox_of(self._settings), time.time()):
            try:
                check(path)
                training.examine_next(path, learning, critic, time.monotonic())
            except BadEvent as error:
                self._refuse(path, corrupt(error))
            else:
                return

    def _refuse(self, path: Path, judgement: Judgement) -> None:
        LOG.warning("%s is refused: %s", plain_name(path), judgement.reason)
        self._announcer.decided(plain_name(path), "adapter", judgement, by=OPERATOR)
        put_away(inbox_of(self._settings), path)

    def hold_champion(self, training: "Training", *, again: bool) -> None:
        """Take in the champion that was not made here: of a trial, an operator, another life; and the one before it.

        Args:
            again: begin to train anew from it.
        """
        said, held = self._announcer.said, training.held
        if said.champion in (held.get("champion", BASE_ALONE), *self._unfit):
            return
        if said.champion == BASE_ALONE:
            training.hold_base()
        champion = said.versions.get(said.champion)
        parent = said.versions.get(champion.parent) if champion else None
        for version in (parent, champion):
            if version is None or version.name in (*self._unfit, held.get("champion")):
                continue
            if version is parent and version.name in held.values():
                continue
            try:
                training.hold_champion(version.name, self._announcer.registry.fetch(version), version.lm_weight)
            except BadEvent as error:
                LOG.warning("adapter %s cannot be held: %s", version.name, error)
                self._unfit.add(version.name)
        if again and held.get("champion", BASE_ALONE) == said.champion:
            training.restart()


def _said(verdict: Verdict) -> Decided:
    names: dict[str, Decided] = {
        "promote": "promoted", "roll_back": "rolled_back", "renew": "renewed", "time_out": "timed_out",
    }  # fmt: skip
    return names[verdict.decision]
