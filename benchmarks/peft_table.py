"""Ways of adapting a model side by side on one task: what is trained, how well, for how much.

Usage: python -m benchmarks.peft_table [--seeds N] [--steps N] [--methods NAME…] [--json]

The task: a small Llama has learned texts of products of the shop's two largest departments, and is to learn those of the others (next
token, byte-level BPE; products by Complete Journey, names and descriptions composed). Products are parted by type: no type is both learned from
and judged. Quality is the mean loss per token on the held-out types; intervals are Student's t over seeds, which draw batches and new weights. Each method
trains at each of three rates with one more seed, and the best on types of its own (one in ten) is taken. Each measurement runs in a process of its own:
CPU time of the training, and by how much the most resident memory exceeds what was resident before the method was made.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from benchmarks.telling import say
from model.peft_methods.kinds import METHODS
from model.peft_methods.making import Sized, after_step, make, save, trainable_parameters
from services.shop.catalog import compose_catalog
from services.shop.source import load_journey
from streaming.contracts.ids import stable_unit

RATES = (4e-3, 1.6e-2, 6.4e-2)
FULL_RATES = (1e-3, 4e-3, 1.6e-2)
LEARNED_UNTIL, TUNED_UNTIL = 0.7, 0.8
TOKENS, VOCABULARY, BATCH, BASE_STEPS = 40, 800, 16, 200
KIB_PER_MIB = 1024


class Task(msgspec.Struct, frozen=True):
    """(rows, TOKENS) tokens, 0 where a text has ended."""

    base: Tensor
    learn: Tensor
    tune: Tensor
    judge: Tensor


class Measured(msgspec.Struct, frozen=True):
    """One training of one method."""

    loss: float
    trainable: int
    cpu_s: float
    memory_mib: float
    file_bytes: int


def the_task(rows: int) -> Task:
    """Tokens of products: the base's departments, and the others by type: 7 of 10 learned from, 1 for the rate, 2 judged."""
    from model.training.words import byte_pairs

    journey = load_journey()
    records = compose_catalog(journey, sorted(journey.products))
    told = [(journey.products[key], f"{r.name}. {r.description}") for key, r in sorted(records.items())]
    counts: dict[str, int] = {}
    for product, _ in told:
        counts[product.department] = counts.get(product.department, 0) + 1
    known = set(sorted(counts, key=lambda name: (-counts[name], name))[:2])
    parts: dict[str, list[str]] = {"base": [], "learn": [], "tune": [], "judge": []}
    for product, text in sorted(told, key=lambda each: stable_unit("order", each[0].product_id)):
        at = stable_unit("type", product.type)
        part = (
            "base"
            if product.department in known
            else "learn"
            if at < LEARNED_UNTIL
            else "tune"
            if at < TUNED_UNTIL
            else "judge"
        )
        parts[part].append(text)
    tokenizer = byte_pairs(parts["base"][: 4 * rows], VOCABULARY)
    return Task(**{
        name: torch.as_tensor(
            tokenizer(texts[:rows], truncation=True, max_length=TOKENS, padding="max_length")["input_ids"]
        )
        for name, texts in parts.items()
    })  # fmt: skip


def fresh() -> Any:
    """The base before it has learned anything."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(  # type: ignore[no-untyped-call]  # transformers' own lack
        LlamaConfig(vocab_size=VOCABULARY, hidden_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                    intermediate_size=192, max_position_embeddings=128, tie_word_embeddings=True, pad_token_id=0,
                    initializer_range=0.05)
    )  # fmt: skip


def loss_of(model: Any, rows: Tensor) -> Tensor:
    """Mean loss per token, adalora's penalty among it in training."""
    labels = rows.masked_fill(rows == 0, -100)
    loss: Tensor = model(input_ids=rows, attention_mask=(rows != 0).long(), labels=labels).loss
    return loss


@torch.no_grad()
def judged(model: Any, rows: Tensor) -> float:
    """Mean cross-entropy per token of a text but its first, from the logits alone."""
    model.eval()
    total, count = 0.0, 0
    for part in rows.split(64):  # type: ignore[no-untyped-call]  # torch's own lack
        logits = model(input_ids=part, attention_mask=(part != 0).long()).logits[:, -TOKENS:]
        wanted = part[:, 1:]
        each = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), wanted, reduction="none")
        total, count = total + float(each[wanted != 0].sum()), count + int((wanted != 0).sum())
    return total / count


