"""Each kind of value: what it becomes, and each reason why it cannot."""

from collections.abc import Mapping
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.judge import judge
from model.data.tables import BEHAVIOURS, PRODUCTS, TRANSACTIONS, Table
from model.data.values import DECIMALS, Rules
from streaming.contracts.money import exponent

NOW_MS = 1_800_000_000_000
GOOD = {"customer_id": "c", "at": "2026-01-31T12:00:00Z", "action": "view"}
RULES = Rules("Europe/Berlin", money_in_minor=False, decimal=".", times="iso", whole_ids=False, now_ms=NOW_MS)


def judged(table: Table, cells: Mapping[str, str | None], rules: Rules = RULES) -> tuple[dict[str, object], list[str]]:
    """One row's values (nothing when it is refused) and the reasons, in order."""
    raw = {field.name: pl.Series([cells.get(field.name)], dtype=pl.String) for field in table.fields}
    found = judge(pl.DataFrame({"row": pl.Series([1], dtype=pl.Int64), **raw}), table, rules, {})
    values = found.good.row(0, named=True) if found.good.height else {}
    return values, [f"{field}: {reason}" for field, reason in found.faults.select("field", "reason").iter_rows()]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31 12:00:00"),
        ("2026-01-31 12:00:00 UTC", "2026-01-31 12:00:00"),
        ("2026-01-31T12:00:00.250+05:30", "2026-01-31 06:30:00.250"),
        ("2026-01-31 12:00:00-0800", "2026-01-31 20:00:00"),
        ("2026-01-31 12:00:00", "2026-01-31 11:00:00"),  # Berlin's winter
        ("2026-07-31 12:00", "2026-07-31 10:00:00"),  # Berlin's summer
        ("2026-01-31", "2026-01-30 23:00:00"),
    ],
)
def test_times_of_all_zones_become_utc(text: str, utc: str) -> None:
    """A zone in the text counts; without one it is the source's."""
    values, reasons = judged(BEHAVIOURS, GOOD | {"at": text})
    assert reasons == []
    assert str(values["at"]).startswith(utc)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("yesterday", "not_a_time"),
        ("31.01.2026", "not_a_time"),
        ("2026-02-30 10:00:00Z", "not_a_time"),
        ("2026-01-31 12:00:00 CEST", "not_a_time"),
        ("2026-03-29 02:30:00", "time_skipped_by_the_clock"),
        ("1970-01-20 00:00:00Z", "too_early"),
        ("2031-01-01 00:00:00Z", "in_the_future"),
    ],
)
def test_times_that_cannot_be_are_refused(text: str, reason: str) -> None:
    """What is no time, or one that cannot have been, is named."""
    assert judged(BEHAVIOURS, GOOD | {"at": text}) == ({}, [f"at: {reason}"])


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [("12.5", "EUR", 1250), ("$1,234.50", "USD", 123450), ("1,234,567", "USD", 123456700), ("007.10", "EUR", 710),
     (".5", "EUR", 50), ("1200", "JPY", 1200), ("1.234", "KWD", 1234), ("3.000000", "JPY", 3), ("0", "EUR", 0)],
)  # fmt: skip
def test_money_becomes_minor_units(text: str, currency: str, minor: int) -> None:
    """Symbols, thousands' separators and idle zeros are understood; decimals are the currency's."""
    values, reasons = judged(BEHAVIOURS, GOOD | {"price_minor": text, "currency": currency})
    assert (values.get("price_minor"), reasons) == (minor, [])


@pytest.mark.parametrize(
    ("text", "currency", "reason"),
    [("free", "EUR", "not_an_amount"), ("4.440892e-16", "EUR", "not_an_amount"), ("1,23", "EUR", "not_an_amount"),
     ("-1", "EUR", "negative_amount"), ("1.005", "EUR", "amount_too_fine"), ("1.5", "JPY", "amount_too_fine"),
     ("1.00000001", "EUR", "amount_too_fine"), ("12345678901", "EUR", "amount_too_large"), ("1", None, "missing_currency")],
)  # fmt: skip
def test_money_that_would_have_to_be_guessed_is_refused(text: str, currency: str | None, reason: str) -> None:
    """Nothing is rounded, and no currency is assumed."""
    assert judged(BEHAVIOURS, GOOD | {"price_minor": text, "currency": currency}) == ({}, [f"price_minor: {reason}"])


@given(st.decimals(min_value=0, max_value=9_999_999_999, places=2))
@settings(max_examples=200, deadline=None)
def test_money_is_exact(amount: Decimal) -> None:
    """Every amount of two decimals comes out as its cents."""
    values, _ = judged(BEHAVIOURS, GOOD | {"price_minor": f"{amount:f}", "currency": "EUR"})
    assert values["price_minor"] == int(amount * 100)


def test_decimals_are_those_of_the_contract() -> None:
    """The table of currencies' decimals says what the contract's says."""
    assert {code: exponent(code) for code in DECIMALS} == DECIMALS
    assert exponent("EUR") == 2


def test_a_decimal_comma_is_a_setting() -> None:
    """With a decimal comma a point is the thousands' separator."""
    rules = Rules("UTC", money_in_minor=False, decimal=",", times="iso", whole_ids=False, now_ms=NOW_MS)
    cells = GOOD | {"price_minor": "1.234,50", "currency": "EUR"}
    assert judged(BEHAVIOURS, cells, rules)[0]["price_minor"] == 123450
    assert judged(BEHAVIOURS, cells | {"price_minor": "12.5"}, rules)[1] == ["price_minor: not_an_amount"]


