"""Text → values, column by column: what each becomes, and every reason why it cannot.

Whole columns are judged at once: what looks as most sources write it goes one short way, the odd rows go through everything that is understood.
A row may have several faults, each with its field, value, reason and what was wanted. Money and ids never pass through a float.
"""

from collections.abc import Callable

import msgspec
import polars as pl

from model.data.mapping import Times
from model.data.moments import iso
from model.data.tables import Field

CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x{80}-\x{9f}]"
SCIENTIFIC = r"^[0-9](\.[0-9]+)?[eE]\+[0-9]{1,2}$"
"""As R, Python and spreadsheets write large numbers, with the sign: `12e45` may be a hexadecimal id."""
EARLIEST_MS = 946_684_800_000
"""2000-01-01: an older time is a unit error (seconds for milliseconds), as in the contract of events."""
DAY_MS = 86_400_000
DECIMALS = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys("CLF UYW".split(), 4),
}
"""Decimals of currencies that have not two (ISO 4217), as in `streaming.contracts.money`."""
PLAIN_ID = r"^[0-9A-Za-z_-]*$"
PLAIN_AMOUNT = r"^[0-9]{1,10}(?:\.[0-9]{1,4})?$"
WORDS_FOR_NOTHING = ["NULL", "null", "None", "NaN", "nan", "NA", "N/A", "\\N"]


class Rules(msgspec.Struct, frozen=True):
    """How a source writes values; see `mapping.Mapping`. `now_ms`: nothing may have happened a day after it."""

    timezone: str
    money_in_minor: bool
    decimal: str
    times: Times
    whole_ids: bool
    now_ms: int


class Fault(msgspec.Struct, frozen=True):
    """A reason, what was wanted, and the rows (bool, null is false)."""

    reason: str
    wanted: str
    rows: pl.Series


class Column(msgspec.Struct):
    """A field's values, its faults, and what was mended silently enough to be counted: name → values."""

    value: pl.Series
    faults: list[Fault]
    mended: dict[str, int] = {}


def column_of(field: Field, raw: pl.Series, currency: pl.Series, rules: Rules) -> Column:
    """Read a field's text.

    Args:
        raw: the text, stripped, null where there is none.
        currency: of each row, upper case, for money.
    """
    column = _money(field, raw, currency, rules) if field.kind == "money" else _MAKERS[field.kind](field, raw, rules)
    if not _ascii(raw):
        damaged = raw.str.contains("\N{REPLACEMENT CHARACTER}", literal=True)
        column.faults.insert(0, Fault("damaged_encoding", "text in the file's encoding", damaged))
    if field.required:
        column.faults.append(Fault("missing", "a value", raw.is_null()))
    return column


def stripped(raw: pl.Series) -> pl.Series:
    """A raw text without surrounding space; what is empty, or a usual word for it, is null."""
    if raw.null_count() == len(raw):
        return raw
    text = raw.str.strip_chars()
    nothing = text.is_in(["", *WORDS_FOR_NOTHING])
    return text.set(nothing, None) if nothing.any() else text


def upper(raw: pl.Series) -> pl.Series:
    """The text in upper case."""
    return raw.head(1).str.to_uppercase().new_from_index(0, len(raw)) if _one(raw) else raw.str.to_uppercase()


def _one(raw: pl.Series) -> bool:
    """Whether all rows have the same text, as a shop's currency mostly is."""
    return len(raw) > 0 and raw.null_count() == 0 and bool((raw == raw[0]).all())


def _ascii(raw: pl.Series) -> bool:
    return bool(raw.str.len_bytes().sum() == raw.str.len_chars().sum())


def _id(field: Field, raw: pl.Series, rules: Rules) -> Column:
    at = (~raw.str.contains(PLAIN_ID) | (raw.str.len_bytes() > field.most_chars)).arg_true()
    if at.is_empty():
        return Column(raw, [])
    odd = raw.gather(at)
    scientific = odd.str.contains(SCIENTIFIC)
    long = Fault("too_long", f"at most {field.most_chars} characters", odd.str.len_chars() > field.most_chars)
    faults = [long, Fault("control_characters", "printable characters", odd.str.contains(CONTROL))]
    if not rules.whole_ids:
        faults.append(Fault("id_in_scientific_notation", "the id's own digits", scientific))
        return Column(raw, _among(faults, at, len(raw)))
    numbers = scientific | odd.str.contains(r"^[0-9]+\.0$")
    if not numbers.any():
        return Column(raw, _among(faults, at, len(raw)))
    mended = {"id_written_as_a_number": int(numbers.sum())}
    return Column(raw.scatter(at, _where(odd, numbers, _whole)), _among(faults, at, len(raw)), mended)


