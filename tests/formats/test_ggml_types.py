from __future__ import annotations

from lftool.formats.ggml_types import BY_NUMBER, GGML_TYPES


def test_numbers_and_names_are_unique():
    assert set(BY_NUMBER.values()) == set(GGML_TYPES.values())
    assert len(BY_NUMBER) == len(GGML_TYPES)


def test_bits_per_weight_are_what_the_format_is_known_for():
    bits = {name: 8 * kind.block_bytes / kind.block_elements for name, kind in GGML_TYPES.items()}
    chosen = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K", "IQ4_XS", "MXFP4")
    assert [bits[name] for name in chosen] == [32, 16, 16, 8.5, 4.5, 4.5, 6.5625, 4.25, 4.25]
