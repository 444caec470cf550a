"""Names in Redis. All keys of one bucket share a cluster hash tag, so that one script may write them together."""

from msgspec import Struct

BUCKETS_FIELD = "buckets"
PAUSED_FIELD = "paused"
MIXED_FIELD = "mixed"
CAMPAIGN_PREFIX = "c|"
STAMP_FIELD = "t"
"""Of the home bucket's meta: the wall clock at its owner's last sign of life, milliseconds."""


def namespace(topic_prefix: str) -> str:
    """What every key begins with: two installations with different topic prefixes may share one Redis."""
    return f"stratagem:{topic_prefix}"


def control_key(topic_prefix: str) -> str:
    """Hash: `buckets` (fixed at first start), `paused`, `mixed` (event time, ms: customers' records were in several partitions)."""
    return f"{namespace(topic_prefix)}control"


class BucketKeys(Struct, frozen=True):
    """The keys of one bucket, in the order in which `lua/apply.lua` takes them."""

    meta: str
    rows: str
    open: str
    due: str
    outbox: str
    wants: str
    orders: str

    @staticmethod
    def of(topic_prefix: str, bucket: int) -> "BucketKeys":
        """The keys of the bucket with this number."""
        tag = f"{{{namespace(topic_prefix)}b{bucket}}}"
        return BucketKeys(*(f"{tag}:{part}" for part in ("meta", "rows", "open", "due", "outbox", "wants", "orders")))

    @property
    def all(self) -> list[str]:
        """As `KEYS` of the script."""
        return [self.meta, self.rows, self.open, self.due, self.outbox, self.wants, self.orders]


def offset_field(topic: str, partition: int) -> str:
    """Of any bucket's meta: the next offset to be applied to this bucket."""
    return f"o|{topic}|{partition}"


def seal_field(topic: str, partition: int) -> str:
    """Of the home bucket's meta: everything before this offset was applied to every bucket."""
    return f"s|{topic}|{partition}"


def watermark_field(topic: str, partition: int) -> str:
    """Of the home bucket's meta: the watermark at the seal, milliseconds of event time."""
    return f"w|{topic}|{partition}"


def fate_field(topic: str, partition: int, fate: str) -> str:
    """Of meta: how many records had this fate."""
    return f"f|{topic}|{partition}|{fate}"


def incarnation_field(topic: str) -> str:
    """Of meta: the id of the topic that offsets and watermarks belong to."""
    return f"i|{topic}"


def campaign_field(campaign_id: str, start_ms: int) -> str:
    """Of meta: how far the start of a campaign was spread, `CURSOR:SEEN`, or `done`."""
    return f"{CAMPAIGN_PREFIX}{campaign_id}|{start_ms}"


def want_prefix(product_id: str) -> bytes:
    """What the members of one product begin with. The length in front keeps ids apart whatever they contain."""
    raw = product_id.encode("utf-8", "surrogatepass")
    return b"%d:%b" % (len(raw), raw)


def want_member(product_id: str, user_id: str) -> bytes:
    """A member of `wants`: this customer wished for or carted this product."""
    return want_prefix(product_id) + user_id.encode("utf-8", "surrogatepass")


def wanted_by(member: bytes) -> tuple[str, str]:
    """The product and the customer of a member of `wants`."""
    length, _, rest = member.partition(b":")
    cut = int(length)
    return rest[:cut].decode("utf-8", "surrogatepass"), rest[cut:].decode("utf-8", "surrogatepass")
