"""Settings of the HTTP gateway."""

from typing import Annotated

from msgspec import Meta

from services.gateway_bodies import Bounds
from services.settings import Common

PROCESS_PORTS = {"agents": 9101, "worker": 9102, "updater": 9103, "gateway": 9105}
"""Where each service that `stratagem up` starts tells its health and metrics by default; see `services/metrics.py`."""


class GatewaySettings(Common, frozen=True, kw_only=True):
    """The HTTP gateway."""

    gateway_host: Annotated[
        str, Meta(description="address it listens on; anything but loopback wants TLS before it")
    ] = "127.0.0.1"
    gateway_port: Annotated[int, Meta(ge=0, le=65535, description="0: any free one")] = 8080
    gateway_connections: Annotated[int, Meta(ge=1, description="open at once; more are answered 503")] = 1000
    gateway_head_timeout_s: Annotated[
        float, Meta(gt=0, description="a request's line and headers that take longer to come are refused")
    ] = 10.0
    gateway_stall_s: Annotated[
        float, Meta(gt=0, description="a client that takes nothing of what waits for it is cut off after so long")
    ] = 30.0
    gateway_body_timeout_s: Annotated[float, Meta(gt=0, description="a body that takes longer to come is refused")] = (
        10.0
    )
    gateway_max_body_bytes: Annotated[
        int, Meta(ge=1024, description="of one request, as sent and again after inflating")
    ] = 1024 * 1024
    gateway_max_events: Annotated[int, Meta(ge=1, description="in one request")] = 5000
    gateway_max_event_bytes: Annotated[int, Meta(ge=256, description="of one event")] = 64 * 1024
    gateway_max_depth: Annotated[int, Meta(ge=4, le=500, description="of nesting in one event")] = 32
    gateway_in_flight_bytes: Annotated[
        int, Meta(ge=1024, description="of bodies under way, inflated, all requests; beyond it the answer is 503")
    ] = 64 * 1024 * 1024
    gateway_ack_s: Annotated[
        float, Meta(gt=0, description="Kafka has so long to acknowledge an event, else the answer is 503")
    ] = 10.0
    gateway_retry_after_s: Annotated[int, Meta(ge=1, description="what a 503 says in `Retry-After`")] = 2
    gateway_rate_per_s: Annotated[
        float, Meta(gt=0, description="events and requests that a key without a rate of its own may send per second")
    ] = 2000.0
    gateway_burst_s: Annotated[
        float, Meta(gt=0, description="seconds' worth of its rate that a key may send at once")
    ] = 5.0

    gateway_decide_ms: Annotated[
        int, Meta(ge=1, le=60_000, description="a decision is waited for so long where the caller names no deadline")
    ] = 300
    gateway_streams: Annotated[int, Meta(ge=1, description="clients of the stream of strategies at once")] = 500
    gateway_stream_buffer: Annotated[
        int, Meta(ge=1, description="strategies that may wait for one of them; who is further behind is cut off")
    ] = 1000
    strategy_ttl_s: Annotated[int, Meta(ge=60, description="the same as the worker's")] = 14 * 24 * 3600

    console: Annotated[bool, Meta(description="whether the gateway serves the console, at `/console/`")] = True
    console_session_h: Annotated[
        float, Meta(gt=0, le=24 * 7, description="after so many hours whoever logged in logs in again")
    ] = 8.0
    console_secure_cookie: Annotated[
        bool, Meta(description="browsers come by https alone; always so where the gateway listens beyond loopback")
    ] = False
    console_processes: Annotated[
        str,
        Meta(description="whose health the console shows, `name=host:port` of metrics, by commas; `up` fills it in"),
    ] = ",".join(f"{name}=127.0.0.1:{port}" for name, port in PROCESS_PORTS.items())
    console_days: Annotated[
        float, Meta(gt=0, description="the console reads rewards back for so many days, of the wall clock")
    ] = 14.0
    console_streams: Annotated[int, Meta(ge=1, description="pages of the console that are live at once")] = 50

    @property
    def bounds(self) -> Bounds:
        """Of one request."""
        return Bounds(
            self.gateway_max_body_bytes, self.gateway_max_events, self.gateway_max_event_bytes, self.gateway_max_depth
        )


def rdkafka_options(settings: Common) -> dict[str, str | int | float | bool]:
    """Connection options of librdkafka's clients."""
    options: dict[str, str | int | float | bool] = {
        "bootstrap.servers": settings.kafka_bootstrap,
        "security.protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_sasl_mechanism:
        options |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_sasl_username,
            "sasl.password": settings.kafka_sasl_password,
        }
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl.endpoint.identification.algorithm"] = "https" if settings.kafka_ssl_check_hostname else "none"
        places = {"ssl.ca": "cafile", "ssl.certificate": "certfile", "ssl.key": "keyfile"}
        for option, field in places.items():
            if path := getattr(settings, f"kafka_ssl_{field}"):
                options[f"{option}.location"] = path
    return options
