"""Real numbers as decimal strings: no float enters canonical JSON or a canonical slice.

The canonical form is the shortest plain decimal notation with at most nine significant digits: no exponent, no
trailing zeros, no plus sign, and zero is `0` (so `-0.0` is `0` too). Test vectors are in
docs/reference/bundle-format.md and in tests/models/test_reals.py.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*[1-9])?\Z")
_SPELLING = re.compile(
    r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|s?nan|inf(?:inity)?)\Z", re.IGNORECASE | re.ASCII
)
_NINE_DIGITS = Context(prec=9, rounding=ROUND_HALF_EVEN)
_MAX_MAGNITUDE = 30
_RANGE = f"magnitudes from 1e-{_MAX_MAGNITUDE} to 1e{_MAX_MAGNITUDE}"


def canonical_real(value: float | str) -> str:
    """Return `value` in canonical decimal notation.

    Args:
        value: A number from TOML, or a decimal string.

    Raises:
        ValueError: It is not a finite number, or its magnitude is beyond 1e30 or below 1e-30.
    """
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a number")  # noqa: TRY004 - one error kind for callers
    text = value if isinstance(value, str) else repr(value)
    if not _SPELLING.match(text):
        raise ValueError(f"{value!r} is not a decimal number")
    try:
        exact = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{value!r} is out of range: {_RANGE}") from None
    if not exact.is_finite():
        raise ValueError(f"{value!r} is not a finite number")
    if not exact:
        return "0"
    number = _NINE_DIGITS.plus(exact) if -_MAX_MAGNITUDE <= exact.adjusted() <= _MAX_MAGNITUDE else exact
    if not -_MAX_MAGNITUDE <= number.adjusted() <= _MAX_MAGNITUDE:
        raise ValueError(f"{value!r} is out of range: {_RANGE}")
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def is_canonical_real(text: str) -> bool:
    """Tell whether `text` is exactly what `canonical_real` would write."""
    return bool(_PLAIN.match(text)) and canonical_real(text) == text


def as_decimal(text: str) -> Decimal:
    """Return the value of a canonical real."""
    return Decimal(text)
