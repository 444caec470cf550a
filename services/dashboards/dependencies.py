"""Dependencies: Kafka, Redis and the registry as our services meet them, and the services themselves."""

from services.dashboards.panels import Board, Panel, Row, number, panel


def failures(title: str, metric: str) -> Panel:
    """Failed calls by service."""
    return panel(
        title,
        "ops",
        "Failed calls, each tried again.",
        (f"sum by (service) (rate({metric}[$__rate_interval]))", "{{service}}"),
    )


BOARD = Board(
    "stratagem-dependencies",
    "Stratagem: dependencies",
    "What the services wait for, and whether they live.",
    (
        Row(
            "Waited for",
            (
                panel(
                    "Waiting",
                    "short",
                    "1 while it does not answer.",
                    ("max by (service, on) (stratagem_waiting)", "{{service}} on {{on}}"),
                    width=24,
                ),
                failures("Kafka", "stratagem_kafka_errors_total"),
                failures("Redis", "stratagem_redis_errors_total"),
                failures("Registry of versions", "stratagem_registry_errors_total"),
            ),
        ),
        Row(
            "Services",
            (
                number(
                    "Scraped",
                    "short",
                    "1: Prometheus reaches the service's metrics.",
                    ('max by (service) (up{job="stratagem"})', "{{service}}"),
                ),
                number(
                    "Live",
                    "short",
                    "1 while its main loop turns.",
                    ("max by (service) (stratagem_live)", "{{service}}"),
                ),
                panel(
                    "Since the loop's last turn",
                    "s",
                    "Grows while a service stands still, or reads nothing.",
                    ("time() - max by (service) (stratagem_last_loop_timestamp_seconds > 0)", "{{service}}"),
                ),
                panel(
                    "CPU",
                    "percentunit",
                    "Of one core.",
                    ("sum by (service) (rate(stratagem_process_cpu_seconds_total[$__rate_interval]))", "{{service}}"),
                ),
                panel(
                    "Memory",
                    "bytes",
                    "Resident.",
                    ("max by (service) (stratagem_process_resident_memory_bytes)", "{{service}}"),
                ),
                panel(
                    "Open files",
                    "percentunit",
                    "Of what the system allows.",
                    (
                        "max by (service) (stratagem_process_open_fds / stratagem_process_max_fds)",
                        "{{service}}",
                    ),
                ),
            ),
        ),
    ),
)
