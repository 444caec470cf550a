"""What each service may do with Kafka and Redis, and no more: one table, from which ACLs and `docs/access.md` are made.

`python -m services.access` prints both kinds of ACLs for the prefixes of the environment; with `--redis-6` Redis' as servers before 7
read them, which cannot let a user read a key and not write it; `--page` the page.
"""

import os
import sys
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from services.settings import Common, load
from streaming.contracts import topics as t
from streaming.keys import namespace

Operation = Literal["READ", "WRITE", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"]


class Access(Struct, frozen=True, kw_only=True):
    """Of one service.

    Args:
        reads, writes: topics.
        group: its consumer group, after the prefix; empty: it reads outside any.
        configs: topics whose settings it looks at when it starts.
        keys: patterns of Redis keys, after what every key of the installation begins with; `{...}` is a cluster hash tag.
        seen: patterns of those that it reads and never writes.
        commands: of Redis, beside `COMMON`.
    """

    reads: tuple[t.TopicSpec, ...] = ()
    writes: tuple[t.TopicSpec, ...] = ()
    group: str = ""
    configs: tuple[t.TopicSpec, ...] = ()
    keys: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    commands: str = ""


COMMON = "+@connection +select +info +eval +evalsha +script|load +script|exists +multi +exec +time"
"""Whatever a script does is checked against the rest."""
BUCKETS, CONTROL, ANSWERS, LEASE = "{b*}:*", "control", "strategy:*", "{updater}:*"
ACCESS: dict[str, Access] = {
    "agents": Access(
        reads=(
            t.SHOP_EVENTS,
            t.ADS_EVENTS,
            t.CATALOG,
            t.CAMPAIGNS,
            t.STRATEGIES,
            t.REQUESTS,
            t.SUPPRESSIONS,
            t.REWARDS,  # what was told already, after Redis came back older
        ),
        writes=(t.REQUESTS, t.SUPPRESSIONS, t.REWARDS, t.PROGRESS, t.DEAD_LETTERS),
        group="agents",
        configs=t.TOPICS,
        keys=(BUCKETS, CONTROL),
        commands="+@hash +@sortedset",
    ),
    "worker": Access(
        reads=(t.REQUESTS, t.ADAPTERS),
        writes=(t.STRATEGIES, t.SUPPRESSIONS, t.DEAD_LETTERS),
        group="workers",
        keys=(ANSWERS,),
        seen=(CONTROL,),
        commands="+get +set +hexists",
    ),
    "updater": Access(
        reads=(t.REWARDS, t.STRATEGIES, t.ADAPTERS),
        writes=(t.ADAPTERS, t.DECISIONS, t.DEAD_LETTERS),
        keys=(LEASE,),
        commands="+get +set +del +pexpire",
    ),
    # The console shows profiles, decisions and dead letters; it promotes, rolls back, pauses, and sends letters of events again.
    "gateway": Access(
        reads=(t.REQUESTS, t.STRATEGIES, t.SUPPRESSIONS, t.REWARDS, t.ADAPTERS, t.DECISIONS, t.DEAD_LETTERS),
        writes=(t.SHOP_EVENTS, t.ADS_EVENTS, t.CATALOG, t.CAMPAIGNS, t.DEAD_LETTERS, t.ADAPTERS, t.DECISIONS),
        group="gateway",
        keys=(CONTROL, ANSWERS, "keys", "rate:*", "console:*", "audit"),
        seen=(BUCKETS,),
        commands="+@hash +@string +@list +@stream +del +expire +pexpire +ttl +exists +zrange +zrangebylex",
    ),
    "topics": Access(configs=t.TOPICS),
}
"""Service → what it may. `topics` makes them, and is the only one that may."""


class KafkaAcl(Struct, frozen=True, order=True):
    """One binding: allow `principal`, from anywhere."""

    principal: str
    resource: Literal["TOPIC", "GROUP", "CLUSTER"]
    name: str
    pattern: Literal["LITERAL", "PREFIXED"]
    operation: Operation


def user_of(service: str) -> str:
    """The user that a service shows itself as, to both."""
    return f"stratagem-{service}"


def kafka_acls(service: str, settings: Common) -> Iterator[KafkaAcl]:
    """What a service needs of Kafka; to read or to write includes to describe."""
    access, principal = ACCESS[service], f"User:{user_of(service)}"

    def each(specs: tuple[t.TopicSpec, ...], *operations: Operation) -> Iterator[KafkaAcl]:
        for spec in specs:
            for operation in operations:
                yield KafkaAcl(principal, "TOPIC", settings.topic_prefix + spec.name, "LITERAL", operation)

    yield from each(access.reads, "READ")
    yield from each(access.writes, "WRITE")
    yield from each(access.configs, "DESCRIBE", "DESCRIBE_CONFIGS")
    if access.group:
        yield KafkaAcl(principal, "GROUP", settings.group_prefix + access.group, "LITERAL", "READ")
    if service == "topics":
        yield from each(t.TOPICS, "CREATE", "ALTER_CONFIGS")


def redis_rules(service: str, settings: Common, *, before_7: bool = False) -> str:
    """The rules of a service's user, after `ACL SETUSER name on >password`; empty: it needs no Redis.

    Args:
        before_7: for a server that knows no permission to read alone: what is `seen` may be written too.
    """
    access, space = ACCESS[service], namespace(settings.topic_prefix)
    if not access.keys:
        return ""
    patterns = [f"~{_pattern(key, space)}" for key in access.keys]
    patterns += [f"{'~' if before_7 else '%R~'}{_pattern(key, space)}" for key in access.seen]
    return " ".join(["resetkeys", "resetchannels", "-@all", *patterns, COMMON, access.commands])


def _pattern(key: str, space: str) -> str:
    return f"{{{space}{key[1:]}" if key.startswith("{") else space + key


def page() -> str:
    """`docs/access.md`."""
    columns = ("service", "reads", "writes", "group", "keys of Redis", "keys that it only reads")
    lines = [PREFACE, f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    settings = Common()
    for service, access in ACCESS.items():
        reads, writes = (", ".join(f"`{s.name}`" for s in specs) or "–" for specs in (access.reads, access.writes))
        if service == "topics":
            reads, writes = "settings of all", "makes all"
        group = f"`{settings.group_prefix}{access.group}`" if access.group else "–"
        keys, seen = (
            " ".join(f"`{_pattern(key, namespace(''))}`" for key in patterns) or "–"
            for patterns in (access.keys, access.seen)
        )
        lines.append(f"| `{service}` | {reads} | {writes} | {group} | {keys} | {seen} |")
    return "\n".join(lines) + "\n"


PREFACE = """# Who may do what

Each service shows itself to Kafka and Redis as `stratagem-SERVICE` and may do what this table says: generated from
`services/access.py`, tested on a real Kafka and Redis. Print the ACLs for your prefixes with

```bash
.venv/bin/python -m services.access
```

A worker that is taken over reads no profile; a gateway writes no reward. The gateway's user may read profiles, which it serves to
keys of the scope `read`, and writes none: Redis 7 and later hold it to that. Before 7 no user can be let to read a key and not to write it; the
rules for such a server (`--redis-6`) leave that to the gateway's own code. Where you do not use its console, take `model.adapters`, `model.decisions` and `dead-letters` from what
it writes. Give each service its user and password by a secret of its own ([deploying.md](deploying.md)); in Kafka 4 a user is
made with `kafka-configs.sh --alter --entity-type users --entity-name USER --add-config 'SCRAM-SHA-512=[password=...]'`.
"""


def _printed(settings: Common, *, before_7: bool) -> Iterator[str]:
    for service in ACCESS:
        for acl in sorted(set(kafka_acls(service, settings))):
            yield (
                f"kafka-acls.sh --bootstrap-server $BROKER --add --allow-principal {acl.principal} "
                f"--operation {acl.operation.title().replace('_', '')} --{acl.resource.lower()} {acl.name}"
            )
    for service in ACCESS:
        if rules := redis_rules(service, settings, before_7=before_7):
            yield f"ACL SETUSER {user_of(service)} on >PASSWORD {rules}"


if __name__ == "__main__":
    printed = _printed(load(Common, os.environ), before_7="--redis-6" in sys.argv)
    said = page() if "--page" in sys.argv else "\n".join(printed) + "\n"
    sys.stdout.write(said)
