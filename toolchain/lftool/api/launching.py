"""Values that the core and backends exchange: what is on this machine, what to run, and how."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import evolve, field, frozen
from attrs.validators import ge, le, optional


@frozen(kw_only=True)
class Device:
    """One device of a backend. Memory is in bytes, or None if the driver does not report it."""

    name: str
    memory: int | None = field(default=None, validator=optional(ge(0)))
    free: int | None = field(default=None, validator=optional(ge(0)))


@frozen(kw_only=True)
class Probe:
    """What a backend found on this machine.

    Attributes:
        available: Whether there is a device and its driver responds.
        reason: Why the backend is not available, in one sentence.
        devices: In the order in which llama.cpp counts them.
        versions: Versions of drivers and libraries.
        library: Whether the installed engine can compute on this backend.
        fingerprint: One line that changes when anything changes that could affect the results.
    """

    available: bool
    reason: str = ""
    devices: tuple[Device, ...] = ()
    versions: Mapping[str, str] = field(factory=dict)
    library: bool = False
    fingerprint: str = ""


@frozen(kw_only=True)
class EngineRelease:
    """An engine, and whether there is a newer one.

    Attributes:
        name: The engine.
        installed: Its version; None if it is not installed.
        newest: Version of its newest release that is not a preliminary one.
        update: What gets that release, as a command or a sentence.
    """

    name: str
    installed: str | None
    newest: str
    update: str


@frozen(kw_only=True)
class ModelSize:
    """How much memory the parts of a model take, in bytes.

    Attributes:
        weights: All weights.
        layers: Weights of each block, from the first to the last.
        cache: KV cache for one token, per block.
        context: Context length in tokens: that of the run contract, else the model's own.
        asked: Whether the run contract sets the context. If so, every request to a server gets all of it; otherwise,
            the requests share it.
    """

    weights: int = field(validator=ge(0))
    layers: tuple[int, ...] = ()
    cache: tuple[int, ...] = ()
    context: int = field(default=0, validator=ge(0))
    asked: bool = False

    @property
    def total(self) -> int:
        """Weights and the whole KV cache."""
        return self.weights + self.context * sum(self.cache)

    def served(self, requests: int) -> ModelSize:
        """Return the size of the model in a server, with the context of all requests that it answers concurrently."""
        return evolve(self, context=self.context * requests, asked=False) if self.asked else self


@frozen(kw_only=True)
class ServeOptions:
    """How to serve. The key that clients must send is in the variable `LLAMA_API_KEY`, never on a command line.

    Attributes:
        host: Address to listen on.
        port: Port to listen on.
        insecure: Whether other machines may connect without a key.
        embeddings: Whether to return embeddings, the mean of all tokens, instead of answers.
    """

    host: str = "127.0.0.1"
    port: int = field(default=8080, validator=[ge(0), le(65_535)])
    insecure: bool = False
    embeddings: bool = False


@frozen(kw_only=True)
class LaunchRequest:
    """A verified bundle to run.

    Attributes:
        bundle: A path that opens exactly the file that was verified.
        runner: A script that runs it with llama-cpp-python, started as `python SCRIPT BUNDLE`.
        executable: The native runtime of this backend, if this machine has one that may be started.
        probe: What the backend found on this machine; None for a backend that is always available.
        size: How much memory the model takes.
        runtime: Name and number of the runtime that the bundle begins with; None for a GGUF, which its weights begin.
        scratch: A folder that only the user can enter, for what an engine needs while it runs, such as a socket. List it in
            `LaunchCommand.writes`. None if the cache is read-only.
        serve: Set if the bundle is to be served. Otherwise it answers prompts or chats.
    """

    bundle: str
    runner: Path
    executable: Path | None = None
    probe: Probe | None = None
    size: ModelSize = ModelSize(weights=0)
    runtime: str | None = None
    scratch: Path | None = None
    serve: ServeOptions | None = None


@frozen(kw_only=True)
class LaunchCommand:
    """The process that runs a bundle.

    Attributes:
        argv: Argument list, with the request's `bundle` as one element. User arguments (`--prompt`, …) are appended.
        environment: Variables to set besides the inherited ones.
        reads: Files and folders that it reads or executes besides the bundle, the interpreter and the system's
            libraries. The process is confined: it can access nothing else, and no network except the port that it
            serves on.
        writes: Files and folders that it writes, such as a driver's cache. Only those that exist when it starts count.
        sentence: What runs where, for the user, without a full stop.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(factory=dict)
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    sentence: str = ""
