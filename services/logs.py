"""What the services log: a line for people, or one JSON object a line (`STRATAGEM_LOG_FORMAT=json`). No personal data.

Ids of events, requests, strategies and rewards stand in fields of their own, by which lines of several services are joined.
What a customer said or is called is logged nowhere: an exception raised by a record's content is logged without its message,
which may quote it; the dead letter holds all of it.
"""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import msgspec

from services.settings import Common
from streaming.facts import ITEMS

IDS = ("event_id", "request_id", "strategy_id", "reward_id", "suppression_id", "topic", "traceparent")
"""Attributes of a log record (`extra=`) that become fields."""
HUMAN = "%(asctime)s %(levelname)s %(name)s %(message)s"


def configure(settings: Common, service: str) -> None:
    """Log to standard error from here on; call once, before anything is logged."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Structured(service) if settings.log_format == "json" else Human(HUMAN))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    logging.captureWarnings(capture=True)
    logging.getLogger(ITEMS).setLevel(logging.INFO if settings.log_items else logging.WARNING)


class Human(logging.Formatter):
    """A line as people read it, with the ids behind it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- the library's name
        """The line; ids as JSON strings, because a shop chooses its events' ids, line breaks included."""
        ids = "".join(f" {name}={_json(value)}" for name, value in ids_of(record).items())
        return super().formatMessage(record) + ids


class Structured(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, service: str) -> None:
        """Of which service the lines are."""
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """`time`, `level`, `service`, `logger`, `message`, the ids that the record has, and `exception`."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
            **ids_of(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return _json(fields)


def without_values(error: BaseException) -> str:
    """Type and frames of an exception, without its message and without its causes' messages."""
    frames = (f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__))
    return f"{type(error).__name__} at {' > '.join(frames)}"


def ids_of(record: logging.LogRecord) -> dict[str, Any]:
    """The ids that a record has."""
    return {name: value for name in IDS if (value := getattr(record, name, None)) not in (None, "")}


def _json(value: Any) -> str:
    """JSON in one line; characters that cannot be encoded are escaped."""
    return msgspec.json.encode(_encodable(value)).decode()


def _encodable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _encodable(each) for name, each in value.items()}
    return str(value).encode("utf-8", "backslashreplace").decode()
