"""For tests of lftool and of plugins: small models, projects to run commands in, a fake source.

`pytest_plugins = ["lftool.testing.plugin"]` gives the fixtures.
"""

from __future__ import annotations

from lftool.testing.bundles import rewrite_bundle
from lftool.testing.faults import FaultProxy
from lftool.testing.files import FileServer
from lftool.testing.models import tiny_gguf
from lftool.testing.project_folder import Outcome, ProjectFolder

__all__ = ["FaultProxy", "FileServer", "Outcome", "ProjectFolder", "rewrite_bundle", "tiny_gguf"]
