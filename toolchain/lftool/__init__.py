"""Build, lock, sign and verify single-file LLM bundles, reproducible bit for bit.

What is public is `lftool.api` (for plugin authors), `lftool.testing`, the command line, the schemas and the bundle
format; everything else may change at any time.
"""

from __future__ import annotations

__version__ = "0.1.0"
