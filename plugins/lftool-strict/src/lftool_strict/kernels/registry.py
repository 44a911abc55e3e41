"""All kernels, by the name of the type that they make."""

from __future__ import annotations

from lftool_strict.kernels.grid_blocks import GRID_KERNELS
from lftool_strict.kernels.minimum_blocks import MINIMUM_KERNELS
from lftool_strict.kernels.signed_blocks import SIGNED_KERNELS
from lftool_strict.kernels.small_blocks import SMALL_KERNELS
from lftool_strict.kernels.table_blocks import TABLE_KERNELS
from lftool_strict.kernels.ternary_blocks import TERNARY_KERNELS

KERNELS = {
    **SMALL_KERNELS,
    **MINIMUM_KERNELS,
    **SIGNED_KERNELS,
    **TABLE_KERNELS,
    **GRID_KERNELS,
    **TERNARY_KERNELS,
}
FLOATS = ("F32", "F16", "BF16")
