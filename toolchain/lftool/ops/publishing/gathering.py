"""Gather what is published together: bundles, checked byte by byte, and the statements about them."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Any

from attrs import frozen

from lftool.api import (
    Publication,
    PublishedBundle,
    PublishedFile,
    PublishedSource,
    PublishedStatement,
)
from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import weights_header, whole_artifact
from lftool.bundle.detached import RUNTIME, SIDECAR, WEIGHTS, has_runtime, sidecar_extents
from lftool.bundle.extents import Extents
from lftool.codec.canonical import parse_canonical_json
from lftool.codec.locks import parse_lock
from lftool.codec.recipes import parse_recipe
from lftool.errors import FormatError, StorageError, UsageError
from lftool.formats.file_types import FILE_TYPES
from lftool.models.digest import Digest
from lftool.models.lock import Lock
from lftool.models.manifest import LOCK_PATH, RECIPE_PATH
from lftool.models.recipe import Recipe
from lftool.ops.bundles.claims import runtime_name
from lftool.ops.run.integrity import check_opened
from lftool.trust.envelope import MEDIA_TYPE, decode_envelope
from lftool.trust.statement import QUALITY_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from lftool.bundle.reader import Bundle
    from lftool.formats.gguf_read import GGUFHeader
    from lftool.store.store import Store

_PIECE = 1024 * 1024
_MOST_STATEMENT = 64 * 1024
_WHOLE = {"gguf": ".gguf", "runtime": ".llamafile"}
_TYPE_NAMES = {number: name for name, number in FILE_TYPES.items()}


@frozen(kw_only=True)
class Gathered:
    """Bundles to publish, and what they were made from.

    Attributes:
        publication: The bundles, as destinations see them.
        recipes: The recipe of each, in the same order.
        locks: The lock of each, in the same order.
    """

    publication: Publication
    recipes: tuple[Recipe, ...]
    locks: tuple[Lock, ...]


@frozen(kw_only=True)
class _Statement:
    """A statement's file, and the M that it is about."""

    manifest: Digest
    statement: PublishedStatement
    predicate: Any


@contextlib.contextmanager
def gathered(
    paths: Sequence[Path], statements: Sequence[Path], store: Store, *, whole: bool = False
) -> Iterator[Gathered]:
    """Yield what is to be published. Its files can be read during the block.

    Args:
        paths: Bundles, or sidecars of detached ones.
        statements: Files of statements about them.
        store: Remembers checked bundles.
        whole: Whether each bundle is published as one file, or else detached.

    Raises:
        FormatError: A file is no bundle, or no statement.
        IntegrityError: A bundle is corrupted.
        UsageError: The bundles are not targets of one version, or a statement is about none of them.
        StorageError: A file cannot be read.
    """
    said = [_statement(path) for path in statements]
    with contextlib.ExitStack() as stack:
        bundles = [stack.enter_context(opened(path)) for path in paths]
        _require_one_version(bundles)
        recipes, locks, found = [], [], []
        for bundle in bundles:
            check_opened(bundle, store)
            recipe = parse_recipe(bundle.read_member(RECIPE_PATH), f"{bundle.name}: {RECIPE_PATH}")
            lock = parse_lock(bundle.read_member(LOCK_PATH), f"{bundle.name}: {LOCK_PATH}")
            own = tuple(item for item in said if item.manifest == bundle.manifest_digest)
            found.append(_published(bundle, recipe, lock, own, whole=whole))
            recipes.append(recipe)
            locks.append(lock)
        known = {bundle.manifest_digest for bundle in bundles}
        for item in said:
            if item.manifest not in known:
                raise UsageError(
                    f"--statement {item.statement.path}: it is about the bundle with M {item.manifest}, which is not pushed",
                    hints=("push it with the bundle that it is about",),
                )
        yield Gathered(publication=Publication(bundles=tuple(found)), recipes=tuple(recipes), locks=tuple(locks))


def _require_one_version(bundles: list[Bundle]) -> None:
    first = bundles[0].manifest
    titles: dict[str, str] = {}
    for bundle in bundles:
        manifest = bundle.manifest
        if (manifest.name, manifest.version) != (first.name, first.version):
            raise UsageError(
                f"{bundle.name} is {manifest.name} {manifest.version}, but {bundles[0].name} is {first.name} {first.version}",
                hints=("push each version by itself",),
            )
        title = manifest.stem.lower()
        if title in titles:
            raise UsageError(
                f"{titles[title]} and {bundle.name} would have the same names where case does not count",
                hints=("name each bundle once, and give targets names that differ in more than case",),
            )
        titles[title] = bundle.name


