"""Streams: events in, profiles and requests out; what waits, what was refused, what was taken away and given back."""

from services.dashboards.panels import Board, Panel, Row, number, panel, quantiles


def per_second(title: str, metric: str, by: str, says: str) -> Panel:
    """A counter's rate."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return panel(title, "ops", says, (f"sum by ({by}) (rate({metric}[$__rate_interval]))", legend))


TIMELY = (
    'sum(rate(stratagem_folded_total{timely="yes"}[$__rate_interval])) '
    "/ sum(rate(stratagem_folded_total[$__rate_interval]))"
)
BOARD = Board(
    "stratagem-streams",
    "Stratagem: streams",
    "The agents: shop.events, ads.events and strategies in, profiles, requests and rewards out.",
    (
        Row(
            "Flow",
            (
                per_second("Records by fate", "stratagem_events_total", "topic, fate", "What became of each record."),
                per_second(
                    "Strategies asked for", "stratagem_requests_total", "kind, trigger", "Requests to the workers."
                ),
                per_second(
                    "Suppressions", "stratagem_suppressions_total", "reason", "Moments not asked, or not answered."
                ),
            ),
        ),
        Row(
            "Delay",
            (
                panel(
                    "Lag",
                    "s",
                    "Age of the oldest record that was not applied; it grows while nothing is.",
                    ("max by (service, topic) (stratagem_lag_seconds)", "{{service}} {{topic}}"),
                ),
                panel(
                    "Records waiting",
                    "short",
                    "In the topic, not applied.",
                    ("max by (service, topic) (stratagem_queued_records)", "{{service}} {{topic}}"),
                ),
                panel("Folded within 5 s", "percentunit", "The service level: 99 % of records.", (TIMELY, "timely")),
                panel(
                    "Age of the newest applied record",
                    "s",
                    "Its Kafka timestamp to its being applied.",
                    ("max by (topic) (stratagem_event_lag_seconds)", "{{topic}}"),
                ),
                panel(
                    "Event time behind the wall clock",
                    "s",
                    "By the lowest watermark: how long closed windows wait.",
                    ("time() - min by (topic) (stratagem_watermark_timestamp_seconds > 0)", "{{topic}}"),
                ),
                panel(
                    "One batch from end to end",
                    "s",
                    "Waiting for Redis and Kafka included.",
                    *quantiles("stratagem_batch_seconds", ""),
                ),
            ),
        ),
        Row(
            "Records that could not be used",
            (
                per_second(
                    "Dead letters",
                    "stratagem_dead_letters_total",
                    "service, reason",
                    "Kept in the dead-letter topic, to be seen and sent again.",
                ),
                number(
                    "Our own bugs",
                    "short",
                    "Records that tripped our code within the last hour.",
                    ("sum by (service) (increase(stratagem_bugs_total[1h]))", "{{service}}"),
                ),
                panel(
                    "Outcomes without a home",
                    "ops",
                    "Orders and refunds nobody could book, refunds without an order, outcomes of unknown strategies.",
                    (
                        "sum by (reason) (rate(stratagem_unbooked_outcomes_total[$__rate_interval]))",
                        "unbooked: {{reason}}",
                    ),
                    ("sum(rate(stratagem_unmatched_reversals_total[$__rate_interval]))", "refund without order"),
                    ("sum(rate(stratagem_unknown_strategies_total[$__rate_interval]))", "unknown strategy"),
                    ("sum(rate(stratagem_identity_conflicts_total[$__rate_interval]))", "id of two customers"),
                ),
            ),
        ),
        Row(
            "HTTP",
            (
                panel(
                    "Requests",
                    "ops",
                    "To the gateway, by door and status; 503: Kafka or Redis is slow, or too much is under way.",
                    (
                        "sum by (route, status) (rate(stratagem_gateway_requests_total[$__rate_interval]))",
                        "{{route}} {{status}}",
                    ),
                ),
                panel(
                    "Time to answer",
                    "s",
                    "Kafka's acknowledgement included.",
                    *quantiles("stratagem_gateway_request_seconds", "route"),
                ),
                panel(
                    "Events by verdict",
                    "ops",
                    "Accepted: in the topic.",
                    ("sum by (verdict) (rate(stratagem_gateway_events_total[$__rate_interval]))", "{{verdict}}"),
                ),
            ),
        ),
        Row(
            "Partitions",
            (
                panel(
                    "Rebalances",
                    "short",
                    "Assignments of partitions within the last 10 minutes.",
                    ("sum by (service) (increase(stratagem_rebalances_total[10m]))", "{{service}}"),
                ),
                panel(
                    "Read again, lost races, replays",
                    "ops",
                    "Rewinds because Redis came back older; writes lost to another owner; records read twice.",
                    ("sum by (topic) (rate(stratagem_rewinds_total[$__rate_interval]))", "rewind {{topic}}"),
                    ("sum(rate(stratagem_refused_writes_total[$__rate_interval]))", "refused writes"),
                    ("sum by (topic) (rate(stratagem_replays_skipped_total[$__rate_interval]))", "replay {{topic}}"),
                ),
                panel(
                    "Batches in flight, records per batch",
                    "short",
                    "Fetched and not applied; bounded.",
                    ("sum by (topic) (stratagem_batches_in_flight)", "{{topic}}"),
                    (
                        (
                            'sum(rate(stratagem_batch_size_sum{service="agents"}[$__rate_interval])) '
                            '/ sum(rate(stratagem_batch_size_count{service="agents"}[$__rate_interval]))'
                        ),
                        "records per batch",
                    ),
                ),
                panel(
                    "Wrong partitions",
                    "short",
                    "Records per second of publishers with another partitioner; mixed: windows wait for every partition.",
                    ("sum by (topic) (rate(stratagem_mispartitioned_total[$__rate_interval]))", "{{topic}}"),
                    ("max(stratagem_partitions_mixed)", "mixed"),
                ),
            ),
        ),
    ),
)
