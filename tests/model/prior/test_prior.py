"""What a response run knows reaches a fresh critic, no further than it is counted, and only what the log speaks of."""

from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from model.critic import Critic
from model.data.errors import Refused
from model.learner import CriticLearner
from model.lessons import LearnerKnobs
from model.prior.believing import Knobs, believe
from model.prior.history import History
from model.prior.logged import decisions, words_for
from model.prior.mapping import read_mapping
from model.response.served import Served
from model.response.tables import Tables, read
from streaming.contracts.rewards import Outcomes, Reward
from streaming.reward import Formula
from tests.model.closed import closed_rewards
from tests.model.prior.samples import CLICKED, made
from tests.model.sample import request_of

OWN = """
[[kind]]
kind = "recommendation"
slots.product = { column = "product_id" }
slots.channel = { column = "channel", values = { email = ["e-mail"], push = ["push"] } }
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Served, Tables]:
    """The small shop's log and run."""
    data, run = made(tmp_path_factory.mktemp("prior"))
    return Served.load(run), read(data)


def learner() -> CriticLearner:
    """One that has learned nothing."""
    return CriticLearner(LearnerKnobs(heads=2), Formula())


def clicks(critic: Critic, seed: int) -> tuple[float, float]:
    """p(click) by e-mail and by push, mean over the other slots."""
    request = request_of(seed)
    axis = [slot.name for slot in request.slots].index("channel")
    found = np.moveaxis(critic.mean.probabilities(request)["clicked"][0], axis - 4, 0)
    places = [request.slots[axis].values.index(name) for name in ("email", "push")]
    return float(found[places[0]].mean()), float(found[places[1]].mean())


def test_a_fresh_critic_knows_what_the_model_knows(shop: tuple[Served, Tables]) -> None:
    """On requests with words and ids of their own, e-mail is believed to be clicked far more often than push, near the log's rates."""
    taught = learner()
    told = believe(taught, *shop, read_mapping(None), Knobs(pairs=600))
    critic = taught.snapshot()
    for seed in range(5):
        email, push = clicks(critic, seed)
        assert email > 2 * push
        assert abs(email - CLICKED["E-Mail"]) < 0.25
        assert clicks(learner().snapshot(), seed)[0] == pytest.approx(clicks(learner().snapshot(), seed)[1])
    assert taught.learned == 0
    assert [one.kind for one in told.coverage] == ["recommendation"]
    assert told.coverage[0].mapped == told.coverage[0].exposures == 900
    assert set(told.left_out) == {"ad", "promotion"}
    assert taught.units() == dict.fromkeys(taught.units(), 1.0)


def test_it_counts_as_many_strategies_as_it_is_said_to(shop: tuple[Served, Tables]) -> None:
    """Weights add up to the strength; the stronger the belief, the nearer the critic is to it and the narrower its heads."""
    widths, emails = [], []
    for strength in (20.0, 400.0):
        taught = learner()
        believe(taught, *shop, read_mapping(None), Knobs(strength=strength, pairs=400))
        of_clicks = [example for example in taught.window if not np.isnan(example.labels[1])]
        assert sum(0.5 ** (taught.kinds[one.kind].tick - one.tick) for one in of_clicks) == pytest.approx(strength)
        heads = taught.snapshot().weights["clicked"]
        used = np.unique(np.concatenate([example.row.indices for example in of_clicks]))
        widths.append(float((heads[1:] - heads[0])[:, used].std()))
        emails.append(clicks(taught.snapshot(), 1)[0])
    assert widths[1] < widths[0]
    assert emails[1] > emails[0]


def test_real_rewards_outweigh_it(shop: tuple[Served, Tables]) -> None:
    """After a few hundred rewards that say the contrary, so does the critic."""
    taught = learner()
    believe(taught, *shop, read_mapping(None), Knobs(strength=100.0, pairs=400))
    for reward in _contrary():
        taught.learn(reward)
    email, push = clicks(taught.snapshot(), 3)
    assert push > email


