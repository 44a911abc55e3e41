"""What the core and backends say to each other: what is on this machine, what is to be run, and how."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import evolve, field, frozen
from attrs.validators import ge, le, optional


@frozen(kw_only=True)
class Device:
    """One device of a backend; memory in bytes, None where the driver does not say."""

    name: str
    memory: int | None = field(default=None, validator=optional(ge(0)))
    free: int | None = field(default=None, validator=optional(ge(0)))


@frozen(kw_only=True)
class Probe:
    """What a backend found on this machine.

    Attributes:
        available: Whether there is a device, and the driver answers.
        reason: Why not, in one sentence.
        devices: In the order in which llama.cpp counts them.
        versions: Of drivers and libraries.
        library: Whether the installed llama-cpp-python can compute on it.
        fingerprint: One line that changes when something does that could change what is computed.
    """

    available: bool
    reason: str = ""
    devices: tuple[Device, ...] = ()
    versions: Mapping[str, str] = field(factory=dict)
    library: bool = False
    fingerprint: str = ""


@frozen(kw_only=True)
class ModelSize:
    """What of a model takes memory; sizes in bytes.

    Attributes:
        weights: All of it.
        layers: Weights of each block, from the first to the last.
        cache: What the KV cache takes for one token, per block.
        context: Tokens of context that the run contract asks for; the model's own length where it does not.
        asked: Whether the run contract asks for it: then every request to a server has it; else they share it.
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
        """Return the same model as a server keeps it, with the context of all requests that it answers at once."""
        return evolve(self, context=self.context * requests, asked=False) if self.asked else self


@frozen(kw_only=True)
class ServeOptions:
    """How to serve. The key that clients must send stands in the variable `LLAMA_API_KEY`, never in a command line.

    Attributes:
        host: Address to listen on.
        port: Port to listen on.
        insecure: Whether other machines may come in without a key.
        embeddings: Whether to make embeddings, the mean of all tokens, in place of answers.
    """

    host: str = "127.0.0.1"
    port: int = field(default=8080, validator=[ge(0), le(65_535)])
    insecure: bool = False
    embeddings: bool = False


@frozen(kw_only=True)
class LaunchRequest:
    """A verified bundle to run.

    Attributes:
        bundle: A path that opens the very file that was verified.
        runner: A script that runs it with llama-cpp-python, started as `python SCRIPT BUNDLE`.
        executable: The native runtime of this backend, if this machine has one that may be started.
        probe: What the backend found here; None for one that is always there.
        size: What of the model takes memory.
        serve: Set to serve it; else it answers prompts, or chats.
    """

    bundle: str
    runner: Path
    executable: Path | None = None
    probe: Probe | None = None
    size: ModelSize = ModelSize(weights=0)
    serve: ServeOptions | None = None


@frozen(kw_only=True)
class LaunchCommand:
    """The process that runs it.

    Attributes:
        argv: Argument list; the request's `bundle` is one of them. The user's arguments are appended: `--prompt`, …
        environment: Variables to set besides the inherited ones.
        reads: Files and folders that it reads or executes besides the bundle, the interpreter and the system's libraries. The
            process is confined: it reaches nothing else, and has no network but the port that it serves on.
        writes: Files and folders that it writes, such as a driver's cache; those that are there when it starts.
        sentence: What runs where, for the user; no full stop.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(factory=dict)
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    sentence: str = ""
