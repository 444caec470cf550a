"""Names of policies → policies, from the registry of versions: what `stratagem evaluate --policy` takes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from model.critic import Critic
from model.data.errors import Refused
from model.evaluation.collecting import Placed
from model.evaluation.estimates import Codes, Floats
from model.evaluation.off_policy import PolicyValue, Traffic, value_of
from model.evaluation.policies import ByChance, ByCritic, ByModel, Policy
from model.evaluation.reward_model import cross_fits
from model.grid import ActionGrid
from model.policy import Knobs
from services.deciding import PRIOR_HEADS
from services.evaluated_direct import Direct, direct_models
from services.registries import registry_of
from services.settings import WorkerSettings
from services.valuing import formula_of
from streaming.contracts.adapters import BASE_ALONE, Version
from streaming.contracts.errors import BadEvent
from streaming.contracts.topics import REWARDS

if TYPE_CHECKING:
    from model.lm import LanguageModel
    from model.prior.direct import Told

CHANCE = "random"
WANTED = "random, base, adapter-..., critic-... or adapter-...+critic-... (names of `stratagem adapters list`)"
LEAST_NEWER = 30
"""With fewer rewards newer than what a version has learned from, all are taken, and the report says so."""
OFFSET = f"{REWARDS.name}:0"


class Policies:
    """Makes policies; base and language model are loaded once, when the first policy needs them."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Nothing is loaded."""
        self._settings, self._formula = settings, formula_of(settings)
        self._registry = registry_of(settings, Path(settings.home) / "versions")
        self._lm: LanguageModel | None = None

    def value(
        self,
        names: Sequence[str],
        logged: Sequence[Placed],
        told: Callable[[str], None],
        direct: Direct | None = None,
    ) -> "tuple[list[PolicyValue], Told | None]":
        """Each policy's worth on logged decisions; a second time by a response run's model of the reward, where one is named.

        Raises:
            Refused: a name that is none, or a version that cannot be used.
            Unavailable: the registry does not answer.
        """
        wanted = [self._versions(name) for name in dict.fromkeys(names)]
        if not logged:
            return [], None
        told("model of the reward")
        rewards = [each.reward for each in logged]
        fits = cross_fits(rewards, self._formula)
        models = [np.asarray(fit.values(r.request)[0], np.float64) for fit, r in zip(fits, rewards, strict=True)]
        asked = direct_models(direct, rewards, fits, told) if direct else None
        _, codes = np.unique(np.array([each.reward.user_id for each in logged], dtype=object), return_inverse=True)
        found = []
        for name, versions in zip(dict.fromkeys(names), wanted, strict=True):
            told(name)
            chosen, unseen = _newer(logged, versions)
            policy = self._policy(name, versions)
            value = _valued(policy, logged, models, codes, chosen, unseen=unseen)
            found += [value] if value is not None else []
            if asked is not None:
                newer = [place for place in chosen if place in asked.values]
                own = _valued(policy, logged, asked.values, codes, newer, unseen=unseen)
                found += [structs.replace(own, reward_model=asked.told.run)] if own is not None else []
        return found, asked.told if asked is not None else None

    def _versions(self, name: str) -> list[Version]:
        if name == CHANCE:
            return []
        parts = [part for part in name.split("+") if part != BASE_ALONE]
        try:
            versions = [self._registry.manifest(part).version for part in parts]
        except BadEvent as bad:
            raise Refused(f"--policy {name}: {bad}; a policy is {WANTED}") from None
        if [version.what for version in versions] not in (
            [],
            ["adapter"],
            ["critic"],
            ["adapter", "critic"],
        ) or name == "":
            raise Refused(f"--policy {name}: wanted {WANTED}")
        if name.startswith(f"{BASE_ALONE}+"):
            raise Refused(
                f"--policy {name}: the base without an adapter has no share in a fused decision; name {parts[0]}"
            )
        return versions

    def _policy(self, name: str, versions: Sequence[Version]) -> Policy:
        if name == CHANCE:
            return ByChance()
        by_what = {version.what: version for version in versions}
        try:
            critic = self._critic(by_what.get("critic"))
            if "adapter" not in by_what and name != BASE_ALONE:
                return ByCritic(name, critic)
            return self._model(name, by_what.get("adapter"), critic, fused="critic" in by_what)
        except BadEvent as bad:
            raise Refused(f"--policy {name}: {bad}") from None

    def _critic(self, version: Version | None) -> Critic:
        if version is None:
            return Critic.prior(self._settings.seed, PRIOR_HEADS, self._formula)
        return Critic.load(self._registry.fetch(version), self._formula, version.name)

    def _model(self, name: str, version: Version | None, critic: Critic, *, fused: bool) -> Policy:
        from model import adapter

        lm = self._loaded()
        slot = None
        if version is not None:
            expected = adapter.expected(lm)
            if version.base_sha256 != expected.base_sha256:
                raise BadEvent(
                    "base_sha256", version.base_sha256, f"the base of STRATAGEM_BASE_MODEL, {expected.base_sha256}"
                )
            slot = adapter.SLOTS[0]
            adapter.place(lm, slot, adapter.read(self._registry.fetch(version), expected, lm.device))
        weight = version.lm_weight if version is not None and fused else 1.0
        knobs = Knobs(
            lm.name,
            version.name if version else BASE_ALONE,
            self._settings.temperature,
            weight,
            self._settings.lm_temperature,
        )
        return ByModel(name, lm, slot, critic, knobs, fused=fused)

    def _loaded(self) -> "LanguageModel":
        if self._lm is None:
            from model import adapter
            from model.lm import LanguageModel

            self._lm = LanguageModel.load(self._settings.base_model, self._settings.device)
            adapter.attach(self._lm, adapter.SLOTS[:1])
        return self._lm


def _newer(logged: Sequence[Placed], versions: Sequence[Version]) -> tuple[list[int], bool | None]:
    """Which rows a policy has not learned from, and whether that is so of what is chosen; None where it is not known."""
    everything = list(range(len(logged)))
    learned = [version.offsets.get(OFFSET) for version in versions]
    if not versions:
        return everything, True
    if None in learned or any(each.offset is None for each in logged):
        return everything, None
    newest = max(offset for offset in learned if offset is not None)
    chosen = [place for place, each in enumerate(logged) if each.offset is not None and each.offset >= newest]
    return (chosen, True) if len(chosen) >= LEAST_NEWER else (everything, False)


def _valued(
    policy: Policy,
    logged: Sequence[Placed],
    models: Sequence[Floats] | Mapping[int, Floats],
    codes: Codes,
    chosen: Sequence[int],
    *,
    unseen: bool | None,
) -> PolicyValue | None:
    rewards = [logged[place].reward for place in chosen]
    values = [models[place] for place in chosen]
    judged = policy.judge(rewards, values)
    predicted = [q[ActionGrid.of(r.request).index(r.decision)] for r, q in zip(rewards, values, strict=True)]
    traffic = Traffic(
        ratio=judged.chance / np.array([reward.propensity for reward in rewards]),
        reward=np.array([reward.reward for reward in rewards]),
        predicted=np.array(predicted),
        expected=judged.expected,
        customers=codes[list(chosen)],
    )
    return value_of(policy.name, traffic, unseen=unseen)
