"""What a model learns from: labels, exposures with their answers and features, splits, checks, the card."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest

from model.data.card import Bins, Card, TableCard, page
from model.data.errors import Refused
from model.data.exposures import ID, exposures, features
from model.data.labels import ColumnRule, Keywords, Label, Response, TimeSlot, labelled, order_states, read_labels
from model.data.leakage import future_features, late_features, look_ups, torn
from model.data.split import Cuts, cuts_of, held_out, split_of
from tests.model.data.samples import EXTRACT, prepared

DAY = datetime(2026, 3, 1, tzinfo=UTC)
CLICK = Label("click", "exposures", "test", Response(("click",), within_h=24.0))
TIME = pl.Datetime("ms", "UTC")


def deeds(*told: tuple[float, str, str, str | None]) -> pl.DataFrame:
    """Behaviours from (day, customer, action, ad)."""
    rows = [
        (i, who, DAY + timedelta(days=day), action, ad, None, None, None, 100 if action == "purchase" else None)
        for i, (day, who, action, ad) in enumerate(told)
    ]
    names = ["row", "customer_id", "at", "action", "ad_id", "product_id", "channel", "placement", "price_minor"]
    types: list[pl.DataType | type[pl.DataType]] = [
        pl.Int64,
        pl.String,
        TIME,
        pl.String,
        pl.String,
        pl.String,
        pl.String,
        pl.String,
        pl.Int64,
    ]
    return pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")


def test_an_answer_counts_for_the_last_exposure_before_it() -> None:
    """Last touch, same customer, same ad, within the window; a window that is open when the data end is unknown."""
    world = deeds(
        (0.0, "a", "exposure", "x"), (0.5, "a", "exposure", "x"), (0.7, "a", "click", "x"),  # the second one's
        (2.0, "a", "exposure", "x"), (3.5, "a", "click", "x"),  # too late
        (4.0, "b", "exposure", "x"), (4.1, "a", "click", "x"), (4.2, "b", "click", "y"),  # another customer, another ad
        (9.0, "b", "exposure", "x"), (9.1, "b", "click", "x"),  # answered, but its window is open
    )  # fmt: skip
    made = exposures(world, None, [CLICK])
    assert made["click"].to_list() == [0, 1, 0, 0, None]
    assert made["click_so_far"].to_list() == [0, 1, 0, 0, 1]


def test_a_window_may_last_until_the_ad_ends() -> None:
    """To the end of the ad's last day, however long that is."""
    rule = Response(("purchase",), within_h=1.0, until_ad_ends=True)
    ads = pl.DataFrame({"ad_id": ["x"], "ends_at": [DAY + timedelta(days=10)]}, schema_overrides={"ends_at": TIME})
    world = deeds(
        (0.0, "a", "exposure", "x"),
        (0.0, "b", "exposure", "x"),
        (10.9, "a", "purchase", "x"),
        (11.1, "b", "purchase", "x"),
    )
    assert exposures(world, ads, [Label("purchase", "exposures", "test", rule)])["purchase"].to_list() == [1, 0]


def test_features_are_what_was_known_before() -> None:
    """Rates of closed windows, habits of the weeks before, strictly before the exposure."""
    world = deeds(
        (0.0, "a", "exposure", "x"), (0.1, "a", "click", "x"), (0.2, "a", "exposure", "x"), (1.0, "a", "purchase", None),
        (2.0, "a", "exposure", "x"), (2.0, "a", "purchase", None), (9.0, "a", "view", None),
    )  # fmt: skip
    made = exposures(world, None, [CLICK])
    found = features(made, world, ["click"])
    assert found["exposures_before"].to_list() == [0.0, 1.0, 2.0]
    # No window had closed at day .2; at day 2 two had, one of them clicked: (1 + .1 * 10) / (2 + 10).
    assert found["click_rate"].to_list() == pytest.approx([0.1, 0.1, 2 / 12])
    assert found["purchases_per_week"].to_list() == pytest.approx([0.0, 0.0, 1 / 8])
    assert found["spend_minor_per_week"].to_list() == pytest.approx([0.0, 0.0, 100 / 8])
    assert found["days_since_purchase"].to_list() == [None, None, 1.0]


