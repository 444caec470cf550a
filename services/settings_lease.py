"""How the one updater that may work is found among several."""

from typing import Annotated

from msgspec import Meta

from services.settings_common import Common


class LeaseSettings(Common, frozen=True, kw_only=True):
    """Of the lease that the working updater holds in Redis; `services/lease.py`."""

    lease_s: Annotated[
        float, Meta(ge=0.5, le=600, description="an updater that was not heard of for so long is replaced by a standby")
    ] = 10.0
