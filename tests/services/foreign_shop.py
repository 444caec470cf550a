"""Exports of a shop that has never heard of us: German columns, commas in its money, its own code page and clock."""

import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

GOODS = {
    "Kaffee": ("Röstkaffee kräftig", "Röstkaffee mild", "Espresso ganze Bohne"),
    "Tee": ("Grüner Tee lose", "Kräutertee Beutel", "Früchtetee Beutel"),
    "Gebäck": ("Butterkeks", "Nusskuchen", "Zwieback süß"),
}
SIZES = ("250 g", "500 g", "1 kg")
MAPPING = """
name = "laden"
currency = "EUR"
timezone = "Europe/Berlin"
separator = ";"
decimal = ","
encoding = "cp1252"

[[table]]
table = "products"
files = "artikel.csv"
columns = { product_id = "ArtNr", name = "Bezeichnung", category = "Warengruppe", price_minor = "Preis" }

[[table]]
table = "ads"
files = "werbung.csv"
columns = { ad_id = "Nr", title = "Text", channel = "Weg", products = "ArtNr" }
values.channel = { Mail = "email", Seite = "onsite" }

[[table]]
table = "behaviours"
files = "vorgang*.csv"
columns = { customer_id = "Kunde", at = "Zeit", action = "Vorgang", product_id = "ArtNr", ad_id = "Werbung" }
values.action = { gezeigt = "exposure", angesehen = "view", geklickt = "click", gekauft = "purchase" }
"""
BEGIN = datetime(2026, 1, 5, 9)  # noqa: DTZ001 -- the shop writes its own clock, without a zone
CUSTOMERS, DAYS, ADS = 60, 36, 12


def products() -> Iterator[tuple[str, str, str, int]]:
    """Number, name, group, price in cents."""
    names = [(group, f"{name} {size}") for group, all_names in GOODS.items() for name in all_names for size in SIZES]
    for number, (group, name) in enumerate(names):
        yield f"A-{100 + number}", name, group, 199 + 50 * number


def export(folder: Path, seed: int = 1) -> Path:
    """The files and the mapping; customers like one group of goods, and click on what is of it."""
    folder.mkdir()
    (folder / "laden.toml").write_text(MAPPING, encoding="utf-8")
    goods = list(products())
    _write(folder / "artikel.csv", "ArtNr;Bezeichnung;Warengruppe;Preis", [
        f"{number};{name};{group};{cents // 100},{cents % 100:02d}" for number, name, group, cents in goods
    ])  # fmt: skip
    rng = random.Random(seed)
    ads = [goods[rng.randrange(len(goods))] for _ in range(ADS)]
    _write(folder / "werbung.csv", "Nr;Text;Weg;ArtNr", [
        f"W{number};Jetzt {ad[1]} für Sie;{('Mail', 'Seite')[number % 2]};{ad[0]}" for number, ad in enumerate(ads)
    ])  # fmt: skip
    rows = sorted(_deeds(rng, goods, ads))
    lines = [f"{customer};{at:%Y-%m-%d %H:%M:%S};{what};{number};{ad}" for at, customer, what, number, ad in rows]
    lines[10:10] = ["K7;gestern;gekauft;A-100;", "K8;2026-01-06 10:00:00;geträumt;A-100;"]  # two that cannot be right
    _write(folder / "vorgang-2026.csv", "Kunde;Zeit;Vorgang;ArtNr;Werbung", lines)
    return folder


def catalog() -> str:
    """The same goods as lines of the catalog's topic, as the shop would publish them."""
    shape = {"currency": "EUR", "stock": 50, "launched_at": "2026-01-01T00:00:00Z", "brand": "Laden"}
    return "\n".join(
        json.dumps({**shape, "product_id": number, "name": name, "category": [group], "price_minor": cents, "unit_cost_minor": cents // 2})
        for number, name, group, cents in products()
    )  # fmt: skip


def _deeds(
    rng: random.Random, goods: list[tuple[str, str, str, int]], ads: list[tuple[str, str, str, int]]
) -> Iterator[tuple[datetime, str, str, str, str]]:
    """Time, customer, deed, product, ad."""
    for customer in range(CUSTOMERS):
        liked = list(GOODS)[customer % len(GOODS)]
        own = [each for each in goods if each[2] == liked]
        for day in range(rng.randrange(5), DAYS, 5):
            at = BEGIN + timedelta(days=day, minutes=rng.randrange(600))
            for minute in range(3):
                yield at + timedelta(minutes=minute), f"K{customer}", "angesehen", rng.choice(own)[0], ""
            place = rng.randrange(ADS)
            shown = at + timedelta(minutes=10)
            yield shown, f"K{customer}", "gezeigt", ads[place][0], f"W{place}"
            if rng.random() < (0.6 if ads[place][2] == liked else 0.05):
                yield shown + timedelta(minutes=2), f"K{customer}", "geklickt", ads[place][0], f"W{place}"
                if rng.random() < 0.4:
                    yield shown + timedelta(minutes=9), f"K{customer}", "gekauft", ads[place][0], f"W{place}"


def _write(path: Path, header: str, lines: list[str]) -> None:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="cp1252")
