"""What a language must bring to be written in."""

import msgspec

Options = dict[str, tuple[str, ...]]


class Phrases(msgspec.Struct, frozen=True):
    """Phrases with placeholders, by what they express.

    Args:
        titles: by kind. bodies: by kind. openers, closers: by tone. emphases: by emphasis of a ranking.
        offers: by offer type; with `_0` where nothing is taken off. moments: by trigger, only where there is one to name.
        tone_markers: by tone; kind_markers: by kind: stems that a text of it holds, compared in lower case.
        offer_markers: by offer type, the same; empty where the discount says it all.
        joint: between opener and title. space: between sentences.
        units: how `{days}` and `{discount}` are written; `{}` is the number, and one day has its own form.
    """

    titles: Options
    bodies: Options
    openers: Options
    closers: Options
    emphases: Options
    offers: Options
    moments: Options
    tone_markers: Options
    kind_markers: Options
    offer_markers: Options
    joint: str
    space: str
    one_day: str
    many_days: str
    discount: str
