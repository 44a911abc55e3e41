"""`http:` sources: the conformance class against nginx, and what only URLs have."""

from __future__ import annotations

import pytest

from lftool.testing import FaultProxy
from lftool.testing.source_kit import Served, SourceConformance, large_model


class TestNginx(SourceConformance):
    """nginx, through the proxy."""

    @pytest.fixture
    def served(self, nginx):
        data = large_model()
        (nginx.root / "models").mkdir()
        (nginx.root / "models" / "model.gguf").write_bytes(data)
        with FaultProxy(nginx.url) as proxy:
            yield Served(
                uri=f"{proxy.url}/models/model.gguf",
                files={"model.gguf": data},
                proxy=proxy,
                fault_path="/models/model.gguf",
            )
