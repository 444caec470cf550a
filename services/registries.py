"""The registry of a service: an object store that cannot be reached is waited for, as an unreachable folder is."""

from collections.abc import Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from model.registry import Registry
from services.settings import Common, registry_address

CLIENTS = ("aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google")
"""Packages of fsspec's file systems whose errors are none of `OSError`: they could not reach their store, or were cut off."""


class Reached:
    """A file system whose client's own errors are `ConnectionError`, so that whoever waits for `OSError` waits for them."""

    def __init__(self, fs: Any) -> None:
        """Stand before `fs`."""
        self._fs = fs

    def __getattr__(self, name: str) -> Any:
        """What `fs` has under this name; what may be called says its errors in our words."""
        found = getattr(self._fs, name)
        if not callable(found):
            return found

        @wraps(found)
        def called(*arguments: Any, **named: Any) -> Any:
            try:
                return found(*arguments, **named)
            except Exception as error:
                if type(error).__module__.partition(".")[0] in CLIENTS:
                    raise ConnectionError(f"{type(error).__name__}: {error}") from error
                raise

        return called


class ServiceRegistry(Registry):
    """`Registry` at any address."""

    def __init__(self, address: str, cache: Path, *, options: Mapping[str, Any] | None = None) -> None:
        """As `Registry`."""
        super().__init__(address, cache, options=options)
        if not self._local:
            self._fs = Reached(self._fs)


def registry_of(settings: Common, cache: Path) -> Registry:
    """The installation's registry; versions from elsewhere are kept in `cache`."""
    return ServiceRegistry(registry_address(settings), cache)
