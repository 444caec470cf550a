"""The tables that `stratagem data prepare` makes, field by field: what a value must be, and which fields name a row.

Every source is brought to these; a reader hands over text, `values.py` makes of it what is written here.
"""

from typing import Literal, get_args

import msgspec

ID_CHARS = 200
NAME_CHARS = 300
TEXT_CHARS = 10_000

Kind = Literal["id", "text", "path", "names", "choice", "currency", "money", "count", "time"]
"""`path`: a category from the general to the particular, joined by `PATH_SEPARATOR`; `names`: ids joined by a space;
`money`: integer minor units of the row's currency; `time`: milliseconds, UTC."""

PATH_SEPARATOR = " > "


class Field(msgspec.Struct, frozen=True):
    """A column of a table.

    Args:
        choices: of a `choice`.
        least, most: bounds of a `count`, both allowed.
        most_chars: a longer text is refused, not cut: cutting would make up a value.
    """

    name: str
    kind: Kind
    required: bool = False
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = 1_000_000_000
    most_chars: int = ID_CHARS


class Table(msgspec.Struct, frozen=True):
    """A table.

    Args:
        key: fields that together name a row: a second row of the same values is a duplicate.
        own_id: a field that names a row alone, where the row has it.
        content: fields that tell near-duplicates: texts for products and ads, deeds for behaviours.
        references: field → the table whose key it must be in, where that table is given.
    """

    name: str
    key: tuple[str, ...]
    fields: tuple[Field, ...]
    own_id: str | None = None
    content: tuple[str, ...] = ()
    references: dict[str, str] = {}

    def field(self, name: str) -> Field:
        """The field of a name."""
        return next(field for field in self.fields if field.name == name)


Action = Literal[
    "exposure", "view", "click", "collect", "cart", "remove", "purchase", "search", "unsubscribe", "complain"
]
ACTIONS: tuple[str, ...] = get_args(Action)
"""What a customer did or was shown; `exposure` is an ad, an e-mail or a promotion that was seen or sent."""
STATES = ("order", "payment", "return", "cancel")

BEHAVIOURS = Table(
    "behaviours",
    key=("customer_id", "at", "action", "product_id", "ad_id", "offer_id", "order_id", "session_id", "query"),
    own_id="event_id",
    content=("customer_id", "action", "product_id", "ad_id", "offer_id", "order_id", "session_id", "query"),
    references={"product_id": "products"},
    fields=(
        Field("customer_id", "id", required=True),
        Field("at", "time", required=True),
        Field("action", "choice", required=True, choices=ACTIONS),
        Field("product_id", "id"),
        Field("ad_id", "id"),
        Field("offer_id", "id"),
        Field("event_id", "id"),
        Field("session_id", "id"),
        Field("order_id", "id"),
        Field("channel", "text"),
        Field("placement", "text"),
        Field("query", "text", most_chars=1_000),
        Field("quantity", "count", least=1, most=100_000),
        Field("currency", "currency"),
        Field("price_minor", "money"),
    ),
)
TRANSACTIONS = Table(
    "transactions",
    key=("order_id", "state", "product_id", "at", "line", "quantity", "amount_minor"),
    references={"product_id": "products"},
    fields=(
        Field("order_id", "id", required=True),
        Field("customer_id", "id", required=True),
        Field("at", "time", required=True),
        Field("state", "choice", required=True, choices=STATES),
        Field("product_id", "id"),
        Field("line", "count"),
        Field("quantity", "count", least=1, most=100_000),
        Field("currency", "currency", required=True),
        Field("amount_minor", "money"),
        Field("discount_minor", "money"),
        Field("coupon_minor", "money"),
    ),
)
PRODUCTS = Table(
    "products",
    key=("product_id",),
    content=("name", "description", "brand", "category"),
    fields=(
        Field("product_id", "id", required=True),
        Field("name", "text", required=True, most_chars=NAME_CHARS),
        Field("description", "text", most_chars=TEXT_CHARS),
        Field("category", "path", most_chars=NAME_CHARS),
        Field("type", "text", most_chars=NAME_CHARS),
        Field("brand", "text"),
        Field("size", "text"),
        Field("attributes", "text", most_chars=TEXT_CHARS),
        Field("image", "text", most_chars=2_000),
        Field("launched_at", "time"),
        Field("currency", "currency"),
        Field("price_minor", "money"),
    ),
)
ADS = Table(
    "ads",
    key=("ad_id", "language"),
    content=("title", "body"),
    fields=(
        Field("ad_id", "id", required=True),
        Field("kind", "text"),
        Field("language", "text"),
        Field("title", "text", most_chars=2_000),
        Field("body", "text", most_chars=TEXT_CHARS),
        Field("image", "text", most_chars=2_000),
        Field("channel", "text"),
        Field("placement", "text"),
        Field("starts_at", "time"),
        Field("ends_at", "time"),
        Field("products", "names", most_chars=TEXT_CHARS * 10),
    ),
)
OFFERS = Table(
    "offers",
    key=("offer_id", "ad_id", "product_id"),
    references={"product_id": "products", "ad_id": "ads"},
    fields=(
        Field("offer_id", "id", required=True),
        Field("ad_id", "id"),
        Field("product_id", "id", required=True),
    ),
)
TABLES = {table.name: table for table in (PRODUCTS, ADS, OFFERS, BEHAVIOURS, TRANSACTIONS)}
"""By name, those that others refer to first."""
