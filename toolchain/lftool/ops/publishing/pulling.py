"""`lftool pull`: fetch bundles, check every byte and who signed them, and only then give the files their names."""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from lftool.api import Notice
from lftool.bundle.bundle_files import opened
from lftool.bundle.detached import RUNTIME, SIDECAR, WEIGHTS, has_runtime, opened_detached, read_sidecar
from lftool.errors import (
    FetchError,
    FormatError,
    IntegrityError,
    RecipeError,
    StorageError,
    TrustError,
    UsageError,
)
from lftool.models.digest import Digest
from lftool.models.policy import TrustPolicy
from lftool.models.recipe import SourceSpec
from lftool.ops.bundles.trust import today_utc
from lftool.ops.bundles.verify import Verification, VerifyOptions, verify_opened
from lftool.ops.publishing.arrivals import NAME, Located, Remote, on_this_machine
from lftool.ops.publishing.finishing import Finished, PulledFile, require_free, taken
from lftool.pipeline.sources.called import Called
from lftool.pipeline.sources.resolve import ask
from lftool.store.durable import storage_errors
from lftool.store.partial import has_chunks
from lftool.store.reading import open_for_reading
from lftool.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.bundle.reader import Bundle, Documents
    from lftool.pipeline.ports import Ports

_LANDING = ".lftool-pull"
_SUFFIX = {"gguf": WEIGHTS, "runtime": ".llamafile"}
_INDEX = "index.json"
_LOOK_SECONDS = 0.2
_MODELS = (WEIGHTS, ".llamafile", ".safetensors", "")  # suffixes of what is asked for a signature


