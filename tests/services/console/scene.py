"""An installation with something to see on every page, on the real Kafka and Redis, and a gateway that shows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import httpx
import redis
from msgspec import structs

from services.delivery import Delivery, deliver
from services.gateway_keys import Scope, add, issue
from services.local.stack import Endpoints
from services.worker_store import answer_key
from streaming.attribution import on_strategy
from streaming.contracts.adapters import SERVING_KEY, GateDecision, Serving, Version
from streaming.contracts.codec import encode, to_ms
from streaming.contracts.kinds import ARM_NAMES, Arm
from streaming.contracts.partition import bucket_of
from streaming.contracts.rewards import Outcomes, Reward
from streaming.contracts.strategies import Alternative, Check, Effect, Explanation, Removed, Strategy
from streaming.core import State, encode_open
from streaming.dead_letters import dead_letter
from streaming.keys import BUCKETS_FIELD, BucketKeys, control_key
from streaming.open_state import OpenState
from streaming.profile_parts import Order, Profile, Search, View
from streaming.row import Row, encode_row
from streaming.stamps import Stamp
from tests.services.gateway_bench import PATIENCE_S, Bench
from tests.streaming.attribution_samples import WINDOWS, moved, strategy

HOSTILE = '<script>document.title="taken"</script><img src=x onerror="document.title=1">\u202e"\'&amp;{{7*7}}'
HOSTILE_USER = 'u/1<b onmouseover="x">'
BUCKETS = 4
STRATEGIES, EVERY_MINUTES = 400, 15
"""All but the one about the hostile product."""
NOW = datetime.now(UTC).replace(microsecond=0)
OLD, CHAMPION, CANARY = (f"adapter-00000{n}-{n}aaaaaaa" for n in (1, 2, 3))
SECRET = "opensesame"  # noqa: S105 -- what no page may show
BAD_EVENT = b'{"event": "Order Completed", "userId": "u1", "note": "<script>alert(1)</script>"}'


class Scene:
    """What was put there.

    Args:
        told: strategy ids, newest last; the last one's product has a hostile name.
    """

    def __init__(self, endpoints: Endpoints, prefix: str, home: Path, **more: object) -> None:
        """Publish it all."""
        self.bench = Bench(endpoints, prefix, home, console_processes="agents=127.0.0.1:9", **more)
        self.settings = self.bench.settings
        processes = f"gateway=127.0.0.1:{self.settings.metrics_port},agents=127.0.0.1:9"
        self.settings = self.bench.settings = structs.replace(self.settings, console_processes=processes)
        self.store = redis.Redis.from_url(self.settings.redis_url)
        self.told = self._tell_strategies()
        self._announce()
        self._dead_letters()

    def key(self, name: str = "Ada", scope: Scope = "operate") -> str:
        """A key for a person."""
        issued = issue(name, (scope,), datetime.now(UTC))
        add(self.store, self.settings.topic_prefix, issued.key)
        return issued.text

    def publish(self, topic: str, *records: tuple[str, object]) -> None:
        """Values as JSON, each under its key."""
        name = self.settings.topic_prefix + topic
        deliver(self.settings, [(name, key.encode(), encode(value)) for key, value in records])

    def _tell_strategies(self) -> list[str]:
        prefix, random = self.settings.topic_prefix, Random(7)
        self.store.hset(control_key(prefix), BUCKETS_FIELD, BUCKETS)
        made = [told_strategy(number, ARM_NAMES[number % 4]) for number in range(STRATEGIES)]
        made.append(hostile(told_strategy(STRATEGIES, "fused")))
        self.publish("strategies", *((each.user_id, each) for each in made))
        rewards = [reward_of(each, random) for each in made[:-1]]
        self.publish("strategy.rewards", *((each.strategy_id, each) for each in rewards))
        for each in made:
            self.store.set(answer_key(prefix, each.strategy_id), encode(each))
        last = made[-1]
        state = on_strategy(OpenState(), last, to_ms(last.issued_at), WINDOWS).state
        keys = BucketKeys.of(prefix, bucket_of(HOSTILE_USER, BUCKETS))
        self.store.hset(keys.rows, HOSTILE_USER, encode_row(row()))
        self.store.hset(keys.open, HOSTILE_USER, encode_open(State(row(), state)) or b"")
        return [each.strategy_id for each in made]

    def _announce(self) -> None:
        numbers = {"kl_nats": 0.31, "value_gain": 0.0123}
        parents = ((OLD, "base"), (CHAMPION, OLD), (CANARY, CHAMPION))
        versions = [
            Version(name, "adapter", "file:///x", "s", "b", "h", parent, NOW + timedelta(minutes=n), {}, numbers)
            for n, (name, parent) in enumerate(parents)
        ]
        salts = {"anchor": "salt-a", "canary": "salt-c"}
        serving = Serving(2, 7, CHAMPION, OLD, CANARY, "critic-000009-c", salts, 0.1, NOW, canary_share=0.2)
        self.publish("model.adapters", *((each.name, each) for each in versions), (SERVING_KEY, serving))
        checks = (Check("kl_cap", passed=True, detail="0.31 of 1 nats"), Check("value", passed=False, detail="too few"))
        decided = GateDecision("dec_1", CANARY, "adapter", "on_trial", "better in replay", checks, numbers, NOW, "gate")
        self.publish("model.decisions", (CANARY, decided))

    def _dead_letters(self) -> None:
        letters = []
        for number, reason in enumerate(("bad_field", "bad_field", "undecodable")):
            letter = dead_letter(
                topic="shop.events", partition=0, offset=number, key=b"u1", value=BAD_EVENT + b" " * number,
                at_ms=to_ms(NOW), reason=reason, field="properties", found=HOSTILE, wanted="an order id",
            )  # fmt: skip
            letters.append(letter)
        with Delivery(self.settings) as delivery:
            delivery.effects(letters)

    def visitor(self) -> httpx.Client:
        """A browser without JavaScript that nobody is logged in with."""
        return httpx.Client(base_url=self.bench.url, timeout=PATIENCE_S, follow_redirects=True)

    @contextmanager
    def shown(self) -> Iterator["Scene"]:
        """With a gateway that is ready."""
        with self.bench.process():
            self.bench.until(lambda: self.bench.health("ready")[0] == 200)
            yield self


def row() -> Row:
    """The customer with the hostile id."""
    at = to_ms(NOW)
    profile = Profile(
        first_ms=at - 86_400_000,
        views=(View(Stamp(at - 5000), "p1", "coffee"),),
        searches=(Search(Stamp(at - 4000), HOSTILE),),
        orders=(Order(Stamp(at - 3000), "order-1", "USD", 1234),),
        categories={"coffee": 2.0, HOSTILE: 1.0},
    )
    return Row(user_id=HOSTILE_USER, arm="fused", profile=profile)


def told_strategy(number: int, arm: Arm) -> Strategy:
    """One of a customer's own, every quarter of an hour."""
    at = NOW - timedelta(minutes=EVERY_MINUTES * (STRATEGIES - number) + 1)
    made = moved(strategy(number), f"u{number}", at, at + timedelta(days=30))
    policy = structs.replace(made.policy, assigned_arm=arm, acting_arm=arm, adapter=CHAMPION)
    why = Explanation(
        (Effect("recency_days", "product", 0.7), Effect("category_affinity", "channel", -0.2)),
        (Alternative("product", "p3", 0.31),),
        (Removed("channel", "sms", "no consent"),),
    )
    checks = (Check("length", passed=True), Check("no_price", passed=False, detail="said a price"))
    return structs.replace(made, policy=policy, explanation=why, checks=checks)


