"""Frozen values: what the rest of the project talks about. Pure, no I/O, no serialisation."""