def train(model: Any, rows: Tensor, sized: Sized, rate: float, seed: int) -> None:
    """Train with a rate that falls to 0 on a line."""
    model.train()
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.01)
    for step in range(sized.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / sized.steps)
        loss = loss_of(model, rows[torch.as_tensor(draw.integers(0, len(rows), BATCH))])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # the same
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        after_step(model, sized, step)


def measure(asked: tuple[Path, Sized, float, int, str]) -> Measured:
    """Train once and judge on a part of the task. For a process of its own."""
    from safetensors.torch import load_file

    folder, sized, rate, seed, part = asked
    torch.set_num_threads(1)
    rows = load_file(folder / "task.safetensors")
    base = fresh()
    base.load_state_dict(load_file(folder / "base.safetensors"), strict=False)
    loss_of(base, rows["learn"][:BATCH])  # what any forward pass takes is no method's
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    torch.manual_seed(seed)
    model = make(base, sized)
    trainable = trainable_parameters(model)
    train(model, rows["learn"], sized, rate, seed)
    cpu_s, peak = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as kept:
        save(model, sized, Path(kept))
        size = sum(path.stat().st_size for path in Path(kept).glob("*.safetensors"))
    return Measured(judged(model, rows[part]), trainable, cpu_s, (peak - before) / KIB_PER_MIB, size)


def of_method(name: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """A row of the table."""
    sized = Sized(name, steps=args.steps)
    rates = FULL_RATES if name == "full" else RATES
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as alone:
        tried = {rate: alone.apply(measure, ((folder, sized, rate, 99, "tune"),)).loss for rate in rates}
        rate = min(tried, key=lambda each: tried[each])
        found = [alone.apply(measure, ((folder, sized, rate, seed, "judge"),)) for seed in range(args.seeds)]
    losses = np.array([each.loss for each in found])
    half = float(student.ppf(0.975, len(losses) - 1) * losses.std(ddof=1) / np.sqrt(len(losses)))
    row = {
        "method": name, "rate": rate, "trainable": found[0].trainable, "loss": float(losses.mean()), "half_width": half,
        "cpu_s": float(np.median([each.cpu_s for each in found])), "cpu_s_most": max(each.cpu_s for each in found),
        "memory_mib": float(np.median([each.memory_mib for each in found])), "file_bytes": found[0].file_bytes,
        "mergeable": METHODS[name].mergeable, "hot_swappable": METHODS[name].hot_swappable,
    }  # fmt: skip
    say(f"{name}: {row['loss']:.3f} ± {half:.3f} at rate {rate:g}")
    return row


def prepared(folder: Path, args: argparse.Namespace) -> float:
    """Write the task and the base that has learned its departments; returns the base's loss on what is judged."""
    from safetensors.torch import save_file

    task = the_task(args.rows)
    save_file({name: getattr(task, name).contiguous() for name in Task.__struct_fields__}, folder / "task.safetensors")
    base = fresh()
    train(base, task.base, Sized("full", steps=args.base_steps), 3e-3, 0)
    save_file(dict(base.named_parameters()), folder / "base.safetensors")
    return judged(base, task.judge)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--base-steps", type=int, default=BASE_STEPS)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        with multiprocessing.get_context("fork").Pool(1) as alone:
            untouched = alone.apply(prepared, (Path(folder), args))
        rows = [of_method(name, Path(folder), args) for name in args.methods]
    if args.json:
        print(json.dumps({"base": untouched, "rows": rows}))
        return 0
    print(f"the base as it is: {untouched:.3f}")
    print("| | trained numbers | loss per token | CPU s | memory MiB | file KiB | mergeable | hot-swappable | rate |")
    print("|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r['method']} | {r['trainable']:,} | {r['loss']:.3f} ± {r['half_width']:.3f} | {r['cpu_s']:.1f} ({r['cpu_s_most']:.1f}) | {r['memory_mib']:.0f} "
            f"| {r['file_bytes'] / 1024:.0f} | {'yes' if r['mergeable'] else 'no'} | {'yes' if r['hot_swappable'] else 'no'} | {r['rate']:g} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