def hostile(made: Strategy) -> Strategy:
    """About a product whose name is an attack, to a customer whose id is one."""
    first, *others = made.request.candidates
    request = structs.replace(
        made.request,
        user_id=HOSTILE_USER,
        candidates=(structs.replace(first, name=HOSTILE, brand=HOSTILE), *others),
        context={"query": HOSTILE},
    )
    message = structs.replace(made.message, title=f"For you: {HOSTILE}", body=HOSTILE)
    return structs.replace(made, user_id=HOSTILE_USER, message=message, request=request)


def reward_of(made: Strategy, random: Random) -> Reward:
    """Its final."""
    clicked = random.random() < 0.5
    outcomes = Outcomes(
        "USD", shown=True, clicked=clicked, shown_at=made.issued_at, horizon_margin_minor=random.randrange(500)
    )
    paid = 0.05 * clicked + random.random() * {"fused": 0.14, "lm": 0.1, "critic": 0.12}.get(
        made.policy.assigned_arm, 0.06
    )
    return Reward(
        f"rew_{made.strategy_id}", made.strategy_id, made.request_id, made.user_id, "final", made.kind,
        made.policy.assigned_arm, made.policy.acting_arm, made.policy is None, made.issued_at, made.issued_at + timedelta(hours=72),
        made.request, made.decision, made.policy, made.propensity, made.slot_propensities, outcomes, paid,
        {"click": 0.05 * clicked, "margin": paid - 0.05 * clicked},
    )  # fmt: skip
