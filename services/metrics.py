"""Every metric of every service, in one registry; served on a loopback port of the service's own.

Names: `stratagem_..._total`, base units (`_seconds`), no user, event or strategy id in a label.
"""

import logging
import socket

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from services.health import Health, listen
from services.settings import SettingError

LOG = logging.getLogger(__name__)
REGISTRY = CollectorRegistry()

DEFAULT_PORTS = {"agents": 9101, "worker": 9102, "updater": 9103, "shop": 9104, "gateway": 9105}
"""Where `deploy/prometheus.yml` finds each service of `stratagem up`."""

_LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_DELAY_S = (60.0, 600.0, 3600.0, 6 * 3600.0, 86400.0, 2 * 86400.0, 4 * 86400.0, 8 * 86400.0, 16 * 86400.0)
_SWAP_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
_TRAINED_S = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


def _counter(name: str, what: str, *labels: str) -> Counter:
    return Counter(f"stratagem_{name}", what, labels, registry=REGISTRY)


def _gauge(name: str, what: str, *labels: str) -> Gauge:
    return Gauge(f"stratagem_{name}", what, labels, registry=REGISTRY)


def _histogram(name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(f"stratagem_{name}", what, labels, buckets=buckets, registry=REGISTRY)


EVENTS = _counter("events", "Records by their fate.", "topic", "fate")
DEAD_LETTERS = _counter("dead_letters", "Records that can never be processed, by reason.", "service", "reason")
FOLDED = _counter(
    "folded", "Records applied; timely `yes`: within five seconds of their Kafka timestamp.", "topic", "timely"
)
EVENT_LAG = _gauge("event_lag_seconds", "Wall clock minus the Kafka timestamp of the last applied record.", "topic")
LAG = _gauge(
    "lag_seconds", "Age of the oldest record that was not applied; grows while nothing is.", "service", "topic"
)
QUEUED = _gauge("queued_records", "Records in the topic that were not applied.", "service", "topic")
REBALANCES = _counter("rebalances", "Assignments of partitions that this process was given.", "service")
IN_FLIGHT = _gauge("batches_in_flight", "Batches fetched and not applied; bounded: fetching waits for them.", "topic")
WATERMARK = _gauge("watermark_timestamp_seconds", "Lowest event-time watermark of the owned partitions.", "topic")
REQUESTS = _counter("requests", "Strategies asked for.", "kind", "trigger", "arm")
SUPPRESSIONS = _counter("suppressions", "Moments not asked or not answered.", "reason", "trigger")
STRATEGIES = _counter("strategies", "Strategies published.", "kind", "arm", "acting_arm")
LATE = _counter("late_strategies", "Requests answered by the critic alone, past their deadline.", "kind")
ANSWERED = _counter(
    "answered", "Strategies acknowledged; timely `yes`: within their request's deadline.", "kind", "timely"
)
MESSAGES = _counter("messages", "Message texts by who wrote them.", "source", "language")
REQUEST_TO_STRATEGY = _histogram(
    "request_to_strategy_seconds",
    "From the request's Kafka timestamp to the strategy's acknowledgement.",
    _LATENCY_S,
    "kind",
)
BATCH_SIZE = _histogram("batch_size", "Records per processed batch.", tuple(map(float, _SIZES)), "service")
BATCH_SECONDS = _histogram("batch_seconds", "One batch of the agents from end to end, waiting included.", _LATENCY_S)
TOKENS = _counter(
    "tokens",
    "Tokens of prompts, of those that were kept from earlier prompts, of decisions spelled, of the model's message texts.",
    "what",
)
PROMPTS = _counter("prompts", "Prompts encoded, by whether a beginning of theirs was kept from earlier ones.", "kept")
PREFIX_BYTES = _gauge("prefix_bytes", "Keys, values and states of beginnings that prompts share.")
WRITER_TEXTS = _counter(
    "writer_texts",
    "Texts asked for elsewhere: written; disagrees with its slots, garbage; timeout, unreachable, status: no answer.",
    "outcome",
)
WRITER_SECONDS = _histogram("writer_seconds", "One text from elsewhere, asked to answered or given up.", _LATENCY_S)
REWARDS = _counter(
    "rewards", "Closed rewards by the customer's assigned arm; `mixed`: merged from two.", "stage", "kind", "arm"
)
FINALS = _counter("finals", "Final rewards by assigned arm and group of customers.", "kind", "arm", "group")
REWARD_SUM = _gauge(
    "reward_sum",
    "Sum of final rewards and corrections by assigned arm and group of customers, major units.",
    "kind",
    "arm",
    "group",
)
NET_MARGIN_SUM = _gauge(
    "net_margin_sum",
    "Margin of all the customer's orders within the horizon less the contact's cost, units of reward; holdout too.",
    "kind",
    "arm",
    "group",
)
REWARD_PARTS = _gauge(
    "reward_parts",
    "Sum of final rewards by named part, units of reward; `cost` is negative.",
    "kind",
    "channel",
    "arm",
    "part",
)
OUTCOMES = _counter(
    "outcomes", "Contacted strategies closed, and what happened to them.", "kind", "channel", "arm", "outcome"
)
REWARD_DELAY = _histogram("reward_delay_seconds", "Event time from issue to closing.", _DELAY_S, "stage")
CRITIC_ERROR = _gauge("critic_error", "Prequential log loss of the critic, recent mean.", "outcome")
LESSONS = _counter("lessons", "Rewards by what the critic did with them; `outage`: a channel showed nothing.", "fate")
DRIFTS = _counter("drifts", "Drifts detected on the critic's errors.", "kind")
TRAINING_LOSS = _gauge("training_loss", "Cross-entropy of the last LoRA step, nats per slot.")
TRAINING_STEPS = _counter("training_steps", "LoRA steps taken.")
GATE_DECISIONS = _counter("gate_decisions", "Decisions of the gate.", "what", "decision")
GATE_NUMBER = _gauge("gate_number", "What the last decision on such a version rested on.", "what", "number")
REWARD_TO_ADAPTER = _histogram(
    "reward_to_adapter_seconds",
    "From the broker's time of the reward that completed an adapter's data to its being announced as served.",
    _TRAINED_S,
)
SERVED_SHARE = _gauge("served_share", "Share of the model arms' customers that a role is served to.", "role")
TRIAL_CUSTOMERS = _gauge("trial_customers", "Customers whose window has closed.", "role", "side")
TRIAL_DIFFERENCE = _gauge(
    "trial_difference",
    "Reward per customer of the version on trial less the other's: estimate and anytime-valid bounds.",
    "role",
    "bound",
)
TRIAL_HARM = _gauge("trial_harm", "Share of customers harmed by the version on trial less the other's.", "role", "harm")
ADAPTERS_RESIDENT = _gauge("adapters_resident", "Versions of adapters in the worker's slots.")
ADAPTER = Info("stratagem_adapter", "Versions now served.", registry=REGISTRY)
SWAPS = _counter("swaps", "Adapters swapped in while serving.")
SWAP_SECONDS = _histogram("swap_seconds", "Stall of the hot path during a swap.", _SWAP_S)
ADAPTERS_REFUSED = _counter("adapters_refused", "Adapter files that the worker would not load.", "reason")
REFUSED_WRITES = _counter("refused_writes", "Compare-and-set calls lost to another writer.")
REPLAYS_SKIPPED = _counter("replays_skipped", "Records skipped because they were applied before.", "topic")
UNBOOKED = _counter(
    "unbooked_outcomes", "Orders and refunds that no reward could book; each is dead-lettered.", "reason"
)
UNMATCHED = _counter("unmatched_reversals", "Refunds whose order never came, or that nobody is credited with.")
REWINDS = _counter("rewinds", "Partitions read again from where Redis, which came back older, stands.", "topic")
UNKNOWN_STRATEGIES = _counter("unknown_strategies", "Outcomes that named a strategy which never came.")
IDENTITY_CONFLICTS = _counter("identity_conflicts", "Ids that two customers claimed, each pair once.")
MISPARTITIONED = _counter("mispartitioned", "Records whose partition is not murmur2's.", "topic")
PARTITIONS_MIXED = _gauge(
    "partitions_mixed", "1 while windows wait for every partition: a record was in a wrong one within a horizon."
)
BUGS = _counter("bugs", "Records that tripped our own bug; alert on any.", "service")
REDIS_ERRORS = _counter("redis_errors", "Failed Redis calls, each retried.", "service")
KAFKA_ERRORS = _counter("kafka_errors", "Failed Kafka calls, each retried.", "service")
REGISTRY_ERRORS = _counter("registry_errors", "Failed calls to the registry of versions, each retried.", "service")
GATEWAY_REQUESTS = _counter("gateway_requests", "HTTP requests answered.", "route", "status")
GATEWAY_SECONDS = _histogram(
    "gateway_request_seconds",
    "From a request's first byte to its answer, Kafka's acknowledgement included.",
    _LATENCY_S,
    "route",
)
GATEWAY_EVENTS = _counter("gateway_events", "Events sent over HTTP, by verdict; accepted: in the topic.", "verdict")
GATEWAY_BYTES = _gauge("gateway_in_flight_bytes", "Bytes of bodies under way; bounded by a setting.")
GATEWAY_DECISIONS = _counter(
    "gateway_decisions", "Strategies asked for over HTTP, by what was answered: see docs/http.md.", "status"
)
GATEWAY_STREAMS = _gauge("gateway_streams", "Clients of the stream of strategies; bounded by a setting.")
GATEWAY_STREAMS_CUT = _counter("gateway_streams_cut", "Clients of the stream that were too far behind.")
GATEWAY_CUT = _counter("gateway_connections_cut", "Connections that were too slow to say or to take something.", "why")
WAITING = _gauge("waiting", "1 while something that does not answer is waited for.", "service", "on")
LIVE = _gauge("live", "1 while the main loop turns.", "service")
LEASE_HELD = _gauge("lease_held", "1 in the updater that works, 0 in one that stands by.")
LAST_LOOP = _gauge("last_loop_timestamp_seconds", "Wall clock of the main loop's last turn.", "service")
ProcessCollector(namespace="stratagem", registry=REGISTRY)  # CPU, memory and open files of the process


def serve(service: str, host: str, port: int, health: Health | None = None) -> int:
    """Serve the registry; port 0 takes the service's default, or a free one when that is taken, and says so.

    Args:
        health: served beside it, at `/-/healthy` and `/-/ready`; without it both are always well.

    Returns:
        The port that is served.

    Raises:
        SettingError: a port that was asked for is taken, or the host is not ours.
    """
    for counter in (BUGS, KAFKA_ERRORS, REDIS_ERRORS, REGISTRY_ERRORS):
        counter.labels(
            service
        )  # there from the start with 0: Prometheus cannot see the rise of what comes with its first
    wanted = port or DEFAULT_PORTS[service]
    for candidate in (wanted,) if port else (wanted, 0):
        try:
            served = listen(host, candidate, health or Health(), REGISTRY)
        except OSError as error:
            refused = error
            continue
        if served != wanted:
            LOG.warning("port %d is taken: metrics of %s on http://%s:%d/metrics", wanted, service, host, served)
        return served
    raise SettingError(f"metrics of {service} cannot be served on {host}:{wanted}: {refused.strerror}")


def is_free(host: str, port: int) -> bool:
    """Whether the metrics could be served there just now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError:
            return False
    return True
