"""Pack sizes in base units, and contents that are nearly the same."""

import polars as pl
import pytest

from model.data.near import repeated_deeds, same_texts
from model.data.sizes import base_size


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [("16 OZ", 453.592, "g"), ("1.5L", 1500.0, "ml"), ("6 x 330 ml", 1980.0, "ml"), ("12 FL OZ", 354.882, "ml"),
     ("2,5 kg", 2500.0, "g"), ("1 DZ", 12.0, "pieces"), ("large", None, None), ("16", None, None)],
)  # fmt: skip
def test_sizes(text: str, value: float | None, unit: str | None) -> None:
    """Weights in grams, volumes in millilitres, counts in pieces; what is not understood is null."""
    understood, found, base = base_size(pl.col("size"))
    row = pl.DataFrame({"size": [text]}).select(understood, found.alias("value"), base.alias("unit")).row(0)
    assert row == (value is not None, value, unit)


def test_near_equal_texts_are_the_first_ones() -> None:
    """A word more among many is the same text; another number or another half is not; few words must be equal."""
    long = "organic whole bean coffee dark roast from the highlands of Peru fair trade certified bag 500 g"
    texts = [
        long,
        f"{long} new",
        long.replace("500", "250"),
        "green tea from Japan in thirty small bags",
        long.upper(),
        "tea",
        "Tea",
        "teas",
    ]
    assert same_texts(texts).tolist() == [0, 0, 2, 3, 0, 5, 5, 7]


def test_near_equal_texts_form_one_group_along_a_chain() -> None:
    """Texts that are each near the next one all stand for the first."""
    words = [f"word{chr(97 + i)}" for i in range(26)]
    texts = [" ".join(words[i : i + 24]) for i in range(3)]  # 23 of 25 words are shared: .92
    assert same_texts(texts).tolist() == [0, 0, 0]


def test_a_deed_sent_twice_is_one() -> None:
    """The same content within a second repeats; later it is a deed of its own."""
    at = pl.Series([0, 1000, 1500, 2501, 500]).cast(pl.Datetime("ms"))
    keys = pl.DataFrame({"content": [1, 1, 1, 1, 2], "at": at})
    assert repeated_deeds(keys).to_list() == [False, True, True, False, False]
