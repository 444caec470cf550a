"""Files as they come: ragged rows, quotes, encodings, files that are cut short."""

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data import blocks
from model.data.blocks import delimited
from model.data.columnar import parquet
from model.data.errors import Refused


def rows(
    path: Path, wanted: Sequence[str] = ("a", "b"), encoding: str = "utf-8"
) -> tuple[list[tuple[object, ...]], list[tuple[int, str]]]:
    """(row, values...) of the good rows, and (row, reason) of the bad ones."""
    good: list[tuple[object, ...]] = []
    bad: list[tuple[int, str]] = []
    for block in delimited(path, separator=",", header=(), encoding=encoding, wanted=wanted):
        good += block.frame.rows()
        bad += [(each.row, each.reason) for each in block.bad]
        assert block.rows == block.frame.height + len(block.bad)
    return good, bad


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its file."""
    return tmp_path / "file.csv"


def test_ragged_rows_are_named_by_their_line(file: Path) -> None:
    """A row with too few or too many fields is bad; blank lines are no rows; the others keep their line's number."""
    file.write_text("a,b\n1,2\n3\n\n4,5,6\n7,\n")
    assert rows(file) == ([(2, "1", "2"), (6, "7", "")], [(3, "ragged_row"), (5, "ragged_row")])


def test_quotes_are_read_as_the_standard_says(file: Path) -> None:
    """Separators, doubled quotes and line ends inside quotes belong to the field."""
    file.write_text('a,b\n1,"x, ""y"""\n2,"one\ntwo"\n3,4\n5" pipe,6\n')
    good, bad = rows(file)
    assert good == [(2, "1", 'x, "y"'), (3, "2", "one\ntwo"), (5, "3", "4"), (6, '5" pipe', "6")]
    assert bad == []


def test_a_quote_that_is_never_closed_costs_its_own_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows after it are read."""
    monkeypatch.setattr(blocks, "MAX_RECORD_LINES", 50)
    file.write_text('a,b\n1,"never\n' + "".join(f"{i},x\n" for i in range(200)))
    good, bad = rows(file)
    assert bad == [(2, "broken_quotes")]
    assert len(good) == 200


def test_records_may_cross_blocks(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are cut at line ends and quoted records go on in the next, so the blocks' size changes nothing."""
    file.write_text("a,b\n" + "".join(f'{i},"x\ny{i}"\n{i},plain\n' for i in range(50)))
    whole = rows(file)
    monkeypatch.setattr(blocks, "BLOCK_CHARS", 37)
    assert rows(file) == whole
    assert len(whole[0]) == 100


@given(st.lists(st.lists(st.text(alphabet='ab",\né', max_size=5), min_size=2, max_size=2), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_what_the_csv_module_writes_is_read(tmp_path_factory: pytest.TempPathFactory, cells: list[list[str]]) -> None:
    """Any fields, written by Python's csv module, come back."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["a", "b"], *cells])
    path = tmp_path_factory.mktemp("csv") / "file.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    good, bad = rows(path)
    assert bad == []
    assert [row[1:] for row in good] == [tuple(row) for row in cells]


def test_encodings(file: Path) -> None:
    """The byte order mark is no part of the header; bytes of another encoding are marked; UTF-16 is named."""
    file.write_bytes("\ufeffa,b\n1,é\n".encode())
    assert rows(file)[0] == [(2, "1", "é")]
    file.write_bytes(b"a,b\r\n1,caf\xe9\r\n")
    assert rows(file)[0] == [(2, "1", "caf\N{REPLACEMENT CHARACTER}")]
    assert rows(file, encoding="cp1252")[0] == [(2, "1", "café")]
    file.write_text("a,b\n1,é\n", encoding="utf-16")
    with pytest.raises(Refused, match="not UTF-8"):
        rows(file)
    assert rows(file, encoding="utf-16")[0] == [(2, "1", "é")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a,c\n1,2\n", "no column 'b'; the file has 'a', 'c'"),
        ("a,b,a\n1,2,3\n", "twice"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(file: Path, content: str, said: str) -> None:
    """Empty files and headers that do not fit are refused in a line that names file and column."""
    file.write_text(content)
    with pytest.raises(Refused, match=said) as refused:
        rows(file)
    assert "file.csv" in str(refused.value)


def test_files_that_are_cut_short_are_refused(tmp_path: Path) -> None:
    """A gzip or Parquet file without its end is not half read."""
    packed = gzip.compress(("a,b\n" + "1,2\n" * 100_000).encode())
    path = tmp_path / "file.csv.gz"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(Refused, match="cut short"):
        rows(path)
    table = tmp_path / "file.parquet"
    pl.DataFrame({"a": range(1000), "b": range(1000)}).write_parquet(table)
    table.write_bytes(table.read_bytes()[:-100])
    with pytest.raises(Refused, match="cut short"):
        list(parquet(table, ["a"]))


def test_parquet_comes_as_text(tmp_path: Path) -> None:
    """Numbers, floats and zoned times become the text that a CSV file would have."""
    path = tmp_path / "file.parquet"
    frame = pl.DataFrame({"a": [1, 2], "b": [12.99, None], "c": ["x", "y"]}).with_columns(
        pl.lit("2026-01-31 12:00:00").str.to_datetime(time_zone="Europe/Berlin").alias("d"),
        pl.col("b").cast(pl.Float32),
    )
    frame.write_parquet(path)
    (block,) = parquet(path, ["a", "b", "c", "d"])
    assert block.frame.rows() == [
        (1, "1", "12.9900", "x", "2026-01-31 11:00:00.000Z"),
        (2, "2", None, "y", "2026-01-31 11:00:00.000Z"),
    ]
    pl.DataFrame({"a": [[1]]}).write_parquet(path)
    with pytest.raises(Refused, match="column 'a' holds"):
        list(parquet(path, ["a"]))
