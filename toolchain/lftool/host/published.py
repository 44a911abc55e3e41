"""The plugins that this project publishes: what to install for a name that no installed plugin provides.

This is the only place in the core that names plugins. A test compares it with the packages.
"""

from __future__ import annotations

BACKENDS = {"cpu": "lftool-llamacpp", "cuda": "lftool-cuda", "metal": "lftool-metal", "rocm": "lftool-rocm"}
ENGINES = {"llama-cpp-python": "cpu", "xllamacpp": "xllamacpp"}  # to extras of lftool
SCHEMES = {"hf": "lftool-hf", "s3": "lftool-s3", "gs": "lftool-s3", "az": "lftool-s3", "oci": "lftool-oci"}


def hints_for_backend(name: str) -> tuple[str, ...]:
    """Return what to install for a backend; nothing if it is not ours: anyone could publish such a package."""
    return (f"install {BACKENDS[name]}: pip install 'lftool[{name}]'",) if name in BACKENDS else ()
