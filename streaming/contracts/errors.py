"""Errors by blame. A `BadEvent` is the sender's; `Unavailable` is the world's; anything else is ours."""


class BadEvent(Exception):
    """A record that can never be processed as it is. It is dead-lettered with these three facts.

    Args:
        field: path of the field, `$` for the whole record, e.g. `properties.price`.
        value: what stood there, as text, at most 200 characters.
        wanted: what would have been accepted.
    """

    def __init__(self, field: str, value: object, wanted: str) -> None:
        """Keep the three facts; the value is cut so that a log line stays a line."""
        self.field = field
        self.value = _short(value)
        self.wanted = wanted
        super().__init__(f"{field}: got {self.value}, wanted {wanted}")


class BadPart(BadEvent, ValueError):
    """A `BadEvent` that a part of a record finds in itself; the decoder puts the part's path before the field."""


class Unavailable(Exception):
    """Something we depend on does not answer now. Retry with backoff, count it, stay alive."""


def _short(value: object, limit: int = 200) -> str:
    text = value if isinstance(value, str) else repr(value)
    safe = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return safe if len(safe) <= limit else f"{safe[:limit]}... ({len(text)} characters)"
