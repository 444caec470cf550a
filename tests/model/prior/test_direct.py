"""A response run as the model of the reward: its chances in the one formula, refused where it may have learned from what it values."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from msgspec import structs

from model.data.errors import Refused
from model.evaluation.reward_model import cross_fits
from model.prior.direct import answered, newer, valued
from model.prior.mapping import read_mapping
from model.response.proposals import probabilities
from model.response.served import Served
from model.response.tables import Tables, read
from services.evaluated_direct import Direct, direct_models
from streaming.contracts.rewards import Reward
from streaming.reward import Formula
from tests.model.closed import closed_rewards
from tests.model.prior.samples import made
from tests.model.sample import request_of


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Served, Tables]:
    """The small shop's log, whose e-mails are clicked and whose pushes are not, and a run on it."""
    data, run = made(tmp_path_factory.mktemp("direct"))
    return data, Served.load(run), read(data)


def rewards_after(served: Served, days: float) -> list[Reward]:
    """Closed recommendations of known products, decided so many days after the run's newest origin."""
    found = []
    for seed, reward in enumerate(closed_rewards(60)):
        request = structs.replace(request_of(seed), issued_at=served.learned_until + timedelta(days=days))
        decision = {slot.name: slot.values[seed % len(slot.values)] for slot in request.slots}
        found.append(structs.replace(reward, kind="recommendation", request=request, decision=decision, issued_at=request.issued_at, user_id=request.user_id))  # fmt: skip
    return found


def test_q_is_the_runs_chances_in_the_one_formula(shop: tuple[Path, Served, Tables]) -> None:
    """Every cell equals the formula written out by hand with the run's own answer; where the log has no word, the critic's stay."""
    _, served, tables = shop
    rewards, formula = rewards_after(served, 1), Formula()
    fits = cross_fits(rewards, formula)
    values, told = valued(served, tables, read_mapping(None), rewards, fits)
    request, fit, q = rewards[0].request, fits[0], values[0]
    own = fit.values(request)[0]
    channels, products = request.slots[1].values, request.slots[0].values
    asked = [{"customer_id": request.user_id, "at": request.issued_at, "product_id": product, "channel": "E-Mail"} for product in products]  # fmt: skip
    chances = probabilities(served, tables, pl.DataFrame(asked))
    critics = {name: np.broadcast_to(c[0], q.shape) for name, c in fit.probabilities(request).items()}
    email = channels.index("email")
    for place in range(len(products)):
        cell = (place, email, 1, 2)
        clicked, bought = chances[place, served.labels.index("click")], chances[place, served.labels.index("purchase")]
        ordered = min(max(bought / clicked, 1e-4), 0.98)
        seen, margin = critics["shown"][cell], formula.margin_grid(request) * fit.facts.units[request.kind]
        brought = np.broadcast_to(margin, q.shape)[cell] * seen * clicked * ordered
        left = seen * critics["unsubscribed"][cell]
        parts = formula.components(
            clicked=seen * clicked, ordered=seen * clicked * ordered, margin=brought,
            refunded_margin=max(brought, 0.0) * critics["refunded"][cell], unsubscribed=left, complained=0.15 * left,
            cost=np.broadcast_to(formula.expected_cost_grid(request, critics["shown"]), q.shape)[cell],
        )  # fmt: skip
        assert q[cell] == pytest.approx(sum(parts.values()), abs=1e-6)
    sms = channels.index("sms")
    assert np.allclose(q[:, sms], own[:, sms])
    assert not np.allclose(q[:, email], own[:, email])
    assert told.rewards == len(rewards)
    assert 0 < told.answered < told.rewards
    assert set(told.left_out) == {"promotion"}


def test_what_it_may_have_learned_from_is_refused(shop: tuple[Path, Served, Tables]) -> None:
    """Only decisions from after its newest origin are valued by it, and some of them are wanted."""
    data, served, tables = shop
    old, new = rewards_after(served, -1), rewards_after(served, 1)
    assert newer(served, [*old, *new]) == list(range(len(old), len(old) + len(new)))
    fits = cross_fits(old, Formula())
    with pytest.raises(Refused, match="may have learned from these rewards: 0 of 60"):
        direct_models(Direct(served.run, data, None), old, fits, lambda _: None)
    known, left_out = answered(served, tables, read_mapping(None), [request_of(1, kind="ranking")])
    assert known == [{}]
    assert "promotion" in left_out