def test_our_features_do_not_know_the_future() -> None:
    """Built anew without what came later, they are the same."""
    world = deeds(
        *(
            (day / 3, who, action, "x")
            for day in range(60)
            for who in "abc"
            for action in ("exposure", "click", "purchase", "view")
            if (day + ord(who)) % 4
        )
    )

    def build(before: datetime | None) -> pl.DataFrame:
        known = world if before is None else world.filter(pl.col("at") < before)
        made = exposures(known, None, [CLICK])
        return made.select(ID, "at").join(features(made, known, ["click"]), on=ID)

    assert future_features(build, (DAY + timedelta(days=7), DAY + timedelta(days=15)), ID, "at") == []


def test_a_feature_that_knows_the_future_fails() -> None:
    """A customer's rate over all time changes when later rows are removed: the check names it and fails."""
    world = pl.DataFrame(
        {ID: range(8), "at": [DAY + timedelta(days=i) for i in range(8)], "hit": [0, 0, 0, 0, 1, 1, 1, 1]},
        schema_overrides={"at": TIME},
    )

    def build(before: datetime | None) -> pl.DataFrame:
        known = world if before is None else world.filter(pl.col("at") < before)
        honest = pl.col("hit").shift(1).fill_null(0).cum_sum().cast(pl.Float64)
        return known.select(ID, "at", honest.alias("honest"), pl.col("hit").mean().alias("leaky"))

    (finding,) = future_features(build, (DAY + timedelta(days=4),), ID, "at")
    assert (finding.about, finding.failed) == ("leaky", True)


def test_own_features_known_too_late_fail_the_preparation(tmp_path: Path) -> None:
    """A feature known only after its exposure: no exposures are written, and the card says why."""
    prepared(tmp_path / "plain", EXTRACT, mapping="completejourney")
    shown = pl.read_parquet(tmp_path / "plain" / "exposures.parquet").select("customer_id", "at")
    for name, late in (("good", 0), ("late", 1)):
        own = shown.with_columns(known_at=pl.col("at") + pl.duration(hours=late), own=1.5)
        own.write_parquet(tmp_path / f"{name}.parquet")
        card = prepared(tmp_path / name, EXTRACT, mapping="completejourney", own_features=tmp_path / f"{name}.parquet")
        assert card.trainable == (name == "good")
        assert (tmp_path / name / "exposures.parquet").exists() == card.trainable
    assert "must not be trained on" in (tmp_path / "late" / "card.html").read_text()
    (tmp_path / "bad.csv").write_text("customer_id,at,own\na,2017-01-01,1\n")
    with pytest.raises(Refused, match="no column known_at"):
        prepared(tmp_path / "bad", EXTRACT, mapping="completejourney", own_features=tmp_path / "bad.csv")


def test_own_features_in_time_pass() -> None:
    """Known at the moment itself is in time."""
    frame = pl.DataFrame({"at": [DAY, DAY], "known_at": [DAY, DAY - timedelta(days=1)]})
    assert late_features(frame, ["own"]) == []


def test_a_label_that_is_a_look_up_is_named_and_split_by() -> None:
    """A column that decides the label warns; an id or a column of few values does not."""
    frame = pl.DataFrame({"label": [f"l{i % 40 // 8}" for i in range(400)], "type": [f"t{i % 40}" for i in range(400)],
                          "id": [str(i) for i in range(400)], "noise": [f"n{i % 7}" for i in range(400)]})  # fmt: skip
    found, columns = look_ups(frame, "label", ["type", "id", "noise"])
    assert columns == ["type"]
    assert not found[0].failed
    assert "100.0%" in found[0].message


