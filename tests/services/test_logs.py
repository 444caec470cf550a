"""Log lines: for people, or JSON; ids in fields; nothing of what a customer said."""

import logging

import msgspec
import pytest

from services.logs import HUMAN, Human, Structured, without_values

HOSTILE = 'evt-1\n2026-01-01 CRITICAL forged "line" \ud800'


def record(message: str, **extra: object) -> logging.LogRecord:
    """As a logger makes it."""
    return logging.getLogger("test").makeRecord("test", logging.INFO, __file__, 1, message, (), None, extra=extra)


def failed() -> BaseException:
    """An exception that quotes a customer."""
    try:
        int("Ada Lovelace")
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("formatter", [Structured("worker"), Human(HUMAN)])
def test_a_hostile_id_makes_no_line_of_its_own(formatter: logging.Formatter) -> None:
    """A shop chooses its events' ids; whatever they hold stays in one line, and can be written."""
    line = formatter.format(record("answered", event_id=HOSTILE))
    assert len(line.splitlines()) == 1
    line.encode()
    assert "forged" in line


def test_a_json_line_holds_what_is_asked_of_logs() -> None:
    """Time with its zone, level, service, logger, message, and the ids that are there."""
    line = msgspec.json.decode(Structured("worker").format(record("answered", request_id="req-1", strategy_id="")))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "service": "worker",
        "logger": "test",
        "message": "answered",
        "request_id": "req-1",
    }


def test_an_exception_is_a_field() -> None:
    """What an operator must see of Kafka or Redis is not cut."""
    error = failed()
    told = logging.LogRecord("test", logging.ERROR, __file__, 1, "away", (), (type(error), error, error.__traceback__))
    line = msgspec.json.decode(Structured("agents").format(told))
    assert "ValueError" in line["exception"]


def test_a_records_own_exception_is_told_without_its_message() -> None:
    """Type and place are enough to find the bug; the dead letter has the rest."""
    said = without_values(failed())
    assert said.startswith("ValueError at ")
    assert "test_logs.py" in said
    assert "Ada" not in said
