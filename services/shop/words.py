"""Product words: the retailer's upper-case, abbreviated hierarchy as English a customer can read, and Chinese labels.

Pure. Everything here is *composed*: the source has no names, no descriptions and no brand names, only a hierarchy and
manufacturer numbers. The brand of a manufacturer is an invented word, the same for the same number.
"""

from __future__ import annotations

import csv
import io
import re
from functools import cache
from importlib.resources import files

from streaming.contracts.ids import stable_seed


def _words(text: str) -> tuple[str, ...]:
    """A long list of words, written as text."""
    return tuple(text.split())


ABBREVIATIONS = dict(
    pair.split("=")
    for pair in """
ANTIPERSPIRANTS=antiperspirant|APERITIFS=aperitif|BBQ=barbecue|BDY=body|BEERALEMALT=beer|BEV=beverage|BKD=baked|BN=beans
BNLS=boneless|BR=bread|BRD=bread|BRKFST=breakfast|BTL=bottle|BTR=butter|CAN=canned|CARB=|CARBONATED=sparkling|CAR=
CATFD=cat food|CHEEZ=cheese|CHICK=chicken|CHIX=chicken|CHOC=chocolate|CHOCOCLATE=chocolate|CHOCOL=chocolate
CKYS=cookies|CLEANG=cleaning|CLU=club|CNDY=candy|CND=canned|CONC=concentrate|CRAN=cranberry|CRBNTD=sparkling
CRKR=crackers|CRMD=crushed|CRYSTL=crystal|CTLRYTBLCLTHSTTHPKSST=party tableware|DISPOSIBLE=disposable|DNR=dinner
DNRS=dinners|DOGFD=dog food|DRNK=drink|DRNKING=drinking|DRNKNG=drinking|DRNKS=drinks|DRP=drops|DRSNG=dressing
DSH=dish|FD=food|FLAV=flavored|FLVRD=flavored|FLVR=flavored|FRZ=frozen|FRZN=frozen|FS=|GDS=goods|GRND=ground
HANDKE=handkerchiefs|HBC=care|HYGN=hygiene|IQF=frozen|IWS=wrapped|JCE=juice|LOZNG=lozenges|LIQS=|MARIN=marinated|MACH=|HYGN.NAPKINS=napkins
MEXICAN=Mexican|ITALIAN=Italian|FRENCH=French|ENGLISH=English|GREEK=Greek|MISC=assorted|MISCELLANEOUS=assorted
MIXS=mixes|MLK=milk|MLT=multi|MNERAL=mineral|MNRL=mineral|MX=mix|MXS=mixes|NAPKIN=napkin|NZ=New Zealand|OCCAS=occasion
ORIENTAL=Asian|PAC=pack|PATTY=patties|PCKGD=packaged|PK=pack|PKG=packaged|PKGD=packaged|PKLD=pickled|PICKLD=pickled
PLSTC=plastic|PNCH=punch|PNT=peanut|PPK=pack|PREM=premium|PREP=prepared|PREPORTND=portioned|PORTON=portion
PRPCK=packed|PREPACK=packed|PWDR=powder|PWDRS=powders|REFRGRATD=chilled|REFRIG=chilled|REFRIGERATED=chilled|REG=regular
RTS=ready|RW=|SAL=salad|SALD=salad|SAUS=sausage|SAUCESSALSAPICANTEE=salsa|SFT=soft|SGL=single|SNGL=single|SNDWCH=sandwich
SANDWIC=sandwiches|SNKS=snacks|SPECILATY=specialty|SPLY=supplies|SPRD=spread|SRV=serve|SS=single-serve|STK=stick
SUP=super|SV=serve|SW=sweet|SWEETNERS=sweeteners|SWT=sweet|SYRP=syrup|TISS=tissue|TORT=tortilla|TRSH=trash
UP=|VAC=|VALENTINE=Valentine|VEG=vegetable|WAT=water|WATE=water|WHL=whole|WHLSM=wholesome|WT=weight|WTR=water|XPCTRNT=
ANGUS=Angus|KOSHER=kosher|HISPANIC=Mexican|SUPPPLIES=supplies|LIF=lifestyle|AUSTRALIAN=Australian|FEM=feminine
MAY=mayonnaise|NACHO=nacho|CATSUP=ketchup|WORCHESTER=Worcester|MUSTAR=mustard|SUPERPREMIUM=super premium|VEND=vending
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
"""Source word → words; an empty value drops it."""

DROPPED = frozenset(
    _words(
        "ALL ONLY ETC INCLUDING INCL EXCP EXCEPT EX OTHER OTHERS N T O S W C P J A B ET INCLUDI NOT BRANDS "
        "ALPO COVERGIRL LOREAL MAYBELLINE PEDIGREE PEPPERIDG PEPPERIDGE SKIPPY"
    )
)
"""Words that explain the hierarchy to its keeper, not the product to a customer, and trade marks of others."""

VAGUE = frozenset(
    _words("""assorted authentic beginner bagged basic better blends boxed bulk choice economy enhanced enrobed entrees everyday
    for fresh full garden instant large lean light mainstream mini multi natural organic pack packs patties pints plain
    plus popular pouches premium primal regular seasonal select singles size specialty standard sticks super traditional
    value variety you meat snacks appetizers cooked smoked raw box boxes case whole cut general adult kids single-serve
    bean beans domestic imported processed one cards special sets""")
)
"""A type made of these words alone does not say what the product is; its category is added."""

BRAND_STARTS = _words(
    "Alder Bell Bram Cald Cedar Clover Dun Elm Fair Fen Glen Gold Hart Haz Ivy Kings Lark Lin Map Mead"
)
BRAND_ENDS = _words(
    "brook bury by dale field ford ham haven ley mere mont moor port ridge stead ton vale well wick wood"
)
BRAND_MAKES = ("", "", "", " Farms", " Foods", " & Co", " House", " Mills", " Bros")
PRIVATE_BRANDS = ("Home Larder", "Simple Shelf", "Fresh Corner")
"""The shop's own labels: pantry, household and fresh goods."""
FRESH_DEPARTMENTS = frozenset(
    {"PRODUCE", "MEAT", "MEAT-PCKGD", "DELI", "PASTRY", "SEAFOOD", "SEAFOOD-PCKGD", "FLORAL", "SALAD BAR"}
)

DEPARTMENTS = {
    "CHEF SHOPPE": ("chef's corner", "大厨精选"),
    "COSMETICS": ("beauty", "美妆"),
    "DELI": ("deli", "熟食"),
    "DRUG GM": ("health and household", "健康与家居"),
    "FLORAL": ("flowers", "鲜花"),
    "FROZEN GROCERY": ("frozen food", "冷冻食品"),
    "GARDEN CENTER": ("garden", "园艺"),
    "GROCERY": ("grocery", "食品杂货"),
    "MEAT": ("meat", "鲜肉"),
    "MEAT-PCKGD": ("packaged meat", "包装肉类"),
    "NUTRITION": ("natural food", "天然食品"),
    "PASTRY": ("bakery", "烘焙"),
    "PRODUCE": ("fruit and vegetables", "果蔬"),
    "SALAD BAR": ("salad bar", "沙拉吧"),
    "SEAFOOD": ("seafood", "海鲜"),
    "SEAFOOD-PCKGD": ("packaged seafood", "包装海鲜"),
    "SPIRITS": ("wine and spirits", "酒类"),
}
"""Department → English and Chinese words; one that is not here is cleaned as a type is."""


@cache
def category_words() -> dict[str, tuple[str, str]]:
    """Source category → (English, Chinese), from the table that ships beside the extract."""
    text = files("services.shop").joinpath("data", "categories.csv").read_text(encoding="utf-8")
    return {row["source"]: (row["english"], row["chinese"]) for row in csv.DictReader(io.StringIO(text))}


@cache
def readable(source: str) -> str:
    """Lower-case words of a hierarchy entry: abbreviations written out, keeper's remarks dropped.

    >>> readable("FRZN BAGGED VEGETABLES - PLAIN")
    'frozen bagged vegetables plain'
    >>> readable("SFT DRNK 2 LITER BTL CARB INCL")
    'soft drink 2 liter bottle'
    """
    words: list[str] = []
    for raw in re.split(r"[^A-Z0-9%']+", re.sub(r"\([^)]*\)?", " ", source.upper())):
        if not raw or raw in DROPPED:
            continue
        for word in ABBREVIATIONS.get(raw, raw.lower()).split():
            if word not in words:
                words.append(word)
    return " ".join(words)


@cache
def category_label(source: str) -> str:
    """English label of a category."""
    known = category_words().get(source)
    return known[0] if known else readable(source) or "specialties"


@cache
def category_label_zh(source: str) -> str:
    """Chinese label of a category; where none is known, the generic word for a good product."""
    known = category_words().get(source)
    return known[1] if known else "精选商品"


def department_label(source: str) -> str:
    """English label of a department."""
    return DEPARTMENTS[source][0] if source in DEPARTMENTS else readable(source) or "specialties"


@cache
def type_label(kind: str, category: str) -> str:
    """What the product is: its type, with its category where the type alone does not say it."""
    words, label = readable(kind), category_label(category)
    if not words:
        return label
    if set(words.split()) <= VAGUE:
        return f"{words} {label}"
    return words


@cache
def brand_name(manufacturer_id: str, brand: str, department: str) -> str:
    """Invented brand of a manufacturer, or the shop's own label where `brand` is `Private`."""
    if brand == "Private":
        household = department in {"DRUG GM", "COSMETICS"}
        return PRIVATE_BRANDS[2 if department in FRESH_DEPARTMENTS else 1 if household else 0]
    seed = stable_seed("brand", manufacturer_id)
    start = BRAND_STARTS[seed % len(BRAND_STARTS)]
    seed //= len(BRAND_STARTS)
    end = BRAND_ENDS[seed % len(BRAND_ENDS)]
    makes = BRAND_MAKES[seed // len(BRAND_ENDS) % len(BRAND_MAKES)]
    return f"{start}{end}{makes}"


SIZE_UNITS = {"OZ": "oz", "LB": "lb", "CT": "count", "L": "L", "ML": "ml", "PK": "pack", "GA": "gal", "GAL": "gal"} | {
    "QT": "qt",
    "PT": "pt",
    "DZ": "dozen",
    "LOAD": "loads",
}
CRATE_LB = 20
"""Fresh goods are listed by the shop's crate; from here on the size is not the customer's."""


def size_label(package_size: str) -> str:
    """Readable package size: `10.5 OZ` → `10.5 oz`; empty when the source has none."""
    match = re.fullmatch(r"(\d*(?:\.\d+)?)\s*([A-Z]+)", package_size.upper())
    unit = SIZE_UNITS.get(match[2]) if match else None
    if match is None or unit is None:
        return ""
    amount = match[1] or "1"
    too_big = unit == "lb" and float(amount) >= CRATE_LB
    return "" if too_big else f"{'0' if amount.startswith('.') else ''}{amount} {unit}"


def title_case(words: str) -> str:
    """Title case that keeps small words small."""
    small = {"and", "of", "in", "with", "for"}
    return " ".join(w if w in small and i else w[:1].upper() + w[1:] for i, w in enumerate(words.split()))
