"""What outcomes are worth: settings that every service of one installation must share, as all call the one formula."""

from typing import Annotated

from msgspec import Meta, Struct


class RewardSettings(Struct, frozen=True, kw_only=True):
    """Weights of the reward, in units of reward: one major unit of money, unless `reward_per_unit` says otherwise."""

    reward_click: Annotated[float, Meta(ge=0, description="of a click within its window")] = 0.05
    reward_order: Annotated[float, Meta(ge=0, description="of an order beyond its margin")] = 0.0
    reward_margin: Annotated[float, Meta(ge=0, description="per unit of attributed margin at full price")] = 1.0
    reward_discount: Annotated[float, Meta(ge=0, description="lost per unit given away below full price")] = 1.0
    reward_refund: Annotated[float, Meta(ge=0, description="lost per unit of margin that refunds took back")] = 1.0
    reward_unsubscribe: Annotated[
        float, Meta(le=0, description="of a customer who may not be written to any more")
    ] = -1.0
    reward_complaint: Annotated[float, Meta(le=0, description="of a message marked as spam")] = -3.0
    reward_per_unit: Annotated[
        str,
        Meta(
            description="what one major unit of a currency is worth, e.g. `USD=1,JPY=0.0065`; a currency that is not named: "
            "1 in its own strategies, nothing in others'"
        ),
    ] = ""
    cost_email: Annotated[float, Meta(ge=0, description="of sending one e-mail")] = 0.002
    cost_push: Annotated[float, Meta(ge=0, description="of one push message")] = 0.001
    cost_sms: Annotated[float, Meta(ge=0, description="of one text message")] = 0.03
    cost_bid_low: Annotated[float, Meta(ge=0, description="of one exposure of an ad at the low bid")] = 0.003
    cost_bid_medium: Annotated[float, Meta(ge=0, description="at the medium bid")] = 0.008
    cost_bid_high: Annotated[float, Meta(ge=0, description="at the high bid")] = 0.02
    cost_placements: Annotated[str, Meta(description="factors on the bid by placement; one that is not named: 1")] = (
        "home=1,search=1.5,category=1,checkout=1.2"
    )
    cost_free_shipping: Annotated[float, Meta(ge=0, description="of an order delivered free")] = 0.2
