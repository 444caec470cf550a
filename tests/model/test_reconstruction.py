"""What pretraining asks of a prompt's end, and that the base that ships gives it: every attribute of the customer, by a linear layer."""

import numpy as np
import torch

from model.corpus import CUSTOMER, compose
from model.finetune import LAYERS_READ, lessons, reconstruction_of, teacher_loss
from model.fresh import random_lm
from model.lm import LanguageModel
from model.teachers import draw_teacher

RIDGE = 1e-2


def test_the_loss_reaches_what_an_adapter_can_read() -> None:
    """One step on a random base: gradients in its value projections and in the heads, and a loss near that of guessing."""
    lm, rng = random_lm(0), np.random.default_rng(0)
    examples = [compose(rng, candidates=(3, 4)) for _ in range(4)]
    lm.causal.requires_grad_(requires_grad=True)
    heads = reconstruction_of(lm)
    asked = lessons(examples, [draw_teacher(0, index) for index in range(4)], 2, rng)
    *_, rebuilt = teacher_loss(lm, examples, asked, heads)
    rebuilt.backward()  # type: ignore[no-untyped-call]  # torch's own lack
    last = lm.backbone.layers[-1].self_attn.v_proj.weight
    assert last.grad is not None
    assert float(last.grad.abs().sum()) > 0.0
    assert all(layer.weight.grad is not None for layer in heads.customer)
    guessing = float(np.mean([np.log(size) for size in CUSTOMER.values()]))
    assert float(rebuilt.detach()) > guessing, "candidates' attributes come on top"


def test_the_base_that_ships_says_the_customer_at_the_end_of_the_prompt() -> None:
    """Least squares on 400 composed prompts reads the attributes of 200 others; the most frequent value would be right for a quarter."""
    lm, rng = LanguageModel.load("", "cpu"), np.random.default_rng(1)
    examples = [compose(rng, candidates=(2, 3)) for _ in range(600)]
    values = []
    for start in range(0, len(examples), 50):
        prompts = lm.encode([example.request for example in examples[start : start + 50]])
        ends = torch.tensor(prompts.lengths) - 1
        values.append(prompts.memory[torch.arange(len(ends)), -LAYERS_READ:, 1, :, ends].flatten(1).double().numpy())
    x = np.concatenate(values)
    x = np.c_[(x - x.mean(0)) / x.std(0), np.ones(len(x))]
    told = np.array([example.customer for example in examples])
    right = []
    for place, size in enumerate(CUSTOMER.values()):
        wanted = np.eye(size)[told[:400, place]]
        weights = np.linalg.solve(x[:400].T @ x[:400] + RIDGE * 400 * np.eye(x.shape[1]), x[:400].T @ wanted)
        right.append(float(np.mean((x[400:] @ weights).argmax(1) == told[400:, place])))
    assert np.mean(right) > 0.8
