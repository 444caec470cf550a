"""Linear layers by either library: the same numbers, whatever the rows, the width and the strides."""

import pytest
import torch
from torch.nn import functional

from model import linear


@pytest.mark.parametrize("width", [32, 128, 191, 192, 256, 383, 384, 500])
@pytest.mark.parametrize("rows", [1, 31, 32, 33, 127, 128, 200, 1030])
@pytest.mark.parametrize("biased", [False, True])
def test_the_numbers_are_those_of_torchs_own(width: int, rows: int, *, biased: bool) -> None:
    """With and without a bias, with rows that are whole steps and others, for narrow and wide inputs, contiguous or not."""
    generator = torch.Generator().manual_seed(rows + width)
    x, weight = torch.randn(rows, width, generator=generator), torch.randn(48, width, generator=generator)
    bias = torch.randn(48, generator=generator) if biased else None
    wanted = functional.linear(x.double(), weight.double(), None if bias is None else bias.double()).float()
    with torch.no_grad():
        torch.testing.assert_close(linear.linear(x, weight, bias), wanted, rtol=1e-5, atol=1e-4)
        wide = torch.cat((x, x), 1)[:, :width]
        assert torch.equal(linear.linear(wide, weight, bias), linear.linear(x, weight, bias))


def test_what_is_learned_from_keeps_its_gradients() -> None:
    """Where gradients are wanted the usual operator is called, and nothing is padded."""
    x, weight = torch.randn(64, 16), torch.randn(8, 16, requires_grad=True)
    linear.linear(x, weight, None).sum().backward()  # type: ignore[no-untyped-call]  # torch's own lack
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, x.sum(0).expand(8, -1))
    assert linear.missing(torch.randn(65, 16)) == 0


def test_rows_that_are_missing_make_whole_steps() -> None:
    """Few rows are left as they are; many come in larger steps."""
    with torch.no_grad():
        found = [linear.missing(torch.randn(rows, 4)) for rows in (5, 32, 33, 1023, 1025)]
    assert found == ([0, 0, 31, 1, 63] if linear.HELPS else [0] * 5)
