"""Whether a base that has learned from logged strategies may be served, and why not. Pure."""

from msgspec import Struct

from model.evaluation.estimates import Estimate
from model.strategy.held import Held
from model.strategy.teachability import NOT_WORSE_BY, Teachability

LESS_OWN_WORDS = 0.02
"""Share of messages in its own words by which a base may be behind the one that ships; more is refused when it is beyond chance."""


class Words(Struct, frozen=True):
    """Share of messages of composed decisions in the model's own words, with its 95 % interval."""

    value: float
    low: float
    high: float


class Verdict(Struct, frozen=True):
    """What to do with a base.

    Args:
        go_on: it is saved as a base.
        refused: reasons, empty when it goes on.
        says: all of it in one sentence or a few.
    """

    go_on: bool
    refused: tuple[str, ...]
    says: str


def verdict(held: Held, taught: Teachability, composed_words: dict[str, Words]) -> Verdict:
    """Judge a base.

    Args:
        held: on held-out strategies. taught: beside the base that ships.
        composed_words: of `new` and `shipped`.
    """
    refused = [*_unteachable(taught), *_mute(composed_words), *_learned_nothing(held)]
    found = held.likelihood["gain"]
    learned = f"what went well is more likely than before by {_shown(found)} nats per decision"
    lift = f"its distilled lift is {taught.new.value:.3f}, {taught.shipped.value:.3f} of the base that ships"
    if refused:
        return Verdict(go_on=False, refused=tuple(refused), says=f"refused as a base: {'; '.join(refused)}")
    return Verdict(go_on=True, refused=(), says=f"a base to serve: {learned}; {lift} (difference {_interval(taught)})")


def _unteachable(taught: Teachability) -> list[str]:
    found = []
    if not taught.not_below:
        how = "is below" if taught.difference.high < 0.0 else "may be below"
        found.append(
            f"its teachability {how} that of the base that ships: lift {taught.new.value:.3f} against {taught.shipped.value:.3f}, "
            f"difference {_interval(taught)}; wanted: not below 0 beyond chance, and above -{NOT_WORSE_BY:g}"
        )
    if not taught.reads:
        found.append(
            f"it does not read as a base must: names permuted {taught.names_permuted:.2f}, texts swapped {taught.texts_swapped:.2f}, "
            f"unseen products {taught.unseen_products:.2f}"
        )
    return found


def _mute(words: dict[str, Words]) -> list[str]:
    if words["new"].high >= words["shipped"].value - LESS_OWN_WORDS:
        return []
    return [
        f"{words['new'].value:.1%} of its messages pass the checks, {words['shipped'].value:.1%} of the shipped base's"
    ]


def _learned_nothing(held: Held) -> list[str]:
    gain, worth = held.likelihood["gain"], held.value_gain
    found = []
    if gain.low is None or gain.low <= 0.0:
        found.append(f"what went well is not more likely than before beyond chance ({_shown(gain)} nats per decision)")
    if worth is not None and worth.high is not None and worth.high < 0.0:
        found.append(f"as a policy it is worth less than before ({_shown(worth)} units of reward per decision, DR)")
    return found


def _shown(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.value:.3f}"
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _interval(taught: Teachability) -> str:
    each = taught.difference
    return f"{each.value:+.3f}, {each.low:+.3f} to {each.high:+.3f}"
