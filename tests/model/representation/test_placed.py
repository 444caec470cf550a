"""Vectors in the loop: neighbours become candidates, relations are frozen into the request, the critic reads them; without vectors nothing changes."""

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from model.critic_features import encode as rows_of
from model.representation.embedder import FILE, Vectors
from model.representation.kin import LANDMARKS, kin, landmarks
from model.representation.placed import CatalogVectors
from model.representation.words import Said
from services.representations import check_base, vectors_of
from services.settings import AgentsSettings, SettingError
from streaming.asking import ask
from streaming.contracts.codec import decode, encode
from streaming.contracts.strategies import StrategyRequest
from streaming.reference import Reference
from streaming.rules import DAY_MS, HOUR_MS
from streaming.triggers import Moment
from tests.model.representation.test_words import encoder, ready
from tests.streaming import customer_samples as shop
from tests.streaming.customer_samples import NOON_MS, RULES, SHOP, row_of

CUSTOMER = row_of(shop.told(NOON_MS - DAY_MS, email=True, push=True, sms=True), shop.viewed(1, NOON_MS - HOUR_MS))
MOMENT = Moment("session_start", "recommendation", "cause", NOON_MS, {})


def vectors() -> CatalogVectors:
    """Vectors by an encoder of random weights."""
    return CatalogVectors(ready(encoder()))


def with_vectors(made: CatalogVectors) -> Reference:
    """The sample shop with them."""
    plain = Reference(SHOP.products, SHOP.campaigns, vectors=made)
    return plain.with_popularity({f"p{number}": float(number % 7) for number in range(40)})


def request_of(reference: Reference) -> StrategyRequest:
    """What is asked for the customer."""
    found = ask(CUSTOMER, MOMENT, reference, NOON_MS, RULES).request
    assert found is not None
    return found


def test_neighbours_become_candidates_and_relations_are_frozen() -> None:
    """The best neighbours of what was looked at are offered; every relation by vectors is named with the version, in [0, 1], and survives the wire."""
    made = vectors()
    reference = with_vectors(made)
    request, version = request_of(reference), made.embedder.version
    assert decode(encode(request), StrategyRequest) == request
    placed = reference.placed
    assert placed is not None
    offered = [candidate.id for candidate in request.candidates]
    assert placed.beside("p1", 1)[0] in offered
    for candidate in request.candidates:
        told = {name: share for name, share in candidate.relation.items() if version in name}
        assert 0 < sum(share for name, share in told.items() if name.startswith("kin:")) == pytest.approx(1.0, abs=2e-3)
        assert all(0 <= share <= 1 for share in told.values())
        said = [Said(p.name, p.category, p.brand) for p in (SHOP.products["p1"], SHOP.products[candidate.id])]
        both = made.embedder.embed(said)
        if candidate.id != "p1":
            score = max(0.0, float(both.beside[0] @ both.own[1]))
            assert told.get(f"goes_with:{version}", 0.0) == pytest.approx(score, abs=2e-3)
    assert any(f"goes_with:{version}" in candidate.relation for candidate in request.candidates)


def test_without_vectors_nothing_changes() -> None:
    """No relation but the contract's; and the critic's rows of a request that has relations by vectors differ from those without in them alone."""
    plain, told = request_of(SHOP), request_of(with_vectors(vectors()))
    assert not any(":" in name for candidate in plain.candidates for name in candidate.relation)
    bare = replace(
        told,
        candidates=tuple(
            replace(c, relation={name: share for name, share in c.relation.items() if ":" not in name})
            for c in told.candidates
        ),
    )
    with_them, without = rows_of(told), rows_of(bare)
    more = np.diff(with_them.indptr) - np.diff(without.indptr)
    products = [with_them.rows[0][at] for at in range(len(told.slots[0].values))]
    assert {row for row in range(len(more)) if more[row]} == set(products)
    assert set(more[products].tolist()) <= {2, 3}


def test_a_new_record_is_placed_and_what_is_known_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launched product has neighbours and relations at once; a price costs nothing; one encoding per new text."""
    made = vectors()
    reference = with_vectors(made)
    assert reference.placed is not None
    asked: list[Said] = []
    plain = made.embedder.embed

    def watched(texts: list[Said]) -> Vectors:
        asked.extend(texts)
        return plain(texts)

    monkeypatch.setattr(made.embedder, "embed", watched)
    dearer = reference.with_product("p1", shop.product(1, price_minor=900))
    assert dearer.placed is reference.placed
    assert dearer.with_popularity({"p1": 2.0}).placed is reference.placed
    launched = dearer.with_product("new", shop.product(3, product_id="new", name="Brass lamp"))
    assert launched.placed is not None
    assert launched.placed.beside("new", 3)
    assert [said.name for said in asked] == ["Brass lamp"]
    assert reference.placed.beside("new", 3) == []
    gone = launched.with_product("p1", None)
    assert gone.placed is not None
    assert "p1" not in gone.placed.beside("new", 12)


def test_landmarks_are_shared_by_what_is_near() -> None:
    """Two clouds have landmarks of their own; shares sum to 1; what says nothing has none; the same seed gives the same."""
    rng = np.random.default_rng(0)
    cloud = np.concatenate([np.eye(8)[[at]] + 0.05 * rng.normal(size=(60, 8)) for at in (0, 5)])
    own = (cloud / np.linalg.norm(cloud, axis=1, keepdims=True)).astype(np.float32)
    marks = landmarks(own, 3)
    assert (marks == landmarks(own, 3)).all()
    assert marks.shape == (LANDMARKS, 8)
    order, share = kin(own, marks)
    assert not set(order[:60].ravel()) & set(order[60:].ravel())
    np.testing.assert_allclose(share.sum(1), 1.0, atol=1e-6)
    assert not kin(np.zeros((1, 8), np.float32), marks)[1].any()
    few = landmarks(own[:3], 0)
    assert few[:3].any(axis=1).all()
    assert not few[3:].any()


def test_the_setting_names_what_cannot_be_used(tmp_path: Path) -> None:
    """None by default; a missing folder, and vectors of another base, are each refused in one line that names the variable."""
    assert vectors_of(AgentsSettings()) is None
    check_base(AgentsSettings(), "any")
    with pytest.raises(SettingError, match=r"STRATAGEM_REPRESENTATION=.* is no folder"):
        vectors_of(AgentsSettings(representation=str(tmp_path / "none")))
    made = ready(encoder(), base="b" * 64)
    (tmp_path / FILE).write_bytes(made.bytes())
    found = vectors_of(AgentsSettings(representation=str(tmp_path)))
    assert found is not None
    assert found.embedder.version == made.version
    check_base(AgentsSettings(representation=str(tmp_path)), "b" * 64)
    with pytest.raises(SettingError, match="made for the base bbbbbbbbbbbb, this service has cccccccccccc"):
        check_base(AgentsSettings(representation=str(tmp_path)), "c" * 64)
