"""The reward of a decision as far as it is known, completed by what its critic expects after that. Pure.

A response is known within hours or minutes, an order within days. Judged by responses alone, what wins clicks and loses orders
looks good. So what is not known yet is replaced by its expectation given what is: a surrogate index, of the critic's own outcomes.

    final:     the reward
    response:  the reward so far + E[orders, refunds, unsubscriptions | shown, clicked]

Without a click the critic knows no way to an order: after it only an unsubscription can come. Averaged over the critic's own chances
of exposure and click this is the critic's expected reward, so that the residual of a doubly robust value (`model/gate.py`) has mean zero
where the critic is calibrated; before, it was short of everything that comes after the response.

References:
    Athey, Chetty, Imbens, Kang (2019), The surrogate index, NBER working paper 26463, section 3.
"""

import numpy as np
from msgspec import structs

from model.critic import OUTCOMES, Critic
from model.memory import Replayed
from streaming.contracts.strategies import Slot

_NEVER, _SURELY = np.zeros(()), np.ones(())
_AFTER = dict.fromkeys((spec.name for spec in OUTCOMES if spec.name not in ("shown", "clicked")), _NEVER)
"""What no response knows, as if it never came."""


def completed(item: Replayed, critic: Critic) -> float:
    """The reward to judge a decision by, units of reward.

    Args:
        item: of whatever kind and stage. Where not even its response is known, all of it is the critic's expectation.
        critic: by its mean, as in the expectation that the residual is held against.

    Raises:
        KeyError: a decision that lacks a slot of its request.
    """
    if item.final:
        return item.reward
    slots = tuple(Slot(slot.name, (item.decision[slot.name],)) for slot in item.request.slots)
    alone, mean = structs.replace(item.request, slots=slots), critic.mean
    chances = mean.probabilities(item.request, item.decision)
    if item.shown is None:
        return float(mean.worth(alone, chances).item())
    seen = item.shown or item.clicked  # as `labels_of` has it
    known = chances | {"shown": _SURELY if seen else _NEVER, "clicked": _SURELY if item.clicked else _NEVER}
    rest = mean.worth(alone, known) - mean.worth(alone, known | _AFTER)
    return item.reward + float(rest.item())
