"""Settings: one typed object per service, built once in its `main` from the environment.

Every field is an environment variable `STRATAGEM_<FIELD>`; nothing below `main` reads the environment.
"""

import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import msgspec
from msgspec import Meta

from services.settings_common import Common, SettingError
from services.settings_trial import TrialSettings

__all__ = [
    "PREFIX",
    "AgentsSettings",
    "Common",
    "SettingError",
    "ShopSettings",
    "UpdaterSettings",
    "WorkerSettings",
    "kafka_options",
    "load",
    "registry_address",
]

PREFIX = "STRATAGEM_"


class AgentsSettings(Common, frozen=True, kw_only=True):
    """The Faust agents: profiles, triggers, attribution."""

    session_timeout_s: Annotated[float, Meta(ge=6, le=300, description="Kafka session of the agents")] = 8.0
    max_poll_records: Annotated[int, Meta(ge=1, le=100_000, description="records of one fetch, all partitions")] = 2000
    cached_customers: Annotated[
        int, Meta(ge=1, description="customers that one agents process keeps in memory, some 10 kB each")
    ] = 100_000
    horizon_h: Annotated[float, Meta(gt=0, description="after the first exposure a strategy closes, hours")] = 72.0
    response_window_h: Annotated[
        float, Meta(gt=0, description="a click counts this long, hours; at most to the horizon")
    ] = 24.0
    click_through_h: Annotated[
        float, Meta(ge=0, description="an order counts this long after a click, hours; 0: to the horizon")
    ] = 0.0
    view_through_h: Annotated[
        float, Meta(ge=0, description="an order counts this long after a view, hours; 0: as a click")
    ] = 0.0
    windows_by_kind: Annotated[
        str, Meta(description="other windows for some kinds, e.g. `ranking.response_window_h=1,ad.view_through_h=6`")
    ] = ""
    attribution_model: Annotated[
        Literal["last_touch", "first_touch", "linear", "time_decay"],
        Meta(description="who is credited where several strategies were touched alike"),
    ] = "last_touch"
    attribution_half_life_h: Annotated[
        float, Meta(gt=0, description="of `time_decay`: a touch so much older counts half, hours")
    ] = 24.0
    refund_days: Annotated[
        float, Meta(gt=0, description="after the horizon refunds and cancellations are corrected this long, days")
    ] = 30.0
    late_outcome_h: Annotated[
        float, Meta(gt=0, description="a strategy without orders waits this long for late outcomes, hours")
    ] = 24.0
    early_outcome_h: Annotated[
        float, Meta(gt=0, description="an outcome waits this long for a strategy not read yet, hours")
    ] = 6.0
    default_margin_pct: Annotated[
        int,
        Meta(ge=0, le=100, description="margin of products without a known cost in the order's currency, of the price"),
    ] = 25
    allowed_lateness_s: Annotated[
        float, Meta(ge=0, description="the watermark stays this far behind the newest event")
    ] = 600.0
    daily_cap: Annotated[int, Meta(ge=0, description="strategies per customer and day")] = 3
    max_discount_pct: Annotated[
        int, Meta(ge=0, le=100, description="no promotion goes beyond, whatever a campaign allows")
    ] = 30
    stale_after_s: Annotated[float, Meta(gt=0, description="a trigger older than this (event time) is suppressed")] = (
        3600.0
    )
    quiet_start_hour: Annotated[int, Meta(ge=0, le=23, description="no outbound message from this local hour")] = 21
    quiet_end_hour: Annotated[int, Meta(ge=0, le=23, description="until this local hour")] = 8
    deadline_s: Annotated[float, Meta(gt=0, description="a request waits at most this long (wall clock)")] = 10.0
    share_fused: Annotated[
        float, Meta(ge=0, description="share of customers served by critic and language model together")
    ] = 0.60
    share_lm: Annotated[float, Meta(ge=0, description="by the language model alone")] = 0.05
    share_critic: Annotated[float, Meta(ge=0, description="by the critic alone")] = 0.10
    share_random: Annotated[float, Meta(ge=0, description="by chance within the rules")] = 0.20
    share_holdout: Annotated[float, Meta(ge=0, description="never contacted")] = 0.05
    arm_salt: Annotated[str, Meta(description="changes who is in which arm; keep it")] = "stratagem"
    campaign_rate_per_s: Annotated[float, Meta(gt=0, description="customers a campaign start reaches per second")] = (
        200.0
    )
    max_message_ids: Annotated[int, Meta(ge=16, description="message ids remembered per customer")] = 256
    profile_retention_days: Annotated[
        int, Meta(ge=0, description="a customer not heard of for so long is forgotten; 0: nobody is; else at least 60")
    ] = 0
    campaign_mark_days: Annotated[
        int, Meta(ge=0, description="that a campaign was started is remembered so long at least, days; 0: for ever")
    ] = 0


