"""The file of answers, what counts of it, how far people agree, and what may be asked about."""

import json
import multiprocessing
from pathlib import Path

import polars as pl
import pytest

from model.data.errors import Refused
from model.data.labels import Label, People, labelled, of_people, read_labels
from model.data.mapping import shipped
from model.data.people import Answer, Key, read, said
from model.labelling.agreement import agreements, by_item, disagreements, kappa
from model.labelling.features import Ladder
from model.labelling.items import Item, classes_of, items, plain
from model.labelling.records import Answers
from model.labelling.session import Session, Wishes
from tests.model.data.samples import EXTRACT, prepared


def answer(row: str, value: str | None, person: str = "ann", *, taken_back: bool = False, settles: bool = False) -> Answer:  # fmt: skip
    """An answer about a product."""
    return Answer("products", "kind", ((row,),), value, person, 1, taken_back=taken_back, settles=settles)


def test_the_newest_answer_of_a_person_counts() -> None:
    """A second answer replaces the first, one that was taken back is gone, `not known` is no label but was asked."""
    told = [answer("1", "a"), answer("1", "b"), answer("2", "a"), answer("2", None, taken_back=True), answer("3", None)]
    what = said(told, "products", "kind")
    assert what.by == {"ann": {("1",): "b"}}
    assert what.asked == {"ann": {("1",), ("3",)}}


def test_most_people_decide_and_a_settlement_counts_before_all() -> None:
    """Two against one is decided, one against one is not until it is settled."""
    told = [answer("1", value, who) for who, value in (("ann", "a"), ("bob", "b"), ("eve", "b"))]
    told += [answer("2", "a"), answer("2", "b", "bob")]
    assert said(told, "products", "kind").decided() == {("1",): "b"}
    told += [answer("2", "a", "eve", settles=True), answer("1", "c", "eve", settles=True)]
    assert said(told, "products", "kind").decided() == {("1",): "c", ("2",): "a"}


def test_kappa_is_cohens() -> None:
    """As in Cohen's formula: (observed - by chance) / (1 - by chance); not defined where all is one label."""
    both = [("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15
    assert kappa(both) == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert kappa([("a", "a")] * 3) is None


def test_who_differs_is_known_until_it_is_settled() -> None:
    """Counted by item, however many rows say the same."""
    many = tuple((str(at),) for at in range(9))
    told = [Answer("products", "kind", many, "a", "ann", 0), Answer("products", "kind", many, "b", "bob", 0)]
    told += [answer("x", "a"), answer("x", "a", "bob")]
    what = by_item(told, "products", "kind")
    assert [(each.left, each.right, each.both, each.differ) for each in agreements(what)] == [("ann", "bob", 2, 1)]
    assert disagreements(what) == {("0",): {"ann": "a", "bob": "b"}}
    told.append(Answer("products", "kind", many, "b", "eve", 0, settles=True))
    assert disagreements(by_item(told, "products", "kind")) == {}


def _writes(path: Path, person: str) -> None:
    file = Answers(path)
    for at in range(100):
        file.add(answer(str(at), "a" * at, person))


def test_two_may_write_at_once(tmp_path: Path) -> None:
    """No line is lost or torn."""
    path = tmp_path / "people.jsonl"
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_writes, args=(path, person)) for person in ("ann", "bob")]
    for process in both:
        process.start()
    for process in both:
        process.join()
    found = read(path)
    assert [len([each for each in found if each.person == person]) for person in ("ann", "bob")] == [100, 100]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [("{}", "line 2: Object missing required field"), ("no json", "line 2: JSON is malformed"),
     (json.dumps({"table": "orders", "name": "k", "keys": [["1"]], "value": "a", "person": "p", "at_ms": 1}), "table 'orders'"),
     (json.dumps({"table": "ads", "name": "k", "keys": [["1"]], "value": "a", "person": "p", "at_ms": 1}), "have 2 parts")],
)  # fmt: skip
def test_a_broken_line_is_named(tmp_path: Path, line: str, wanted: str) -> None:
    """By file, line and what is wrong with it."""
    path = tmp_path / "people.jsonl"
    Answers(path).add(answer("1", "a"))
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(Refused, match=wanted):
        read(path)