def test_products_of_a_type_stay_together(tmp_path: Path) -> None:
    """Where the type decides the category no type is in two splits."""
    card = prepared(tmp_path / "out", EXTRACT, mapping="completejourney")
    assert any(finding.check == "look-up" and finding.about == "category" for finding in card.leakage)
    products = pl.read_parquet(tmp_path / "out" / "products.parquet").filter(pl.col("type").is_not_null())
    assert products.group_by("type").agg(pl.col("split").n_unique())["split"].max() == 1
    assert products["split"].n_unique() == 3


def test_splits_follow_time_and_customers() -> None:
    """Before, between, after; a held-out customer is never taught; an open window is a gap."""
    cuts = Cuts(DAY, DAY + timedelta(days=10))
    frame = pl.DataFrame({"customer_id": ["a", "a", "a", "a", "h", "h"], "at": [DAY + timedelta(days=d) for d in (-5, -1, 5, 12, -5, 12)],
                          "until": [DAY + timedelta(days=d) for d in (-4, 1, 6, 13, -4, 13)]}, schema_overrides={"at": TIME, "until": TIME})  # fmt: skip
    held = pl.Series(["h"])
    split = frame.with_columns(split_of(cuts, held, "until"))
    assert split["split"].to_list() == ["train", "gap", "valid", "test", "history", "new_customers"]
    assert torn(split, ["until"]) == []
    leaky = split.with_columns(pl.Series("split", ["train", "train", "valid", "test", "history", "test"]))
    assert {(finding.about, finding.failed) for finding in torn(leaky, ["until"])} == {("new_customers", True)}
    late = split.with_columns(until=pl.col("until") + pl.duration(days=30))
    assert {finding.about for finding in torn(late, ["until"])} == {"train", "valid"}


def test_held_out_customers_are_a_tenth_and_always_the_same() -> None:
    """The choice depends on the customer alone."""
    people = pl.Series([f"u{i}" for i in range(5_000)])
    held = held_out(people)
    assert 0.08 < len(held) / len(people) < 0.12
    assert set(held_out(people[:100])) == set(held) & set(people[:100])


def test_cuts_of_moments_that_coincide() -> None:
    """Where most exposures share a moment validation takes the one before; an impossible wish is refused."""
    times = pl.Series([DAY] * 20 + [DAY + timedelta(days=1)] * 20 + [DAY + timedelta(days=9)] * 60, dtype=TIME)
    cuts = cuts_of(times, None, None)
    assert (cuts.valid_from, cuts.test_from) == (DAY + timedelta(days=1), DAY + timedelta(days=9))
    with pytest.raises(Refused, match="before validation"):
        cuts_of(times, DAY + timedelta(days=9), DAY)


def test_label_functions_cover_conflict_and_decide_in_order() -> None:
    """Coverage counts what each speaks of; two of one name are compared; the first decides."""
    frame = pl.DataFrame({"product_id": ["1", "2", "3"], "name": ["Green tea", "steel kettle", "TEA pot"], "category": ["Food > Tea", None, "Home"],
                          "starts_at": [DAY, DAY + timedelta(hours=13), None]})  # fmt: skip
    own = Label("group", "products", "own", ColumnRule("category", part=0))
    words = Label("group", "products", "words", Keywords(("name",), {"Food": ("tea",), "Home": ("kettle",)}))
    slot = Label("slot", "products", "clock", TimeSlot("starts_at", {"morning": 6, "afternoon": 12, "night": 22}))
    made, coverage, conflicts = labelled(frame, [own, words, slot], ["product_id"])
    assert made.rows() == [("1", "Food", "night"), ("2", "Home", "afternoon"), ("3", "Home", None)]
    assert [c.covered for c in coverage] == [2, 3, 2]
    assert [(c.both, c.differ) for c in conflicts] == [(2, 1)]


