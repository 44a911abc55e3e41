"""Of several bundles in a folder, the one whose backend is here: what a recipe with a target per backend builds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.bundle.reader import opened
from lftool.errors import FormatError, UsageError
from lftool.ops.bundles.claims import runtime_name
from lftool.ops.run.backends import AUTO, native_runtimes, pick

if TYPE_CHECKING:
    from lftool.host.registry import Registry
    from lftool.store.store import Store


@frozen(kw_only=True)
class PickedBundle:
    """A bundle that was chosen, for which backend, and the sentence that says why; none where nothing was chosen."""

    path: Path
    backend: str | None
    why: str = ""


def _by_backend(folder: Path) -> tuple[dict[str, list[Path]], set[str]]:
    """Return the bundles for each backend, and the backends whose native runtime one of them brings."""
    found: dict[str, list[Path]] = {}
    carried = set()
    for path in sorted(folder.iterdir()):
        if path.is_file():
            try:
                with opened(path) as bundle:
                    backend = bundle.manifest.backend
                    found.setdefault(backend, []).append(path)
                    if runtime_name(bundle) in native_runtimes(backend):
                        carried.add(backend)
            except FormatError:
                continue  # a statement, or whatever else lies there
    return found, carried


def pick_bundle(path: Path, backend: str | None, registry: Registry, store: Store, *, trusting: bool) -> PickedBundle:
    """Return `path` if it is a file; of a folder, the bundle for the best backend that is here, or for the one asked for.

    Args:
        path: A bundle, or a folder of bundles.
        backend: The backend that was asked for, `auto`, or None.
        registry: Has the backends.
        store: Has the native runtimes of this machine.
        trusting: Whether somebody said whom to trust, so that a bundle's own runtime may be started.

    Raises:
        UsageError: The folder has no bundle, or several for that backend.
        UnavailableError: None of their backends can be used here.
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
            raise UsageError(f"{path} has no bundle for the backend {name}; it has {', '.join(sorted(found))}")
    if len(found[name]) > 1:
        names = ", ".join(item.name for item in found[name])
        raise UsageError(f"{path} has several bundles for the backend {name}: {names}", hints=("name one of them",))
    return PickedBundle(path=found[name][0], backend=None, why=f"picked {found[name][0].name}: {why}")
