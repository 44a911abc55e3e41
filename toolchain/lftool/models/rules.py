"""The number of the byte-affecting rules of the bundle format. A change to any such rule needs a new number."""

from __future__ import annotations

RULES = 1
