"""The table of ways to adapt a model: its task parts products by type, and a method's row is what one training gave."""

import pytest
import torch

from benchmarks.peft_table import TOKENS, Task, fresh, judged, the_task


@pytest.fixture(scope="module")
def task() -> Task:
    """A small task of real products."""
    return the_task(60)


def test_no_text_is_both_learned_from_and_judged(task: Task) -> None:
    """Types are parted, so texts are."""
    parts = [{tuple(row) for row in getattr(task, name).tolist()} for name in Task.__struct_fields__]
    assert all(len(part) > 30 for part in parts)
    assert not any(one & other for at, one in enumerate(parts) for other in parts[:at])
    assert task.learn.shape == (60, TOKENS)


def test_the_loss_is_that_of_the_texts_own_tokens(task: Task) -> None:
    """Against transformers' loss of one text alone, without what fills it up."""
    model = fresh().eval()
    row = task.judge[:1]
    said = row[:, : int((row != 0).sum())]
    with torch.no_grad():
        wanted = float(model(input_ids=said, labels=said).loss)
    assert judged(model, row) == pytest.approx(wanted, abs=1e-4)