@pytest.mark.parametrize(("text", "digits"), [("9e+05", "900000"), ("4.0128e+10", "40128000000"), ("12.0", "12")])
def test_ids_written_as_numbers_are_mended_where_the_source_says_so(text: str, digits: str) -> None:
    """R's notation of a whole number is undone exactly; elsewhere such an id is refused, for it may be rounded."""
    whole = Rules("UTC", money_in_minor=False, decimal=".", times="iso", whole_ids=True, now_ms=NOW_MS)
    assert judged(BEHAVIOURS, GOOD | {"product_id": text}, whole)[0]["product_id"] == digits
    if "e" in text:
        assert judged(BEHAVIOURS, GOOD | {"product_id": text})[1] == ["product_id: id_in_scientific_notation"]


def test_a_hexadecimal_id_is_no_number() -> None:
    """Digits with an e in their midst are an id like any other."""
    assert judged(BEHAVIOURS, GOOD | {"session_id": "12345678901234e5"})[1] == []


def test_every_fault_of_a_row_is_told() -> None:
    """A row with several faults has them all, and is counted by the first."""
    cells = {"at": "x", "action": "hover", "product_id": "a" * 201, "quantity": "0", "currency": "euro"}
    _, reasons = judged(BEHAVIOURS, cells)
    assert reasons == [
        "customer_id: missing", "at: not_a_time", "action: unknown_value", "product_id: too_long", "quantity: zero",
        "currency: not_a_currency",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1.5", "not_a_whole_number"),
        ("-2", "negative"),
        ("0.0", "zero"),
        ("32623000", "out_of_range"),
        ("two", "not_a_whole_number"),
    ],
)
def test_counts_are_whole_and_within_bounds(text: str, reason: str) -> None:
    """A quantity is a whole number from 1."""
    cells = {
        "order_id": "o",
        "customer_id": "c",
        "at": "2026-01-31",
        "state": "order",
        "currency": "EUR",
        "quantity": text,
    }
    assert judged(TRANSACTIONS, cells)[1] == [f"quantity: {reason}"]


def test_text_is_cleaned_and_not_cut() -> None:
    """Markup, entities, control and direction characters go; composed form; a text over its length is refused."""
    cells = {"product_id": "p", "name": "  <b>Cafe\u0301</b>\u202e &amp;  tea\u0007 ", "description": "NULL"}
    values, reasons = judged(PRODUCTS, cells)
    assert (values["name"], values["description"], reasons) == ("Caf\u00e9 & tea", None, [])
    assert judged(PRODUCTS, cells | {"description": "x" * 1_000_000})[1] == ["description: too_long"]
    assert judged(PRODUCTS, cells | {"name": "caf\N{REPLACEMENT CHARACTER}"})[1] == ["name: damaged_encoding"]


ODD: dict[str, list[str | None]] = {
    "id": ["17", "a b", "9e+05", "12.0", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "x\x01", "\N{REPLACEMENT CHARACTER}", "a" * 300, "NULL", " ", None],
    "time": ["2026-01-31T12:00:00Z", "2026-01-31", "yesterday", "1970-01-01", None],
    "choice": ["view", "hover", "purchase", None],
    "money": ["1.05", "12", "$1,234.50", "-1", "-.5", "1.005", "1.00000001", "12345678901", "free", "5.", None],
    "currency": ["EUR", "eur", "JPY", "KWD", "Euro", None],
    "count": ["1", "0", "-1", "+5", "5.0", "1.5", "x", None],
    "text": ["a", "a  b", "A & B", "&amp;x", "<b>x</b>", "e\N{COMBINING ACUTE ACCENT}", " x ", "", None],
}  # fmt: skip
"""By kind: regular values first."""


def _rows(width: int) -> st.SearchStrategy[list[dict[str, str | None]]]:
    cells = {field.name: st.sampled_from([*ODD[field.kind][:width], None]) for field in BEHAVIOURS.fields}
    return st.lists(st.fixed_dictionaries(cells), min_size=1, max_size=5)


@given(st.one_of(_rows(1), _rows(2), _rows(99)), st.sampled_from([".", ","]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_row_is_judged_alike_whatever_stands_beside_it(
    rows: list[dict[str, str | None]],
    decimal: str,
    whole_ids: bool,  # noqa: FBT001 -- drawn
) -> None:
    """Columns are judged the short way where they are regular; the rows of a column must not come to differ by that."""
    rules = Rules(
        "Europe/Berlin", money_in_minor=False, decimal=decimal, times="iso", whole_ids=whole_ids, now_ms=NOW_MS
    )
    schema = {"row": pl.Int64, **{field.name: pl.String for field in BEHAVIOURS.fields}}
    raw = pl.DataFrame([{"row": number, **row} for number, row in enumerate(rows)], schema=schema)
    together = judge(raw, BEHAVIOURS, rules, {})
    alone = [judge(raw.slice(number, 1), BEHAVIOURS, rules, {}) for number in range(len(rows))]
    assert together.good.equals(pl.concat([one.good for one in alone]))
    assert together.faults.rows() == [fault for one in alone for fault in one.faults.rows()]
    for name, count in together.mended.items():
        assert count == sum(one.mended.get(name, 0) for one in alone)