def _whole(raw: pl.Series) -> pl.Series:
    """`9e+05` → `900000`, `12.0` → `12`, in whole-number arithmetic."""
    return pl.Series([_digits(text) for text in raw], dtype=pl.String)


def _digits(text: str) -> str:
    mantissa, _, exponent = text.lower().partition("e+")
    whole, _, decimals = mantissa.partition(".")
    decimals = decimals.rstrip("0")
    return whole + decimals + "0" * max(int(exponent or 0) - len(decimals), 0)


def _text(field: Field, raw: pl.Series, rules: Rules) -> Column:
    del rules
    odd = ~raw.str.contains(r"^[\x20-\x7e]*$") | raw.str.contains(r"  |&[a-zA-Z#]|<")
    value = _where(raw, odd, _cleaned)
    long = Fault("too_long", f"at most {field.most_chars} characters", raw.str.len_chars() > field.most_chars)
    return Column(value.set(value.str.len_bytes() == 0, None), [long])


def _cleaned(raw: pl.Series) -> pl.Series:
    """Unicode's composed form, without markup, control and direction characters; runs of space are one space."""
    text = raw.str.replace_all(r"<[a-zA-Z/!][^<>]{0,200}>", " ")
    for name, meant in (("lt", "<"), ("gt", ">"), ("quot", '"'), ("#39", "'"), ("nbsp", " "), ("amp", "&")):
        text = text.str.replace_all(f"&{name};", meant, literal=True)
    text = text.str.normalize("NFC").str.replace_all(r"[\p{Cc}\p{Cf}\p{Co}]", " ")
    return text.str.replace_all(r"\s+", " ").str.strip_chars()


def _choice(field: Field, raw: pl.Series, rules: Rules) -> Column:
    del rules
    unknown = ~raw.is_in(list(field.choices))
    return Column(raw, [Fault("unknown_value", f"one of {', '.join(field.choices)}", unknown)])


def _currency(field: Field, raw: pl.Series, rules: Rules) -> Column:
    del field, rules
    value = upper(raw)
    known = (value.head(1) if _one(value) else value).str.contains("^[A-Z]{3}$")
    known = known.new_from_index(0, len(raw)) if len(known) < len(raw) else known
    return Column(value, [Fault("not_a_currency", "an ISO 4217 code, e.g. EUR", ~known)])


