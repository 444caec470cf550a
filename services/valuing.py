"""Settings → the reward formula and the windows of attribution."""

import re
from collections.abc import Collection, Mapping

import msgspec

from services.settings import PREFIX, AgentsSettings, SettingError
from services.settings_reward import RewardSettings
from streaming.contracts.kinds import KIND_NAMES, PLACEMENTS
from streaming.open_state import DAY_MS, HOUR_MS, KindWindows, Windows
from streaming.reward import Formula, Weights

BY_KIND = {
    "response_window_h": "response_ms",
    "horizon_h": "horizon_ms",
    "click_through_h": "click_conversion_ms",
    "view_through_h": "view_conversion_ms",
}
"""Setting of all kinds → field of one kind's windows."""


def formula_of(settings: RewardSettings) -> Formula:
    """The one formula, by the weights of this installation.

    Raises:
        SettingError: a list of factors that cannot be read.
    """
    weights = Weights(
        click_major=settings.reward_click,
        order_major=settings.reward_order,
        margin=settings.reward_margin,
        discount=settings.reward_discount,
        refund=settings.reward_refund,
        email_major=settings.cost_email,
        push_major=settings.cost_push,
        sms_major=settings.cost_sms,
        bid_low_major=settings.cost_bid_low,
        bid_medium_major=settings.cost_bid_medium,
        bid_high_major=settings.cost_bid_high,
        placement_factor=_factors("cost_placements", settings.cost_placements, PLACEMENTS),
        free_shipping_major=settings.cost_free_shipping,
        unsubscribe_major=settings.reward_unsubscribe,
        complaint_major=settings.reward_complaint,
    )
    return Formula(weights, _factors("reward_per_unit", settings.reward_per_unit, None))


def windows_of(settings: AgentsSettings) -> Windows:
    """The windows of attribution, its model and its formula.

    Raises:
        SettingError: a window that outlasts its horizon, or a list that cannot be read.
    """
    own = _pairs("windows_by_kind", settings.windows_by_kind)
    wanted = "`kind.window=hours`, comma separated, windows " + ", ".join(BY_KIND)
    for key in own:
        kind, _, window = key.partition(".")
        if kind not in KIND_NAMES or window not in BY_KIND:
            raise _refused("windows_by_kind", settings.windows_by_kind, wanted)
    return Windows(
        by_kind={kind: _windows_of(settings, kind, own) for kind in KIND_NAMES},
        others=_windows_of(settings, "declared", {}),
        refund_ms=round(settings.refund_days * DAY_MS),
        late_ms=round(settings.late_outcome_h * HOUR_MS),
        early_ms=round(settings.early_outcome_h * HOUR_MS),
        default_margin_pct=settings.default_margin_pct,
        model=settings.attribution_model,
        half_life_ms=round(settings.attribution_half_life_h * HOUR_MS),
        formula=formula_of(settings),
    )


def _windows_of(settings: AgentsSettings, kind: str, own: Mapping[str, float]) -> KindWindows:
    """One kind's windows; what is not said follows the horizon, or the response window."""
    hours = {name: own.get(f"{kind}.{name}", getattr(settings, name)) for name in BY_KIND}
    hours["response_window_h"] = min(hours["response_window_h"], hours["horizon_h"])
    hours["click_through_h"] = hours["click_through_h"] or hours["horizon_h"]
    hours["view_through_h"] = hours["view_through_h"] or hours["response_window_h"]
    spans = {field: int(hours[name] * HOUR_MS) for name, field in BY_KIND.items()}
    try:
        return msgspec.convert(spans, KindWindows)
    except msgspec.ValidationError as error:
        raise SettingError(f"windows of {kind} ({PREFIX}HORIZON_H and its fellows): {error}") from None


def _factors(name: str, text: str, known: Collection[str] | None) -> dict[str, float]:
    """Non-negative factors by name; the names are known ones, or currencies."""
    found = _pairs(name, text)
    for key, value in found.items():
        if value < 0 or not (re.fullmatch("[A-Z]{3}", key) if known is None else key in known):
            keys = "currencies (ISO 4217)" if known is None else ", ".join(known)
            raise _refused(name, text, f"`name=factor`, comma separated, factors >= 0, names: {keys}")
    return found


def _pairs(name: str, text: str) -> dict[str, float]:
    """`a=1,b=2.5` as a mapping."""
    found: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, _, number = item.partition("=")
        if key.strip() in found or not re.fullmatch(r"-?\d+(\.\d+)?", number.strip()):
            raise _refused(name, text, "`name=number`, comma separated, each name once")
        found[key.strip()] = float(number)
    return found


def _refused(name: str, text: str, wanted: str) -> SettingError:
    return SettingError(f"{PREFIX}{name.upper()}={text!r}: wanted {wanted}")