def _contrary() -> list[Reward]:
    found = []
    for reward in closed_rewards(1200):
        if reward.kind != "recommendation" or reward.decision.get("channel") not in ("email", "push"):
            continue
        clicked = reward.decision["channel"] == "push"
        found.append(structs.replace(reward, stage="response", outcomes=Outcomes("USD", shown=True, clicked=clicked)))
    assert len(found) > 50
    return found


def test_a_mapping_says_what_is_what(shop: tuple[Served, Tables], tmp_path: Path) -> None:
    """Words are read whatever their case; those that no value stands for are told, not guessed."""
    own = tmp_path / "own.toml"
    own.write_text(OWN)
    mapping = read_mapping(own)
    frame, coverage = decisions(shop[1], mapping.kind[0])
    assert coverage.by_slot == {"product": 1.0, "channel": 1.0}
    assert set(frame["slot channel"]) == {"email", "push"}
    assert words_for(shop[1], mapping.kind[0].slots["channel"]) == {"email": "E-Mail", "push": "push"}
    own.write_text(OWN.replace('email = ["e-mail"], ', ""))
    frame, coverage = decisions(shop[1], read_mapping(own).kind[0])
    assert coverage.unread == {"channel": ("E-Mail",)}
    assert 0.3 < coverage.by_slot["channel"] < 0.7


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (OWN.replace('"recommendation"', '"poster"'), "kind 'poster', wanted one of recommendation"),
        (OWN.replace("slots.channel", "slots.colour"), "has no slot 'colour'"),
        (OWN.replace("email =", "fax ="), "has no value 'fax'"),
        (OWN.replace('"product_id"', '"sku"'), "sku"),
        (OWN.replace("slots.product = { column", "#"), "none of product"),
        (OWN.replace('column = "channel",', "column = 'title', pattern = '(',"), "pattern"),
        (OWN + 'outcomes = { bought = "purchase" }', "outcomes names bought"),
        ("[[kind", "own.toml"),
    ],
)
def test_what_cannot_be_mapped_is_refused_by_name(tmp_path: Path, written: str, wanted: str) -> None:
    """A kind, slot, value, column, pattern or outcome that there is not."""
    own = tmp_path / "own.toml"
    own.write_text(written)
    with pytest.raises(Refused, match=wanted):
        read_mapping(own)


def test_nothing_to_tell_is_refused(shop: tuple[Served, Tables], tmp_path: Path) -> None:
    """A log without such exposures, or a run without such a label: why, per kind."""
    own = tmp_path / "own.toml"
    own.write_text(OWN.replace('"recommendation"', '"ad"').replace("product =", "campaign =").replace('"product_id"', '"ad_id"').replace("slots.channel", "#"))  # fmt: skip
    with pytest.raises(Refused, match="none of 900 exposures is a ad"):
        believe(learner(), *shop, read_mapping(own), Knobs())
    own.write_text(OWN + 'outcomes = { clicked = "collect" }')
    with pytest.raises(Refused, match="no label 'collect'"):
        believe(learner(), *shop, read_mapping(own), Knobs())


def test_history_knows_only_what_was_before(shop: tuple[Served, Tables]) -> None:
    """Shares of attention by category as of a moment: nothing before the first deed, all on the one category after it."""
    tables = shop[1]
    history = History(tables)
    bought = tables.behaviours.filter(tables.behaviours["action"] == "purchase").sort("at").row(0, named=True)
    assert bought["product_id"] not in history.before(bought["customer_id"], bought["at"]).bought
    later = tables.behaviours["at"].max()
    liked = history.before(bought["customer_id"], later)  # type: ignore[arg-type]  # a time
    assert liked.strongest == {"coffee": 1.0}
    assert 0.0 < liked.relation(bought["product_id"], "coffee", "Alba")["bought"] < 1.0
