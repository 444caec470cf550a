"""What `stratagem data prepare` costs: CPU seconds and memory for a log of events, with a reason for every refused row.

Usage: python -m benchmarks.data_prepare [--rows N] [--layout rees46|quoted|segment] [--faults SHARE] [--runs N] [--json]

A log is made (`--faults` of its rows broken in one of eight ways), prepared in a process of its own, and the counts of the card are compared
with what was broken: it exits with 1 where a fault was missed, or a good row was refused.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

BEGIN = datetime(2019, 10, 1, tzinfo=UTC)
HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
CATEGORIES = ("electronics.smartphone", "apparel.shoes", "appliances.kitchen.kettle", "furniture.bedroom.bed", "")
BREAKAGES = {
    "not_a_time": (0, "yesterday"),
    "unknown_value": (1, "hover"),
    "id_in_scientific_notation": (2, "1.00e+06"),
    "not_an_amount": (6, "free"),
    "negative_amount": (6, "-1.00"),
    "missing": (7, ""),
    "too_early": (0, "1970-01-01 00:00:00 UTC"),
    "amount_too_fine": (6, "1.005"),
}
"""Reason → (column, what is written there)."""


def rows(count: int, faults: float, seed: int) -> Iterator[tuple[list[str], str | None]]:
    """Cells of each row, and the reason for which it must be refused."""
    rng = random.Random(seed)
    reasons = list(BREAKAGES)
    for number in range(count):
        at = BEGIN + timedelta(milliseconds=2_000 * number)
        product = rng.randrange(50_000)
        cells = [
            f"{at:%Y-%m-%d %H:%M:%S} UTC",
            rng.choices(("view", "cart", "purchase"), (90, 7, 3))[0],
            str(1_000_000 + product),
            str(2_053_013_555_631_882_655 + product % 300),
            CATEGORIES[product % 5],
            f"brand{product % 700}",
            f"{1 + product % 900}.{product % 100:02d}",
            str(500_000_000 + rng.randrange(count // 5 + 1)),
            f"{rng.getrandbits(64):016x}",
        ]
        reason = None
        if rng.random() < faults:
            reason = reasons[rng.randrange(len(reasons))]
            cells[BREAKAGES[reason][0]] = BREAKAGES[reason][1]
        yield cells, reason


def write(path: Path, layout: str, count: int, faults: float) -> Counter[str]:
    """Write a log; reason → rows that must be refused of its behaviours."""
    expected: Counter[str] = Counter()
    with path.open("w", encoding="utf-8") as file:
        if layout != "segment":
            file.write(HEADER + "\n")
        for number, (cells, reason) in enumerate(rows(count, faults, 7)):
            if layout == "segment":
                file.write(event(cells, number) + "\n")
                if reason in BREAKAGES and reason != "unknown_value":  # there is no such event then
                    by_id = reason == "id_in_scientific_notation"  # the contract takes any text for an id
                    expected[reason if by_id else "against_the_contract"] += 1
            else:
                line = ",".join(cells) if layout == "rees46" else ",".join(f'"{cell}"' for cell in cells)
                file.write(line + "\n")
                if reason:
                    expected[reason] += 1
    return expected


def event(cells: list[str], number: int) -> str:
    """A row as an event of the shop; what has no name there stays a view."""
    name = {"cart": "Product Added"}.get(cells[1], "Product Viewed")
    at = cells[0].replace(" UTC", "Z").replace(" ", "T")
    properties = {"product_id": cells[2], "price": cells[6], "currency": "USD"}
    told = {"messageId": str(number), "type": "track", "event": name, "userId": cells[7], "timestamp": at}
    return json.dumps(told | {"properties": properties})


CHILD = """
import resource, sys
from click.testing import CliRunner
from services.cli import main
done = CliRunner().invoke(main, sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(done.exit_code, used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.__stdout__)
sys.exit(done.exit_code)
"""


def prepared(log: Path, out: Path, source: str) -> tuple[float, float]:
    """(CPU seconds, peak memory in MiB) of one preparation, start of the process included."""
    command = ["data", "prepare", "--source", source, "--out", str(out), "--overwrite", "--restart", str(log)]
    done = subprocess.run([sys.executable, "-c", CHILD, *command], capture_output=True, text=True, check=True)
    _, cpu_s, peak_kib = done.stdout.split()
    return float(cpu_s), int(peak_kib) / 1024


def missed(card: dict[str, dict[str, dict[str, dict[str, int]]]], expected: Counter[str]) -> list[str]:
    """Reasons that the card counts otherwise than they were written."""
    dropped = card["tables"]["behaviours"]["dropped"]
    names = expected.keys() | (dropped.keys() - {"duplicate", "near_duplicate", "unknown_product"})
    return [
        f"{name}: {dropped.get(name, 0):,} of {expected[name]:,}"
        for name in sorted(names)
        if dropped.get(name, 0) != expected[name]
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where the counts are wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data_prepare")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--layout", choices=("rees46", "quoted", "segment"), default="rees46")
    parser.add_argument("--faults", type=float, default=0.01)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="stratagem-data-") as folder:
        log, out = Path(folder, "log.jsonl" if asked.layout == "segment" else "log.csv"), Path(folder, "out")
        expected = write(log, asked.layout, asked.rows, asked.faults)
        source = "segment" if asked.layout == "segment" else "rees46"
        runs = [prepared(log, out, source) for _ in range(asked.runs)]
        wrong = missed(json.loads((out / "card.json").read_bytes()), expected)
        size_mb = log.stat().st_size / 1e6
    cpu_s = sorted(cpu for cpu, _ in runs)
    told = {"layout": asked.layout, "rows": asked.rows, "megabytes": round(size_mb, 1), "refused": expected.total(),
            "cpu_s": [round(cpu, 2) for cpu in cpu_s], "peak_mib": round(max(peak for _, peak in runs))}  # fmt: skip
    print(json.dumps(told) if asked.json else "  ".join(f"{name} {value}" for name, value in told.items()))
    for line in wrong:
        print(f"wrong: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
