"""`lftool pull`: fetch bundles, check every byte and who signed them, and only then give the files their names."""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import define, field, frozen

from lftool.api import Notice, SourceFile
from lftool.bundle.bundle_files import opened
from lftool.bundle.copying import copy_extents, write_at
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
from lftool.models.digest import Artifact, Digest
from lftool.models.policy import TrustPolicy
from lftool.models.recipe import SourceSpec
from lftool.ops.bundles.trust import today_utc
from lftool.ops.bundles.verify import Verification, VerifyOptions, verify_opened
from lftool.pipeline.ports import Ports
from lftool.pipeline.sources.fetch import SourceReader
from lftool.pipeline.sources.resolve import ask
from lftool.store.cloning import shifted
from lftool.store.durable import commit_file, durable_file, storage_errors
from lftool.store.partial import has_chunks
from lftool.store.reading import open_for_reading
from lftool.store.store import Store
from lftool.transfer.adoption import adopt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.bundle.reader import Bundle, Documents

_LANDING = ".lftool-pull"
_NAME = "pull"
_SUFFIX = {"gguf": WEIGHTS, "runtime": ".llamafile"}
_INDEX = "index.json"
_LOOK_SECONDS = 0.2
_PIECE = 4 * 1024 * 1024
_WEB = ("http", "https")
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
class PulledFile:
    """What was pulled.

    Attributes:
        path: The file; of a detached bundle its sidecar.
        size: Size of the bundle or file in bytes.
        checked: What was verified; None for a file that is no bundle.
    """

    path: Path
    size: int
    checked: Verification | None = None


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


@frozen(kw_only=True)
class _Located:
    """A file of a source: who reads it, and its revision."""

    reader: SourceReader
    revision: str
    file: SourceFile


@define(kw_only=True)
class _Remote:
    """What a URI means now, and a store in the output folder that its files arrive in."""

    uri: str
    revision: str
    files: dict[str, _Located]
    landing: Store
    ports: Ports

    def bring(self, path: str, expected: Artifact | None = None) -> Path:
        """Fetch a file, or take it from this machine; return where its bytes are, under its own name.

        Args:
            path: Its path in the source.
            expected: What a sidecar says that it is; else the source's own digest counts.
        """
        located = self.files.get(path) or self._neighbour(path)
        file = located.file
        if expected is not None:
            _require_the_same(file, expected)
            file = attrs.evolve(file, size=expected.size, sha256=expected.sha256)
        known = Artifact(file.sha256, file.size) if file.sha256 is not None and file.size is not None else None
        if known is None or not self._take_over(known):
            with self.ports.stage("fetch", _NAME, path):
                known = located.reader.fetch(file, located.revision, attrs.evolve(self.ports, store=self.landing))
        named = self.landing.root / "files" / path
        named.parent.mkdir(parents=True, exist_ok=True)
        self.landing.blobs.path(known).replace(named)
        return named

    def tell(self, text: str) -> None:
        """Warn the user."""
        self.ports.emit(Notice(text=text, warning=True))

    def _neighbour(self, path: str) -> _Located:
        """Return a file beside a sidecar; a URL names one file only.

        Raises:
            FetchError: The source does not have it.
        """
        if self.uri.partition(":")[0] not in _WEB:
            raise FetchError(f"{self.uri} has no {path}, which belongs to a sidecar that it has")
        uri = self.uri.rpartition("/")[0] + "/" + path
        reader, found = ask(SourceSpec(uri=uri), _NAME, self.ports)
        return _Located(reader=reader, revision=found.revision or "", file=found.files[0])

    def _take_over(self, artifact: Artifact) -> bool:
        """Copy a file that lftool or another tool has on this machine, sharing its extents where that is possible."""
        landing, own = self.landing.blobs, self.ports.store.blobs
        if landing.is_sound(artifact):
            return True
        if own.is_sound(artifact):
            landing.put_copy(own.path(artifact), artifact)
            return True
        return adopt(artifact, landing) is not None


def _require_the_same(file: SourceFile, expected: Artifact) -> None:
    """Raise FetchError if a source says of a file that it is not what a sidecar belongs to, before it is fetched."""
    if file.sha256 not in {None, expected.sha256} or file.size not in {None, expected.size}:
        raise FetchError(
            f"{file.path}: the sidecar beside it belongs to a file of {expected.size} bytes with sha256 {expected.sha256},"
            f" but the source has {file.size} bytes with sha256 {file.sha256}",
            hints=("whoever published them mixed two versions: ask them to push again",),
        )


@frozen(kw_only=True)
class _Finished:
    """Something that has been checked, and can get its names.

    Attributes:
        result: What it will be.
        moves: Files with the names that they get, and permissions; the last name is the one that people use.
        tail: What follows the first file to make it the bundle: a sidecar's extents; None if it is complete.
        whole: The sidecar of a bundle that is written as a copy of its parts; None if files are moved.
    """

    result: PulledFile
    moves: tuple[tuple[Path, Path, int], ...] = ()
    attach: tuple[Path, Path, Path | None] | None = None
    mode: int = 0o644

    def place(self) -> PulledFile:
        """Give the files their names.

        Raises:
            StorageError: One cannot be written.
        """
        final = self.result.path
        with storage_errors("write", final):
            final.parent.mkdir(parents=True, exist_ok=True)
            if self.attach is not None:
                self._attach(*self.attach)
            for made, path, mode in self.moves:
                commit_file(made, path, "bundle", mode=mode)
        return self.result

    def _attach(self, sidecar: Path, weights: Path, runtime: Path | None) -> None:
        """Make the bundle of its parts: around the weights, where the file system can shift them, else as a copy."""
        final = self.result.path
        with opened_detached(sidecar, weights, runtime) as bundle:
            start, size = bundle.weights_extent()
            if not shifted(weights, start):
                with durable_file(final.absolute().parent, "bundle") as out:
                    copy_extents(bundle.extents, out.file.fileno(), threading.Event())
                    out.commit(final, mode=self.mode)
                return
            _write_around(bundle, weights, start, size)
        commit_file(weights, final, "bundle", mode=self.mode)


