"""Money: decimals on the shop's wire, integer minor units everywhere else, never a float.

Exponents follow ISO 4217; a currency not listed has two decimals.
"""

from decimal import Decimal
from typing import Annotated

import msgspec

from streaming.contracts.errors import BadEvent

MAX_MINOR = 10**12
"""Largest amount accepted in one field, minor units: ten billion of a two-decimal currency."""

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
    if not amount.is_finite() or (amount.is_signed() and amount != 0):
        raise BadEvent(field, amount, "a finite amount >= 0")
    if amount.adjusted() > 14:  # noqa: PLR2004 -- guards the multiplication against 1e400
        raise BadEvent(field, amount, f"at most {MAX_MINOR} minor units")
    scaled = amount.scaleb(exponent(currency))
    if scaled != scaled.to_integral_value():
        raise BadEvent(field, amount, f"at most {exponent(currency)} decimals for {currency}")
    if scaled > MAX_MINOR:
        raise BadEvent(field, amount, f"at most {MAX_MINOR} minor units")
    return int(scaled)


def to_major(minor: int, currency: str) -> float:
    """Major units as a float, for rewards and display only; books are kept in minor units."""
    return minor / float(10 ** exponent(currency))
