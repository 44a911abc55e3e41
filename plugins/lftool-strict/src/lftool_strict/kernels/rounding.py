"""Roundings and conversions, each as ggml does them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lftool_strict.lanes.tiles import half_to_float

if TYPE_CHECKING:
    from lftool_strict.lanes.program import Program
    from lftool_strict.lanes.values import Value

__all__ = ["half_to_float", "level", "level_of", "nearest", "nearest_of", "to_half", "to_int_or_least"]

_MAGIC = 12582912.0  # 1.5 * 2**23
_INT_LIMIT = 2147483648.0


def nearest(p: Program, value: Value) -> Value:
    """Return the nearest integers, ties to even; beyond 2**22 what `nearest_int` of ggml-quants.c returns."""
    return (p.bits(value + _MAGIC) & 0x007FFFFF) - 0x00400000


def level(p: Program, value: Value, low: int, high: int) -> Value:
    """Return `nearest` between `low` and `high`, as floats.

    The caller has made sure that the value is within the range of `nearest_int`, or the program is an exact one.
    """
    if p.exact:
        return p.to_float(p.maximum(p.minimum(nearest(p, value), high), low))
    return p.minimum(p.maximum(p.round_half_even(value), float(low)), float(high))


def nearest_of(p: Program, place: str, left: Value, right: Value) -> Value:
    """Return `nearest(left * right)`; where the program fuses the place, the product is not rounded before."""
    if place not in p.fused:
        return nearest(p, left * right)
    return (p.bits(p.multiply_add(place, left, right, p.f32(_MAGIC))) & 0x007FFFFF) - 0x00400000


def level_of(p: Program, place: str, left: Value, right: Value, low: int, high: int) -> Value:
    """Return `level(left * right)`; where the program fuses the place, the product is not rounded before."""
    if place not in p.fused:
        return level(p, left * right, low, high)
    return p.to_float(p.maximum(p.minimum(nearest_of(p, place, left, right), high), low))


def to_half(p: Program, value: Value) -> Value:
    """Return the bits of binary16, ties to even, in 32-bit integers: `ggml_compute_fp32_to_fp16`."""
    bits = p.bits(value)
    base = (p.absolute(value) * 2.0**112) * 2.0**-110
    twice = bits + bits
    exponent = (twice >> 24) << 24
    # As unsigned numbers; both are moved by 2**31 for a signed comparison.
    least = p.i32(0x71000000)
    small = (exponent + -0x80000000) < (least + -0x80000000)
    bias = p.select(small, least, exponent)
    base = p.from_bits((bias >> 1) + 0x07800000) + base
    found = p.bits(base)
    finite = ((found >> 13) & 0x7C00) + (found & 0x0FFF)
    is_nan = (bits & 0x7FFFFFFF) > 0x7F800000
    return ((bits >> 16) & 0x8000) | p.select(is_nan, 0x7E00, finite)


def to_int_or_least(p: Program, value: Value) -> Value:
    """Return floats as integers, rounded to zero; -2**31 where they are out of range, as `cvttps2dq` has it."""
    safe = p.absolute(value) < _INT_LIMIT
    return p.select(safe, p.to_int(p.select(safe, value, 0.0)), p.i32(-0x80000000))
