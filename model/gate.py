"""The first gate: numbers in, checks and a decision out (DESIGN §4, law 5). Pure, without tensors.

Each check says its numbers, passed or not, and says when it had too little to judge by. How the numbers are taken from
a candidate is `model/gate_evidence.py`'s business.

References:
    Dudik, Langford, Li (2011), Doubly robust policy evaluation and learning, ICML.
    Swaminathan, Joachims (2015), The self-normalized estimator for counterfactual learning, NeurIPS.
    Kish (1965), Survey sampling, Wiley: the effective sample size.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from model.critic import OUTCOMES
from streaming.contracts.errors import BadEvent
from streaming.contracts.strategies import Check

Floats = npt.NDArray[np.float64]
Verdict = Literal["promoted", "refused"]

MAX_RATIO = 50.0
"""Importance weights are cut here in both terms of a paired difference."""


PARITY_FLOAT32, PARITY_HALF = 1e-4, 2e-2
"""Law 2: how far the probability of a served decision may be off when it is recomputed, in the precision it was served in."""


class GateKnobs(msgspec.Struct, frozen=True):
    """Bounds of the gate.

    Args:
        parity: largest |log p - logged log p| of a served decision; see `parity_bound`.
        kl_cap_nats: mean KL(candidate || champion) of the served distribution per request.
        entropy_floor_nats: least mean entropy of the candidate's own slot distributions.
        delta: how much worse the value may be, units of reward.
        min_value_rows: with fewer newer rewards the value cannot be judged;
        min_effective: nor with a smaller effective sample size of the candidate's importance weights.
        value_wanted: refuse a candidate whose value cannot be judged, as befits a change. A refresh is let through: it is a
            small step of a line that its anchor watches, and would otherwise stand still wherever traffic is thin.
        min_parity_rows: with fewer, nothing says that trainer and server mean the same, and the candidate is refused.
    """

    parity: float = PARITY_FLOAT32
    kl_cap_nats: float = 1.0
    entropy_floor_nats: float = 0.005
    delta: float = 0.02
    min_value_rows: int = 30
    min_effective: float = 5.0
    value_wanted: bool = False
    min_parity_rows: int = 1
    critic_loss_slack_nats: float = 0.02
    critic_bias_cap: float = 0.1
    critic_step_cap: float = 4.0


class OffPolicy(msgspec.Struct, frozen=True):
    """What a policy is worth by rewards that others earned, one number per newer closed reward.

    Args:
        ratios: its probability of the logged decision over the logged propensity (the marginal of law 2), cut at `MAX_RATIO`.
        rewards: of the logged decision, completed by what its critic expects after the stage that is known.
        robust: doubly robust, see `doubly_robust`.
    """

    ratios: tuple[float, ...] = ()
    rewards: tuple[float, ...] = ()
    robust: tuple[float, ...] = ()

    @property
    def effective(self) -> float:
        """Kish's effective sample size of the weights; 0 where all are 0."""
        squares = float(np.sum(np.square(self.ratios)))
        return float(np.sum(self.ratios)) ** 2 / squares if squares > 0.0 else 0.0

    def numbers(self, of: str) -> dict[str, float]:
        """By inverse propensity, self-normalised, doubly robust; with the effective sample size. Units of reward per decision."""
        weighted, weights = float(np.dot(self.ratios, self.rewards)), float(np.sum(self.ratios))
        return {
            f"{of}_ips": weighted / len(self.ratios) if self.ratios else 0.0,
            f"{of}_snips": weighted / weights if weights > 0.0 else 0.0,
            f"{of}_dr": _mean(self.robust),
            f"{of}_effective": self.effective,
        }


