"""Refined tables → the output: splits, labels, features, checks, quarantine, card. Everything stands, or nothing."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import msgspec
import polars as pl

from model.data import people
from model.data.card import Balance, Card, Drift, TableCard, balance_of, drifts_of, missing_of, page
from model.data.errors import Refused
from model.data.exposures import ID, exposures, features
from model.data.labels import (
    Conflict,
    Coverage,
    Label,
    People,
    between_people,
    labelled,
    order_states,
    people_said,
)
from model.data.leakage import Finding, future_features, late_features, look_ups, torn
from model.data.own_features import joined
from model.data.prepare import Collected, Progress
from model.data.split import Cuts, cuts_of, group_split, held_out, split_of
from model.data.stage import Counts, Stage
from model.data.tables import TABLES

TIMED = ("behaviours", "transactions")
DRIFTING = {
    "behaviours": ("action", "channel", "placement", "quantity", "price_minor"),
    "transactions": ("state", "currency", "quantity", "amount_minor", "discount_minor"),
    "exposures": ("channel", "placement"),
}
GROUPS = ("type", "brand", "size", "attributes")
"""Columns of products that may decide a label by themselves."""


class Told(msgspec.Struct):
    """What the card tells beside counts."""

    labels: list[Coverage] = []
    conflicts: list[Conflict] = []
    balance: list[Balance] = []
    drift: list[Drift] = []
    leakage: list[Finding] = []
    splits: dict[str, str] = {}


class Wishes(msgspec.Struct, frozen=True):
    """What the user may choose of the second half; the first is `prepare.Order`.

    Args:
        own_features: a table of the user's own features, see `own_features.py`.
    """

    name: str
    labels: tuple[Label, ...]
    valid_from: datetime | None = None
    test_from: datetime | None = None
    own_features: Path | None = None


def finish(collected: Collected, wishes: Wishes, stage: Stage, progress: Progress) -> Card:
    """Write the output and put it in its place.

    Raises:
        Refused: a wish cannot be fulfilled.
    """
    out, told = stage.result(), Told()
    frames = {name: pl.scan_parquet(table.parts) for name, table in collected.tables.items() if table.parts}
    cuts, held = _cuts(frames, wishes, told)
    for step, name in enumerate(frames):
        progress("writing", step, len(frames) + 3)
        if name in TIMED and cuts is not None:
            frames[name].with_columns(split_of(cuts, held)).sink_parquet(out / f"{name}.parquet")
        else:
            _static(name, frames[name], wishes, told, out)
    exposed = _exposed(frames, wishes, cuts, held, told) if cuts is not None and "behaviours" in frames else None
    progress("writing", len(frames) + 1, len(frames) + 3)
    if exposed is not None and not any(finding.failed for finding in told.leakage):
        exposed.write_parquet(out / "exposures.parquet")
    _orders(frames, wishes, cuts, held, told, out)
    quarantined = _quarantine(collected, stage, out)
    card = _card(collected, wishes, told, out, quarantined)
    (out / "card.json").write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1))
    (out / "card.html").write_text(page(card), encoding="utf-8")
    stage.publish()
    progress("writing", 1, 1)
    return card


def _cuts(frames: dict[str, pl.LazyFrame], wishes: Wishes, told: Told) -> tuple[Cuts | None, pl.Series]:
    timed = [frames[name] for name in TIMED if name in frames]
    if not timed:
        return None, pl.Series([], dtype=pl.String)
    people = pl.concat([frame.select("customer_id") for frame in timed]).unique().collect()["customer_id"].sort()
    held = held_out(people)
    times = timed[0].select("at").collect()["at"]
    if "behaviours" in frames:
        shown = frames["behaviours"].filter(pl.col("action") == "exposure").select("at").collect()["at"]
        times = shown if len(shown) else times
    cuts = cuts_of(times, wishes.valid_from, wishes.test_from)
    told.splits = {
        "train": f"before {cuts.valid_from:%Y-%m-%d %H:%M} UTC",
        "valid": f"from then, before {cuts.test_from:%Y-%m-%d %H:%M} UTC",
        "test": "from then on",
        "new_customers": f"after the test begins, of {len(held):,} of {len(people):,} customers that are held out whole",
        "history": "the same customers before: for features, never for training",
        "gap": "exposures whose window had not closed when their split ended",
    }
    return cuts, held


def _static(name: str, scan: pl.LazyFrame, wishes: Wishes, told: Told, out: Path) -> None:
    """Products, ads, offers: labels and, for the first two, a split by group."""
    frame = scan.collect()
    if name not in ("products", "ads"):
        frame.write_parquet(out / f"{name}.parquet")
        return
    key = TABLES[name].key
    labels = [label for label in wishes.labels if label.table == name]
    made, coverage, conflicts = labelled(frame, labels, key)
    told.labels += coverage
    told.conflicts += conflicts
    deciding: list[str] = []
    names = [column for column in made.columns if column not in key]
    if name == "products":
        together = frame.hstack(made.select(pl.col(names).name.prefix("label ")))
        for label in names:
            found, columns = look_ups(together, f"label {label}", [c for c in GROUPS if c != label])
            told.leakage += [
                msgspec.structs.replace(f, about=label, message=f.message.replace("label ", "")) for f in found
            ]
            deciding += columns
    group = pl.coalesce(deciding[0], "alike") if deciding else pl.col("alike")
    split = group_split(frame.select(group.alias("group"))["group"].to_list())
    frame.with_columns(split).write_parquet(out / f"{name}.parquet")
    (out / "labels").mkdir(exist_ok=True)
    made = made.with_columns(split)
    made.write_parquet(out / "labels" / f"{name}.parquet")
    told.balance += balance_of(name, made, names)


def _exposed(
    frames: dict[str, pl.LazyFrame], wishes: Wishes, cuts: Cuts, held: pl.Series, told: Told
) -> pl.DataFrame | None:
    labels = [label for label in wishes.labels if label.table == "exposures" and not isinstance(label.rule, People)]
    if not labels or not frames["behaviours"].select((pl.col("action") == "exposure").any()).collect().item():
        return None
    columns = ["row", "customer_id", "at", "action", "ad_id", "product_id", "channel", "placement", "price_minor"]
    behaviours = frames["behaviours"].select(columns).collect()
    ads = frames["ads"].select("ad_id", "ends_at").collect() if "ads" in frames else None
    names = list(dict.fromkeys(label.name for label in labels))
    labels = [next(label for label in labels if label.name == name) for name in names]

    def build(before: datetime | None) -> pl.DataFrame:
        known = behaviours if before is None else behaviours.filter(pl.col("at") < before)
        shown = exposures(known, ads, labels)
        return shown.join(features(shown, known, names), on=ID, maintain_order="left")

    made = build(None)
    for label in labels:
        told.labels.append(
            Coverage(label.name, "exposures", "response", label.source, made.height, made[label.name].count())
        )
    made = _people_said(made, wishes, names, told)
    until = [f"{name}_until" for name in names]
    made = made.with_columns(pl.max_horizontal(until).alias("until") if until else pl.col("at").alias("until"))
    made = made.with_columns(split_of(cuts, held, "until")).drop("until")
    if wishes.own_features is not None:
        made, own = joined(made, wishes.own_features)
        told.leakage += late_features(made.filter(pl.col("known_at").is_not_null()), own)
    told.leakage += future_features(
        lambda cut: _without_answers(build(cut), names), (cuts.valid_from, cuts.test_from), ID, "at"
    )
    told.leakage += torn(made, until)
    told.balance += balance_of("exposures", made, names)
    told.drift += drifts_of("exposures", made, [*DRIFTING["exposures"], *_feature_names(made, names)])
    return made


def _people_said(made: pl.DataFrame, wishes: Wishes, names: Sequence[str], told: Told) -> pl.DataFrame:
    """Labels of exposures with what people say of them before what the log says; features stay what the log knew.

    Raises:
        Refused: they said something else than 0 or 1, or speak of a label that no rule makes.
    """
    for label in wishes.labels:
        if label.table != "exposures" or not isinstance(label.rule, People):
            continue
        if label.name not in names:
            raise Refused(f"people label exposures as {label.name}, for which no label function has a window")
        what = people_said(label)
        votes = people.votes(made, "exposures", what)
        if not set(votes.drop_nulls()) <= {"0", "1"}:
            raise Refused(f"{label.name}: people said {', '.join(sorted(set(votes.drop_nulls())))}, wanted 0 or 1")
        by_people, by_log = votes.cast(pl.Int8), made[label.name]
        both = by_people.is_not_null() & by_log.is_not_null()
        differ = int((by_people != by_log).filter(both).sum())
        log = next(one.source for one in wishes.labels if one.name == label.name and one.table == "exposures" and one is not label)  # fmt: skip
        told.labels.append(Coverage(label.name, "exposures", "people", label.source, made.height, votes.count()))
        told.conflicts.append(Conflict(label.name, "exposures", label.source, log, int(both.sum()), differ))
        told.conflicts += between_people(label, what)
        made = made.with_columns(pl.coalesce(by_people, by_log).alias(label.name))
    return made


def _feature_names(made: pl.DataFrame, labels: list[str]) -> list[str]:
    return [name for name in made.columns if made[name].dtype.is_float() and name not in labels]


def _without_answers(made: pl.DataFrame, labels: list[str]) -> pl.DataFrame:
    """The features alone: labels know the future, that is what they are."""
    return made.drop(labels, [f"{name}_so_far" for name in labels])


def _orders(
    frames: dict[str, pl.LazyFrame], wishes: Wishes, cuts: Cuts | None, held: pl.Series, told: Told, out: Path
) -> None:
    labels = [label for label in wishes.labels if label.table == "orders"]
    if "transactions" not in frames or cuts is None or not labels:
        return
    columns = ["order_id", "customer_id", "at", "state", "amount_minor"]
    orders = order_states(frames["transactions"].select(columns).collect())
    made, coverage, conflicts = labelled(orders, labels, ["order_id", "customer_id", "at"])
    made = made.with_columns(split_of(cuts, held))
    (out / "labels").mkdir(exist_ok=True)
    made.write_parquet(out / "labels" / "orders.parquet")
    told.labels += coverage
    told.conflicts += conflicts
    told.balance += balance_of("orders", made, [label.name for label in labels])


def _quarantine(collected: Collected, stage: Stage, out: Path) -> int:
    """Write `quarantine.jsonl`: one line per fault; `first` marks the one a row is counted by."""
    parts = stage.parts("quarantine")
    path = out / "quarantine.jsonl"
    if not parts:
        path.write_bytes(b"")
        return 0
    names = pl.Enum(list(dict.fromkeys(collected.files)))
    numbers = dict(enumerate(collected.files))
    named = pl.col("file").replace_strict(numbers, return_dtype=names)
    scan = pl.scan_parquet(parts, missing_columns="raise").with_columns(named)
    scan.sink_ndjson(path)
    return int(scan.select(pl.len()).collect().item())


def _card(collected: Collected, wishes: Wishes, told: Told, out: Path, quarantined: int) -> Card:
    tables = {}
    for name, count in collected.counts.items():
        path = out / f"{name}.parquet"
        split = path.is_file() and "split" in pl.read_parquet_schema(path)
        drifting = pl.read_parquet(path, columns=["split", *DRIFTING.get(name, ())]) if split else None
        tables[name] = _table_card(count, collected.tables[name].nulls if path.is_file() else {}, drifting)
        if drifting is not None and name in DRIFTING:
            told.drift += drifts_of(name, drifting, DRIFTING[name])
    hashes = sha256()
    for path in sorted(out.rglob("*.parquet")):
        hashes.update(path.read_bytes())
    return Card(
        source=wishes.name,
        data_sha256=hashes.hexdigest(),
        trainable=not any(finding.failed for finding in told.leakage),
        files=collected.file_rows,
        ignored=collected.ignored,
        tables=tables,
        labels=told.labels,
        conflicts=told.conflicts,
        balance=told.balance,
        drift=told.drift,
        leakage=told.leakage,
        splits=told.splits,
        quarantined=quarantined,
    )


def _table_card(count: Counts, nulls: dict[str, int], drifting: pl.DataFrame | None) -> TableCard:
    """A table's card, with its splits where it has any."""
    splits: dict[str, int] = {}
    nulls = {name: rows for name, rows in nulls.items() if name not in ("file", "row")}
    if drifting is not None:
        splits = dict(drifting["split"].value_counts().sort("split").iter_rows())
        nulls["split"] = 0
    missing = missing_of(nulls, count.rows_out)
    return TableCard(count.rows_in, count.rows_out, count.dropped, count.mended, count.masked, missing, splits)
