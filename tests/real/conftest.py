"""Models of others, as `make models` unpacks them from the package index."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.plugins.conftest import archive, convert, sdist  # noqa: F401 - fixtures

MODELS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lftool-dev" / "models"


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder with `smollm2`, `gemma3` and `minilm`."""
    if not (MODELS / "models.lock").exists():
        pytest.fail("the real models are not here: make models")
    return MODELS
