"""Tokens per second of the lean pass with a base of a downloadable one's shape, against the memory's bandwidth and plain `generate`.

Usage: python -m benchmarks.serving_gpu [--shape qwen2-0.5b|tiny] [--batches 1,32,256] [--tokens N] [--prompt N] [--device cuda|cpu]
                                        [--dtype bfloat16|float32] [--bandwidth GB/s] [--runs N] [--seed N] [--json]

Weights are random: speed does not depend on them. A decoding step reads every weight of the backbone and of the unembedding once, and each row's
keys and values; the roofline is the bandwidth over those bytes. Bandwidth is measured by copying a large block, unless it is given.
`ours` decodes greedily by the lean pass, `generate` by transformers, both with one adapter; tokens per second of all rows.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks.serving import adapted
from benchmarks.telling import say
from model import adapter
from model.batch import Room
from model.lm import LanguageModel
from model.pointer import Pointer
from model.tokenizer import train

GOAL = 0.3
"""Of the roofline."""
SHAPES: dict[str, dict[str, Any]] = {
    "qwen2-0.5b": {
        "vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4_864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 4_096, "tie_word_embeddings": True,
    },
    "tiny": {
        "vocab_size": 700, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "tie_word_embeddings": True,
    },
}  # fmt: skip
COPIED_BYTES = 1 << 28


class Line(msgspec.Struct, frozen=True):
    """One batch size."""

    batch: int
    ours_per_s: float
    generate_per_s: float
    roofline_per_s: float

    @property
    def share(self) -> float:
        """Of the roofline."""
        return self.ours_per_s / self.roofline_per_s


def base(shape: str, device: str, dtype: torch.dtype, seed: int) -> LanguageModel:
    """A base of this shape with random weights and one adapter."""
    tokenizer = train(("fresh ground coffee",), 600)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        causal: Any = Qwen2ForCausalLM(  # type: ignore[no-untyped-call]  # transformers' own lack
            Qwen2Config(**SHAPES[shape], pad_token_id=0, eos_token_id=None, bos_token_id=None)
        )
    causal = causal.to(device, dtype)
    lm = LanguageModel(causal, tokenizer, Pointer(causal.config.hidden_size), shape)
    adapter.attach(lm, ("slot_a",))
    adapter.place(lm, "slot_a", {key: each.to(device, dtype) for key, each in adapted(lm, seed).items()})
    return lm


@torch.inference_mode()
def ours(lm: LanguageModel, prompt: Tensor, tokens: int) -> Tensor:
    """(B, tokens) greedy tokens after a prompt that the bare base read; the adapter sees what follows."""
    lean = lm.lean
    assert lean is not None
    rows, width = prompt.shape
    embed, head = lm.backbone.get_input_embeddings(), lm.causal.get_output_embeddings()
    memory = lean.memory(rows, width)
    states = lean.read(embed(prompt.reshape(-1)), [width] * rows, memory, [0] * rows)
    cache, found = Room(memory, tokens), list[Tensor]()
    last = head(states.view(rows, width, -1)[:, -1]).argmax(-1, keepdim=True)
    sees = torch.ones(rows, 1, width + tokens, dtype=torch.bool, device=prompt.device)
    with lm.use_adapter("slot_a"):
        for step in range(tokens):
            found.append(last)
            positions = torch.full((rows, 1), width + step, device=prompt.device)
            states = lm.forward(embed(last), positions, sees[:, :, : width + step + 1], cache)
            last = head(states[:, -1]).argmax(-1, keepdim=True)
    return torch.cat(found, 1)


@torch.inference_mode()
def theirs(lm: LanguageModel, prompt: Tensor, tokens: int) -> Tensor:
    """The same by transformers' `generate`, its adapter active for the prompt as well."""
    with lm.use_adapter("slot_a"):
        out: Tensor = lm.causal.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            pad_token_id=0,
        )
    return out[:, prompt.shape[1] :]


def seconds(work: Callable[[], Tensor], device: str, runs: int) -> float:
    """Median wall time of some runs after a warm one, the device waited for."""
    spent = []
    for number in range(runs + 1):
        _wait(device)
        begun = time.perf_counter()
        work()
        _wait(device)
        if number:
            spent.append(time.perf_counter() - begun)
    return statistics.median(spent)


def decoding_s(work: Callable[[int], Tensor], tokens: int, device: str, runs: int) -> float:
    """Of the tokens alone: what so many more of them take beyond the prompt with a single one."""
    whole, one = (seconds(lambda n=n: work(n), device, runs) for n in (tokens, 1))  # type: ignore[misc]  # bound now
    return max(whole - one, 1e-9) * tokens / max(tokens - 1, 1)


def bandwidth(device: str) -> float:
    """Bytes per second of reading and writing a large block."""
    block = torch.empty(COPIED_BYTES, dtype=torch.uint8, device=device)
    into = torch.empty_like(block)
    return 2 * COPIED_BYTES / seconds(lambda: into.copy_(block), device, 5)


def step_bytes(lm: LanguageModel, batch: int, length: float) -> float:
    """What a step must read: every weight but the embedding's other rows once, and each row's keys and values."""
    config = lm.causal.config
    size = torch.finfo(lm.dtype).bits // 8
    layers = sum(p.numel() for name, p in lm.backbone.named_parameters() if "embed" not in name)
    unembedding = config.vocab_size * config.hidden_size
    width = config.hidden_size // config.num_attention_heads
    kept = 2 * config.num_hidden_layers * config.num_key_value_heads * width * length
    return float(size * (layers + unembedding + batch * kept))


def measured(lm: LanguageModel, batch: int, asked: argparse.Namespace, bytes_per_s: float) -> Line:
    """One batch size, ours and theirs in turns."""
    generator = torch.Generator().manual_seed(asked.seed)
    prompt = torch.randint(1, lm.causal.config.vocab_size, (batch, asked.prompt), generator=generator).to(lm.device)
    spent = [
        decoding_s(lambda n, work=work: work(lm, prompt, n), asked.tokens, asked.device, asked.runs)  # type: ignore[misc]  # the same
        for work in (ours, theirs)
    ]
    roofline = batch * bytes_per_s / step_bytes(lm, batch, asked.prompt + asked.tokens / 2)
    of_ours, of_theirs = (round(batch * asked.tokens / each, 1) for each in spent)
    return Line(batch, of_ours, of_theirs, round(roofline, 1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving_gpu", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=SHAPES, default="qwen2-0.5b")
    parser.add_argument("--batches", type=lambda text: [int(each) for each in text.split(",")], default=[1, 32, 256])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=200, help="tokens of each prompt")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--bandwidth", type=float, default=0.0, help="GB/s; 0: measured")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        say("no GPU here: --device cpu --shape tiny runs the same code")
        return 2
    lm = base(asked.shape, asked.device, getattr(torch, asked.dtype), asked.seed)
    bytes_per_s = 1e9 * asked.bandwidth or bandwidth(asked.device)
    say(f"{asked.shape} in {asked.dtype} on {asked.device}, {bytes_per_s / 1e9:.0f} GB/s")
    for batch in asked.batches:
        line = measured(lm, batch, asked, bytes_per_s)
        print(
            msgspec.json.encode(line).decode()
            if asked.json
            else f"batch {batch:3}: {line.ours_per_s:10,.0f} tokens/s, {line.share:.2f} of the roofline (goal: {GOAL}),"
            f" {line.ours_per_s / line.generate_per_s:.2f} of generate's {line.generate_per_s:,.0f}",
            flush=True,
        )
    return 0


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())