def _money(field: Field, raw: pl.Series, currency: pl.Series, rules: Rules) -> Column:
    del field
    odd = ~raw.str.contains(PLAIN_AMOUNT)
    if rules.decimal == ",":
        odd |= raw.str.contains(".", literal=True)
    at = odd.arg_true()
    some = _amounts(raw.gather(at), rules.decimal)
    some_plain = some.str.contains(PLAIN_AMOUNT)
    number = raw.clone().scatter(at, some.set(~some_plain, None))
    parts = number.cast(pl.Decimal(18, 4), strict=False).to_physical().cast(pl.Int64)  # of 10 000
    unit = 10_000 if rules.money_in_minor else _unit(currency)
    shaped = some.str.contains(r"^-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)$")
    negative = shaped & some.str.starts_with("-")
    whole = shaped & ~negative & ~some_plain
    large = whole & (some.str.extract(r"^0*([0-9]*)").str.len_bytes() > 10)  # noqa: PLR2004 -- as in PLAIN_AMOUNT
    no_amount, below, finer, above = _among([
        Fault("not_an_amount", f"a decimal number such as 12{rules.decimal}50", ~shaped),
        Fault("negative_amount", "an amount of at least 0", negative),
        Fault("amount_too_fine", "no more decimals than the currency has", whole & ~large),
        Fault("amount_too_large", "at most 10 digits before the decimals", large),
    ], at, len(raw))  # fmt: skip
    fine = Fault(finer.reason, finer.wanted, finer.rows | (parts % unit != 0).fill_null(value=False))
    unknown = Fault("missing_currency", "a currency wherever there is money", raw.is_not_null() & currency.is_null())
    return Column(parts // unit, [no_amount, below, fine, above, unknown])


def _among(faults: list[Fault], at: pl.Series, rows: int) -> list[Fault]:
    """Faults of some rows, as faults of all of them.

    Args:
        at: which rows they are, of so many.
    """
    sound = pl.repeat(value=False, n=rows, eager=True)
    return [
        Fault(fault.reason, fault.wanted, sound.clone().scatter(at, fault.rows.fill_null(value=False)))
        for fault in faults
    ]


def _amounts(raw: pl.Series, decimal: str) -> pl.Series:
    """Amounts without symbol, code, thousands' separators and idle zeros, with a point."""
    point, thousand = (r"\.", ",") if decimal == "." else (",", r"\.")
    text = raw.str.replace(r"^(-?)\s*(?:[$€£¥]|[A-Z]{3})\s*", "${1}").str.replace(r"\s*(?:[$€£¥]|[A-Z]{3})$", "")
    grouped = text.str.contains(rf"^-?[0-9]{{1,3}}(?:{thousand}[0-9]{{3}})+(?:{point}[0-9]*)?$")
    text = _where(text, grouped, lambda some: some.str.replace_all(thousand, ""))
    if decimal == ",":
        text = text.str.replace_all(r"\.", "x").str.replace(",", ".", literal=True)  # a point is no decimal here
    text = text.str.replace(r"^(-?)\.", "${1}0.")
    return (
        text.str.replace(r"^(-?)0+([0-9])", "${1}${2}").str.replace(r"(\.[0-9]*?)0*$", "${1}").str.replace(r"\.$", "")
    )


def _unit(currency: pl.Series) -> pl.Series | int:
    """Ten-thousandths of a major unit that make one minor unit."""
    units: dict[str, int] = {code: 10 ** (4 - places) for code, places in DECIMALS.items()}
    if _one(currency):
        return units.get(str(currency[0]), 100)
    return currency.replace_strict(units, default=100, return_dtype=pl.Int64)


def _count(field: Field, raw: pl.Series, rules: Rules) -> Column:
    del rules
    shaped = raw.str.contains(r"^[+-]?[0-9]{1,15}(\.0*)?$")
    value = raw.str.extract(r"^\+?(-?[0-9]{1,15})").cast(pl.Int64, strict=False)
    bounds = f"{field.least:,} to {field.most:,}"
    faults = [
        Fault("not_a_whole_number", "a whole number", ~shaped),
        Fault("negative", bounds, shaped & (value < 0)),
        Fault("out_of_range", bounds, shaped & (value > 0) & ~value.is_between(field.least, field.most)),
    ]
    if field.least > 0:
        faults.append(Fault("zero", bounds, shaped & (value == 0)))
    return Column(value, faults)


def _time(field: Field, raw: pl.Series, rules: Rules) -> Column:
    mended = {}
    if rules.times == "iso":
        value, skipped, naive = iso(raw, rules.timezone)
        faults = [
            Fault("not_a_time", "a time such as 2026-01-31T12:00:00Z", raw.is_not_null() & value.is_null() & ~skipped),
            Fault("time_skipped_by_the_clock", f"a time that was on the clocks of {rules.timezone}", skipped),
        ]
        mended = {f"time_without_a_zone_read_as_{rules.timezone}": naive} if naive else {}
    else:
        factor, unit = (1_000, "seconds") if rules.times == "epoch_s" else (1, "milliseconds")
        value = (raw.str.extract(r"^([0-9]{1,13})$").cast(pl.Int64) * factor).clip(0, 10**14)
        value = value.cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
        faults = [Fault("not_a_time", f"{unit} since 1970", raw.is_not_null() & value.is_null())]
    ms = value.to_physical()
    if field.name == "at":  # what is planned (a campaign's end) may lie ahead
        faults.append(Fault("in_the_future", "a time before now", ms > rules.now_ms + DAY_MS))
    faults.append(Fault("too_early", "a time after 2000-01-01", ms < EARLIEST_MS))
    return Column(value, faults, mended)


def _where(values: pl.Series, odd: pl.Series, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """The values, those that are odd changed."""
    at = odd.arg_true()
    return values if at.is_empty() else values.scatter(at, change(values.gather(at)))


_MAKERS: dict[str, Callable[[Field, pl.Series, Rules], Column]] = {
    "id": _id,
    "text": _text,
    "path": _text,
    "names": _text,
    "choice": _choice,
    "currency": _currency,
    "count": _count,
    "time": _time,
}
