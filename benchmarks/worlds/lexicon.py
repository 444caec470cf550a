"""The words of the simulated shops: another trade than that of pretraining's corpus, so that part of them was never seen by the base."""

CATEGORIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("camping", ("tent", "sleeping bag", "stove", "lantern", "hammock")),
    ("cycling", ("helmet", "saddle", "bike pump", "pannier", "jersey")),
    ("running", ("trail shoes", "race belt", "headband", "windbreaker")),
    ("climbing", ("rope", "harness", "chalk bag", "carabiner")),
    ("fishing", ("rod", "reel", "tackle box", "waders")),
    ("garden", ("trowel", "planter", "hose", "pruning shears", "birdbath")),
    ("kitchen", ("skillet", "teapot", "cutting board", "mixing bowl", "grater")),
    ("lighting", ("desk lamp", "floor lamp", "string lights", "candle holder")),
    ("bedding", ("duvet", "pillow", "throw blanket", "linen sheet")),
    ("crafts", ("yarn", "easel", "sketchbook", "loom", "beads")),
    ("music", ("ukulele", "metronome", "drum pad", "harmonica")),
    ("toys", ("train set", "kite", "puzzle", "marble run", "puppet")),
    ("pets", ("dog leash", "cat tower", "aquarium", "bird feeder")),
    ("travel", ("suitcase", "neck pillow", "passport case", "day pack")),
)
"""Category → what it sells."""

STYLES = """rustic sleek handmade vintage modular foldable waterproof recycled minimal colorful rugged featherlight compact
heirloom quiet soft bold nordic bamboo walnut steel ceramic woven padded insulated magnetic solar wireless premium classic
mini jumbo natural daily golden travel scented silent matte glossy""".split()
"""Words of a product's name that customers like or not."""

BRAND_STARTS = "ar bel cor dun elm fjo gra hol ira jun kes lor mer nil osk pyr".split()
BRAND_ENDS = "ano beck dal eth fell ick mar nor pine rud".split()
SEASONS = "spring summer autumn winter weekend holiday harvest travel".split()
OCCASIONS = "days week fair event selection festival".split()