def _published(
    bundle: Bundle, recipe: Recipe, lock: Lock, statements: tuple[_Statement, ...], *, whole: bool
) -> PublishedBundle:
    manifest, header = bundle.manifest, weights_header(bundle)
    files = (_one_file(bundle),) if whole else _parts(bundle)
    figures: dict[str, str] = {}
    for item in statements:
        figures |= _figures(item)
    return PublishedBundle(
        title=manifest.stem,
        name=manifest.name,
        version=manifest.version,
        target=manifest.target,
        layout=manifest.layout,
        backend=manifest.backend,
        runtime=runtime_name(bundle) or "",
        manifest=bundle.manifest_digest,
        size=bundle.size,
        license=recipe.bundle.license,
        description=recipe.bundle.description,
        weights=header,
        file_type=recipe.targets[manifest.target].quantize or _file_type(header),
        parameters=sum(_elements(tensor.dimensions) for tensor in header.tensors),
        context=manifest.run.context or _trained_context(header),
        sources=tuple(
            PublishedSource(name=name, uri=source.uri, revision=source.revision)
            for name, source in sorted(lock.sources.items())
        ),
        figures=figures,
        files=files,
        statements=tuple(item.statement for item in statements),
    )


def _elements(dimensions: tuple[int, ...]) -> int:
    count = 1
    for dimension in dimensions:
        count *= dimension
    return count


def _file_type(header: GGUFHeader) -> str:
    number = header.metadata.get("general.file_type")
    return _TYPE_NAMES.get(number, "") if isinstance(number, int) else ""


def _trained_context(header: GGUFHeader) -> int:
    found = header.metadata.get(f"{header.metadata.get('general.architecture')}.context_length")
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0


def _pieces(extents: Extents, name: str) -> Callable[[int, int], Iterator[bytes]]:
    def content(start: int, size: int) -> Iterator[bytes]:
        while size > 0:
            piece = extents.read(start, min(size, _PIECE), name)
            yield piece
            start, size = start + len(piece), size - len(piece)

    return content


def _size(extents: Extents) -> int:
    return sum(part.size for part in extents.parts)


def _parts(bundle: Bundle) -> tuple[PublishedFile, ...]:
    """Return the files of a bundle, detached."""
    manifest = bundle.manifest
    start, size = bundle.weights_extent()
    weights = Extents.joined(bundle.extents.between(start, size))
    files = [
        PublishedFile(
            path=f"{manifest.stem}{WEIGHTS}",
            role="weights",
            size=size,
            sha256=manifest.weights.sha256,
            content=_pieces(weights, bundle.name),
        )
    ]
    if has_runtime(manifest):
        runtime = Extents.joined(bundle.extents.between(0, manifest.prefix.size))
        files.append(
            PublishedFile(
                path=f"{manifest.stem}{RUNTIME}",
                role="runtime",
                size=manifest.prefix.size,
                sha256=manifest.prefix.sha256,
                executable=True,
                content=_pieces(runtime, bundle.name),
            )
        )
    sidecar = sidecar_extents(bundle, bundle.signatures)
    state, content, size = hashlib.sha256(), _pieces(sidecar, bundle.name), _size(sidecar)
    for piece in content(0, size):
        state.update(piece)
    files.append(
        PublishedFile(
            path=f"{manifest.stem}{SIDECAR}",
            role="sidecar",
            size=size,
            sha256=Digest(state.hexdigest()),
            content=content,
        )
    )
    return tuple(files)


def _one_file(bundle: Bundle) -> PublishedFile:
    role = bundle.manifest.prefix.role
    return PublishedFile(
        path=f"{bundle.manifest.stem}{_WHOLE[role]}",
        role="bundle",
        size=bundle.size,
        sha256=whole_artifact(bundle).sha256,
        executable=role == "runtime",
        content=_pieces(bundle.extents, bundle.name),
    )


def _statement(path: Path) -> _Statement:
    """Return a statement; it is published as it is, and whoever pulls it checks its signature.

    Raises:
        StorageError: It cannot be read.
        FormatError: It is no statement about a bundle.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_STATEMENT + 1)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > _MOST_STATEMENT:
        raise FormatError(f"{path.name}: a statement has at most {_MOST_STATEMENT} bytes")
    said = parse_canonical_json(decode_envelope(data, path.name).payload, path.name)
    try:
        statement = PublishedStatement(
            path=path.name, data=data, media_type=MEDIA_TYPE, predicate_type=str(said["predicateType"])
        )
        return _Statement(
            manifest=Digest(said["subject"][0]["digest"]["sha256"]), statement=statement, predicate=said["predicate"]
        )
    except (KeyError, IndexError, TypeError, ValueError):
        raise FormatError(f"{path.name}: it is not a statement about a bundle") from None


def _figures(item: _Statement) -> dict[str, str]:
    """Return the measured figures of a statement of quality."""
    if item.statement.predicate_type != QUALITY_TYPE:
        return {}
    said = item.predicate
    try:
        if "cosine" in said:
            return {"cosine": str(said["cosine"]["mean"])}
        return {
            "perplexity": str(said["perplexity"]),
            "perplexity of the source": str(said["reference"]["perplexity"]),
        }
    except (KeyError, TypeError):
        raise FormatError(f"{item.statement.path}: it does not say what was measured") from None
