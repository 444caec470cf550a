"""Worker: from requests to strategies; how fast, in what batches, with which versions, and what fell back."""

from services.dashboards.panels import Board, Row, number, panel, quantiles

BATCH_MEAN = (
    'sum(rate(stratagem_batch_size_sum{service="worker"}[$__rate_interval])) '
    '/ sum(rate(stratagem_batch_size_count{service="worker"}[$__rate_interval]))'
)
BOARD = Board(
    "stratagem-worker",
    "Stratagem: worker",
    "The model workers: strategy.requests in, strategies out.",
    (
        Row(
            "Answers",
            (
                panel(
                    "Request to strategy",
                    "s",
                    "From the request's Kafka timestamp to the strategy's acknowledgement.",
                    *quantiles("stratagem_request_to_strategy_seconds", "kind"),
                ),
                panel(
                    "Strategies",
                    "ops",
                    "By kind and by who decided.",
                    (
                        "sum by (kind, acting_arm) (rate(stratagem_strategies_total[$__rate_interval]))",
                        "{{kind}} {{acting_arm}}",
                    ),
                ),
                panel(
                    "Within the deadline",
                    "percentunit",
                    "The service level: 99 % of strategies.",
                    (
                        (
                            'sum by (kind) (rate(stratagem_answered_total{timely="yes"}[$__rate_interval])) '
                            "/ sum by (kind) (rate(stratagem_answered_total[$__rate_interval]))"
                        ),
                        "{{kind}}",
                    ),
                ),
            ),
        ),
        Row(
            "Load",
            (
                panel(
                    "Queue",
                    "s",
                    "Age of the oldest request that was not answered.",
                    ('max by (topic) (stratagem_lag_seconds{service="worker"})', "{{topic}}"),
                ),
                panel(
                    "Requests waiting, requests per batch",
                    "short",
                    "The queue's length, and how many are decoded together.",
                    ('max by (topic) (stratagem_queued_records{service="worker"})', "waiting in {{topic}}"),
                    (BATCH_MEAN, "per batch"),
                ),
                panel(
                    "Tokens",
                    "ops",
                    "Of prompts, of their beginnings that earlier prompts had (not read again), of decisions, of messages; per second.",
                    ("sum by (what) (rate(stratagem_tokens_total[$__rate_interval]))", "{{what}}"),
                ),
            ),
        ),
        Row(
            "Fallbacks",
            (
                panel(
                    "Past their deadline, by the critic alone",
                    "ops",
                    "Strategies without the language model, because it would have been too late.",
                    ("sum by (kind) (rate(stratagem_late_strategies_total[$__rate_interval]))", "{{kind}}"),
                ),
                panel(
                    "Texts by who wrote them",
                    "ops",
                    "`template`: what the model wrote failed its checks, or it was not asked.",
                    (
                        "sum by (source, language) (rate(stratagem_messages_total[$__rate_interval]))",
                        "{{source}} {{language}}",
                    ),
                ),
                panel(
                    "Dead letters and bugs",
                    "ops",
                    "Requests that can never be answered.",
                    (
                        'sum by (reason) (rate(stratagem_dead_letters_total{service="worker"}[$__rate_interval]))',
                        "{{reason}}",
                    ),
                ),
            ),
        ),
        Row(
            "Texts from elsewhere",
            (
                panel(
                    "What came of asking",
                    "ops",
                    "`written`: it agreed with its slots. Nothing here: STRATAGEM_WRITER is not set.",
                    ("sum by (outcome) (rate(stratagem_writer_texts_total[$__rate_interval]))", "{{outcome}}"),
                ),
                panel(
                    "Asked to answered",
                    "s",
                    "A text, or giving it up; requests wait no longer than their bound.",
                    *quantiles("stratagem_writer_seconds", ""),
                ),
            ),
        ),
        Row(
            "Versions",
            (
                number(
                    "Served now",
                    "none",
                    "Champion and critic of each worker and of the updater.",
                    ("stratagem_adapter_info", "{{champion}} {{critic}} ({{instance}})"),
                ),
                panel(
                    "Adapters in slots",
                    "short",
                    "Champion, anchor, canary and what is being exchanged.",
                    ("max by (instance) (stratagem_adapters_resident)", "{{instance}}"),
                ),
                panel(
                    "Swaps",
                    "s",
                    "How long answering stood still for one.",
                    *quantiles("stratagem_swap_seconds", ""),
                ),
                number(
                    "Swapped and refused in the last hour",
                    "short",
                    "Champions changed while serving; files that a worker would not load.",
                    ("sum(increase(stratagem_swaps_total[1h]))", "swapped"),
                    ("sum by (reason) (increase(stratagem_adapters_refused_total[1h]))", "refused: {{reason}}"),
                ),
            ),
        ),
    ),
)
