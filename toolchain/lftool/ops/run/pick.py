"""Pick the bundle in a folder whose backend is available; a recipe with one target per backend builds such a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.bundle.bundle_files import files_in, opened
from lftool.errors import FormatError, UsageError, instead_of
from lftool.ops.bundles.claims import runtime_name
from lftool.ops.run.backends import AUTO, native_runtimes, pick

if TYPE_CHECKING:
    from lftool.host.registry import Registry
    from lftool.store.store import Store


@frozen(kw_only=True)
class PickedBundle:
    """A chosen bundle, its backend, and a sentence that explains the choice; empty if there was no choice."""

    path: Path
    backend: str | None
    why: str = ""


def _by_backend(folder: Path) -> tuple[dict[str, list[Path]], set[str]]:
    """Return the bundles for each backend, and the backends for which one contains a native runtime."""
    found: dict[str, list[Path]] = {}
    carried = set()
    for path in files_in(folder):
        try:
            with opened(path) as bundle:
                backend = bundle.manifest.backend
                found.setdefault(backend, []).append(path)
                if runtime_name(bundle) in native_runtimes(backend):
                    carried.add(backend)
        except FormatError:
            continue  # a statement, or some other file
    return found, carried


def pick_bundle(path: Path, backend: str | None, registry: Registry, store: Store, *, trusting: bool) -> PickedBundle:
    """Return `path` if it is a file; if a folder, its bundle for the best available or the requested backend.

    Args:
        path: A bundle, or a folder of bundles.
        backend: The requested backend, `auto`, or None.
        registry: Has the backends.
        store: Has this machine's native runtimes.
        trusting: Whether there is a trust policy, so that a bundle's own runtime may be started.

    Raises:
        UsageError: The folder has no bundle, or several for that backend.
        UnavailableError: None of their backends is usable here.
    """
    if not path.is_dir():
        return PickedBundle(path=path, backend=backend)
    found, carried = _by_backend(path)
    if not found:
        raise UsageError(f"there is no bundle in {path}", hints=("build some: lftool build",))
    if backend in {None, AUTO}:
        picked = pick(found, registry, store, carried if trusting else ())
        name, why = picked.found.name, picked.why
    else:
        name, why = str(backend), f"--backend {backend}"
        if name not in found:
            raise UsageError(f"{path} has no bundle for the backend {name}; {instead_of(name, found)}")
    if len(found[name]) > 1:
        names = ", ".join(item.name for item in found[name])
        raise UsageError(f"{path} has several bundles for the backend {name}: {names}", hints=("name one of them",))
    return PickedBundle(path=found[name][0], backend=None, why=f"picked {found[name][0].name}: {why}")