def test_order_states() -> None:
    """An order is what its lines make of it."""
    rows = [("1", "order", 100), ("2", "order", 100), ("2", "return", 40), ("3", "order", 100), ("3", "return", 100), ("4", "order", 5),
            ("4", "cancel", None), ("5", "order", 7), ("5", "payment", 7), ("6", "order", 9), ("6", "return", None)]  # fmt: skip
    frame = pl.DataFrame(rows, schema=["order_id", "state", "amount_minor"], orient="row").with_columns(
        customer_id=pl.lit("c"), at=pl.lit(DAY)
    )
    assert order_states(frame)["state"].to_list() == [
        "ordered",
        "partly_returned",
        "returned",
        "cancelled",
        "paid",
        "returned",
    ]


@pytest.mark.parametrize(
    ("rule", "table", "said"),
    [('{ kind = "column", column = "colour" }', "products", "no column 'colour'"), ('{ kind = "order_state" }', "ads", "does not fit"),
     ('{ kind = "guess" }', "ads", "guess"), ('{ kind = "response", actions = ["hover"], within_h = 1 }', "exposures", "hover")],
)  # fmt: skip
def test_a_wrong_label_file_is_explained(tmp_path: Path, rule: str, table: str, said: str) -> None:
    """What is wrong with a label function is named."""
    path = tmp_path / "labels.toml"
    path.write_text(f'[[label]]\nname = "l"\ntable = "{table}"\nsource = "s"\nrule = {rule}\n')
    with pytest.raises(Refused, match=said):
        read_labels(path)


def test_the_index_of_stability_against_its_formula() -> None:
    """Equal distributions have none; a known shift has the sum of (q - p) ln(q / p) with half a row added to each bin."""
    base = pl.Series("x", ["a"] * 50 + ["b"] * 50)
    assert Bins(base).index(base) == pytest.approx(0.0)
    # p = (50.5, 50.5) / 101, q = (80.5, 20.5) / 101: (.297 * ln 1.594) + (-.297 * ln .406).
    assert Bins(base).index(pl.Series("x", ["a"] * 80 + ["b"] * 20)) == pytest.approx(0.4062, abs=1e-4)
    numbers = pl.Series("x", range(100))
    assert Bins(numbers).index(numbers + 1000) > 1.0


HOSTILE = "<script>alert(1)</script>\"'&\u202e"


def test_hostile_text_stays_text_in_the_card() -> None:
    """Names from files are escaped wherever they stand, and the page may run and load nothing."""
    table = TableCard(1, 0, {HOSTILE: 1}, {HOSTILE: 1}, {HOSTILE: 1}, {HOSTILE: 0.5}, {HOSTILE: 1})
    card = Card(HOSTILE, HOSTILE, trainable=False, files={HOSTILE: 1}, ignored={HOSTILE: 1}, tables={HOSTILE: table}, labels=[],
                conflicts=[], balance=[], drift=[], leakage=[], splits={HOSTILE: HOSTILE}, quarantined=1)  # fmt: skip
    text = page(card)
    assert "<script" not in text
    assert "\u202e" not in text
    assert "default-src 'none'" in text
    assert text.count("&lt;script&gt;") >= 9
    assert msgspec.json.decode(msgspec.json.encode(card), type=Card) == card


def test_hostile_text_of_a_file_reaches_the_page_escaped(tmp_path: Path) -> None:
    """A category made of markup, from a file to the page."""
    head = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
    rows = [
        f"2019-10-{1 + i % 28:02d} 00:00:00 UTC,view,{i},9,a,<img src=x onerror=alert({i})>,1.00,u{i},s"
        for i in range(60)
    ]
    (tmp_path / "<b>log.csv").write_text("\n".join([head, *rows]) + "\n")
    prepared(tmp_path / "out", tmp_path / "<b>log.csv", mapping="rees46")
    text = (tmp_path / "out" / "card.html").read_text()
    assert "<img" not in text
    assert "<b>" not in text
    assert "&lt;b&gt;log.csv" in text
