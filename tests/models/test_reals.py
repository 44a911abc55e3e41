from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lftool.models.reals import as_decimal, canonical_real, is_canonical_real

VECTORS = [
    (0, "0"),
    (0.0, "0"),
    (-0.0, "0"),
    ("-0", "0"),
    ("0e5", "0"),
    (1, "1"),
    (-1, "-1"),
    (1.0, "1"),
    (1.5, "1.5"),
    (-1.5, "-1.5"),
    (0.1, "0.1"),
    (0.7, "0.7"),
    (0.95, "0.95"),
    (1e-5, "0.00001"),
    (1e-30, f"0.{'0' * 29}1"),
    (1e30, f"1{'0' * 30}"),
    (-1e30, f"-1{'0' * 30}"),
    (1 / 3, "0.333333333"),
    (2 / 3, "0.666666667"),
    (100, "100"),
    (100.0, "100"),
    (123456789, "123456789"),
    (1234567890, "1234567890"),
    (1234567891, "1234567890"),
    (1234567895, "1234567900"),
    (1234567885, "1234567880"),
    (0.1234567885, "0.123456788"),
    (0.1234567895, "0.12345679"),
    (2**53, "9007199250000000"),
    ("1.10", "1.1"),
    ("+1", "1"),
    ("01", "1"),
    (".5", "0.5"),
    ("5.", "5"),
    ("1E3", "1000"),
    ("25e-2", "0.25"),
]


@pytest.mark.parametrize(("value", "expected"), VECTORS, ids=[repr(value) for value, _ in VECTORS])
def test_a_number_has_one_canonical_form(value, expected):
    assert canonical_real(value) == expected


REFUSED = [
    (float("nan"), "nan is not a finite number"),
    (float("inf"), "inf is not a finite number"),
    (float("-inf"), "-inf is not a finite number"),
    ("nan", "'nan' is not a finite number"),
    ("sNaN", "'sNaN' is not a finite number"),
    ("Infinity", "'Infinity' is not a finite number"),
    (True, "True is not a number"),
    (False, "False is not a number"),
    ("", "'' is not a decimal number"),
    ("abc", "'abc' is not a decimal number"),
    ("1,5", "'1,5' is not a decimal number"),
    ("1_000", "'1_000' is not a decimal number"),
    (" 1", "' 1' is not a decimal number"),
    ("1\n", "'1\\n' is not a decimal number"),
    ("0x10", "'0x10' is not a decimal number"),
    ("\u0661", "'\u0661' is not a decimal number"),
    (1e31, "1e+31 is out of range: magnitudes from 1e-30 to 1e30"),
    (1e-31, "1e-31 is out of range: magnitudes from 1e-30 to 1e30"),
    ("9.9999999999e30", "'9.9999999999e30' is out of range: magnitudes from 1e-30 to 1e30"),
    ("1e1000000", "'1e1000000' is out of range: magnitudes from 1e-30 to 1e30"),
    ("1e-2000000", "'1e-2000000' is out of range: magnitudes from 1e-30 to 1e30"),
]


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=[repr(value) for value, _ in REFUSED])
def test_what_is_not_a_number_in_range_is_refused(value, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        canonical_real(value)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text",
    ["", "-0", "+1", "01", "1.0", "1.", ".5", "1e5", "0.10", "1\n", " 1", "nan", "inf", "1234567891", "\u0661", "--1"],
)
def test_another_spelling_is_not_canonical(text: str):
    assert not is_canonical_real(text)


IN_RANGE = st.one_of(
    st.floats(min_value=-1e30, max_value=1e30, allow_nan=False),
    st.integers(-(10**30), 10**30),
    st.decimals(min_value=-(10**30), max_value=10**30, allow_nan=False).map(str),
)


@given(IN_RANGE)
@example(1e-30)
@example("0.1234567895")
def test_the_canonical_form_is_stable_and_near_the_number(value):
    number = Decimal(value if isinstance(value, str) else repr(value))
    assume(number == 0 or abs(number) >= Decimal("1e-30"))
    text = canonical_real(value)
    assert canonical_real(text) == text
    assert is_canonical_real(text)
    assert abs(as_decimal(text) - number) <= abs(number) * Decimal("5.000001e-9")
    assert len(text.lstrip("-0.").replace(".", "").rstrip("0")) <= 9


@given(st.text(max_size=12))
def test_any_text_is_a_number_or_a_value_error(text):
    try:
        made = canonical_real(text)
    except ValueError:
        assert not is_canonical_real(text)
    else:
        assert is_canonical_real(made)
        assert is_canonical_real(text) == (made == text)
