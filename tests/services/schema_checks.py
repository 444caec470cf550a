"""Values as they are on a topic against the committed schema of that topic, by an independent validator."""

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


@lru_cache(maxsize=16)
def _validator(topic: str) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{topic}.json").read_text(encoding="utf-8"))
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def assert_valid(topic: str, values: Iterable[bytes | None]) -> int:
    """Every value fits its topic's schema; tombstones are none.

    Returns:
        How many were checked, so that a test can see that there were some.
    """
    present = [value for value in values if value]
    for value in present:
        _validator(topic).validate(json.loads(value))
    return len(present)


__all__ = ["assert_valid"]
