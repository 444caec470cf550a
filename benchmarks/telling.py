"""What a benchmark tells the person who waits for it, beside its figures."""

import sys


def say(text: str) -> None:
    """A line on the standard error, at once: the standard output is for figures."""
    print(text, file=sys.stderr, flush=True)
