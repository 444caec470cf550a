"""From states to log-probabilities of slot values: one function for sampler, log and trainer."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

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
    rows = torch.tensor([point.row for point in points], device=device)
    at = states[rows, torch.tensor([point.node for point in points], device=device)]
    index = pad_sequence([torch.tensor(point.choices) for point in points], batch_first=True).to(device)
    counts = torch.tensor([len(point.choices) for point in points], device=device)
    pointed = torch.tensor([point.pointed for point in points], device=device)
    logits = at.new_full((len(points), width), MASKED)
    if bool(pointed.any()):
        which = pointed.nonzero()[:, 0]
        logits = logits.index_put((which,), pointer.logits(at[which], pooled[rows[which][:, None], index[which]]))
    if not bool(pointed.all()):
        which = (~pointed).nonzero()[:, 0]
        named = torch.einsum("md,mcd->mc", at[which], unembedding[index[which]])
        logits = logits.index_put((which,), named if bias is None else named + bias[index[which]])
    return logits.masked_fill(torch.arange(width, device=device) >= counts[:, None], MASKED)


def _along_routes(logs: Tensor, slots: Sequence[SlotRoute], width: int) -> Tensor:
    """(slots, V): sums of `logs` (points * width) along each value's route."""
    most = max(len(slot.routes) for slot in slots)
    depth = max(len(route) for slot in slots for route in slot.routes)
    nothing = logs.shape[0]
    steps = [
        [[point * width + place for point, place in route] + [nothing] * (depth - len(route)) for route in slot.routes]
        + [[nothing + 1] + [nothing] * (depth - 1)] * (most - len(slot.routes))
        for slot in slots
    ]
    padded = torch.cat([logs, logs.new_tensor([0.0, MASKED])])
    return padded[torch.tensor(steps, device=logs.device)].sum(-1)
