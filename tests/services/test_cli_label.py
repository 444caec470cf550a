"""`stratagem label` at a real terminal: keys, resuming after `kill -9`, two people, and what preparing makes of it."""

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from services.cli import main
from tests.services.terminal import Terminal

MAPPING = """
name = "small"
[[table]]
table = "products"
files = "*"
columns = { product_id = "id", name = "name" }
near_duplicates = "group"
"""
FRUIT, MEAT = ("apple", "pear", "plum"), ("beef", "pork", "lamb")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop of 24 products, fruit and meat, without labels."""
    folder = tmp_path_factory.mktemp("shop")
    rows = [f"{name}{at},{name} {what} {at}" for name in FRUIT for what in ("juice", "jam") for at in (1, 2)]
    rows += [f"{name}{at},{name} {what} {at}" for name in MEAT for what in ("steak", "roast") for at in (3, 4)]
    numbered = [f"{at}-{row}" for at, row in enumerate(rows)]
    (folder / "products.csv").write_text("\n".join(["id,name", *numbered]) + "\n")
    (folder / "mapping.toml").write_text(MAPPING)
    assert prepare(folder, folder / "data")[0] == 0
    return folder


def prepare(folder: Path, out: Path, *more: object) -> tuple[int, str]:
    """`stratagem data prepare` of the shop."""
    words = ["data", "prepare", "--source", "small", "--mapping", folder / "mapping.toml", "--out", out, *more]
    done = CliRunner().invoke(main, [str(word) for word in (*words, folder / "products.csv")])
    return done.exit_code, done.output


def label(folder: Path, out: Path, *more: object) -> Terminal:
    """`stratagem label` of the shop's products as fruit or meat."""
    words = (
        "label",
        "--data",
        folder / "data",
        "--out",
        out,
        "--name",
        "kind",
        "--answer",
        "fruit",
        "--answer",
        "meat",
    )
    return Terminal(*words, *more)


def truth(screen: str) -> str:
    """The key of the right answer to what is shown."""
    return "1" if any(f"{name} " in screen for name in FRUIT) else "2"


def answered(out: Path) -> list[dict[str, object]]:
    """The file's whole lines."""
    return [json.loads(line) for line in out.read_text().splitlines() if line.endswith("}")]


def work(at: Terminal, answers: int) -> list[str]:
    """Answer so many questions rightly; the names that were shown."""
    shown = []
    for _ in range(answers):
        screen = at.until("q: end")
        shown.append(screen.rpartition("name  ")[2].partition("\n")[0])
        at.press(truth(screen))
    return shown


def test_one_key_per_answer_and_proposals_once_there_is_a_model(prepared: Path, tmp_path: Path) -> None:
    """Digits answer, s is not known, u takes back, / searches, Enter takes what is proposed, q ends with a summary."""
    out = tmp_path / "people.jsonl"
    at = label(prepared, out, "--person", "ann", "--refit", "4")
    assert "0 answered by ann · 24 unlabelled · diversity" in at.until("q: end")
    at.press("s")
    assert "written: not known" in at.until("written: not known")
    at.press("u")
    at.until("taken back")
    work(at, 6)
    screen = at.until("q: end")
    assert "· margin" in screen
    assert "> " in screen
    at.press("\r")  # what is proposed
    at.until("q: end")
    at.press("/me")
    at.until("/me   1 meat")
    at.press("\r")
    at.until("written: meat")
    at.press("q")
    code, said = at.ended()
    assert code == 0
    assert "ann: 8 labelled, 0 not known" in said
    lines = answered(out)
    assert [line["value"] for line in lines[:2]] == [None, None]
    assert lines[1]["taken_back"] is True
    assert lines[8]["proposed"] == lines[8]["value"]
    assert lines[1]["keys"] == lines[0]["keys"] == lines[2]["keys"]  # what was taken back is asked at once
    assert all(line["person"] == "ann" for line in lines)


