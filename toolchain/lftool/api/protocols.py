"""Protocols of the objects that records make. Implementations need not inherit; they are checked structurally."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from lftool.api.events import Event

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from lftool.api.deriving import Arithmetic, DeriveRequest, DeriveResult
    from lftool.api.figures import Figures, QualityRequest
    from lftool.api.launching import EngineRelease, LaunchCommand, LaunchRequest, Probe
    from lftool.api.load_report import LoadReport, LoadRequest
    from lftool.api.placing import LayoutInputs, LayoutPlan, RuntimeParts
    from lftool.api.sourcing import Resolution, SourceFile, SourceRequest, StoredObject
    from lftool.api.transforms import InputFile, TensorType, ToolIdentity, TransformPlan, TransformSpec
    from lftool.models.digest import Artifact

Progress = Callable[[str, int, int], None]
Observer = Callable[[Event], None]


class Source(Protocol):
    """A place with files. A source only resolves and delivers. The core hashes, limits sizes, stores and retries."""

    def resolve(self, request: SourceRequest) -> Resolution:
        """Return what the request means now. Never called in a locked build.

        Raises:
            FetchError: The remote does not respond, or has nothing there.
            RecipeError: The request itself is wrong.
        """

    def open(
        self, request: SourceRequest, revision: str, file: SourceFile, offset: int, size: int | None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Return a context manager over bytes of a file, in pieces of any length.

        Several threads may call it concurrently. Without `ranges`, only whole files are requested.

        Args:
            request: The request that was resolved.
            revision: Its revision.
            file: One of its files. If its `revision` is None, any version will do: the core compares digests.
            offset: Where to begin, in bytes.
            size: How many bytes; None for all that follow.

        Raises:
            TransientError: A temporary failure, when called or while iterating. The core retries.
            ChangedError: The remote has another version than `revision` and the file's `revision` name.
            RangeError: The remote delivers whole files only.
            FetchError: The file cannot be read, and retrying would not help.
        """


class RemoteStore(Protocol):
    """A shared store of objects by key, such as `cas/<sha256>`. The core decides which of its contents to trust.

    Threads share it. A store that fails is skipped with a warning.
    """

    def find(self, key: str) -> StoredObject | None:
        """Return what is stored under `key`; None if nothing is.

        Raises:
            TransientError: A temporary failure.
            FetchError: The store does not respond, or refuses the request.
        """

    def open(self, key: str, offset: int, size: int | None) -> AbstractContextManager[Iterator[bytes]]:
        """Return a context manager over bytes of an object as they are stored. The core decodes them.

        Args:
            key: Key of an object that exists.
            offset: Where to begin, in bytes.
            size: How many bytes; None for all that follow.

        Raises:
            TransientError: A temporary failure, when called or while iterating.
            RangeError: The store delivers whole objects only.
            FetchError: The object cannot be read.
        """

    def put(self, key: str, content: Iterator[bytes], size: int, encoding: str | None) -> None:
        """Store an object.

        Args:
            key: Key to store it under.
            content: Its bytes, in pieces of up to 1 MiB. If the iterator raises, stop: it may be an interrupt.
            size: How many bytes.
            encoding: Content encoding of the bytes, as HTTP names it (`zstd`); None for none.

        Raises:
            TransientError: A temporary failure.
            FetchError: The store does not accept the object.
        """


class Transform(Protocol):
    """Makes weights from weights. Everything but `tool` runs in a separate process with a cleared environment."""

    def tool(self) -> ToolIdentity:
        """Return the version and files of what executes. Must not import anything heavy."""

    def probe_inputs(self, use: str, folder: Path) -> Mapping[str, Path]:
        """Write a fixed small input and return role to file. The sha256 of `run`'s output for it is the fingerprint.

        Transforms with the same semantics write the same input. `run` follows in the same process, on another object.

        Args:
            use: What is made, such as a file type, followed by `+imatrix` if an importance matrix is used.
            folder: An empty folder to write to.
        """

    def plan(self, spec: TransformSpec, inputs: Mapping[str, InputFile]) -> TransformPlan:
        """Return what will be made. Must be pure.

        For a quantizer with a `mixture`, `spec` has the chosen types and the plan repeats them. The lock gets the plan
        of the mixture's quantizer.

        Raises:
            RecipeError: The spec cannot be met with these inputs.
        """

    def run(
        self, spec: TransformSpec, inputs: Mapping[str, InputFile], output: Path, threads: int, progress: Progress
    ) -> None:
        """Write the output. Neither `threads` nor the machine may change a byte of it.

        Args:
            spec: What to make.
            inputs: Role to file: `weights`, and `imatrix` if the recipe has one.
            output: Path to write.
            threads: How many threads to use.
            progress: Called as progress(tensor, index, count).
        """


