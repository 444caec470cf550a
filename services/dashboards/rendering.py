"""Dashboards → the JSON that Grafana provisions, by file name. The same code gives the same bytes."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from services.dashboards import business, dependencies, learning, streams, worker
from services.dashboards.panels import board

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
BOARDS = (business.BOARD, streams.BOARD, worker.BOARD, learning.BOARD, dependencies.BOARD)


def rendered() -> dict[str, str]:
    """File name → content."""
    found = {}
    for each in BOARDS:
        text = json.dumps(board(each).build(), cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False)
        found[f"{each.uid.removeprefix('stratagem-')}.json"] = f"{text}\n"
    return found
