"""The short ways of reading give what the long ways give, and step aside where lines are not regular."""

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data import blocks, product_events, regular, segment
from model.data.blocks import Bad, delimited
from model.data.mapped import Piece
from model.data.segment import SegmentFile
from tests.model.data.samples import NOW_MS

WANTED = ("b", "a")


def read(path: Path, separator: str = ",", encoding: str = "utf-8") -> tuple[list[tuple[object, ...]], list[Bad]]:
    """Rows and bad rows, in order."""
    found = list(delimited(path, separator=separator, header=("a", "b"), encoding=encoding, wanted=WANTED))
    return [row for block in found for row in block.frame.rows()], [bad for block in found for bad in block.bad]


def long_way(path: Path, separator: str = ",", encoding: str = "utf-8") -> tuple[list[tuple[object, ...]], list[Bad]]:
    """The same without polars' reader: split lines, and Python's `csv` module from the first line on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regular, "able", lambda *_: False)
        return read(path, separator, encoding)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each block that the short way read."""
    rows: list[int] = []

    def counted(text: str, *arguments: object) -> pl.DataFrame | None:
        frame = plain(text, *arguments)  # type: ignore[arg-type]
        rows.append(-1 if frame is None else frame.height)
        return frame

    def counted_quoted(*arguments: object) -> pl.DataFrame:
        frame = quoted(*arguments)  # type: ignore[arg-type]
        rows.append(frame.height)
        return frame

    plain, quoted = regular.plain, regular.quoted
    monkeypatch.setattr(regular, "plain", counted)
    monkeypatch.setattr(regular, "quoted", counted_quoted)
    return rows


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("1,2\n3,\n,4\n", [3]),
        ("1,2\n3\n4,5,6\n", [-1]),  # as many separators as three whole rows have
        ("1,2\n\n3,4\n", [-1]),
        ("1,2\n   \n3,4\n", [-1]),
        ("1\n2,3,4\n", [-1]),  # the first line says nothing of how many there are
        ("1,2\n3\n4,5,\n", [-1]),
        ('"1","2"\n"3",4\n"",\n', [3]),
        ('"1","2,3"\n",",4\n"a",","\n', [3]),
        ('1,2\n","\n"3","4",\n', [-1, 1]),  # as many separators as three whole rows have, one of them in a field
        ('"1","x, ""y"""\n3,4\n', [-1, 2]),
        ('1,2\n"3"\n4,5\n', [-1, 2]),
        ('1,2\n3,"one\n4,5\ntwo"\n6,7\n', [-1, 2]),
        ('1,2\n5" pipe,6\n"x"y,1\n3,4\n', [-1, 2]),
        ('1,"never\n2,3\n4,5\n', [-1, -1, 2]),
        ('1,"a\n\n\nb"\n\n2,3', [-1, 1]),
    ],
)
def test_irregular_lines_take_the_long_way(tmp_path: Path, taken: list[int], text: str, short: list[int]) -> None:
    """A ragged row, a blank line, a line end or a stray quote: the lines beside them are still read the short way."""
    path = tmp_path / "file.csv"
    path.write_text(text)
    assert read(path) == long_way(path)
    assert [rows for rows in taken if rows] == short


def test_a_wrong_encoding_in_the_middle_changes_nothing(tmp_path: Path, taken: list[int]) -> None:
    """Bytes that are no UTF-8 are marked where they stand, in plain and in quoted files."""
    path = tmp_path / "file.csv"
    for line in ("x,caf\xe9", '"x","caf\xe9"'):
        path.write_bytes(b"1,2\n" * 5 + line.encode("latin-1") + b"\n" + b"3,4\n" * 5)
        good, bad = read(path)
        assert (good, bad) == long_way(path)
        assert good[5] == (6, "caf\N{REPLACEMENT CHARACTER}", "x")
    assert taken == [11, 11]


@given(
    st.lists(st.sampled_from(['"', '""', ",", ";", "\n", "\r", "a", " ", "é", "\0", '"b"', '"c\nd"']), max_size=40),
    st.integers(3, 40),
    st.sampled_from([",", ";", "\t", "|", "^"]),
    st.sampled_from([1, 7, regular.PIECE_BYTES]),
)
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_as_the_long_way_reads_it(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], block_chars: int, separator: str, piece_bytes: int
) -> None:
    """Whatever stands in a file and wherever its blocks, and the pieces in which they are looked at, end."""
    text = "".join(parts).replace(",", separator)
    if "\0" in text or not text.strip():
        text = f"a{separator}" + text.replace("\0", "")
    path = tmp_path_factory.mktemp("any") / "file.csv"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_CHARS", block_chars)
        patch.setattr(regular, "PIECE_BYTES", piece_bytes)
        assert read(path, separator) == long_way(path, separator)


