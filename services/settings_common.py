"""What every service needs to reach Kafka and Redis; the base of `services/settings.py`'s classes."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from services.settings_reward import RewardSettings


class SettingError(Exception):
    """A setting that cannot be used; the message names the variable, the value and what was wanted."""


class Common(RewardSettings, frozen=True, kw_only=True):
    """What every service needs to reach Kafka and Redis, and what outcomes are worth."""

    home: Annotated[Path, Meta(description="data, logs and registry of the embedded stack")] = Path(".stratagem")
    kafka_bootstrap: Annotated[str, Meta(description="host:port[,...] of your Kafka; empty: the embedded one")] = ""
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], Meta(description="how the brokers are spoken to")
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[
        Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], Meta(description="with a SASL protocol")
    ] = ""
    kafka_sasl_username: Annotated[str, Meta(description="with a SASL mechanism")] = ""
    kafka_sasl_password: Annotated[str, Meta(description="with a SASL mechanism", extra={"secret": True})] = ""
    kafka_ssl_cafile: Annotated[str, Meta(description="PEM file of the authority that signed the brokers")] = ""
    kafka_ssl_certfile: Annotated[str, Meta(description="PEM file of our own certificate (mutual TLS)")] = ""
    kafka_ssl_keyfile: Annotated[str, Meta(description="PEM file of its key")] = ""
    kafka_ssl_check_hostname: Annotated[
        bool, Meta(description="whether the broker's name must be its certificate's")
    ] = True
    kafka_timeout_s: Annotated[
        float, Meta(gt=0, description="a command that cannot reach Kafka gives up after this; services try again")
    ] = 5.0
    topic_prefix: Annotated[str, Meta(description="put before every topic name, e.g. `acme.`")] = ""
    group_prefix: Annotated[str, Meta(description="put before every consumer group")] = "stratagem-"
    partitions: Annotated[int, Meta(ge=1, le=1024, description="of topics that have to be created")] = 4
    replication_factor: Annotated[int, Meta(ge=1, le=9, description="of topics that have to be created")] = 1
    retention_events_h: Annotated[
        float, Meta(ge=0, description="hours that new topics keep shop and ads events; 0: for ever, here and below")
    ] = 30 * 24.0
    retention_strategies_h: Annotated[
        float, Meta(ge=0, description="of strategies, their requests and suppressions; longer than `HORIZON_H`")
    ] = 30 * 24.0
    retention_rewards_h: Annotated[float, Meta(ge=0, description="of rewards")] = 90 * 24.0
    retention_decisions_h: Annotated[float, Meta(ge=0, description="of the gate's decisions")] = 400 * 24.0
    retention_dead_letters_h: Annotated[float, Meta(ge=0, description="of dead letters")] = 30 * 24.0
    redis_url: Annotated[str, Meta(description="redis://, rediss:// or unix://; empty: the embedded one")] = ""
    redis_username: Annotated[str, Meta(description="ACL user, where the address names none")] = ""
    redis_password: Annotated[str, Meta(description="where the address holds none", extra={"secret": True})] = ""
    redis_ssl_cafile: Annotated[str, Meta(description="PEM file of the authority that signed a rediss:// server")] = ""
    redis_ssl_certfile: Annotated[str, Meta(description="PEM file of our own certificate (mutual TLS)")] = ""
    redis_ssl_keyfile: Annotated[str, Meta(description="PEM file of its key")] = ""
    redis_ssl_check_hostname: Annotated[
        bool, Meta(description="whether the server's name must be its certificate's")
    ] = True
    buckets: Annotated[
        int, Meta(ge=1, description="of customers; a multiple of the partitions; fixed at first start")
    ] = 64
    currency: Annotated[
        str, Meta(pattern="^[A-Z]{3}$", description="the shop's, ISO 4217: of customers who have no order yet")
    ] = "USD"
    clock: Annotated[Literal["live", "replay"], Meta(description="what moves an idle partition's watermark")] = "live"
    representation: Annotated[
        str,
        Meta(description="folder with vectors of products (`stratagem pretrain --objective contrastive`); empty: none"),
    ] = ""
    registry: Annotated[str, Meta(description="any fsspec address; empty: HOME/registry")] = ""
    metrics_host: Annotated[str, Meta(description="address the metrics are served on")] = "127.0.0.1"
    metrics_port: Annotated[
        int, Meta(ge=0, le=65535, description="0: the service's own default; `up` gives its services this and the next")
    ] = 0
    log_format: Annotated[
        Literal["human", "json"], Meta(description="of the service's log: lines for people, or one JSON object a line")
    ] = "human"
    log_items: Annotated[
        bool, Meta(description="a line for each request, strategy, suppression and reward, with its ids")
    ] = False
    otlp_endpoint: Annotated[
        str, Meta(description="OTLP over HTTP, e.g. http://localhost:4318/v1/traces; empty: no spans (extra `tracing`)")
    ] = ""
    trace_share: Annotated[
        float, Meta(ge=0, le=1, description="of the traces that are exported; a publisher that says so is left out")
    ] = 1.0
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Meta(description="of the service's log")] = (
        "INFO"
    )
