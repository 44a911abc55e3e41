"""A small compiler: programs that treat many blocks at once, one in each SIMD lane."""