def _write_around(bundle: Bundle, weights: Path, start: int, size: int) -> None:
    """Write what a bundle has before and behind its weights, which are at their place in the file."""
    weights.chmod(0o600)
    descriptor = os.open(weights, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        for position, end in ((0, start), (start + size, bundle.size)):
            done = position
            while done < end:  # companions may be large
                # Of the bundle's files, only that of the weights has changed, and none of these bytes lies there.
                data = bundle.read(done, min(_PIECE, end - done))
                write_at(descriptor, data, done)
                done += len(data)
    finally:
        os.close(descriptor)


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


def _on_this_machine(uri: str, ports: Ports) -> tuple[str, tuple[str, ...], Ports]:
    """Return a `file:` URI as a source of the folder around it: the user names any path, and a recipe only its own.

    Returns:
        The URI, globs of what it means (all if empty), and ports that may read there.
    """
    path = Path(uri.partition(":")[2]).absolute()
    include: tuple[str, ...] = ()
    if path.is_dir():
        root, name = path.parent, path.name
    else:
        stem = path.name.removesuffix(SIDECAR)
        parts = (f"{stem}{SIDECAR}", f"{stem}{WEIGHTS}", f"{stem}{RUNTIME}")
        root, name = path.parent.parent, path.parent.name
        include = parts if path.name.endswith(SIDECAR) else (path.name,)
    files = attrs.evolve(ports.files, project=root)
    return f"file:{name}", include, attrs.evolve(ports, project=root, files=files)


def _resolved(uri: str, options: PullOptions, landing: Store, ports: Ports) -> _Remote:
    include = options.include
    if uri.startswith("file:") and not uri.startswith("file://"):
        uri, meant, ports = _on_this_machine(uri, ports)
        include = include or meant
    spec = SourceSpec(uri=uri, include=include, options=options.options)
    try:
        reader, found = ask(spec, _NAME, ports)
    except RecipeError as error:
        if "is an index of" not in error.message:
            raise
        raise UsageError(error.message, hints=("take one: --target NAME",)) from error
    revision = found.revision or ""
    for file in found.files:
        if file.path.partition("/")[0] == _LANDING:
            raise FetchError(f"{uri} has a file {file.path!r}, whose name lftool uses for its own")
    files = {file.path: _Located(reader=reader, revision=revision, file=file) for file in found.files}
    return _Remote(uri=uri, revision=revision, files=files, landing=landing, ports=ports)


def _pulled(remote: _Remote, options: PullOptions) -> Pulled:
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
    raise _taken(path)


def _taken(path: Path) -> UsageError:
    return UsageError(
        f"{path} already exists, and is another file", hints=("write elsewhere: -o", "or replace it: --force")
    )


def _bundle(remote: _Remote, path: str, options: PullOptions) -> _Finished | None:
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
        return _Finished(result=known)
    if options.detached and not options.force:
        _require_free(options.output / f"{stem}{WEIGHTS}", manifest.weights.artifact)
        if has_runtime(manifest):
            _require_free(options.output / f"{stem}{RUNTIME}", manifest.prefix.artifact)
    if Path(stem).name != manifest.stem:
        remote.tell(f"{path} is the bundle {manifest.stem}, under another name")
    weights = remote.bring(f"{stem}{WEIGHTS}", manifest.weights.artifact)
    runtime = remote.bring(f"{stem}{RUNTIME}", manifest.prefix.artifact) if has_runtime(manifest) else None
    with opened_detached(sidecar, weights, runtime) as bundle, _flushing(weights):
        result = PulledFile(path=final, size=bundle.size, checked=_verification(bundle, final, options))
    if not options.detached:
        mode = 0o755 if runtime is not None else 0o644
        return _Finished(result=result, attach=(sidecar, weights, runtime), mode=mode)
    moves = [(weights, options.output / f"{stem}{WEIGHTS}", 0o644), (sidecar, final, 0o644)]
    if runtime is not None:
        moves.insert(1, (runtime, options.output / f"{stem}{RUNTIME}", 0o755))
    return _Finished(result=result, moves=tuple(moves))


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


def _require_free(path: Path, wanted: Artifact) -> None:
    """Raise UsageError if another file than the wanted one has a name."""
    if not os.path.lexists(path):
        return
    try:
        with path.open("rb") as file:
            same = os.fstat(file.fileno()).st_size == wanted.size and (
                hashlib.file_digest(file, "sha256").hexdigest() == wanted.sha256.hex
            )
    except OSError:
        same = False
    if not same:
        raise _taken(path)


def _documents(sidecar: Path) -> Documents:
    descriptor = open_for_reading(sidecar)
    try:
        return read_sidecar(descriptor, sidecar.name)
    finally:
        os.close(descriptor)


def _single(remote: _Remote, path: str, options: PullOptions) -> _Finished | None:
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
        raise _taken(final)
    result = PulledFile(path=final, size=made.stat().st_size, checked=checked)
    return _Finished(result=result, moves=((made, final, mode),))


def _equal(one: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(one, other, shallow=False)
