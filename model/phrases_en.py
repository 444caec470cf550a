"""English phrases."""

from model.phrasing import Phrases

ENGLISH = Phrases(
    titles={
        "recommendation": (
            "{product}, picked for you",
            "A pick for you: {product}",
            "We recommend {product}",
            "Recommended: {product}",
        ),
        "ad": ("Discover {campaign}", "Now on: {campaign}", "{campaign} is on", "Discover more: {campaign}"),
        "ranking": (
            "{category}, sorted for you",
            "Your list: {category}",
            "{category} in your order",
            "{category}: your sorted list",
        ),
        "promotion": ("An offer on {product}", "{product}: your offer", "Your deal: {product}", "A deal on {product}"),
    },
    bodies={
        "recommendation": (
            "We picked it because it suits your taste.",
            "It goes well with what you buy.",
            "We think it fits your kitchen.",
            "Chosen from what you like.",
            "It matches your last visits.",
        ),
        "ad": (
            "See what the campaign has in store.",
            "The whole campaign is open to you.",
            "Have a look at the campaign.",
            "All of the campaign in one place.",
        ),
        "ranking": (
            "First on the list: {product}.",
            "The list begins with {product}.",
            "We put {product} on top of the list.",
            "At the top of the list: {product}.",
        ),
        "promotion": (
            "The offer runs for {days}.",
            "Your deal is valid for {days}.",
            "This offer lasts {days}.",
            "The deal is yours for {days}.",
        ),
    },
    openers={
        "friendly": ("Hello", "Good to see you", "Hi there", "Hello again"),
        "urgent": ("Hurry", "Last chance", "Right now", "Be quick"),
        "premium": ("Exclusive", "For connoisseurs", "The finest choice", "Refined taste"),
        "playful": ("Ta-da", "Guess what", "Psst", "Surprise"),
    },
    closers={
        "friendly": ("We are glad to have you.", "Warmly, your shop.", "Happy to help you.", "Glad you are here."),
        "urgent": (
            "Do not wait too long.",
            "Be quick, it may be gone soon.",
            "Hurry before it is gone.",
            "Only a little time is left, so hurry.",
        ),
        "premium": (
            "Refined, for high standards.",
            "Exclusive quality, without compromise.",
            "For the finest moments.",
            "Selected for connoisseurs.",
        ),
        "playful": (
            "Your basket is winking at you.",
            "Warning: may cause dancing.",
            "Go on, make your basket giggle.",
            "Fun is included.",
        ),
    },
    emphases={
        "relevance": ("Closest to your taste first.", "What suits you best comes first."),
        "price": ("Lowest prices first.", "The best prices come first."),
        "popularity": ("Most popular first.", "What others love comes first."),
        "novelty": ("Newest first.", "What is new comes first."),
        "margin": ("Our house selection first.", "The shop's own selection comes first."),
    },
    offers={
        "percent_off": ("You save {discount}.", "It is {discount} off.", "{discount} off the price."),
        "percent_off_0": ("At our everyday price.", "The usual fair price."),
        "free_shipping": ("Free delivery and {discount} off.", "We deliver free, with {discount} off."),
        "free_shipping_0": ("Delivery is free.", "We deliver it free."),
        "bundle": ("Take the bundle and save {discount}.", "As a bundle it is {discount} off."),
        "bundle_0": ("Take it as a bundle.", "Now also as a bundle."),
    },
    moments={
        "cart_abandoned": ("Your cart is waiting.", "You left something in your cart."),
        "search_without_click": ("You searched and found nothing yet.", "Still searching?"),
        "price_drop": ("The price has dropped.", "It costs less than before."),
        "category_interest": ("You looked around here.", "You seem interested."),
        "dormant_customer": ("It has been a while.", "We have not seen you lately."),
        "campaign_start": ("It starts today.", "It has just begun."),
    },
    tone_markers={
        "friendly": ("hello", "good to see", "hi there", "glad", "warmly", "happy to help"),
        "urgent": ("hurry", "last chance", "right now", "quick", "do not wait"),
        "premium": ("exclusive", "connoisseur", "finest", "refined"),
        "playful": ("ta-da", "guess what", "psst", "surprise", "winking", "dancing", "giggle", "fun is"),
    },
    kind_markers={
        "recommendation": ("pick", "recommend"),
        "ad": ("campaign",),
        "ranking": ("sorted", "list", "order"),
        "promotion": ("offer", "deal"),
    },
    offer_markers={
        "percent_off": (),
        "free_shipping": ("delivery", "deliver it free", "deliver free"),
        "bundle": ("bundle",),
    },
    joint=": ",
    space=" ",
    one_day="1 day",
    many_days="{} days",
    discount="{}%",
)
