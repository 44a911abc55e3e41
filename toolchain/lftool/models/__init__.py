"""Frozen values that the rest of the project works with. Pure, no I/O, no serialisation."""