def lines() -> Iterator[str]:
    """Events of products, good ones, and each that the contract refuses or reads in its own way."""
    properties = {"product_id": "p", "price": "12.50", "currency": "EUR", "quantity": 2, "strategy_id": "s", "x": [1]}
    event = {"messageId": "m", "type": "track", "event": "Product Viewed", "userId": "u",
             "timestamp": "2026-01-31T12:00:00.123+01:00", "properties": properties}  # fmt: skip
    yield json.dumps(event)
    for key, values in {
        "messageId": ("", 7), "type": ("identify", "page"), "event": ("Product Added", "Product Loved", "Order Completed"),
        "userId": (None, ""), "timestamp": ("2026-01-31T12:00:00", "1999-01-01T00:00:00Z", "2200-01-01T00:00:00Z", "x"),
        "properties": (None, [], {}), "anonymousId": ("u", "other", ""), "context": ({"locale": "de"}, {"locale": 1}),
    }.items():  # fmt: skip
        for value in values:
            yield json.dumps(event | {key: value})
    odd: dict[str, tuple[object, ...]] = {
        "product_id": ("", None), "quantity": (0, 1.5, "2"), "currency": (None, "eur", "JPY"), "strategy_id": (None, 5),
        "price": (None, 3, 1e3, 12.505, "-1", "-0.00", "NaN", "Infinity", "1e400", "1E+2", "free", True, [], "0.1"),
    }  # fmt: skip
    for key, each in odd.items():
        for value in each:
            yield json.dumps(event | {"properties": properties | {key: value}})
    yield json.dumps({key: value for key, value in event.items() if key != "userId"} | {"anonymousId": "a"})
    yield json.dumps(event | {"properties": {"product_id": "p"}})
    yield json.dumps(event)[:-3]
    yield json.dumps(event).replace('"p"', '"\N{REPLACEMENT CHARACTER}"')
    yield json.dumps(event).replace('"p"', '"\\ud800"')
    yield json.dumps(event).replace('"type"', '"\\u0074ype"')
    yield ""


def pieces(path: Path) -> list[Piece]:
    """What is read of a file of lines."""
    return list(SegmentFile(path, NOW_MS).pieces())


def told(found: list[Piece]) -> list[object]:
    """All of it, comparable."""
    return [
        (piece.rows, piece.ignored, [(raw.part, raw.table, raw.frame.schema, raw.frame.rows(), raw.bad) for raw in piece.raws])
        for piece in found
    ]  # fmt: skip


def test_events_of_products_are_judged_as_the_contract_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line, taken by the short way or not, gives the row or the reason that the contract gives."""
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(lines()) + "\n", encoding="utf-8")
    short = []
    take = product_events.ProductEvents.take

    def counted(self: product_events.ProductEvents, number: int, line: str) -> bool:
        took = take(self, number, line)
        short.append(took)
        return took

    monkeypatch.setattr(product_events.ProductEvents, "take", counted)
    found = told(pieces(path))
    assert short.count(True) >= 10
    assert short.count(False) >= 10
    monkeypatch.setattr(segment, "HINT", "there is no such line")
    assert told(pieces(path)) == found


@pytest.mark.parametrize("separator", [",", "\t", " "])
@pytest.mark.parametrize("blank", ["", " ", "\t", " \t ", "\N{NO-BREAK SPACE}", "\x1c", "\x0b"])
def test_a_line_of_white_space_is_no_row_beside_quotes_either(tmp_path: Path, separator: str, blank: str) -> None:
    """Whether the block has a quote, regular or not, says nothing of its other lines."""
    path = tmp_path / "file.csv"
    for beside in ("5,6", '"5",6', '"5"",",6', '"5\n",6', '5",6', '"5\n\n",6', '5,"6'):
        text = f"1,2\n{blank}\n3,4\n{blank}\n{beside}\n7,8".replace(",", separator)
        path.write_text(text, encoding="utf-8")
        good, bad = read(path, separator)
        assert (good, bad) == long_way(path, separator)
        assert good[:2] == [(1, "2", "1"), (3, "4", "3")]
        assert {2, 4}.isdisjoint([row for row, *_ in good] + [each.row for each in bad])


def test_a_block_says_how_many_rows_it_has(tmp_path: Path) -> None:
    """Good and bad ones, whichever way they were read."""
    path = tmp_path / "file.csv"
    path.write_text('1,2\n"3"\n4,"5\n6"\n7,8\n\n9,"x"y\n')
    block, *_ = list(delimited(path, separator=",", header=("a", "b"), encoding="utf-8", wanted=WANTED))
    assert block.rows == block.frame.height + len(block.bad) == 5
    assert block.frame.rows() == [(1, "2", "1"), (3, "5\n6", "4"), (5, "8", "7")]
