"""A linear layer by the library of torch's two that computes more per second; the same numbers from either.

For float32 torch takes MKL, which leaves AVX-512 unused on processors that are not Intel's. oneDNN, which comes with torch too, uses it:
on such a processor it does 255 GFLOPS a core and MKL 110. The operator is the one that torch's own compiler (Inductor) calls;
where it is missing, or would not help, the usual one is called. Each new shape costs oneDNN about a millisecond once, so that it is
given rows in whole steps. Sums over a wide input are taken in MKL's parts, so that they are rounded alike.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

STEP, MANY, LARGE_STEP = 32, 1024, 64
"""Rows come to oneDNN in multiples of `STEP`, from `MANY` on of `LARGE_STEP`: few shapes, of which it keeps 1,024."""
PART = 192
"""Columns of the input over which MKL sums at once; what has more, but not twice as many, is halved."""
WIDE_STEPS = 4
"""Steps of rows below which MKL is faster where the input is wider than a part."""

_one_dnn: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
HELPS: bool = _one_dnn is not None and torch.backends.cpu.get_cpu_capability() == "AVX512"
"""Whether this build of torch has it and this machine is such."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(N, in), (out, in), (out,) → (N, out), as `torch.nn.functional.linear`; differentiable where gradients are wanted."""
    if not _suits(x):
        return functional.linear(x, weight, bias)
    rest = len(x) % _step(len(x))
    whole = len(x) - rest
    if whole < (STEP if x.shape[1] <= PART else WIDE_STEPS * STEP):
        return functional.linear(x, weight, bias)
    if not rest:
        return _by_one_dnn(x, weight, bias)
    return torch.cat((_by_one_dnn(x[:whole], weight, bias), functional.linear(x[whole:].contiguous(), weight, bias)))


def missing(x: Tensor) -> int:
    """Rows that (N, ...) lacks of whole steps: with them, no product has a rest. 0 where that does not matter."""
    return -len(x) % _step(len(x)) if _suits(x) and len(x) >= STEP else 0


def _suits(x: Tensor) -> bool:
    return HELPS and x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled()


def _step(rows: int) -> int:
    return STEP if rows < MANY else LARGE_STEP


def _by_one_dnn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Of contiguous tensors: of others it is slower by a factor of a thousand."""
    width = x.shape[1]
    part = width if width <= PART else width // 2 if width < 2 * PART else PART
    done: Tensor = _one_dnn(x[:, :part].contiguous(), weight[:, :part].contiguous(), bias, "none", [], "")
    for begin in range(part, width, part):
        own = slice(begin, begin + part)
        done = _one_dnn.binary(x[:, own].contiguous(), done, weight[:, own].contiguous(), None, "add")
    return done
