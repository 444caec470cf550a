"""Money: decimals on the shop's wire, integer minor units everywhere else, never a float.

Exponents follow ISO 4217; a currency not listed has two decimals.
"""

from decimal import Decimal
from functools import lru_cache
from typing import Annotated

import msgspec

from streaming.contracts.errors import BadEvent

MAX_MINOR = 10**12
"""Largest amount accepted in one field, minor units: ten billion of a two-decimal currency."""
_KEPT_DIGITS = 40
"""Of an amount that is remembered: a hostile one may have thousands."""

Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$", description="ISO 4217 code, upper case")]
Minor = Annotated[int, msgspec.Meta(ge=-MAX_MINOR, le=MAX_MINOR, description="integer minor units")]

_EXPONENTS = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys("CLF UYW".split(), 4),
}


def exponent(currency: str) -> int:
    """Decimals of a currency (ISO 4217)."""
    return _EXPONENTS.get(currency, 2)


def to_minor(amount: Decimal, currency: str, field: str) -> int:
    """Exact minor units of a non-negative amount.

    Raises:
        BadEvent: not finite, negative, over `MAX_MINOR`, or finer than the currency's decimals.
    """
    found = minor_of(amount, currency)
    if isinstance(found, str):
        raise BadEvent(field, amount, found)
    return found


def minor_of(amount: Decimal, currency: str) -> int | str:
    """Minor units, or what was wanted instead."""
    digits = str(amount)  # a text is hashed five times as fast as a decimal
    return _minor(digits, currency) if len(digits) <= _KEPT_DIGITS else _minor.__wrapped__(digits, currency)


@lru_cache(maxsize=16_384)  # a shop has few prices, and each comes again and again
def _minor(digits: str, currency: str) -> int | str:
    """As `minor_of`."""
    amount = Decimal(digits)
    if not amount.is_finite() or (amount.is_signed() and amount != 0):
        return "a finite amount >= 0"
    if amount.adjusted() > 14:  # noqa: PLR2004 -- guards the multiplication against 1e400
        return f"at most {MAX_MINOR} minor units"
    scaled = amount.scaleb(exponent(currency))
    if scaled != scaled.to_integral_value():
        return f"at most {exponent(currency)} decimals for {currency}"
    if scaled > MAX_MINOR:
        return f"at most {MAX_MINOR} minor units"
    return int(scaled)


def to_major(minor: float, currency: str) -> float:
    """Major units as a float, for rewards and display only; books are kept in minor units."""
    return minor / float(10 ** exponent(currency))
