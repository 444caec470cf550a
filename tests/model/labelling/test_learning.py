"""The ladder of features, the model over it, pseudo-labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from model.data.errors import Refused
from model.labelling.features import Features, Floats, Ladder
from model.labelling.learner import DEFAULT, Strengths, fit, softmax
from model.labelling.pseudo import Semi, pseudo_labels, taught_further, without_words
from model.labelling.session import Wishes

FRUIT = [
    f"{name} {what}" for name in ("apple", "pear", "plum", "grape") for what in ("juice", "jam", "puree", "slices")
]
MEAT = [f"{name} {what}" for name in ("beef", "pork", "lamb", "veal") for what in ("steak", "roast", "mince", "ribs")]
CLASSES = ("fruit", "meat")


def test_it_learns_and_its_chances_are_chances() -> None:
    """Taught five of each it tells the others, and the chances of a row sum to 1."""
    texts = [*FRUIT, *MEAT]
    ladder = Ladder(texts)
    rows = ladder.of(texts)
    taught = [0, 4, 8, 12, 5, 16, 20, 24, 28, 21]
    learned = fit(rows.at(taught), ["fruit"] * 5 + ["meat"] * 5, CLASSES, ladder.of(CLASSES))
    chances = learned.chances(rows)
    assert chances.sum(1) == pytest.approx(1.0)
    assert (chances.argmax(1) == [0] * len(FRUIT) + [1] * len(MEAT)).mean() > 0.9
    assert learned.strengths == DEFAULT  # ten groups are too few to choose by


def test_an_answer_that_nobody_gave_is_proposed_by_its_name() -> None:
    """Only `drinks` and `bread` were given; a row that says `cheese` gets the answer of that name."""
    texts, classes = ["orange drinks", "white bread", "goat cheese"], ("bread", "cheese", "drinks")
    ladder = Ladder([*texts, *classes])
    for naming, found in ((1.0, True), (0.0, False)):
        chosen = Strengths(naming=naming)
        learned = fit(ladder.of(texts[:2]), ["drinks", "bread"], classes, ladder.of(classes), strengths=chosen)
        assert (classes[int(learned.scores(ladder.of(texts[2:]))[0].argmax())] == "cheese") is found


def test_strengths_are_chosen_on_groups_that_were_left_out() -> None:
    """Labels that are noise but for a word that gives each group away: judged within groups all would be certain; here nothing is."""
    rng = np.random.default_rng(3)
    groups = [f"g{at}" for at in range(40) for _ in range(3)]
    given = {f"g{at}": CLASSES[int(rng.integers(2))] for at in range(40)}
    texts = [f"{group} {' '.join(rng.choice(FRUIT + MEAT, 3))}" for group in groups]
    ladder = Ladder(texts)
    answers = [given[group] for group in groups]
    learned = fit(ladder.of(texts), answers, CLASSES, ladder.of(CLASSES), groups=groups)
    assert learned.chances(ladder.of(["something new altogether"])).max() < 0.8


def test_a_text_without_letters_is_refused() -> None:
    """There is nothing to tell such rows by."""
    with pytest.raises(Refused, match="no text"):
        Ladder(["", " "])


def bert(folder: Path) -> Path:
    """A small encoder with its tokenizer, made here."""
    from transformers import BertConfig, BertModel

    from model.training.words import wordpiece

    tokenizer = wordpiece([*FRUIT, *MEAT], 300)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64)  # fmt: skip
    BertModel(config).save_pretrained(folder)  # type: ignore[no-untyped-call]  # transformers' own lack
    tokenizer.save_pretrained(folder)
    return folder


def test_the_ladder_has_the_rungs_that_are_named(tmp_path: Path) -> None:
    """tf-idf alone; beside it an encoder by path and the base that ships. Padding and company change no state."""
    texts = [*FRUIT, *MEAT, "apple juice with a much longer description than any other of them"]
    assert Ladder(texts).names == ["tf-idf"]
    ladder = Ladder(texts, encoder=str(bert(tmp_path)), base="")
    assert ladder.names == ["tf-idf", "encoder", "base"]
    rows = ladder.of(texts)
    assert [rung.shape[0] for rung in rows.rungs] == [len(texts)] * 4  # tf-idf counts letters and words
    for rung in rows.rungs[2:]:
        assert np.linalg.norm(rung, axis=1) == pytest.approx(1.0, abs=1e-5)
    alone = Ladder(texts, encoder=str(tmp_path), base="").of([texts[0], texts[0]])
    for of_one, of_all in zip(alone.rungs[2:], rows.rungs[2:], strict=True):
        assert of_one[0] == pytest.approx(of_one[1])
        assert of_one[0] == pytest.approx(of_all[0], abs=1e-4)
    assert rows.kernel(rows).diagonal() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("rung", ["encoder", "base"])
def test_a_rung_that_is_not_there_is_named(rung: str, tmp_path: Path) -> None:
    """In one line."""
    missing = str(tmp_path / "nowhere")
    with pytest.raises(Refused, match="nowhere"):
        Ladder(FRUIT, **{rung: missing})


def test_semi_supervised_is_off_unless_asked_for() -> None:
    """Self-training mostly hurt: whoever wants it says so."""
    assert Wishes().semi is None


def test_pseudo_labels_want_certainty_and_the_same_answer_without_some_words() -> None:
    """A text whose answer hangs on one word is left out, so is an uncertain one; no class gets more than its share."""

    def chances(texts: Sequence[str]) -> Floats:
        sure = [[0.95, 0.05] if "apple" in text else [0.45, 0.55] if "?" in text else [0.05, 0.95] for text in texts]
        return np.array(sure, np.float32)

    texts = ["apple apple apple apple apple apple", "apple of one word alone in it", "? ?", *["ham and eggs"] * 5]
    how = Semi(views=8, dropped=0.4, most_per_class=3)
    found = pseudo_labels(texts, chances, how, np.random.default_rng(0))
    assert set(found.places) & {0, 1, 2} == {0}
    assert sorted(found.classes) == [0, 1, 1, 1]


def test_pseudo_labels_count_less_than_a_persons() -> None:
    """The model is taught again with them; with a weight near nothing it stays what it was."""
    texts = [*FRUIT, *MEAT]
    ladder = Ladder(texts)
    taught = [0, 4, 8, 12, 16, 20, 24, 28]
    answers = ["fruit"] * 4 + ["meat"] * 4
    learned = fit(ladder.of([texts[at] for at in taught]), answers, CLASSES, ladder.of(CLASSES))
    rest = [text for at, text in enumerate(texts) if at not in taught]
    for weight, same in ((1e-6, True), (1.0, False)):
        how = Semi(sure=0.5, dropped=0.0, weight=weight)
        again, count = taught_further(learned, answers, rest, ladder.of, how, np.random.default_rng(0))
        assert count > 10
        assert np.allclose(again.scores(ladder.of(rest)), learned.scores(ladder.of(rest)), atol=1e-3) is same


def test_words_are_taken_away_but_never_all() -> None:
    """One always stays."""
    rng = np.random.default_rng(0)
    assert without_words("a b c", 1.0, rng) == "a"
    assert without_words("a b c", 0.0, rng) == "a b c"


def test_rungs_are_summed_by_weight() -> None:
    """A kernel is the weighted mean of what the rungs say."""
    both = Features((np.eye(2, dtype=np.float32), np.ones((2, 1), np.float32)), (0.25, 0.75))
    assert both.kernel(both) == pytest.approx(0.25 * np.eye(2) + 0.75)
    assert softmax(np.zeros((1, 4), np.float32)) == pytest.approx(0.25)
