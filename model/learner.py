"""The critic's learner: closed rewards in, critic snapshots out. A pure function of the rewards in their order.

Nothing here looks at a clock, so that a learner restored from a snapshot and fed the same rewards ends where an undisturbed
one does. When to publish a snapshot is the caller's business.
"""

import math
from collections import Counter, defaultdict

import numpy as np
import numpy.typing as npt
from msgspec import structs
from scipy.sparse import csr_matrix

from model.critic import OUTCOMES, PRECISIONS, Critic, Facts, OutcomeSpec, prior_logit
from model.critic_features import DIMENSIONS, REGION_SIZES, spread
from model.drift import DriftWatch
from model.evidence import Posterior, precisions
from model.formula import RewardFormula
from model.lessons import KindState, LearnerKnobs, Lesson, channel_of, prior_draws, row_noise, row_of, weight_noise
from model.memory import STAGE_RANK, UNKNOWN, Example, Labels, Outages, SeenIds, Window, labels_of, merged
from model.newton import Problem, draws, log_loss, mode
from streaming.contracts.ids import reward_id
from streaming.contracts.kinds import GRAMMARS
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import Slot

Floats = npt.NDArray[np.float64]

UNITS_PRIOR_ORDERS = 10.0
"""Orders' worth of belief that an attributed order brings the margin of one unit."""
UNITS_BOUNDS = (0.2, 10.0)
EARLY_SHARE = 0.1
"""While young, refit whenever the rewards have grown by this share: the first hundreds teach most."""
EARLY_MIN = 20
REFUND_ONLY = 4
"""Rank of an example that lets nothing but its refund be learned."""


