"""What the worker keeps of prompts between requests."""

from typing import Annotated

from msgspec import Meta

from services.settings import WorkerSettings


class PrefixSettings(WorkerSettings, frozen=True, kw_only=True):
    """The model worker, with room for beginnings that its prompts share."""

    prefix_cache_mib: Annotated[
        int,
        Meta(
            ge=0, description="keys, values and states of beginnings that prompts share, at most, MiB; 0: none are kept"
        ),
    ] = 64