class Deriver(Protocol):
    """Tells what a tensor was made from. A quantizer whose record has `derives` has these methods as well.

    They run as those of `Transform` do: in a separate process with a cleared environment.
    """

    def arithmetics(self, types: Sequence[str], *, importance: bool) -> Sequence[Arithmetic]:
        """Return the arithmetics that it knows for some types; the first is that of the record's `semantics`.

        Args:
            types: Types of tensors.
            importance: Whether there is an importance matrix.
        """

    def derive(self, request: DeriveRequest, threads: int) -> DeriveResult:
        """Compare a tensor with what a base's tensor becomes.

        Called several times in a process. `threads` changes no result.

        Args:
            request: The tensors.
            threads: How many threads to use.

        Raises:
            FormatError: A weight of the base is not finite, a file is shorter than it should be, or the importance matrix
                was measured with another model.
            RecipeError: It does not make the type.
        """

    def derived_header(self, base: Path, types: Sequence[TensorType], file_type: int) -> Artifact:
        """Return digest and size of the header of a file that `run` makes.

        Args:
            base: A GGUF; only its header is read.
            types: The type of every tensor, in the order of the output.
            file_type: Number of the file type, as in `general.file_type`.
        """


class Backend(Protocol):
    """Runs bundles on one kind of device."""

    def probe(self) -> Probe:
        """Return whether it can be used here. Runs in a child process with a time limit."""

    def launch(self, request: LaunchRequest) -> LaunchCommand:
        """Return the process that runs a bundle. Must not import anything heavy."""

    def measure(self, request: QualityRequest, progress: Progress) -> Figures:
        """Return how well weights predict a text, or how far off their vectors are.

        Runs in a child process. The same machine gives the same figures.

        Args:
            request: What to compare.
            progress: Called as progress("", chunks done, chunks in all).

        Raises:
            RecipeError: The text is shorter than one context.
            FormatError: The weights cannot be loaded, or have another vocabulary than the reference.
        """

    def measure_several(self, requests: Sequence[QualityRequest], progress: Progress) -> Sequence[Figures]:
        """Return what `measure` returns for each request, in their order; optional.

        The requests differ in nothing but the weights. A backend that has this evaluates the unquantised weights once, and
        keeps all weights in memory meanwhile. It raises as `measure` does.
        """

    def load(self, request: LoadRequest) -> LoadReport:
        """Load a model without its data, so that a model that cannot be loaded is not locked. Runs in a child process.

        Only called if the record has `loads`.

        Raises:
            FormatError: The model cannot be loaded. The message quotes the engine.
            UnavailableError: The engine is not installed.
        """

    def releases(self) -> Sequence[EngineRelease]:
        """Return the backend's engines with their newest releases; optional.

        Called by `lftool runtime outdated` in its own process, which may use the network.

        Raises:
            UnavailableError: It is not known where releases are listed.
            FetchError: The list cannot be read.
        """


class Layout(Protocol):
    """Decides where things go in a bundle."""

    def plan(self, inputs: LayoutInputs) -> LayoutPlan:
        """Return prefix and members. Must be pure."""


class Runtime(Protocol):
    """A numbered, frozen runtime. Its plugin contains its bytes."""

    def parts(self) -> RuntimeParts:
        """Return its bytes, which never change."""

    def runner(self) -> Path | None:
        """Return a script that backends can start with Python to run a bundle, if this runtime has one."""


class CompiledRuntime(Protocol):
    """A runtime compiled from an archive of sources. It is the prefix of a bundle and has no members."""

    def tool(self) -> ToolIdentity:
        """Return the version of the sources, the plugin's files that are compiled in, options, and the archive.

        It must not look for a compiler. Machines without one call it as well, and another machine compiles for them.
        """

    def toolchain(self) -> str:
        """Return the versions of compiler and libraries. With `tool`, they decide the executable's bytes.

        Raises:
            UnavailableError: This machine has no suitable compiler.
        """

    def compile(self, archive: Path, output: Path, threads: int, progress: Progress) -> None:
        """Write the executable. Neither `threads` nor the folder that it works in may change a byte of it.

        Runs in a separate process with a cleared environment, in an empty folder.

        Args:
            archive: A ZIP of the members that the tool requested.
            output: Path to write.
            threads: How many threads to use.
            progress: Called as progress(what, done, count).

        Raises:
            UnavailableError: The compiler failed.
        """


class Signer(Protocol):
    """Signs bytes with one private key."""

    @property
    def scheme(self) -> str:
        """The signature scheme, such as `ecdsa-p256-sha256`; names the verifier."""

    def public_key(self) -> str:
        """Return the public key, PEM."""

    def sign(self, data: bytes) -> bytes:
        """Return the signature of `data`, the same bytes every time."""


class Verifier(Protocol):
    """Checks signatures of one scheme."""

    def key_id(self, public_key: str) -> str:
        """Return the key id of a PEM public key: sha256 of its DER SubjectPublicKeyInfo, hex.

        Raises:
            TrustError: Not a key of this scheme.
        """

    def verify(self, data: bytes, signature: bytes, public_key: str) -> bool:
        """Tell whether `signature` is the one accepted encoding of a valid signature of `data`."""