class CriticLearner:
    """Learns outcomes one reward at a time and refits every `refit_every`."""

    def __init__(self, knobs: LearnerKnobs, formula: RewardFormula) -> None:
        """Begin with the prior."""
        self.knobs = knobs
        self.formula = formula
        self.window = Window(knobs.window)
        self.seen = SeenIds(4 * knobs.window)
        self.outages = Outages(knobs.outage_after)
        self.watch = DriftWatch()
        self.kinds: defaultdict[str, KindState] = defaultdict(KindState)
        self.means: dict[str, Floats] = {spec.name: np.zeros(DIMENSIONS) for spec in OUTCOMES}
        self.noise = weight_noise(knobs)
        self.drawn: dict[str, Floats] = prior_draws(self.noise)
        self.precisions: dict[str, Floats] = {spec.name: spec.precision * PRECISIONS for spec in OUTCOMES}
        self.learned = 0
        self.since_refit = 0
        self.fates: Counter[str] = Counter()

    def learn(self, reward: Reward) -> Lesson:
        """Learn what this reward teaches that is not known yet; equal rewards in equal order give equal states."""
        lesson = self._learn(reward)
        self.fates[lesson.fate] += 1
        if lesson.fate in ("learned", "amended"):
            self.since_refit += 1
            due = min(self.knobs.refit_every, max(EARLY_MIN, int(EARLY_SHARE * self.learned)))
            if self.since_refit >= due or lesson.drifted:
                self.refit()
                return structs.replace(lesson, refitted=True)
        return lesson

    def _learn(self, reward: Reward) -> Lesson:
        if not self.seen.add(reward.reward_id):
            return Lesson("duplicate")
        if reward.ghost or not reward.decision:
            return Lesson("ghost")
        known = self.window.get(reward.strategy_id)
        if known is not None:
            return self._amend(known, reward)
        if reward.stage != "response" and self._is_late(reward):
            return self._learn_late(reward)
        out, forget = self.outages.update(channel_of(reward), reward.strategy_id, shown=_was_seen(reward))
        self.window.drop(forget)
        if out:
            return Lesson("outage")
        return self._add(reward)

    def _is_late(self, reward: Reward) -> bool:
        """Its row has left the window: a correction's always, a final's when the response was learned before."""
        return reward.stage == "correction" or reward_id(reward.strategy_id, "response") in self.seen

    def _learn_late(self, reward: Reward) -> Lesson:
        """A strategy that has left the window, or was dropped in an outage: it only enters the estimate of refunds."""
        if reward.outcomes.ordered:
            example = self._example(reward, self.kinds[reward.kind].tick)
            example.labels = _refund_only(example.labels)
            example.rank = REFUND_ONLY
            self.window.add(example)
        return Lesson("late")

    def _example(self, reward: Reward, tick: float) -> Example:
        return Example(
            strategy_id=reward.strategy_id,
            kind=reward.kind,
            row=row_of(reward.request, reward.decision),
            labels=labels_of(reward.outcomes, reward.stage),
            rank=STAGE_RANK[reward.stage],
            tick=tick,
            unit_margin=self._unit_margin(reward),
            margin=self.formula.margin_of(reward.outcomes),
        )

    def _add(self, reward: Reward) -> Lesson:
        state = self.kinds[reward.kind]
        hurried = state.alarm_left > 0
        state.tick += (self.knobs.drift_speed if hurried else 1.0) / self.knobs.half_life
        state.alarm_left = max(state.alarm_left - 1, 0)
        example = self._example(reward, state.tick)
        losses, residual = self._prequential(example, example.labels)
        self.window.add(example)
        self.learned += 1
        drifted = not math.isnan(residual) and self.watch.update(reward.kind, residual)
        if drifted:
            state.alarm_left = self.knobs.drift_rewards
            state.tick += 1.0  # what came before counts half at once
        return Lesson("learned", losses, drifted=drifted)

    def _amend(self, known: Example, reward: Reward) -> Lesson:
        new = labels_of(reward.outcomes, reward.stage)
        rank = STAGE_RANK[reward.stage]
        if known.rank == REFUND_ONLY:
            new, rank = _refund_only(new), REFUND_ONLY
        fresh = tuple(value if math.isnan(old) else UNKNOWN for old, value in zip(known.labels, new, strict=True))
        losses, _ = self._prequential(known, fresh)
        known.labels = merged(known.labels, known.rank, new, rank)
        if rank >= known.rank:
            known.rank = rank
            known.margin = self.formula.margin_of(reward.outcomes)
        return Lesson("amended", losses)

    def _unit_margin(self, reward: Reward) -> float:
        slots = tuple(Slot(slot.name, (reward.decision[slot.name],)) for slot in reward.request.slots)
        alone = structs.replace(reward.request, slots=slots)
        return float(self.formula.margin_grid(alone).ravel()[0])

    def _prequential(self, example: Example, labels: tuple[float, ...]) -> tuple[dict[str, float], float]:
        """Losses of labels before they are learned, and the residual of the click."""
        losses: dict[str, float] = {}
        residual = UNKNOWN
        for spec, label in zip(OUTCOMES, labels, strict=True):
            if math.isnan(label):
                continue
            index, data = example.row.part(spec)
            logit = float(data.astype(np.float64) @ self.means[spec.name][index]) + prior_logit(spec)
            losses[spec.name] = float(log_loss(np.array(logit), np.array(label)))
            if spec.name == "clicked":
                residual = label - 1.0 / (1.0 + math.exp(-max(min(logit, 40.0), -40.0)))
        return losses, residual

    def refit(self) -> None:
        """Fit every model to the window from where it stands, and draw its heads."""
        self.since_refit = 0
        knobs = (self.knobs.seed, self.knobs.heads)
        for position, spec in enumerate(OUTCOMES):
            chosen = [example for example in self.window if not math.isnan(example.labels[position])]
            if not chosen:
                continue
            problem = self._problem(spec, position, chosen)
            self.means[spec.name] = mode(problem, self.means[spec.name])
            if spec.headed:
                noise = np.stack([row_noise(*knobs, spec.name, example.strategy_id) for example in chosen])
                self.drawn[spec.name] = draws(
                    problem, self.means[spec.name], noise, self.noise[spec.name], self.drawn[spec.name]
                )
                self._adapt(spec, problem)

    def _adapt(self, spec: OutcomeSpec, problem: Problem) -> None:
        """The next fit's prior, by what this one has found."""
        seen = np.bincount(problem.rows.indices, minlength=DIMENSIONS) > 0
        posterior = Posterior(self.means[spec.name], self.drawn[spec.name], self.noise[spec.name], seen)
        begun = spec.precision * PRECISIONS
        self.precisions[spec.name] = precisions(posterior, self.precisions[spec.name], begun, REGION_SIZES)

    def _problem(self, spec: OutcomeSpec, position: int, chosen: list[Example]) -> Problem:
        parts = [example.row.part(spec) for example in chosen]
        indptr = np.zeros(len(parts) + 1, np.int32)
        np.cumsum([len(index) for index, _ in parts], out=indptr[1:])
        index = np.concatenate([index for index, _ in parts]).astype(np.int32)
        data = np.concatenate([data for _, data in parts]).astype(np.float64)
        rows = csr_matrix((data, index, indptr), shape=(len(parts), DIMENSIONS), copy=False)
        ages = np.array([self.kinds[example.kind].tick - example.tick for example in chosen])
        labels = np.array([example.labels[position] for example in chosen])
        return Problem(rows, labels, 0.5**ages, prior_logit(spec), spread(self.precisions[spec.name]))

    @property
    def alarmed(self) -> bool:
        """A drift was detected within the last `drift_rewards` rewards of some kind."""
        return any(state.alarm_left > 0 for state in self.kinds.values())

    @property
    def width(self) -> float:
        """Scale of the heads now."""
        return self.knobs.head_width * (self.knobs.drift_width if self.alarmed else 1.0)

    def half_life(self, kind: str) -> float:
        """The kind's half-life now, closed rewards."""
        hurried = self.kinds[kind].alarm_left > 0
        return self.knobs.half_life / (self.knobs.drift_speed if hurried else 1.0)

    def snapshot(self) -> Critic:
        """The critic as it stands; it is named when it is published."""
        weights = {}
        for spec in OUTCOMES:
            rows = [self.means[spec.name]]
            if spec.headed:
                rows += list(self.means[spec.name] + self.width * self.drawn[spec.name].T)
            weights[spec.name] = np.array(rows, np.float32)
        beta = self.knobs.beta * (self.knobs.drift_width if self.alarmed else 1.0)
        facts = Facts(heads=self.knobs.heads, beta=beta, units=self.units(), learned=self.learned)
        return Critic("", weights, facts, self.formula)

    def units(self) -> dict[str, float]:
        """Kind → mean margin of an attributed order over the formula's margin of one unit, shrunk towards 1.

        A shared order counts by the strategy's part: its margin is that part's.
        """
        found = {}
        orders = [example for example in self.window if example.labels[_ORDERED] > 0.0]
        for kind in sorted({example.kind for example in orders}.union(GRAMMARS)):
            own = [example for example in orders if example.kind == kind]
            expected = sum(example.labels[_ORDERED] * max(example.unit_margin, 0.0) for example in own)
            typical = expected / sum(example.labels[_ORDERED] for example in own) if own else 0.0
            if typical <= 0.0:
                found[kind] = 1.0
                continue
            total = sum(example.margin for example in own)
            ratio = (total + UNITS_PRIOR_ORDERS * typical) / (expected + UNITS_PRIOR_ORDERS * typical)
            found[kind] = min(max(ratio, UNITS_BOUNDS[0]), UNITS_BOUNDS[1])
        return found


def _refund_only(labels: Labels) -> Labels:
    return tuple(label if spec.name == "refunded" else UNKNOWN for spec, label in zip(OUTCOMES, labels, strict=True))


_ORDERED = next(position for position, spec in enumerate(OUTCOMES) if spec.name == "ordered")


def _was_seen(reward: Reward) -> bool:
    return reward.outcomes.shown or reward.outcomes.clicked or reward.outcomes.ordered