class WorkerSettings(Common, frozen=True, kw_only=True):
    """The model worker."""

    base_model: Annotated[str, Meta(description="a transformers model by name or path; empty: the base that ships")] = (
        ""
    )
    device: Annotated[str, Meta(description="auto, cpu, cuda, cuda:1 ...")] = "auto"
    threads: Annotated[int, Meta(ge=1, description="of torch and of NumPy's libraries")] = 1
    batch_size: Annotated[int, Meta(ge=1, le=1024, description="requests decoded together, at most")] = 32
    batch_wait_ms: Annotated[int, Meta(ge=0, description="how long a batch waits to fill")] = 5
    temperature: Annotated[float, Meta(gt=0, description="of the language model in fused decisions")] = 0.4
    lm_temperature: Annotated[float, Meta(gt=0, description="of the language model where it decides alone")] = 0.2
    strategy_ttl_s: Annotated[int, Meta(ge=60, description="stored strategies outlive every redelivery")] = (
        14 * 24 * 3600
    )
    seed: Annotated[int, Meta(ge=0, description="of the draws; with the request id it fixes each")] = 0


class UpdaterSettings(TrialSettings, frozen=True, kw_only=True):
    """The continual learner."""

    base_model: Annotated[str, Meta(description="the same as the worker's")] = ""
    device: Annotated[str, Meta(description="auto, cpu, cuda, cuda:1 ...")] = "auto"
    threads: Annotated[int, Meta(ge=1, description="of torch and of NumPy's libraries")] = 1
    niceness: Annotated[
        int, Meta(ge=0, le=19, description="training gives way to what serves on the same machine; 0: not")
    ] = 10
    window: Annotated[int, Meta(ge=100, description="closed rewards the critic is fitted on")] = 6000
    half_life: Annotated[
        float, Meta(gt=0, description="closed rewards of a kind after which one of that kind counts half")
    ] = 5000.0
    refit_every: Annotated[int, Meta(ge=1, description="closed rewards between two refits")] = 100
    publish_every_s: Annotated[float, Meta(gt=0, description="shortest time between two critic snapshots")] = 0.5
    snapshot_every_s: Annotated[float, Meta(gt=0, description="between two snapshots of all that was learned")] = 20.0
    temperature: Annotated[float, Meta(gt=0, description="of the language model in fused decisions, as the worker")] = (
        0.4
    )
    lm_temperature: Annotated[float, Meta(gt=0, description="of the language model alone, as the worker")] = 0.2
    batch: Annotated[int, Meta(ge=1, le=1024, description="decisions per LoRA step")] = 32
    candidate_wait_s: Annotated[
        float, Meta(ge=0, description="a candidate waits at most this long for rewards newer than its data")
    ] = 20.0
    train_every: Annotated[int, Meta(ge=1, description="new responses between two LoRA steps")] = 8
    candidate_every_steps: Annotated[int, Meta(ge=1, description="LoRA steps between two candidates for the gate")] = 16
    buffer: Annotated[int, Meta(ge=100, description="requests the LoRA replays")] = 4000
    heads: Annotated[int, Meta(ge=1, le=64, description="posterior draws of the critic that exploration uses")] = 8
    beta: Annotated[float, Meta(gt=0, description="temperature of the critic's softmax, units of reward")] = 0.005
    head_width: Annotated[float, Meta(ge=0, description="scale of the posterior heads")] = 0.1
    lm_weight: Annotated[
        float,
        Meta(
            ge=0, le=1, description="the language model's share in fused decisions once it gains what its critic gains"
        ),
    ] = 0.5
    lm_earns_from: Annotated[
        float, Meta(lt=1, description="part of its critic's gain up to which the language model has no share")
    ] = 0.8
    kl_cap_nats: Annotated[float, Meta(gt=0, description="how far a candidate may step from the champion")] = 1.0
    value_margin: Annotated[float, Meta(ge=0, description="delta: how much worse a candidate's value may be")] = 0.02
    outage_after: Annotated[
        int, Meta(ge=5, description="unseen closed strategies of a channel that mean an outage")
    ] = 50
    seed: Annotated[int, Meta(ge=0, description="of posterior heads, batches and fresh adapters")] = 0


