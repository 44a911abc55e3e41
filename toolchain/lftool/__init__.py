"""Build, lock, sign and verify single-file LLM bundles, reproducible bit for bit.

Public are the command line, the schemas, the bundle format, and for plugins `lftool.api`, `lftool.api.gguf`, `lftool.api.http` and
`lftool.testing`. Everything else may change at any time.
"""

from __future__ import annotations

__version__ = "0.1.0"