class Evidence(msgspec.Struct, frozen=True):
    """What was measured of an intact candidate.

    Args:
        parity: per served decision that could be recomputed, log p - logged log p, with the version that served it.
        valid: decisions the candidate sampled that rules allow; `sampled`: all of them.
        kl_nats: per request KL(candidate || champion) of the served distribution.
        entropy_nats: per slot, the candidate's own distribution.
        candidate, champion: what each is worth by the same newer closed rewards.
        finals: of the newer closed rewards, those whose outcomes are all known: nothing had to be completed.
        left_out: served decisions as new as those of `parity` that no version at hand could recompute.
        followed, led: per request what the candidate alone and its critic gain by the critic's word, see `model/following.py`.
    """

    parity: tuple[float, ...]
    valid: int
    sampled: int
    kl_nats: tuple[float, ...]
    entropy_nats: tuple[float, ...]
    candidate: OffPolicy
    champion: OffPolicy
    finals: int = 0
    left_out: int = 0
    followed: tuple[float, ...] = ()
    led: tuple[float, ...] = ()

    @property
    def following(self) -> float:
        """The candidate's part of its critic's gain; 0 where the critic itself gains nothing."""
        led = sum(self.led)
        return sum(self.followed) / led if led > 0.0 else 0.0

    @property
    def differences(self) -> tuple[float, ...]:
        """Per newer closed reward, doubly robust value of the candidate minus the champion's."""
        return tuple(own - other for own, other in zip(self.candidate.robust, self.champion.robust, strict=True))


class Judgement(msgspec.Struct, frozen=True):
    """The gate's word, with everything it rests on."""

    decision: Verdict
    reason: str
    checks: tuple[Check, ...]
    numbers: dict[str, float]


def parity_bound(dtype: str) -> float:
    """The bound of law 2 for the precision that is served, `torch.float32` and the like."""
    return PARITY_FLOAT32 if dtype.endswith(("float32", "float64")) else PARITY_HALF


def judge(checks: Sequence[Check], numbers: Mapping[str, float] | None = None) -> Judgement:
    """Promoted when every check passed; refused for the first that did not."""
    failed = [check for check in checks if not check.passed]
    reason = f"{failed[0].name}: {failed[0].detail}" if failed else "every check passed"
    finite = {name: value for name, value in (numbers or {}).items() if math.isfinite(value)}
    return Judgement("refused" if failed else "promoted", reason, tuple(checks), finite)


def corrupt(error: BadEvent) -> Judgement:
    """A candidate that cannot be read at all."""
    return judge([Check("artifact", passed=False, detail=str(error))])


def judge_adapter(evidence: Evidence, knobs: GateKnobs) -> Judgement:
    """All checks on an intact adapter."""
    checks = [
        Check("artifact", passed=True, detail="hashes, shapes and numbers are sound"),
        _parity(evidence.parity, knobs),
        Check(
            "decisions",
            passed=evidence.sampled > 0 and evidence.valid == evidence.sampled,
            detail=f"{evidence.valid} of {evidence.sampled} sampled decisions are allowed",
        ),
        _at_most("kl", evidence.kl_nats, knobs.kl_cap_nats, "nats per request to the champion"),
        _at_least("entropy", evidence.entropy_nats, knobs.entropy_floor_nats, "nats per slot"),
        _value(evidence, knobs),
    ]
    numbers = {
        "parity_rows": float(len(evidence.parity)),
        "parity_left_out": float(evidence.left_out),
        "parity_max": max((abs(gap) for gap in evidence.parity), default=0.0),
        "kl_nats": _mean(evidence.kl_nats),
        "entropy_nats": _mean(evidence.entropy_nats),
        "following": evidence.following,
        "value_rows": float(len(evidence.differences)),
        "final_decisions": float(evidence.finals),
        "value_difference": _mean(evidence.differences),
        "value_difference_se": _standard_error(evidence.differences),
    }
    numbers |= evidence.candidate.numbers("candidate") | evidence.champion.numbers("champion")
    return judge(checks, numbers)