def test_it_goes_on_after_kill_9(prepared: Path, tmp_path: Path) -> None:
    """Every answer that was given stays, none is asked again, and half a line of a killed writer harms nothing."""
    out = tmp_path / "people.jsonl"
    at = label(prepared, out, "--person", "ann")
    first = work(at, 5)
    at.until("written")
    at.kill()
    assert len(answered(out)) == 5
    with out.open("ab") as file:
        file.write(b'{"table":"products","na')
    at = label(prepared, out, "--person", "ann", "--most", "19")
    assert "5 answered by ann · 19 unlabelled" in at.until("unlabelled")
    second = work(at, 19)
    code, said = at.ended()
    assert (code, "ann: 24 labelled" in said) == (0, True)
    assert len({*first, *second}) == 24
    at = label(prepared, out, "--person", "ann")
    at.until("nothing is left to ask")
    assert at.ended()[0] == 0


def test_two_people_who_differ_are_recorded_shown_and_settled(prepared: Path, tmp_path: Path) -> None:
    """The second is asked about what the first answered, unseen; then the difference is said, counted in kappa, and settled."""
    out = tmp_path / "people.jsonl"
    at = label(prepared, out, "--person", "ann", "--most", "24")
    work(at, 24)
    at.ended()
    at = label(prepared, out, "--person", "bob", "--overlap", "1", "--most", "4", "--choose", "random")
    for turn in range(4):
        screen = at.until("q: end")
        assert "ann says" not in screen.rpartition("answered by bob")[2]
        right = truth(screen)
        at.press(right if turn else {"1": "2", "2": "1"}[right])
        if not turn:
            assert "ann says" in at.until("ann says")
    said = at.ended()[1]
    assert "ann and bob: 4 items of both, 1 differ, kappa" in said
    assert "1 items to settle (--settle)" in said
    at = label(prepared, out, "--person", "eve", "--settle")
    screen = at.until("q: end")
    assert "ann says" in screen
    assert "bob says" in screen
    at.press(truth(screen))
    at.until("nothing is left to settle")
    assert "to settle (" not in at.ended()[1]


def test_preparing_takes_peoples_labels_and_counts_where_they_differ(prepared: Path, tmp_path: Path) -> None:
    """They are a label function like any other: in the labels, in the card's coverage and conflicts."""
    out = tmp_path / "people.jsonl"
    at = label(prepared, out, "--person", "ann", "--most", "6")
    work(at, 6)
    at.ended()
    wrong = answered(out)[0]
    with out.open("a") as file:
        file.write(json.dumps(wrong | {"person": "bob", "value": "fish"}) + "\n")
    assert prepare(prepared, tmp_path / "again", "--people", out)[0] == 0
    card = json.loads((tmp_path / "again/card.json").read_bytes())
    found = next(each for each in card["labels"] if each["name"] == "kind")
    assert (found["rule"], found["source"], found["covered"]) == ("people", "people: ann, bob", 5)
    assert [each for each in card["conflicts"] if each["name"] == "kind"] == [
        {"name": "kind", "table": "products", "first": "ann", "second": "bob", "both": 1, "differ": 1}
    ]
    labels = pl.read_parquet(tmp_path / "again/labels/products.parquet")
    assert labels["kind"].drop_nulls().len() == 5


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--person", "ann"], "label asks at a terminal"),
        ([], "--person NAME"),
        (["--person", "ann", "--data", "nowhere"], "products.parquet is not there"),
        (["--person", "ann", "--field", "smell"], "products has no column 'smell'"),
        (["--person", "ann", "--proposals", "run"], "--table exposures"),
    ],
)
def test_mistakes_are_told_in_a_line(prepared: Path, tmp_path: Path, more: list[str], said: str) -> None:
    """What is missing or does not go together is named, with exit code 2."""
    words = ["label", "--data", str(prepared / "data"), "--out", str(tmp_path / "p"), "--name", "kind", *more]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert said in done.output
