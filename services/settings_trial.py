"""What canaries and anchors are tried by: the updater's settings that `model/trial.py` decides with."""

from typing import Annotated

from msgspec import Meta

from services.settings_lease import LeaseSettings


class TrialSettings(LeaseSettings, frozen=True, kw_only=True):
    """Customers, time and errors of a trial; the caps that end one at once."""

    canary_share: Annotated[float, Meta(gt=0, lt=1, description="of customers who are served a change on trial")] = 0.1
    anchor_share: Annotated[float, Meta(gt=0, lt=1, description="of customers who are served the line's anchor")] = 0.1
    trial_alpha: Annotated[
        float, Meta(gt=0, lt=1, description="probability of each kind of wrong decision over a whole trial")
    ] = 0.05
    trial_delta: Annotated[
        float, Meta(gt=0, description="a loss that is put up with, units of reward per customer and window")
    ] = 0.04
    trial_low: Annotated[float, Meta(description="a customer's rewards count at least this in a trial")] = -1.0
    trial_high: Annotated[float, Meta(description="and at most this")] = 8.0
    trial_window_h: Annotated[
        float, Meta(gt=0, description="what a customer earns so long from the first strategy within a trial, hours")
    ] = 168.0
    trial_settle_h: Annotated[
        float,
        Meta(gt=0, description="until the last of these strategies is closed: longest offer, horizon, lateness, hours"),
    ] = 264.0
    trial_min_customers: Annotated[int, Meta(ge=1, description="in each arm, before a trial decides")] = 100
    trial_max_customers: Annotated[int, Meta(ge=2, description="of both arms: then it times out")] = 100_000
    trial_max_days: Annotated[float, Meta(gt=0, description="of event time: likewise")] = 90.0
    complaint_cap: Annotated[
        float, Meta(ge=0, lt=1, description="more customers who complain or unsubscribe, as a share: rolled back")
    ] = 0.01
    fallback_cap: Annotated[
        float, Meta(ge=0, lt=1, description="more customers whose message or decision is a fallback: rolled back")
    ] = 0.05
    late_cap: Annotated[
        float, Meta(ge=0, lt=1, description="more customers who are answered past their deadline: rolled back")
    ] = 0.05
    change_wait_s: Annotated[
        float, Meta(ge=0, description="an operator's adapter waits at most this long for newer rewards to be valued on")
    ] = 600.0
