"""Kafka's murmur2 partitioner (Java's and kafka-python's default) and the bucket of a customer.

Source: org.apache.kafka.common.utils.Utils.murmur2.
"""

from functools import lru_cache

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


@lru_cache(maxsize=65_536)  # customers come in visits, and a hash costs as much as the decoding of an event
def murmur2(data: bytes) -> int:
    """The positive 31-bit murmur2 hash used by Java's DefaultPartitioner."""
    length = len(data)
    h = (0x9747B28C ^ length) & _MASK
    whole = length & ~3
    for i in range(0, whole, 4):
        k = (int.from_bytes(data[i : i + 4], "little") * _M) & _MASK
        k = ((k ^ (k >> 24)) * _M) & _MASK
        h = ((h * _M) & _MASK) ^ k
    if tail := data[whole:]:
        h = ((h ^ int.from_bytes(tail, "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return (h ^ (h >> 15)) & 0x7FFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """The partition a correctly configured publisher chooses."""
    return murmur2(key) % partitions


def bucket_of(user_id: str, buckets: int) -> int:
    """The customer's bucket; `buckets` is fixed at first start and a multiple of the partitions."""
    return murmur2(user_id.encode()) % buckets