class ShopSettings(Common, frozen=True, kw_only=True):
    """The simulated shop of the demo."""

    demo_seed: Annotated[int, Meta(ge=0, description="of the customers' hidden parameters and answers")] = 7
    demo_households: Annotated[int, Meta(ge=1, description="at most so many customers are played")] = 400
    demo_minutes: Annotated[float, Meta(ge=0, description="wall minutes of visits; 0: all days of the span")] = 0.0
    demo_days: Annotated[float, Meta(gt=0, description="length of the replayed span, days")] = 55.0
    tick_wall_limit_s: Annotated[float, Meta(gt=0, description="the clock waits at most this long for answers")] = 20.0


S = TypeVar("S", bound=Common)


def load(kind: type[S], environ: Mapping[str, str], **overrides: object) -> S:
    """The settings of one service from the environment; unset or empty variables keep their defaults.

    Raises:
        SettingError: naming the variable, its value and what was wanted.
    """
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, object] = {}
    for name, hint in hints.items():
        raw = environ.get(PREFIX + name.upper(), "")
        if raw:
            values[name] = _parsed(PREFIX + name.upper(), raw, hint)
    arguments: dict[str, Any] = {**values, **overrides}
    return _checked(kind(**arguments))


def _parsed(variable: str, raw: str, hint: object) -> object:
    target = Path if getattr(hint, "__origin__", None) is Path else hint
    if target is Path:
        return Path(raw)
    try:
        return msgspec.convert(raw, target, strict=False)
    except msgspec.ValidationError as error:
        shown = "***" if "PASSWORD" in variable else repr(raw)
        message = f"{variable}={shown}: {error}"
        raise SettingError(message) from None


def _checked(settings: S) -> S:
    """What one field's type cannot say; no message shows a password, which a Redis URL may hold."""
    for address in settings.kafka_bootstrap.split(",") if settings.kafka_bootstrap else ():
        if not re.fullmatch(r"(\[[0-9a-fA-F:.%]+\]|[^\s:\[\]]+):\d{1,5}", address):
            raise SettingError(f"{PREFIX}KAFKA_BOOTSTRAP={settings.kafka_bootstrap!r}: wanted host:port[,host:port...]")
    if settings.redis_url and not settings.redis_url.startswith(("redis://", "rediss://", "unix://")):
        raise SettingError(f"{PREFIX}REDIS_URL: wanted an address that begins with redis://, rediss:// or unix://")
    sasl = settings.kafka_security_protocol.startswith("SASL")
    if sasl != bool(settings.kafka_sasl_mechanism):
        raise SettingError(
            f"{PREFIX}KAFKA_SASL_MECHANISM={settings.kafka_sasl_mechanism!r} with "
            f"{PREFIX}KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol!r}: wanted both of SASL, or neither"
        )
    if sasl and not settings.kafka_sasl_username:
        raise SettingError(f"{PREFIX}KAFKA_SASL_USERNAME: wanted with {PREFIX}KAFKA_SASL_MECHANISM")
    for name in ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile"):
        path = getattr(settings, name)
        if path and not Path(path).is_file():
            raise SettingError(f"{PREFIX}{name.upper()}={path!r}: there is no such file")
    return settings


def registry_address(settings: Common) -> str:
    """Where versions live."""
    return settings.registry or str((settings.home / "registry").resolve())


def kafka_options(settings: Common) -> types.MappingProxyType[str, object]:
    """Connection options of kafka-python's clients."""
    options: dict[str, object] = {
        "bootstrap_servers": settings.kafka_bootstrap.split(","),
        "security_protocol": settings.kafka_security_protocol,
        "bootstrap_timeout_ms": round(settings.kafka_timeout_s * 1000),
    }
    if settings.kafka_sasl_mechanism:
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": settings.kafka_sasl_password,
        }
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_check_hostname"] = settings.kafka_ssl_check_hostname
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
            if value := getattr(settings, f"kafka_{name}"):
                options[name] = value
    return types.MappingProxyType(options)
