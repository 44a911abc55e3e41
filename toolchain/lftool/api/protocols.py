"""What the objects behind the records can do. Implementations need not inherit; they are checked structurally."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from lftool.api.events import Event

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from lftool.api.figures import Figures, QualityRequest
    from lftool.api.launching import LaunchCommand, LaunchRequest, Probe
    from lftool.api.load_report import LoadReport, LoadRequest
    from lftool.api.values import (
        InputFile,
        LayoutInputs,
        LayoutPlan,
        Resolution,
        RuntimeParts,
        SourceFile,
        SourceRequest,
        StoredObject,
        ToolIdentity,
        TransformPlan,
        TransformSpec,
    )

Progress = Callable[[str, int, int], None]
Observer = Callable[[Event], None]


class Source(Protocol):
    """Files somewhere. The core hashes, limits, stores and retries; a source only resolves and delivers."""

    def resolve(self, request: SourceRequest) -> Resolution:
        """Return what the request means now. Never called in a locked build.

        Raises:
            FetchError: The remote does not answer, or has nothing there.
            RecipeError: The request itself is wrong.
        """

    def open(
        self, request: SourceRequest, revision: str, file: SourceFile, offset: int, size: int | None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Return a context manager over bytes of a file, in pieces of any length.

        It may be called from several threads at once. A record without `ranges` is asked for whole files only.

        Args:
            request: What was resolved.
            revision: What it meant.
            file: One of its files. Its `revision` is None when any version will do: the core compares digests.
            offset: Where to begin, in bytes.
            size: How many bytes; None for all that follow.

        Raises:
            TransientError: It failed in a way that may pass; the core tries again. Now or while iterating.
            ChangedError: The remote has another version than `revision` and the file's `revision` say.
            RangeError: The remote delivers whole files only.
            FetchError: It cannot be read, and trying again is no use.
        """


class RemoteStore(Protocol):
    """A shared place of objects by key, such as `cas/<sha256>`; the core decides what to believe of what it holds.

    Threads share it. A store that fails is passed over with a warning.
    """

    def find(self, key: str) -> StoredObject | None:
        """Return what is stored under `key`; None when nothing is.

        Raises:
            TransientError: It failed in a way that may pass.
            FetchError: The store does not answer, or refuses to.
        """

    def open(self, key: str, offset: int, size: int | None) -> AbstractContextManager[Iterator[bytes]]:
        """Return a context manager over bytes of an object as they are stored: decoding is the core's affair.

        Args:
            key: Of an object that is there.
            offset: Where to begin, in bytes.
            size: How many bytes; None for all that follow.

        Raises:
            TransientError: It failed in a way that may pass. Now or while iterating.
            RangeError: The store delivers whole objects only.
            FetchError: It cannot be read.
        """

    def put(self, key: str, content: Iterator[bytes], size: int, encoding: str | None) -> None:
        """Store an object.

        Args:
            key: Under which key.
            content: Its bytes, in pieces of up to 1 MiB. What the iterator raises ends the work: it may be an interrupt.
            size: How many they are.
            encoding: Content encoding that it is in, as HTTP names it (`zstd`); None for none.

        Raises:
            TransientError: It failed in a way that may pass.
            FetchError: The store does not take it.
        """


class Transform(Protocol):
    """Makes weights out of weights. All but `tool` runs in a process of its own with a cleared environment."""

    def tool(self) -> ToolIdentity:
        """Return version and files of what executes; must not import anything heavy."""

    def probe_inputs(self, use: str, folder: Path) -> Mapping[str, Path]:
        """Write a fixed small input and return role to file; the sha256 of what `run` makes of it is the fingerprint.

        Transforms of the same semantics write the same input.

        Args:
            use: What is made, such as a file type, with `+imatrix` behind it when an importance matrix is used.
            folder: An empty folder to write to.
        """

    def plan(self, spec: TransformSpec, inputs: Mapping[str, InputFile]) -> TransformPlan:
        """Return what will be made; pure.

        Of a quantizer with a `mixture`, `spec` has the types that were chosen, which the plan repeats, and the lock gets
        the plan of the mixture's quantizer.

        Raises:
            RecipeError: The spec cannot be met with these inputs.
        """

    def run(
        self, spec: TransformSpec, inputs: Mapping[str, InputFile], output: Path, threads: int, progress: Progress
    ) -> None:
        """Write the output. Neither `threads` nor the machine may change a byte of it.

        Args:
            spec: What to make.
            inputs: Role to file: `weights`, and `imatrix` where the recipe has one.
            output: Path to write.
            threads: How many threads to use.
            progress: Called as progress(tensor, index, count).
        """


class Backend(Protocol):
    """Runs bundles on one kind of device."""

    def probe(self) -> Probe:
        """Return whether it can be used here. Runs in a child process with a time limit."""

    def launch(self, request: LaunchRequest) -> LaunchCommand:
        """Return the process that runs a bundle; must not import anything heavy."""

    def measure(self, request: QualityRequest, progress: Progress) -> Figures:
        """Return how well weights predict a text, or how far their vectors are off. Runs in a child process; the same machine gives the same figures.

        Args:
            request: What to compare.
            progress: Called as progress("", chunks done, chunks in all).

        Raises:
            RecipeError: The text is shorter than one context.
            FormatError: The weights cannot be loaded, or have another vocabulary than the reference.
        """

    def load(self, request: LoadRequest) -> LoadReport:
        """Load a model without its data, so that what cannot be loaded is not locked. Runs in a child process.

        Only called where the record says `loads`.

        Raises:
            FormatError: It cannot be loaded; the message has the engine's own words.
            UnavailableError: The engine is not installed.
        """


class Layout(Protocol):
    """Decides where things go in a bundle."""

    def plan(self, inputs: LayoutInputs) -> LayoutPlan:
        """Return prefix and members; pure."""


class Runtime(Protocol):
    """A numbered, frozen runtime, whose bytes its plugin carries."""

    def parts(self) -> RuntimeParts:
        """Return its bytes; the same ones for ever."""

    def runner(self) -> Path | None:
        """Return a script that backends can start with Python to run a bundle, if this runtime has one."""


class CompiledRuntime(Protocol):
    """A runtime that is compiled from an archive of sources: the prefix of bundles, and nothing besides it."""

    def tool(self) -> ToolIdentity:
        """Return the version of the sources, the plugin's files that are compiled in, options, and the archive.

        It must not look for a compiler: machines without one ask as well, for whom another machine compiles.
        """

    def toolchain(self) -> str:
        """Return the versions of compiler and libraries: with `tool`, all that decides the executable's bytes.

        Raises:
            UnavailableError: This machine has no compiler that can do it.
        """

    def compile(self, archive: Path, output: Path, threads: int, progress: Progress) -> None:
        """Write the executable. Neither `threads` nor the folder that it works in may change a byte of it.

        Runs in a process of its own with a cleared environment, in an empty folder.

        Args:
            archive: A ZIP of the members that the tool asked for.
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
        """Return the signature of `data`; the same bytes every time."""


class Verifier(Protocol):
    """Checks signatures of one scheme."""

    def key_id(self, public_key: str) -> str:
        """Return the key id of a PEM public key: sha256 of its DER SubjectPublicKeyInfo, hex.

        Raises:
            TrustError: Not a key of this scheme.
        """

    def verify(self, data: bytes, signature: bytes, public_key: str) -> bool:
        """Tell whether `signature` is the one accepted encoding of a valid signature of `data`."""
