"""What a response run would answer of exposures that nobody has labelled: a proposal each, for whoever labels them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from model.data.errors import Refused
from model.response.features import features, features_of
from model.response.served import Floats, Served
from model.response.tables import Tables, read
from model.response.texts import texts_of

NONE = "none"
"""Proposed where no label is likelier than not."""


class Proposal(NamedTuple):
    """A label and how probable it is that it is right."""

    label: str
    probability: float


def propose(run: Path, rows: pl.DataFrame, data: Path, model: str = "") -> list[Proposal]:
    """One proposal per row, in their order: the likeliest label where it is likelier than not, else `none`.

    Args:
        run: a folder that `stratagem finetune --task response` made.
        rows: exposures, `customer_id`, `at` (UTC) and what is known of `ad_id, product_id, channel, placement`; e.g. those of
            `exposures.parquet` whose label is null, or some that were never made.
        data: the prepared folder that knows what these customers did before.
        model: one of the run's; each label's best where empty.

    Raises:
        Refused: the run, the folder or the rows cannot be used.
    """
    served, tables = Served.load(run), read(data)
    chances = probabilities(served, tables, rows, model)
    found = []
    for row in chances:
        place = int(np.argmax(row))
        sure = float(row[place])
        found.append(Proposal(served.labels[place], sure) if sure > 0.5 else Proposal(NONE, 1.0 - sure))  # noqa: PLR2004
    return found


def probabilities(
    served: Served, tables: Tables, rows: pl.DataFrame, model: str = "", logged: pl.DataFrame | None = None
) -> Floats:
    """(n, labels) of exposures that may never have been made, by what was known strictly before each.

    Args:
        logged: the features of the exposures that were made, where the caller has them already.

    Raises:
        Refused: a column is missing, or the run has learned from other features.
    """
    if rows.is_empty():
        return np.zeros((0, len(served.labels)))
    asked = asked_of(tables, rows)
    logged = features(tables) if logged is None else logged
    return served.probabilities(features_of(tables, asked, logged), texts_of(tables, asked), model)


def asked_of(tables: Tables, rows: pl.DataFrame) -> pl.DataFrame:
    """Exposures with the columns that features and texts read; a product without an ad is its own, where the log has such.

    Raises:
        Refused: `customer_id` or `at` is missing.
    """
    from model.response.tables import SHOWN_ALONE

    missing = [name for name in ("customer_id", "at") if name not in rows.columns]
    if missing:
        raise Refused(f"rows to propose for have no column {', '.join(missing)}")
    wanted = ("ad_id", "product_id", "channel", "placement")
    rows = rows.with_columns([pl.lit(None, pl.String).alias(name) for name in wanted if name not in rows.columns])
    rows = rows.with_columns([pl.lit(0.0).alias(name) for name in tables.own if name not in rows.columns])
    alone = pl.col("ad_id").is_null() & pl.col("product_id").is_not_null()
    named = pl.when(alone).then(SHOWN_ALONE + pl.col("product_id")).otherwise("ad_id").alias("ad_id")
    at = pl.col("at").dt.cast_time_unit("ms").dt.convert_time_zone("UTC")
    asked = rows.select("customer_id", at, named, *wanted[1:], *tables.own)
    return asked.with_row_index("exposure")
