"""Changes and operators' acts on a running updater: on trial, off again, in another life too, and taken over from the topic."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import structs

from model import adapter
from model.lm import LanguageModel
from services.adapters import Act, promote, roll_back
from services.clients import topic_name
from services.delivery import deliver
from services.local.stack import Endpoints
from services.updater_inbox import JUDGED, inbox_of
from services.updater_trials import Trials, design_of, follow, judged, told_reward
from streaming.contracts.adapters import BASE_ALONE, GateDecision, Serving, Version
from streaming.contracts.codec import encode
from streaming.contracts.errors import BadEvent
from streaming.contracts.ids import reward_id, stable_unit
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import Strategy
from streaming.contracts.topics import STRATEGIES
from tests.model.closed import closed_rewards
from tests.model.sample import request_of
from tests.services.shop.shop_samples import make_strategy
from tests.services.updater_samples import Bench, quick_settings, served_by

ALICE = Act("alice", "the campaign needs it")


@pytest.fixture
def bench(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    """An installation whose changes are served the language model alone, and whose trials last an hour or two."""
    quick = quick_settings(stack, topic_prefix, tmp_path)
    made = Bench(
        structs.replace(
            quick,
            lm_weight=1.0,
            canary_share=0.5,
            trial_window_h=1.0,
            trial_settle_h=1.0,
            trial_min_customers=20,
            value_margin=5.0,
            candidate_every_steps=1000,
            change_wait_s=60.0,
        )
    )
    yield made
    made.close()


def submit(bench: Bench, name: str) -> None:
    """An adapter of the base, as an operator puts it into the inbox."""
    lm = LanguageModel.load(bench.settings.base_model, "cpu")
    adapter.attach(lm, ("slot_a",))
    partial = inbox_of(bench.settings) / f".{name}"
    adapter.save(lm, "slot_a", partial)
    partial.rename(partial.with_name(name))


def decided(bench: Bench, decision: str) -> list[GateDecision]:
    """Decisions on adapters of that kind so far."""
    return [one for one in bench.decisions() if one.what == "adapter" and one.decision == decision]


def serving(bench: Bench) -> Serving:
    """What is served, as any reader of the topic has it."""
    records = [record for record in bench.announced() if isinstance(record, Serving)]
    return max(records, key=lambda record: (record.epoch, record.sequence))


def outcomes(sample: Reward, served: Serving, customers: range, paid: float, role: str = "canary") -> list[Reward]:
    """One strategy of each customer, a minute apart, closed within the hour; treated ones earn as said, the others 1."""
    found = []
    tried, share = (served.canary, served.canary_share) if role == "canary" else (served.anchor, served.anchor_share)
    for number in customers:
        user, strategy = f"customer-{number}", f"str_trial_{number}"
        treated = stable_unit(served.salts[role], user) < share
        assert sample.policy is not None
        policy = structs.replace(sample.policy, adapter=tried if treated else served.champion, assigned_arm="fused")
        issued_at = sample.issued_at + timedelta(days=1, minutes=number)
        found.append(
            structs.replace(
                sample,
                reward_id=reward_id(strategy, "final"),
                strategy_id=strategy,
                user_id=user,
                issued_at=issued_at,
                closed_at=issued_at + timedelta(minutes=7 * number % 50),
                policy=policy,
                assigned_arm="fused",
                stage="final",
                reward=paid if treated else 1.0,
            )
        )
    return found


def answered(served: Serving, number: int) -> Strategy:
    """A strategy a minute after the one before; the canary's texts fail their checks."""
    user = f"customer-{number}"
    treated = stable_unit(served.salts["canary"], user) < served.canary_share
    plain = make_strategy(structs.replace(request_of(3, candidates=2), user_id=user))
    policy = structs.replace(
        plain.policy, adapter=served.canary if treated else BASE_ALONE, assigned_arm="fused", late=False
    )
    message = structs.replace(plain.message, source="template" if treated else "model")
    issued_at = plain.issued_at + timedelta(minutes=number)
    return structs.replace(
        plain, strategy_id=f"str_answer_{number}", issued_at=issued_at, policy=policy, message=message
    )


