"""From states to log-probabilities of slot values: one function for sampler, log and trainer."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.pointer import Pointer
from model.suffix import Pack, Point, SlotRoute

MASKED = -1e30
"""Logit of what is not a choice; finite, so that gradients stay finite."""


def slot_table(
    states: Tensor, pack: Pack, pooled: Tensor, unembedding: Tensor, bias: Tensor | None, pointer: Pointer
) -> Tensor:
    """Log-probabilities of every slot of a pack.

    Args:
        states: (B, T, D) final states of the pack's nodes.
        pack: the choices and the routes of the values through them.
        pooled: (B, N, D) candidates.
        unembedding: (vocabulary, D), with its `bias` (vocabulary,) if the base has one.
        pointer: P.

    Returns:
        (slots, V) log p(value | prefix), padded with `MASKED`; slots in the order they were added.
    """
    width = max(len(point.choices) for point in pack.points)
    choices = _choice_logits(states, pack.points, pooled, unembedding, bias, pointer, width)
    logs = torch.log_softmax(choices, dim=-1)
    return _along_routes(logs.reshape(-1), pack.slots, width)


def _choice_logits(
    states: Tensor,
    points: Sequence[Point],
    pooled: Tensor,
    unembedding: Tensor,
    bias: Tensor | None,
    pointer: Pointer,
    width: int,
) -> Tensor:
    """(points, width) logits of the choices at each point."""
    device = states.device
    places = np.array([(point.row, point.node, len(point.choices), point.pointed) for point in points])
    choices = np.zeros((len(points), width), dtype=np.int64)
    for own, point in zip(choices, points, strict=True):
        own[: len(point.choices)] = point.choices
    rows, nodes, counts, _ = torch.from_numpy(places).to(device).unbind(1)
    index, at = torch.from_numpy(choices).to(device), states[rows, nodes]
    logits = at.new_full((len(points), width), MASKED)
    if (some := np.flatnonzero(places[:, 3])).size:
        which = torch.from_numpy(some).to(device)
        logits = logits.index_put((which,), pointer.logits(at[which], pooled[rows[which][:, None], index[which]]))
    if (some := np.flatnonzero(places[:, 3] == 0)).size:
        which = torch.from_numpy(some).to(device)
        named = torch.einsum("md,mcd->mc", at[which], unembedding[index[which]])
        logits = logits.index_put((which,), named if bias is None else named + bias[index[which]])
    return logits.masked_fill(torch.arange(width, device=device) >= counts[:, None], MASKED)


def _along_routes(logs: Tensor, slots: Sequence[SlotRoute], width: int) -> Tensor:
    """(slots, V): sums of `logs` (points * width) along each value's route."""
    most = max(len(slot.routes) for slot in slots)
    depth = max(len(route) for slot in slots for route in slot.routes)
    nothing = logs.shape[0]
    steps = list[int]()
    for slot in slots:
        for route in slot.routes:
            steps += [point * width + place for point, place in route] + [nothing] * (depth - len(route))
        steps += ([nothing + 1] + [nothing] * (depth - 1)) * (most - len(slot.routes))
    padded = torch.cat([logs, logs.new_tensor([0.0, MASKED])])
    return padded[torch.tensor(steps, device=logs.device).view(len(slots), most, depth)].sum(-1)
