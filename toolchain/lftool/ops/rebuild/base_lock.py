"""The slices in a bundle as the old lock of a project: its pins, without outputs, and executors found here."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import attrs
from attrs import frozen

from lftool.api import ConverterType, QuantizerType
from lftool.bundle.contents import check_contents, unsigned_artifact
from lftool.codec.locks import parse_lock
from lftool.codec.recipes import parse_recipe
from lftool.errors import UnavailableError
from lftool.models.digest import Artifact, Digest
from lftool.models.lock import Lock, LockedFile, LockedSource, LockedTarget
from lftool.models.manifest import LOCK_PATH, RECIPE_PATH, BundleManifest
from lftool.models.recipe import Recipe
from lftool.ops.bundles.claims import check_documents
from lftool.ops.bundles.slices import check_claims
from lftool.pipeline.tools.runtimes import NONE
from lftool.store.vendoring import take_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from lftool.api import ToolArchive
    from lftool.bundle.reader import Bundle
    from lftool.host.registry import Registered, Registry
    from lftool.pipeline.ports import Ports

_NOTHING = Digest("0" * 64)  # an action that nothing has


@frozen(kw_only=True)
class Slices:
    """A bundle's recipe, lock and names."""

    recipe: Recipe
    lock: Lock
    manifest: BundleManifest
    manifest_digest: Digest
    unsigned: Artifact

    @property
    def target(self) -> str:
        """The bundle's target."""
        return self.manifest.target

    @property
    def runtime(self) -> str | None:
        """Name and number of its runtime; None if it has none."""
        return self.lock.targets[self.target].runtime


def read_slices(bundle: Bundle) -> Slices:
    """Check every byte of a bundle against its manifest, and return its slices."""
    check_documents(bundle)
    check_contents(bundle)
    check_claims(bundle)
    return Slices(
        recipe=parse_recipe(bundle.read_member(RECIPE_PATH), RECIPE_PATH),
        lock=parse_lock(bundle.read_member(LOCK_PATH), LOCK_PATH),
        manifest=bundle.manifest,
        manifest_digest=bundle.manifest_digest,
        unsigned=unsigned_artifact(bundle),
    )


def _with_semantics(
    items: Iterable[Registered[ConverterType]] | Iterable[Registered[QuantizerType]], wanted: str, use: str
) -> str:
    """Return the name of an installed transform that has the semantics and makes the file type.

    Raises:
        UnavailableError: There is none.
    """
    able = [item.record for item in items if item.record.semantics == wanted]
    able = [record for record in able if use.partition("+")[0].partition("{")[0] in record.produces] or able
    own = [record for record in able if getattr(record, "accelerates", None) is None] or able
    if not own:
        raise UnavailableError(
            f"no installed plugin has the semantics {wanted}",
            hints=("install one: pip install 'lftool[cpu,convert]'", "what is installed: lftool plugins list"),
        )
    return max(own, key=lambda record: getattr(record, "preference", 0)).name


def base_lock(slices: Slices, registry: Registry) -> Lock:
    """Return a lock with the pins of a slice: sources and fingerprints, but no outputs, and executors found here.

    Raises:
        UnavailableError: No installed plugin has the semantics that the slice names.
    """
    lock, target = slices.lock, slices.target
    convert = {
        role: attrs.evolve(
            stage,
            converter_name=_with_semantics(registry.all(ConverterType), stage.semantics, stage.uses),
            action=_NOTHING,
        )
        for role, stage in lock.convert.items()
    }
    stage = lock.targets[target].quantize
    if stage is not None:
        name = _with_semantics(registry.all(QuantizerType), stage.semantics, stage.uses)
        stage = attrs.evolve(stage, quantizer=name, action=_NOTHING, sha256=None, size=None)
    metadata = lock.targets[target].metadata
    if metadata is not None:
        metadata = attrs.evolve(metadata, action=_NOTHING, sha256=None, size=None)
    return attrs.evolve(
        lock,
        convert=convert,
        targets={target: LockedTarget(runtime=slices.runtime, quantize=stage, metadata=metadata)},
    )


def vendored(slices: Slices, lock: Lock, path: Path, ports: Ports) -> Lock:
    """Bring pinned files into the store, and pin archives of tools that are there; return the lock with those.

    Raises:
        FormatError: It is not a vendor folder or archive.
        IntegrityError: A file does not match its name.
    """
    archives = _archives(lock, ports)
    wanted = [file.artifact for source in slices.lock.sources.values() for file in source.files]
    taken = take_in(path, wanted, ports.store.blobs, [archive.sha256 for archive in archives.values()])
    return _with_archives(lock, archives, taken.found)


def stored(lock: Lock, ports: Ports) -> Lock:
    """Return the lock with the archives of tools pinned that the store has, so that nobody is asked for them."""
    archives = _archives(lock, ports)
    found = []
    for archive in archives.values():
        path = ports.store.blobs.path(Artifact(archive.sha256, 0))
        with contextlib.suppress(OSError):
            found.append(Artifact(archive.sha256, path.stat().st_size))
    return _with_archives(lock, archives, found)


def _archives(lock: Lock, ports: Ports) -> dict[str, ToolArchive]:
    """Return the archives that installed converters need, by the semantics that the lock names."""
    found = {}
    for registered in ports.registry.all(ConverterType):
        archive = registered.record.factory().tool().archive if registered.record.semantics in lock.tools else None
        if archive is not None:
            found[registered.record.semantics] = archive
    return found


def _with_archives(lock: Lock, archives: Mapping[str, ToolArchive], here: Iterable[Artifact]) -> Lock:
    """Return the lock with those archives pinned that are here."""
    sizes = {item.sha256: item.size for item in here}
    tools = dict(lock.tools)
    for name, archive in archives.items():
        if archive.sha256 in sizes:
            file = LockedFile(path="archive", size=sizes[archive.sha256], sha256=archive.sha256)
            pinned = LockedSource(uri=archive.uri, include=archive.include, revision="vendored", files=(file,))
            tools[name] = attrs.evolve(tools[name], archive=pinned)
    return attrs.evolve(lock, tools=tools)


def weights_only(recipe: Recipe, lock: Lock, target: str) -> tuple[Recipe, Lock]:
    """Return recipe and lock with the target in a layout that needs no runtime."""
    spec = attrs.evolve(recipe.targets[target], layout="gguf", layout_options={}, runtime=NONE, backend="cpu")
    locked = attrs.evolve(lock.targets[target], runtime=None)
    return attrs.evolve(recipe, targets={target: spec}), attrs.evolve(lock, runtimes={}, targets={target: locked})
