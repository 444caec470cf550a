"""Pack sizes as shops write them → grams, millilitres or pieces."""

import polars as pl

UNITS = {
    "mg": (0.001, "g"), "g": (1.0, "g"), "gr": (1.0, "g"), "gm": (1.0, "g"), "kg": (1000.0, "g"), "oz": (28.349523125, "g"),
    "lb": (453.59237, "g"), "lbs": (453.59237, "g"), "ml": (1.0, "ml"), "cl": (10.0, "ml"), "dl": (100.0, "ml"),
    "l": (1000.0, "ml"), "lt": (1000.0, "ml"), "ltr": (1000.0, "ml"), "floz": (29.5735295625, "ml"), "pt": (473.176473, "ml"),
    "qt": (946.352946, "ml"), "gal": (3785.411784, "ml"), "ga": (3785.411784, "ml"), "ct": (1.0, "pieces"),
    "pk": (1.0, "pieces"), "pc": (1.0, "pieces"), "ea": (1.0, "pieces"), "each": (1.0, "pieces"), "dz": (12.0, "pieces"),
    "doz": (12.0, "pieces"),
}  # fmt: skip
"""Unit → (factor, base unit): the international pound and the US gallon, exactly. `oz` alone is a weight, as on US packs of either
kind; only `fl oz` says that it is a volume."""


def base_size(text: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """A size such as `16 OZ`, `1.5L`, `6 x 330 ml`.

    Returns:
        Whether it is understood; its value in the base unit, float; the base unit: all null where it is not.
    """
    lower = text.str.to_lowercase().str.replace_all(r"fl\.?\s*oz", "floz").str.replace_all(",", ".", literal=True)
    pattern = r"^\s*(?:(\d{1,3})\s*[x×]\s*)?(\d{1,6}(?:\.\d{1,4})?)\s*([a-z]{1,5})\.?\s*$"
    parts = lower.str.extract_groups(pattern)
    times = parts.struct.field("1").cast(pl.Float64).fill_null(1.0)
    amount = parts.struct.field("2").cast(pl.Float64)
    written = parts.struct.field("3")
    factor = written.replace_strict(
        {unit: factor for unit, (factor, _) in UNITS.items()}, default=None, return_dtype=pl.Float64
    )
    unit = written.replace_strict(
        {unit: base for unit, (_, base) in UNITS.items()}, default=None, return_dtype=pl.String
    )
    return factor.is_not_null(), (times * amount * factor).round(3), unit
