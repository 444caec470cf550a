"""Settings of attribution and of the reward: what they mean, and how wrong ones are refused."""

import pytest

from services.settings import AgentsSettings, SettingError, load
from services.valuing import formula_of, windows_of
from streaming.contracts.kinds import KIND_NAMES
from streaming.contracts.rewards import CurrencyMoney, Outcomes
from streaming.open_state import DAY_MS, HOUR_MS, KindWindows, Windows
from streaming.reward import Formula


def settings(**environ: str) -> AgentsSettings:
    """The agents' settings with some variables."""
    return load(AgentsSettings, {f"STRATAGEM_{name}": value for name, value in environ.items()})


def test_defaults_are_the_cores_own() -> None:
    """Without an environment windows and weights are those that the pure modules state."""
    assert formula_of(settings()) == Formula()
    assert windows_of(settings()) == Windows.of(horizon_ms=72 * HOUR_MS, response_ms=24 * HOUR_MS)
    assert Windows.of(72 * HOUR_MS, 24 * HOUR_MS).by_kind == dict.fromkeys(KIND_NAMES, KindWindows())


def test_windows_per_kind_and_outcome() -> None:
    """Each window has a setting, and each kind may have its own."""
    made = windows_of(
        settings(
            HORIZON_H="48",
            RESPONSE_WINDOW_H="12",
            CLICK_THROUGH_H="24",
            VIEW_THROUGH_H="6",
            WINDOWS_BY_KIND="ranking.response_window_h=0.5, ad.view_through_h=1",
            REFUND_DAYS="14",
            LATE_OUTCOME_H="2",
            EARLY_OUTCOME_H="3",
            ATTRIBUTION_MODEL="time_decay",
            ATTRIBUTION_HALF_LIFE_H="12",
            DEFAULT_MARGIN_PCT="40",
        )
    )
    usual = KindWindows(12 * HOUR_MS, 48 * HOUR_MS, 24 * HOUR_MS, 6 * HOUR_MS)
    assert made.by_kind["promotion"] == usual
    assert made.by_kind["ranking"] == KindWindows(HOUR_MS // 2, 48 * HOUR_MS, 24 * HOUR_MS, 6 * HOUR_MS)
    assert made.by_kind["ad"].view_conversion_ms == HOUR_MS
    assert (made.refund_ms, made.late_ms, made.early_ms) == (14 * DAY_MS, 2 * HOUR_MS, 3 * HOUR_MS)
    assert (made.model, made.half_life_ms, made.default_margin_pct) == ("time_decay", 12 * HOUR_MS, 40)


def test_every_weight_is_a_setting() -> None:
    """Each variable changes its own weight."""
    names = {
        "REWARD_CLICK": "click_major",
        "REWARD_ORDER": "order_major",
        "REWARD_MARGIN": "margin",
        "REWARD_DISCOUNT": "discount",
        "REWARD_REFUND": "refund",
        "COST_EMAIL": "email_major",
        "COST_PUSH": "push_major",
        "COST_SMS": "sms_major",
        "COST_BID_LOW": "bid_low_major",
        "COST_BID_MEDIUM": "bid_medium_major",
        "COST_BID_HIGH": "bid_high_major",
        "COST_FREE_SHIPPING": "free_shipping_major",
    }
    for variable, field in names.items():
        assert getattr(formula_of(settings(**{variable: "7"})).weights, field) == 7
    for variable, field in {"REWARD_UNSUBSCRIBE": "unsubscribe_major", "REWARD_COMPLAINT": "complaint_major"}.items():
        assert getattr(formula_of(settings(**{variable: "-7"})).weights, field) == -7
    assert formula_of(settings(COST_PLACEMENTS="home=2")).weights.placement_factor == {"home": 2.0}


def test_money_becomes_reward_by_its_currencys_worth() -> None:
    """With a worth for each currency, margins of all are weighed; without, the strategy's own counts alone."""
    sold = Outcomes("USD", ordered=True, margin_minor=200, other_currencies=(CurrencyMoney("JPY", margin_minor=1000),))
    assert formula_of(settings()).margin_of(sold) == 2.0
    assert formula_of(settings(REWARD_PER_UNIT="USD=1,JPY=0.0065")).margin_of(sold) == pytest.approx(2.0 + 6.5)
    assert formula_of(settings(REWARD_PER_UNIT="JPY=0.0065")).margin_of(sold) == pytest.approx(2.0 + 6.5)
    assert formula_of(settings(REWARD_PER_UNIT="USD=0.5")).margin_of(sold) == 1.0


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WINDOWS_BY_KIND", "banner.horizon_h=1"),
        ("WINDOWS_BY_KIND", "ad.patience_h=1"),
        ("WINDOWS_BY_KIND", "ad.horizon_h=long"),
        ("WINDOWS_BY_KIND", "ad.horizon_h=1,ad.horizon_h=2"),
        ("REWARD_PER_UNIT", "dollar=1"),
        ("REWARD_PER_UNIT", "USD=-1"),
        ("COST_PLACEMENTS", "roof=1"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(variable: str, value: str) -> None:
    """Variable, value and what was wanted."""
    with pytest.raises(SettingError, match=f"STRATAGEM_{variable}=.*wanted") as caught:
        windows_of(settings(**{variable: value}))
    assert value in str(caught.value)


def test_a_window_may_not_outlast_its_horizon() -> None:
    """The final is published at the horizon: what counts longer could not be in it."""
    with pytest.raises(SettingError, match=r"windows of ad .*click_conversion_ms 7200000 is longer than horizon_ms"):
        windows_of(settings(WINDOWS_BY_KIND="ad.horizon_h=1,ad.click_through_h=2"))
    with pytest.raises(SettingError, match="windows of ad"):
        windows_of(settings(WINDOWS_BY_KIND="ad.view_through_h=-1"))
