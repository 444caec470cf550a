"""How hard a simulated shop is. Everything else of it follows from its seed."""

import msgspec


class WorldKnobs(msgspec.Struct, frozen=True):
    """Sizes, strengths and habits of a world; all times count interactions.

    Args:
        traits: hidden numbers per customer that tastes depend on; features show them with `noise`.
        taste: standard deviation of what a product's category and words add to a click's logit.
        habit: the same of channels, hours, tones, offers and places.
        interaction: the same of every pair of slots; 0 makes a world whose logits are additive over slots.
        own: standard deviation of tastes that nothing but a customer's own history shows.
        units_spread: of the log of units per order: a heavy tail of customers.
        activity_tail: Pareto exponent of how often a customer comes; smaller is heavier.
        wave_start, wave_every: when products and campaigns are replaced; `replaced`: least and largest share of a wave.
        launch_share: of the requests for products after the first wave whose candidates are all of the latest.
        drift_from, drift_to: within these the one abrupt drift happens; 0, 0: never.
        drifted: share of the tables of effects that it draws anew.
        slow_drift_rad: angle by which every table has turned after 20,000 interactions.
        response_delay, final_delay: until the click's and the horizon's reward close, at least.
        late_refunds: share of refunds that come after the final, as corrections.
        duplicates: share of rewards delivered once more.
        tampered_from, tampered_to: within these rewards are tampered with; 0, 0: never.
        flipped: share of the rewards then that say the contrary of what the customer did.
        fraudulent: share of customers who then click on all they are shown, and order as they always did.
    """

    customers: int = 400
    products: int = 240
    campaigns: int = 24
    candidates: int = 6
    traits: int = 6
    noise: float = 0.4
    taste: float = 0.8
    habit: float = 0.5
    interaction: float = 0.35
    own: float = 0.35
    units_spread: float = 0.6
    activity_tail: float = 1.3
    wave_start: int = 1500
    wave_every: int = 2000
    replaced: tuple[float, float] = (0.05, 0.3)
    launch_share: float = 0.2
    drift_from: int = 4500
    drift_to: int = 5500
    drifted: float = 0.4
    slow_drift_rad: float = 0.8
    response_delay: int = 40
    final_delay: int = 160
    late_refunds: float = 0.5
    duplicates: float = 0.02
    tampered_from: int = 0
    tampered_to: int = 0
    flipped: float = 0.0
    fraudulent: float = 0.0