def put_on_trial(bench: Bench, alive: object) -> Serving:
    """Submit a sound adapter and let it be valued on rewards that close afterwards."""
    rewards = served_by(closed_rewards(300), "lm", bench.settings.base_model)
    half = len(rewards) // 2
    bench.say(rewards[:half])
    updater = bench.updater
    assert updater is not None
    assert updater.training is not None
    training = updater.training
    submit(bench, "sound")
    bench.until(lambda: training.candidate is not None, "the candidate")
    bench.say(rewards[half:])
    bench.until(lambda: bool(decided(bench, "on_trial") or decided(bench, "refused")), "the gate")
    assert decided(bench, "refused") == []
    assert alive
    return serving(bench)


def test_a_harmful_change_passes_the_gate_and_is_rolled_back_in_another_life(bench: Bench) -> None:
    """The canary's customers earn less: it is taken off, by the numbers that the same rewards give without any restart."""
    with bench.running() as thread:
        bench.until(bench.loaded, "the base", thread.is_alive)
        served = put_on_trial(bench, thread)
    (admitted,) = decided(bench, "on_trial")
    assert (admitted.version, admitted.by) == (served.canary, "operator")
    assert admitted.reason == "inbox-sound: every check passed"
    assert admitted.numbers["candidate_effective"] > 50
    assert served.champion == BASE_ALONE
    assert served.canary_share == 0.5
    told = outcomes(closed_rewards(300)[0], served, range(400), paid=-1.0)
    with bench.running() as thread:
        bench.say(told[:40])
        bench.until(
            lambda: bench.offset() >= 40 + len(served_by(closed_rewards(300), "lm", bench.settings.base_model)),
            "a part",
            thread.is_alive,
        )
    assert decided(bench, "rolled_back") == []
    with bench.running() as thread:
        bench.say(told[40:])
        bench.until(lambda: bool(decided(bench, "rolled_back")), "the end of the trial", thread.is_alive)
        bench.until(lambda: serving(bench).canary == "", "the canary off", thread.is_alive)
    (ended,) = decided(bench, "rolled_back")
    trials, design = Trials(), design_of(bench.settings)
    follow(trials, served, design)
    verdict = None
    for reward in told:
        told_reward(trials, reward)
        verdict = verdict or judged(trials, "canary", design)
    assert verdict is not None
    assert (ended.version, ended.reason, ended.by) == (served.canary, verdict.reason, "gate")
    assert {**ended.numbers, "age_s": 0.0} == {**verdict.numbers, "age_s": 0.0}
    assert serving(bench).salts.keys() == set()
    assert [path.name for path in inbox_of(bench.settings).iterdir()] == [JUDGED]


def test_a_better_change_becomes_champion_and_anchor(bench: Bench) -> None:
    """It is promoted when it is shown to be better, and training goes on from it."""
    with bench.running() as thread:
        bench.until(bench.loaded, "the base", thread.is_alive)
        served = put_on_trial(bench, thread)
        bench.say(outcomes(closed_rewards(300)[0], served, range(400), paid=3.0))
        bench.until(lambda: serving(bench).champion == served.canary, "the promotion", thread.is_alive)
        updater = bench.updater
        assert updater is not None
        assert updater.training is not None
        held = updater.training.held
        bench.until(lambda: held.get("champion") == served.canary, "training to follow", thread.is_alive)
    after = serving(bench)
    assert (after.anchor, after.canary, after.canary_share) == (served.canary, "", 0.0)
    assert [one.version for one in decided(bench, "promoted")] == [served.canary]


