"""What stops a command, in one line: what could not be reached, at which address, and what to do. Never a password."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec
import redis
from kafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from model.data.errors import Refused
from services.clients import HUNG_UP, REFUSALS
from services.endpoints import connected
from services.local.process import MissingPart, ProcessDied
from services.settings import Common, SettingError, load
from streaming.contracts.errors import Unavailable

EXIT_USAGE = 2
EXIT_MISSING = 3
MOST_CHARACTERS = 400


def explained(error: Exception, environ: Mapping[str, str]) -> tuple[str, int] | None:
    """The line to show and the exit code, or None for what is our own bug or click's own business."""
    if isinstance(error, SettingError | Refused):
        return str(error), EXIT_USAGE
    if isinstance(error, MissingPart | ProcessDied):
        return str(error), EXIT_MISSING
    cause = error.__cause__ if isinstance(error, Unavailable) and error.__cause__ is not None else error
    if isinstance(cause, KafkaError):
        return _of_kafka(cause, environ)
    if isinstance(cause, redis.RedisError):
        return _of_redis(cause, environ)
    if isinstance(error, Unavailable) or type(error) is LookupError:  # a missing topic; its subclasses are bugs
        return _line(str(error)), EXIT_MISSING
    return None


def redis_address(url: str) -> str:
    """Where a Redis is, without the user, the password and the options that its URL may hold."""
    parts = urlsplit(url)
    return f"unix://{parts.path}" if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"


def _of_kafka(error: KafkaError, environ: Mapping[str, str]) -> tuple[str, int]:
    at = f"Kafka at {_settings(environ).kafka_bootstrap}"
    if isinstance(error, REFUSALS):
        how = "check STRATAGEM_KAFKA_SECURITY_PROTOCOL, STRATAGEM_KAFKA_SASL_* and what the user may do"
        return _line(f"{at} refuses us ({error}): {how}"), EXIT_USAGE
    if "Handshake failed" in str(error):
        how = "check STRATAGEM_KAFKA_SECURITY_PROTOCOL and STRATAGEM_KAFKA_SSL_*"
        return _line(f"{at} cannot be spoken to by TLS ({error}): {how}"), EXIT_USAGE
    if HUNG_UP in str(error):
        return _line(f"{at} hangs up on us: check STRATAGEM_KAFKA_SECURITY_PROTOCOL"), EXIT_MISSING
    if not isinstance(error, KafkaTimeoutError | KafkaConnectionError):
        return _line(f"{at} does not do it: {error}"), EXIT_MISSING
    return _line(f"{at} cannot be reached: {_way_out(environ, 'kafka_bootstrap')}"), EXIT_MISSING


def _of_redis(error: redis.RedisError, environ: Mapping[str, str]) -> tuple[str, int]:
    at = f"Redis at {redis_address(_settings(environ).redis_url)}"
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
        return _line(f"{at} refuses us: check user and password in STRATAGEM_REDIS_URL"), EXIT_USAGE
    if not isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return _line(f"{at} does not do it: {error}"), EXIT_MISSING
    return _line(f"{at} cannot be reached: {_way_out(environ, 'redis_url')}"), EXIT_MISSING


def _settings(environ: Mapping[str, str]) -> Common:
    """The settings that the command had; it could not have met Kafka or Redis without an address."""
    try:
        return connected(Common, environ)
    except (SettingError, OSError, msgspec.DecodeError):  # `stratagem up` ended meanwhile
        return load(Common, environ)


def _way_out(environ: Mapping[str, str], field: str) -> str:
    if getattr(load(Common, environ), field):
        return f"start it, or correct STRATAGEM_{field.upper()}"
    return "the embedded one is not running any more; start it again with `stratagem up`"


def _line(text: str) -> str:
    """One line, bounded."""
    joined = " ".join(text.split())
    return joined if len(joined) <= MOST_CHARACTERS else joined[:MOST_CHARACTERS] + "..."