@frozen(kw_only=True)
class PullOptions:
    """How to pull.

    Attributes:
        output: The folder to write into.
        policy: The keys to trust; None checks integrity only.
        detached: Whether detached bundles stay as they are, or else are attached.
        target: Take only this target; None for all.
        include: Globs of files to take; all if empty.
        allow_unsigned: Whether files that are not signed are taken although there is a policy.
        allow_other_signatures: Whether there may be signatures that no trusted key verifies, beside a trusted one.
        force: Whether files with other contents are replaced.
        options: Options of the source.
    """

    output: Path
    policy: TrustPolicy | None = None
    detached: bool = False
    target: str | None = None
    include: tuple[str, ...] = ()
    allow_unsigned: bool = False
    allow_other_signatures: bool = False
    force: bool = False
    options: dict[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class Pulled:
    """The result.

    Attributes:
        revision: What the URI means now; empty if the source has no revisions.
        files: What was written, or was there already.
        left_out: Paths of files that were not taken, since they are no bundles and a policy asks for signatures.
    """

    revision: str
    files: tuple[PulledFile, ...]
    left_out: tuple[str, ...]


def pull(uri: str, options: PullOptions, ports: Ports) -> Pulled:
    """Fetch what a URI means now, and write it once all of it has been checked.

    Args:
        uri: Of a source: a registry, a hub, a bucket, a URL or a folder.
        options: How.
        ports: Registry, store, credentials, and the rules of transfers.

    Raises:
        RecipeError: The URI is wrong.
        FetchError: It cannot be fetched, or its files do not belong together.
        IntegrityError: A file is not what its digest or its manifest says.
        TrustError: No trusted key signed it.
        PolicyError: A valid signature that the policy refuses.
        UsageError: It means several things, or another file of a name is there.
        StorageError: A file cannot be written.
    """
    if ":" not in uri:
        raise UsageError(
            f"{uri!r} has no scheme",
            hints=("such as oci://REGISTRY/REPOSITORY:TAG, hf://ORG/REPO, https://…, file:FOLDER",),
        )
    output = options.output.absolute()
    fresh = not output.exists()
    landings = output / _LANDING
    folder = landings / Digest.of(uri.encode()).hex[:16]
    with storage_errors("create", folder):
        folder.mkdir(parents=True, exist_ok=True)
    landing, done = Store(folder), False
    one_at_a_time = ports.store.doing(Digest.of(f"pull {output}".encode()), pulse=lambda: ports.wait(_LOOK_SECONDS))
    try:
        with ports.store.in_use(), one_at_a_time, landing.in_use():
            found = _pulled(_resolved(uri, options, landing, ports), options)
        done = True
    finally:
        if done or not has_chunks(landing.partials):
            shutil.rmtree(folder, ignore_errors=True)
        else:  # what has arrived of a large file is kept for the next time
            ports.emit(Notice(text=f"what has arrived is kept in {landings}; the same pull goes on from there"))
        for empty in (landings, *([output] if fresh else [])):
            with contextlib.suppress(OSError):
                empty.rmdir()
    return found


def _resolved(uri: str, options: PullOptions, landing: Store, ports: Ports) -> Remote:
    typed, include = uri, options.include
    if uri.startswith("file:") and not uri.startswith("file://"):
        uri, meant, ports = on_this_machine(uri, ports)
        include = include or meant
    spec = SourceSpec(uri=uri, include=include, options=options.options)
    try:
        reader, found = ask(spec, Called(NAME, typed), ports)
    except RecipeError as error:
        if "is an index of" not in error.message:
            raise
        raise UsageError(error.message, hints=("take one: --target NAME",)) from error
    revision = found.revision or ""
    for file in found.files:
        if file.path.partition("/")[0] == _LANDING:
            raise FetchError(f"{uri} has a file {file.path!r}, whose name lftool uses for its own")
    files = {file.path: Located(reader=reader, revision=revision, file=file) for file in found.files}
    return Remote(uri=uri, revision=revision, files=files, landing=landing, ports=ports)


def _pulled(remote: Remote, options: PullOptions) -> Pulled:
    sidecars = sorted(path for path in remote.files if path.endswith(SIDECAR))
    beside = {f"{path.removesuffix(SIDECAR)}{suffix}" for path in sidecars for suffix in (WEIGHTS, RUNTIME)}
    finished = [made for path in sidecars if (made := _bundle(remote, path, options)) is not None]
    left_out: list[str] = []
    others = sorted({*remote.files} - {*sidecars} - beside)
    if (sidecars or _INDEX in others) and not options.include:  # bundles: cards and lists are for people
        others = [path for path in others if Path(path).suffix in {WEIGHTS, ".llamafile"}]
    for path in others if options.target is None or not sidecars else ():
        single = _single(remote, path, options)
        if single is None:
            left_out.append(path)
        else:
            finished.append(single)
    if not finished and left_out:
        raise TrustError(
            f"{', '.join(left_out[:3])}: no bundle, so nothing says who made it",
            hints=("to take it all the same: --allow-unsigned",),
        )
    if not finished:
        raise UsageError(f"{remote.uri} has no target {options.target!r}")
    return Pulled(revision=remote.revision, files=tuple(item.place() for item in finished), left_out=tuple(left_out))


def _verification(bundle: Bundle, path: Path, options: PullOptions) -> Verification:
    how = VerifyOptions(
        policy=options.policy,
        allow_unsigned=options.policy is None or options.allow_unsigned,
        allow_other_signatures=options.allow_other_signatures,
    )
    return verify_opened(bundle, path, how, today_utc())


def _there(path: Path, documents: Documents, options: PullOptions) -> PulledFile | None:
    """Return a bundle that is there already, verified; None if there is no file, or another one that may be replaced.

    Raises:
        UsageError: Another file is there, or the bundle with other signatures.
    """
    if not os.path.lexists(path):
        return None
    wanted = (documents.manifest_bytes, tuple(data for _, data in documents.signatures))
    with contextlib.suppress(FormatError, IntegrityError, StorageError), opened(path) as bundle:
        if (bundle.manifest_bytes, bundle.signatures) == wanted:
            return PulledFile(path=path, size=bundle.size, checked=_verification(bundle, path, options))
    if options.force:
        return None
    raise taken(path)


def _bundle(remote: Remote, path: str, options: PullOptions) -> Finished | None:
    """Return a detached bundle that was checked; None if another target was asked for.

    The sidecar comes first: it says what the weights have to be.
    """
    sidecar = remote.bring(path)
    stem = path.removesuffix(SIDECAR)
    documents = _documents(sidecar)
    manifest = documents.manifest
    if options.target not in {None, manifest.target}:
        return None
    final = options.output / (path if options.detached else f"{stem}{_SUFFIX[manifest.prefix.role]}")
    known = _there(final, documents, options)
    if known is not None:
        return Finished(result=known)
    if options.detached and not options.force:
        require_free(options.output / f"{stem}{WEIGHTS}", manifest.weights.artifact)
        if has_runtime(manifest):
            require_free(options.output / f"{stem}{RUNTIME}", manifest.prefix.artifact)
    if Path(stem).name != manifest.stem:
        remote.tell(f"{path} is the bundle {manifest.stem}, under another name")
    weights = remote.bring(f"{stem}{WEIGHTS}", manifest.weights.artifact)
    runtime = remote.bring(f"{stem}{RUNTIME}", manifest.prefix.artifact) if has_runtime(manifest) else None
    with opened_detached(sidecar, weights, runtime) as bundle, _flushing(weights):
        result = PulledFile(path=final, size=bundle.size, checked=_verification(bundle, final, options))
    if not options.detached:
        mode = 0o755 if runtime is not None else 0o644
        return Finished(result=result, attach=(sidecar, weights, runtime), mode=mode)
    moves = [(weights, options.output / f"{stem}{WEIGHTS}", 0o644), (sidecar, final, 0o644)]
    if runtime is not None:
        moves.insert(1, (runtime, options.output / f"{stem}{RUNTIME}", 0o755))
    return Finished(result=result, moves=tuple(moves))


@contextlib.contextmanager
def _flushing(path: Path) -> Iterator[None]:
    """Have the disk write a file during the block. Naming the file syncs it in any case."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        with ThreadPoolExecutor(1, "flush") as disk:
            flushed = disk.submit(os.fdatasync, descriptor)
            yield
            flushed.result()
    finally:
        os.close(descriptor)


def _documents(sidecar: Path) -> Documents:
    descriptor = open_for_reading(sidecar)
    try:
        return read_sidecar(descriptor, sidecar.name)
    finally:
        os.close(descriptor)


def _single(remote: Remote, path: str, options: PullOptions) -> Finished | None:
    """Return a file that was checked: a bundle, or with no policy any file; None if it is to be left out."""
    strict = options.policy is not None and not options.allow_unsigned
    if strict and Path(path).suffix not in _MODELS:
        return None
    made, final = remote.bring(path), options.output / path
    checked, mode = None, 0o644
    try:
        with opened(made) as bundle:
            checked = _verification(bundle, final, options)
            if not final.name.startswith(bundle.manifest.stem):
                remote.tell(f"{path} is the bundle {bundle.manifest.stem}, under another name")
            mode = 0o755 if has_runtime(bundle.manifest) else mode
    except FormatError:
        if strict:
            return None
    if os.path.lexists(final) and not options.force and not _equal(made, final):
        raise taken(final)
    result = PulledFile(path=final, size=made.stat().st_size, checked=checked)
    return Finished(result=result, moves=((made, final, mode),))


def _equal(one: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(one, other, shallow=False)
