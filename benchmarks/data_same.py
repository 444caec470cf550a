"""Whether two outputs of `stratagem data prepare` are the same: before and after a change of its code.

Usage: python -m benchmarks.data_same FORMER LATTER

Compares every file byte by byte; where bytes of a Parquet file differ, its columns, types and rows. Prepare both with the same
`--pseudonym-key`. Exits with 1 where rows, counts or reasons differ.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl


def _bytes(path: Path) -> bytes:
    """A file's bytes; the card's without the hash of the others' bytes."""
    content = path.read_bytes()
    return re.sub(rb"[0-9a-f]{64}", b"", content) if path.name in ("card.json", "card.html") else content


def differences(former: Path, latter: Path) -> tuple[list[str], list[str]]:
    """(files that differ, with what differs; files of the same rows in other bytes)."""
    names = sorted(
        {path.relative_to(folder) for folder in (former, latter) for path in folder.rglob("*") if path.is_file()}
    )
    differ, repacked = [], []
    for name in names:
        left, right = former / name, latter / name
        if not (left.is_file() and right.is_file()):
            differ.append(f"{name} is only in {former if left.is_file() else latter}")
        elif _bytes(left) != _bytes(right):
            if name.suffix == ".parquet" and pl.read_parquet(left).equals(pl.read_parquet(right)):
                repacked.append(str(name))
            else:
                differ.append(f"{name} differs")
    return differ, repacked


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and print; 1 where the outputs are not the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data_same")
    parser.add_argument("former", type=Path)
    parser.add_argument("latter", type=Path)
    asked = parser.parse_args(arguments)
    differ, repacked = differences(asked.former, asked.latter)
    for line in differ:
        print(line)
    for name in repacked:
        print(f"{name}: the same rows in other bytes")
    if not differ and not repacked:
        print("the same bytes")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
