"""The code path of a GPU's benchmark, on the CPU with a tiny base of the same shape; on a GPU also its own figures."""

import json

import pytest
import torch

from benchmarks import serving_gpu
from model import adapter


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_both_decode_and_every_batch_has_its_line(dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens per second and the roofline, for every batch size."""
    asked = ["--shape", "tiny", "--device", "cpu", "--batches", "1,3", "--tokens", "4", "--prompt", "9", "--runs", "1"]
    assert serving_gpu.main([*asked, "--dtype", dtype, "--bandwidth", "10", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["batch"] for line in lines] == [1, 3]
    assert all(min(line["ours_per_s"], line["generate_per_s"], line["roofline_per_s"]) > 0 for line in lines)


def test_both_say_the_same_tokens() -> None:
    """Where the adapter changes nothing, the greedy tokens of the lean pass are those of `generate`."""
    lm = serving_gpu.base("tiny", "cpu", torch.float32, 3)
    adapter.place(lm, "slot_a", {key: torch.zeros_like(p) for key, p in adapter.parameters(lm, "slot_a").items()})
    prompt = torch.randint(1, 600, (3, 11), generator=torch.Generator().manual_seed(1))
    assert torch.equal(serving_gpu.ours(lm, prompt, 6), serving_gpu.theirs(lm, prompt, 6))


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is measured on another device than the one that was asked for."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert serving_gpu.main([]) == 2
    assert "no GPU here" in capsys.readouterr().err
