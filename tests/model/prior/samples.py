"""A small shop's log in which e-mails are clicked and pushes are not, prepared, and a response run on it."""

import csv
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from model.response.finetune import Settings, main

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
EXPOSURES = 900
CLICKED = {"E-Mail": 0.5, "push": 0.05}
"""The log's word for a channel → the share of its exposures that is clicked."""
MAPPING = """
name = "small"
currency = "USD"
[[table]]
table = "products"
files = "products.csv"
columns = { product_id = "id", name = "name", category = "category", brand = "brand", price_minor = "price" }
near_duplicates = "group"
[[table]]
table = "behaviours"
files = "behaviours.csv"
columns = { event_id = "id", customer_id = "customer", at = "at", action = "action", product_id = "product", channel = "channel" }
[[label]]
name = "click"
table = "exposures"
source = "within an hour"
rule = { kind = "response", actions = ["click"], within_h = 1.0 }
[[label]]
name = "purchase"
table = "exposures"
source = "within an hour"
rule = { kind = "response", actions = ["purchase"], within_h = 1.0 }
"""


def prepared(root: Path) -> Path:
    """The log as `stratagem data prepare` makes it."""
    raw, rng = root / "raw", Random(5)
    raw.mkdir()
    (raw / "mapping.toml").write_text(MAPPING)
    products = [{"id": f"product-{n}", "name": f"Coffee {n}", "category": "grocery > coffee", "brand": "Alba", "price": "5.00"} for n in range(6)]  # fmt: skip
    behaviours = []
    for number in range(EXPOSURES):
        at, channel = BEGIN + timedelta(hours=2 * number), rng.choice(sorted(CLICKED))
        shown = {"customer": f"user-{rng.randrange(40)}", "product": f"product-{rng.randrange(6)}", "channel": channel}
        behaviours.append({"at": at, "action": "exposure", **shown})
        if rng.random() < CLICKED[channel]:
            behaviours.append({"at": at + timedelta(minutes=5), "action": "click", **shown})
            if rng.random() < 0.3:
                behaviours.append({"at": at + timedelta(minutes=9), "action": "purchase", **shown})
    _csv(raw / "products.csv", products)
    _csv(raw / "behaviours.csv", [{"id": f"e{n}", **deed} for n, deed in enumerate(behaviours)])
    command = [sys.executable, "-m", "services.cli", "data", "prepare", "--source", "small", "--mapping", str(raw / "mapping.toml")]  # fmt: skip
    subprocess.run([*command, "--out", str(root / "data"), str(raw)], check=True, capture_output=True)
    return root / "data"


def made(root: Path) -> tuple[Path, Path]:
    """The prepared log and a short run on it."""
    data = prepared(root)
    main(data, root / "run", Settings(epochs=1, fewest=0.85), lambda _: lambda *_: None, resume=True, overwrite=False)
    return data, root / "run"


def _csv(path: Path, lines: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