def test_an_operators_acts_are_taken_over_and_stay_on_record(bench: Bench) -> None:
    """Promote and roll back while the updater runs: its next critic keeps the act, in the operator's epoch, and training follows."""
    rewards = closed_rewards(300)
    with bench.running() as thread:
        bench.until(bench.loaded, "the base", thread.is_alive)
        served = put_on_trial(bench, thread)
        updater = bench.updater
        assert updater is not None
        assert updater.training is not None
        told = promote(bench.settings, served.canary, ALICE)
        held = updater.training.held
        bench.until(lambda: held.get("champion") == served.canary, "training to follow", thread.is_alive)
        bench.say([structs.replace(reward, strategy_id=f"x{n}", reward_id=f"x{n}") for n, reward in enumerate(rewards)])
        bench.until(lambda: serving(bench).sequence > served.sequence + 2, "the updater to go on", thread.is_alive)
        now = serving(bench)
        assert (now.epoch, now.champion, now.anchor, now.canary) == (1, served.canary, served.canary, "")
        roll_back(bench.settings, served.canary, structs.replace(ALICE, by="bob"))
        bench.until(lambda: "champion" not in held, "training to follow back", thread.is_alive)
        assert serving(bench).champion == BASE_ALONE
        assert serving(bench).epoch == 2
    assert (told.by, told.reason, told.decision) == ("alice", "the campaign needs it", "promoted")
    (back,) = decided(bench, "rolled_back")
    assert (back.version, back.by) == (served.canary, "bob")
    with pytest.raises(BadEvent, match="names"):
        promote(bench.settings, "adapter-000999-00000000", ALICE)
    with pytest.raises(BadEvent, match="the canary or the champion"):
        roll_back(bench.settings, served.canary, ALICE)
    assert {
        record.name for record in bench.announced() if isinstance(record, Version) and record.what == "adapter"
    } == {served.canary}


def test_a_change_whose_texts_fail_is_taken_off_long_before_its_rewards_are_known(bench: Bench) -> None:
    """Its strategies themselves say so: no reward of the trial is needed, and records that are none stop nothing."""
    with bench.running() as thread:
        bench.until(bench.loaded, "the base", thread.is_alive)
        served = put_on_trial(bench, thread)
        updater = bench.updater
        assert updater is not None
        trials = updater.rollout.trials
        bench.until(lambda: bool(trials.offsets), "the updater to read strategies", thread.is_alive)
        topic = topic_name(bench.settings, STRATEGIES)
        made = [answered(served, number) for number in range(300)]
        records = [(topic, each.user_id.encode(), encode(each)) for each in made]
        deliver(bench.settings, [(topic, b"stranger", b"{nonsense"), *records])
        bench.until(lambda: bool(decided(bench, "rolled_back")), "the cap", thread.is_alive)
    (ended,) = decided(bench, "rolled_back")
    assert ended.version == served.canary
    assert ended.reason.startswith("fallbacks: ")
    assert ended.numbers["customers_treated"] == 0.0
    assert serving(bench).canary == ""


def test_a_line_that_earns_less_than_its_anchor_goes_back_to_it(bench: Bench) -> None:
    """The first refresh is held against the base; its customers earn less, and the base is served again, with less of alpha."""
    bench.settings = structs.replace(bench.settings, candidate_every_steps=5, kl_cap_nats=1000.0)
    with bench.running() as thread:
        bench.until(bench.loaded, "the base", thread.is_alive)
        bench.say(served_by(closed_rewards(300), "lm", bench.settings.base_model))
        bench.until(lambda: serving(bench).champion != BASE_ALONE, "a refresh", thread.is_alive)
        served = serving(bench)
        assert (served.anchor, served.anchor_share, served.anchor_trial) == (BASE_ALONE, 0.1, 1)
        bench.say(outcomes(closed_rewards(300)[0], served, range(800), 3.0, "anchor"))
        bench.until(lambda: bool(decided(bench, "rolled_back")), "the line to go back", thread.is_alive)
    (ended,) = decided(bench, "rolled_back")
    assert ended.reason.startswith("lost: the anchor is better by more than")
    assert ended.numbers["customers_treated"] >= bench.settings.trial_min_customers
    back = next(one for one in bench.announced() if isinstance(one, Serving) and one.anchor_trial == 2)
    assert (back.champion, back.anchor, back.epoch) == (BASE_ALONE, BASE_ALONE, 0)
    assert back.salts["anchor"] != served.salts["anchor"]