def test_a_label_file_names_peoples_labels_beside_it(tmp_path: Path) -> None:
    """`kind = "people"` is a rule like any other; the file is sought where the label file lies."""
    Answers(tmp_path / "people.jsonl").add(answer("1", "fruit"))
    rule = 'rule = { kind = "people", file = "people.jsonl" }'
    other = 'rule = { kind = "column", column = "type" }'
    head = '[[label]]\nname = "kind"\ntable = "products"\nsource = "{}"\n'
    (tmp_path / "labels.toml").write_text(head.format("people") + rule + "\n" + head.format("shop") + other + "\n")
    labels = read_labels(tmp_path / "labels.toml")
    assert labels[0] == Label("kind", "products", "people", People(str(tmp_path / "people.jsonl")))
    frame = pl.DataFrame({"product_id": ["1", "2"], "type": ["meat", "meat"]})
    made, coverage, conflicts = labelled(frame, labels, ["product_id"])
    assert made["kind"].to_list() == ["fruit", "meat"]
    assert [(each.rule, each.covered) for each in coverage] == [("people", 1), ("column", 2)]
    assert [(each.both, each.differ) for each in conflicts] == [(1, 1)]
    (tmp_path / "labels.toml").write_text(head.format("people").replace("products", "orders") + rule + "\n")
    with pytest.raises(Refused, match="people label products, ads, exposures, not orders"):
        read_labels(tmp_path / "labels.toml")


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extract of Complete Journey, prepared."""
    out = tmp_path_factory.mktemp("journey") / "data"
    prepared(out, EXTRACT, mapping="completejourney")
    return out


def test_rows_that_say_the_same_are_one_item(journey: Path) -> None:
    """Each product is in one item, and the items of a text are one; the label it has goes with it."""
    found = items(journey, "products", "category", ("type",))
    keys = [key for item in found for key in item.keys]
    products = pl.read_parquet(journey / "products.parquet")
    assert len(keys) == len(set(keys)) == products["type"].count()
    assert len({(item.said, item.known) for item in found}) == len(found)
    labels = pl.read_parquet(journey / "labels/products.parquet")
    known: dict[Key, str] = {(row,): label for row, label in labels.select("product_id", "category").iter_rows()}
    assert all(known[key] == item.known for item in found for key in item.keys)
    assert len(classes_of((), found, ())) == len({item.known for item in found if item.known})
    with pytest.raises(Refused, match="0 answers are known"):
        classes_of((), [], ())


def test_exposures_are_asked_about_one_by_one_and_prepared_again(journey: Path, tmp_path: Path) -> None:
    """What people say of an exposure is its label, before what the log says; nothing else of the row changes."""
    found = items(journey, "exposures", "purchase")
    exposures = pl.read_parquet(journey / "exposures.parquet")
    assert len(found) == exposures.height
    refused = next(item for item in found if item.known == "0")
    path = tmp_path / "people.jsonl"
    Answers(path).add(Answer("exposures", "purchase", refused.keys, "1", "ann", 0))
    labels = (*of_people(path), *shipped("completejourney").label)
    card = prepared(tmp_path / "again", EXTRACT, mapping="completejourney", labels=labels)
    after = pl.read_parquet(tmp_path / "again/exposures.parquet")
    assert int(after["purchase"].sum()) == int(exposures["purchase"].sum()) + 1
    assert after.drop("purchase").equals(exposures.drop("purchase"))
    assert [(each.both, each.differ) for each in card.conflicts if each.table == "exposures"] == [(1, 1)]
    with pytest.raises(Refused, match="exposures have no label 'liked'"):
        items(journey, "exposures", "liked")


def test_texts_of_products_steer_no_terminal() -> None:
    """Escape sequences, line breaks and direction marks are gone."""
    assert plain("a\x1b[2Jb\u202ec\nd\x07") == "a [2Jb c d"


def test_what_rows_have_already_is_learned_from_and_not_asked() -> None:
    """Unless it is to be asked afresh."""
    made = [
        Item((("name", f"{text} {at}"),), ((f"{text}{at}",),), f"{text}{at}", text if at < 3 else None)
        for text in ("fruit", "meat") for at in range(8)
    ]  # fmt: skip
    ladder, nothing = Ladder([item.text for item in made]), said([], "products", "kind")
    session = Session(made, ("fruit", "meat"), "ann", nothing, Wishes(), ladder=ladder)
    assert session.left == 10
    question = session.next()
    assert question is not None
    assert question.chosen == "margin"
    assert question.proposals[0].value == made[question.place].group[:-1]
    afresh = Session(made, ("fruit", "meat"), "ann", nothing, Wishes(afresh=True), ladder=ladder)
    first = afresh.next()
    assert first is not None
    assert (afresh.left, first.proposals, first.chosen) == (16, (), "diversity")