def judge_critic(
    losses: Mapping[str, tuple[Floats, Floats]],
    biases: Mapping[str, float],
    step: float,
    knobs: GateKnobs,
) -> Judgement:
    """The small gate of critic snapshots, once they are known to be intact.

    Args:
        losses: outcome → log losses (nats) of candidate and predecessor on the same last closed rewards.
        biases: outcome → mean predicted minus observed probability of the candidate there.
        step: largest change of an action's value since the predecessor, in standard deviations of the values.
    """
    checks = [Check("finite", passed=True, detail="weights are finite and of the right shape")]
    numbers: dict[str, float] = {"step": step}
    for spec in OUTCOMES:
        if spec.name not in losses or not len(losses[spec.name][0]):
            continue
        new, old = losses[spec.name]
        gap = float(np.mean(new - old))
        allowed = knobs.critic_loss_slack_nats + 2.0 * _standard_error(tuple(new - old))
        numbers |= {f"{spec.name}_loss": float(np.mean(new)), f"{spec.name}_loss_gap": gap}
        checks.append(
            Check(
                f"{spec.name}_loss",
                passed=gap <= allowed,
                detail=f"{gap:+.4f} nats on {len(new)} rows, {allowed:.4f} allowed",
            )
        )
        bias = biases.get(spec.name, 0.0)
        numbers[f"{spec.name}_bias"] = bias
        bound = knobs.critic_bias_cap + 2.0 / math.sqrt(len(new))
        checks.append(Check(f"{spec.name}_bias", passed=abs(bias) <= bound, detail=f"{bias:+.3f}, at most {bound:.3f}"))
    checks.append(
        Check(
            "step",
            passed=step <= knobs.critic_step_cap,
            detail=f"{step:.2f} deviations, at most {knobs.critic_step_cap}",
        )
    )
    return judge(checks, numbers)


def doubly_robust(expected: Floats, ratio: Floats, reward: Floats, predicted: Floats) -> Floats:
    """Value of a policy per logged decision: its expectation under the critic plus the weighted residual.

    Args:
        expected: (n,) critic's value of what the policy would do; `ratio`: (n,) its probability of the logged
            decision over the logged propensity; `reward`, `predicted`: (n,) of the logged decision, both of everything
            that follows (`model/completed.py`), or the residual would be that of what is not known yet.
    """
    result: Floats = expected + np.minimum(ratio, MAX_RATIO) * (reward - predicted)
    return result


def _parity(gaps: Sequence[float], knobs: GateKnobs) -> Check:
    if len(gaps) < knobs.min_parity_rows:
        return Check("parity", passed=False, detail=f"not judged, {len(gaps)} rows")
    worst = max(abs(gap) for gap in gaps)
    return Check(
        "parity",
        passed=worst <= knobs.parity,
        detail=f"largest gap {worst:.2e} on {len(gaps)} served decisions, at most {knobs.parity:.0e}",
    )


def _at_most(name: str, values: Sequence[float], cap: float, unit: str) -> Check:
    mean = _mean(values)
    return Check(
        name, passed=bool(values) and mean <= cap, detail=f"{mean:.4f} {unit}, at most {cap} ({len(values)} rows)"
    )


def _at_least(name: str, values: Sequence[float], floor: float, unit: str) -> Check:
    mean = _mean(values)
    return Check(
        name, passed=bool(values) and mean >= floor, detail=f"{mean:.4f} {unit}, at least {floor} ({len(values)} rows)"
    )


def _value(evidence: Evidence, knobs: GateKnobs) -> Check:
    differences, effective = evidence.differences, evidence.candidate.effective
    if len(differences) < knobs.min_value_rows or effective < knobs.min_effective:
        detail = (
            f"not judged: {len(differences)} newer closed rewards, {knobs.min_value_rows} wanted; "
            f"effective sample size {effective:.1f}, {knobs.min_effective:g} wanted"
        )
        return Check("value", passed=not knobs.value_wanted, detail=detail)
    mean, error = _mean(differences), _standard_error(differences)
    # Refused when worse by more than delta beyond doubt: the noise of few rows must not stop the line.
    worst = mean + 2.0 * error
    judged = f"{len(differences)} newer rewards, {evidence.finals} of them final"
    detail = f"{mean:+.4f} ± {error:.4f} against the champion on {judged}, delta {knobs.delta}"
    return Check("value", passed=worst >= -knobs.delta, detail=f"{detail}; effective sample size {effective:.1f}")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _standard_error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0
