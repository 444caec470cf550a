"""`stratagem pretrain --objective contrastive`: baskets, encoder, InfoNCE, figures on what was held out. Resumable as every run is."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from model.data.errors import Refused
from model.representation.baskets import Baskets, Shop, log_shares, read
from model.representation.contrast import drawn, info_nce
from model.representation.embedder import FILE, Embedder
from model.representation.encoder import Directions, Encoder
from model.representation.figures import (
    Pairs,
    Scores,
    figures,
    pairs_of,
    ranks,
    sharpest,
    tf_idf,
    verdict,
    with_popularity,
)
from model.representation.kin import landmarks
from model.representation.start import directions
from model.representation.store import FILE as PRODUCTS
from model.representation.store import Store
from model.representation.words import Bags, bags, rarity
from model.response.tables import data_sha256
from model.training.loop import Loop, Plan, Precision, Told, device_of, rows_of
from model.training.runs import Run, identity_of
from model.training.trackers import Tracker, tracker

NAME = "contrastive"
FOLDER = "representation"
EVALUATIONS = 10
HELD_PLACE = 1 << 40
"""Number of the first batch of held-out baskets: no batch of training has it, so their draws stay theirs."""
TF_IDF_BUCKETS = 1 << 18
"""So many that words of the peer hardly ever meet."""
Ints = np.ndarray[Any, np.dtype[np.int64]]


class Settings(msgspec.Struct, frozen=True):
    """Of a contrastive run.

    Args:
        base: the base that the vectors go with, by path or hub name; empty: the one that ships.
        window_days: 0: an order is a basket; else all that a customer buys within so many days.
        correction: share of a negative's popularity that is taken out of its score: 1 is the log q correction, 0 none.
        buckets: features of texts that are told apart.
    """

    base: str = ""
    window_days: float = 0.0
    correction: float = 0.0
    buckets: int = 1 << 14
    width: int = 64
    steps: int = 1_000
    batch: int = 256
    rate: float = 2e-3
    weight_decay: float = 0.01
    accumulate: int = 1
    patience: int = 0
    seed: int = 0
    device: str = "cpu"
    precision: Precision = "float32"


class Work:
    """Texts, baskets and encoder of a run, made from its settings and data alone. Products of one text are one."""

    def __init__(self, shop: Shop, settings: Settings) -> None:
        """Hash what is said, draw the first weights."""
        self.shop, self.settings = shop, settings
        _, first = np.unique(shop.alike, return_index=True)
        self.texts = [shop.said[at] for at in first.tolist()]
        self.bags = bags(self.texts, settings.buckets)
        parts = np.array(shop.parts)
        self.known = np.zeros(len(self.texts), np.bool_)
        self.known[shop.alike[parts == "train"]] = True
        self.new = np.zeros(len(self.texts), np.bool_)
        self.new[shop.alike[parts == "test"]] = True
        self.new &= ~self.known
        seen = self._of(np.flatnonzero(self.known))
        weights = rarity(seen, settings.buckets)
        self.encoder = Encoder(weights, directions(seen, weights, settings.width, settings.seed), settings.seed)
        self.log_share = log_shares(_by_text(shop.baskets["train"], shop.alike), len(self.texts))
        self.device = device_of(settings.device)

    def _of(self, texts: Ints) -> Bags:
        pieces = [self.bags.features[self.bags.starts[at] : self.bags.starts[at + 1]] for at in texts.tolist()]
        starts = np.zeros(len(pieces) + 1, np.int64)
        np.cumsum([len(piece) for piece in pieces], out=starts[1:])
        return Bags(np.concatenate(pieces), starts)

    def learn(self, run: Run, telling: Told, tracked: Tracker) -> int:
        """Train to the end; the encoder then has its best weights by the loss on `valid`. Returns the step they are of."""
        s, train = self.settings, self.shop.baskets["train"]
        every = max(s.steps // EVALUATIONS, 1)
        plan = Plan(
            steps=s.steps, rate=s.rate, weight_decay=s.weight_decay, accumulate=s.accumulate, patience=s.patience,
            evaluate_every=every, checkpoint_every=every, seed=s.seed, device=s.device, precision=s.precision,
        )  # fmt: skip
        return (
            Loop(self.encoder, lambda step, batch: self._loss(train, step * s.accumulate + batch), plan, self._score)
            .run(run, NAME, telling, tracked)
            .best_step
        )

    def _loss(self, baskets: Baskets, place: int) -> torch.Tensor:
        s, alike = self.settings, self.shop.alike
        chosen = rows_of(place, baskets.total, s.batch, s.seed)
        pair = drawn(baskets, chosen, alike, np.random.default_rng((s.seed, 5, place)))
        texts, at = np.unique(alike[np.concatenate([pair.anchors, pair.others])], return_inverse=True)
        found: Directions = self.encoder(self._of(texts))
        count = len(chosen)
        log_q = torch.from_numpy(s.correction * self.log_share[alike[pair.others]]).to(self.device)
        known = torch.from_numpy(pair.known).to(self.device)
        return info_nce(
            found.beside[at[:count]].float(), found.own[at[count:]].float(), self.encoder.sharpness, log_q, known
        )

    def _score(self) -> float:
        """Mean loss on baskets of `valid`, always the same draws."""
        held = self.shop.baskets["valid"]
        rounds = max(min(held.total // self.settings.batch, EVALUATIONS), 1)
        return float(np.mean([float(self._loss(held, HELD_PLACE + at)) for at in range(rounds)]))

    def embedder(self, base_sha256: str) -> Embedder:
        """The encoder as it stands, without torch."""
        weights = {name: t.detach().cpu().float().numpy() for name, t in self.encoder.state_dict().items() if name != "log_sharpness"}  # fmt: skip
        with torch.no_grad():
            own = self.encoder.cpu()(self._of(np.flatnonzero(self.known))).own.float().numpy()
        marked = weights | {"landmarks": landmarks(own, self.settings.seed)}
        return Embedder(marked, base_sha256, float(self.encoder.sharpness.detach()))


def _by_text(baskets: Baskets, alike: Ints) -> Baskets:
    return Baskets(alike[baskets.items], baskets.starts, baskets.customers)


def main(data: Path, out: Path, settings: Settings, telling: Told, *, resume: bool, overwrite: bool, track: str = "none") -> dict[str, Any]:  # fmt: skip
    """Make the run `out` from a prepared folder; returns its report.

    Raises:
        Refused: the folder, the output, the base or a setting cannot be used.
    """
    base_sha256 = _base_sha256(settings.base)
    config = {"task": "pretrain", "objective": NAME, **msgspec.to_builtins(settings), "base_sha256": base_sha256}
    identity = identity_of(config, data_sha256(data), settings.seed)
    with Run(out, identity, resume=resume, overwrite=overwrite) as run:
        work = Work(read(data, settings.window_days), settings)
        tracked = tracker(track, run.path / "tracker", out.name, config)
        best = work.learn(run, telling, tracked)
        tracked.end()
        embedder = work.embedder(base_sha256)
        report = _report(work, embedder, best)
        run.write("report.json", msgspec.json.format(msgspec.json.encode(report, order="deterministic"), indent=2))
        run.write(f"{FOLDER}/{FILE}", embedder.bytes())
        stored = Store.of(embedder, dict(zip(work.shop.ids, work.shop.said, strict=True)))
        run.write(f"{FOLDER}/{PRODUCTS}", stored.bytes())
        run.drop(NAME)
        run.publish()
        plain: dict[str, Any] = msgspec.to_builtins(report)
        return plain


def _base_sha256(source: str) -> str:
    from model.identity import default_base
    from model.lm import LanguageModel

    try:
        return LanguageModel.load(source or str(default_base()), "cpu").base_sha256
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise Refused(f"no base at {source}: {' '.join(str(error).split())[:200]}") from None


def _report(work: Work, embedder: Embedder, best: int) -> dict[str, Any]:
    s, shop = work.settings, work.shop
    vectors = embedder.embed(work.texts)
    score: Scores = lambda given: vectors.beside[given] @ vectors.own.T  # noqa: E731  # a score is a function
    peer = tf_idf(bags(work.texts, TF_IDF_BUCKETS), TF_IDF_BUCKETS)
    popularity: Scores = lambda given: np.tile(work.log_share, (len(given), 1))  # noqa: E731  # likewise
    tuned = pairs_of(shop.baskets["valid"], shop.alike, work.known, s.seed)
    peers = {"contrastive": score, "tf_idf": peer}
    joined = {
        f"{name}_and_popularity": with_popularity(
            each, work.log_share, sharpest(each, work.log_share, tuned, work.known) if len(tuned.given) else 1.0
        )
        for name, each in peers.items()
    }
    known = _judged(work, {**joined, "popularity": popularity}, work.known, "_and_popularity")
    new = _judged(work, peers, work.new, "")
    return {
        "task": "pretrain", "objective": NAME, "version": embedder.version, "base_sha256": embedder.base_sha256,
        "models": known["models"] if known else {}, "known_products": known, "new_products": new,
        "verdict": verdict({name: part["gain"] if part else None for name, part in (("known_products", known), ("new_products", new))}),
        "baskets": {part: found.total for part, found in shop.baskets.items()}, "products": len(shop.ids), "texts": len(work.texts),
        "best_step": best, "parameters": sum(p.numel() for p in work.encoder.parameters()),
    }  # fmt: skip


def _judged(work: Work, models: dict[str, Scores], candidates: np.ndarray[Any, np.dtype[np.bool_]], ending: str) -> dict[str, Any] | None:  # fmt: skip
    pairs: Pairs = pairs_of(work.shop.baskets["test"], work.shop.alike, candidates, work.settings.seed)
    if not len(pairs.given):
        return None
    found = {name: ranks(pairs, candidates, score) for name, score in models.items()}
    told = figures(found, pairs.groups, f"tf_idf{ending}", f"contrastive{ending}", work.settings.seed)
    return {**told, "candidates": int(candidates.sum())}
