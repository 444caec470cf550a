"""Personal data in texts and ids: found, counted, masked. Ids that are addresses or numbers of people become pseudonyms."""

import hashlib
import hmac

import polars as pl

from model.data.tables import Table

PATTERNS = {
    "email": r"[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9.\-]{1,190}\.[A-Za-z]{2,24}",
    "iban": r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b",
    "card": r"\b\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{1,7}\b",
    "phone": r"(?:\+\d{1,3}[ ./\-]?|\b0)(?:\(?\d{1,5}\)?[ ./\-]?){2,5}\d{2,5}\b",
}
"""Kind → pattern, in the order they are masked. A run of digits alone is neither a
telephone number nor a card: products have such numbers."""
TEXTS = frozenset({"name", "description", "title", "body", "query", "attributes"})
PEOPLE = frozenset({"customer_id", "session_id"})
_HINTS = r"@|\+\d|\d[ ./-]?\d{3}|[A-Z]{2}\d{2}"
"""What every pattern has: texts without it are not looked at further."""


def masked(frame: pl.DataFrame, table: Table, key: bytes) -> tuple[pl.DataFrame, dict[str, int]]:
    """A block without personal data.

    Args:
        key: of the pseudonyms; the same key gives the same pseudonym.

    Returns:
        The block, and `FIELD: KIND` → values found.
    """
    found: dict[str, int] = {}
    for field in table.fields:
        if field.name in TEXTS and frame[field.name].str.contains(_HINTS).any():
            frame = _texts(frame, field.name, found)
        elif field.name in PEOPLE:
            frame = _people(frame, field.name, key, found)
    return frame, found


def _texts(frame: pl.DataFrame, name: str, found: dict[str, int]) -> pl.DataFrame:
    for kind, pattern in PATTERNS.items():
        there = int(frame[name].str.contains(pattern).sum())
        if there:
            found[f"{name}: {kind}"] = there
            frame = frame.with_columns(pl.col(name).str.replace_all(pattern, f"[{kind}]"))
    return frame


def _people(frame: pl.DataFrame, name: str, key: bytes, found: dict[str, int]) -> pl.DataFrame:
    ids = frame[name]
    if not ids.str.contains(r"[@+]").any():  # what both kinds have
        return frame
    for kind in ("email", "phone"):
        whole = (
            ids.str.contains(f"^(?:{PATTERNS[kind]})$")
            if kind == "email"
            else ids.str.contains(r"^\+\d[\d ./()-]{6,18}$")
        )
        if not whole.any():
            continue
        found[f"{name}: {kind}"] = int(whole.sum())
        people = ids.filter(whole).unique()
        names = pl.Series([pseudonym(person, key) for person in people], dtype=pl.String)
        frame = frame.with_columns(pl.col(name).replace(people, names))
        ids = frame[name]
    return frame


def pseudonym(person: str, key: bytes) -> str:
    """A name that cannot be led back without the key (HMAC-SHA-256, 96 bits), letter case apart."""
    return "p-" + hmac.new(key, person.strip().lower().encode(), hashlib.sha256).hexdigest()[:24]


def masked_quarantine(faults: pl.DataFrame, key: bytes) -> pl.DataFrame:
    """Refused values without personal data: they are kept to be looked at, and may be whole lines."""
    values = faults["value"]
    if not values.str.contains(_HINTS).any():
        return faults
    kept = pl.col("value")
    for kind, pattern in PATTERNS.items():
        if kind == "email":
            people = values.str.extract_all(pattern).explode().drop_nulls().unique()
            if people.is_empty():
                continue
            kept = kept.str.replace_many(list(people), [pseudonym(person, key) for person in people])
        elif kind != "phone":  # times and amounts, refused for their form, look like telephone numbers
            kept = kept.str.replace_all(pattern, f"[{kind}]")
        else:
            kept = kept.str.replace_all(r"\+\d[\d ./()-]{6,18}\d", "[phone]")
    return faults.with_columns(kept.alias("value"))
