"""The number of the byte-affecting rules of the bundle format; a change of any such rule is a new number."""

from __future__ import annotations

RULES = 1
