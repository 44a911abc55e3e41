"""What a process may do that parses or executes model files; `confining` has the kernel hold it to that.

What a kernel cannot do is left out and reported: confinement limits the damage of a hostile model, it is not what makes a
build right.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

_BASE_BYTES = 6 << 30  # what importing torch and transformers reserves, with a margin
_DATA_FACTOR, _FILE_FACTOR = 4, 8
_BASE_FILE_BYTES = 1 << 30
# Where a user has the dynamic linker, or llama-cpp-python, look for libraries.
_LIBRARY_VARIABLES = ("LD_LIBRARY_PATH", "LLAMA_CPP_LIB_PATH")


@frozen(kw_only=True)
class Confinement:
    """What a process may do.

    Attributes:
        reads: Files and folders that it may read, besides the interpreter and the system's libraries.
        writes: Files and folders that it may write.
        programs: Files and folders that it may read and execute, besides those.
        modules: What it imports; may be installed in place, anywhere.
        data_bytes: The most memory of its own; None for no limit.
        file_bytes: The largest file that it may write; None for no limit.
        gpu: Whether it works on a GPU: then it may use the devices, and has no limit of memory.
        terminal: Whether it talks to the user.
        port: The TCP port that it listens on; None for no network at all.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    data_bytes: int | None = None
    file_bytes: int | None = None
    gpu: bool = False
    terminal: bool = False
    port: int | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as plain data, which is what `confining.confine` takes."""
        return asdict(self)


@frozen(kw_only=True)
class Applied:
    """What could be applied on this machine.

    Attributes:
        limits: Memory, file size and core dumps.
        no_new_privileges: Programs that it starts get no rights that it has not.
        landlock: Version of the kernel's interface; 0 where there is none.
        network: How the network is closed: `namespace`, `tcp` (only TCP is), or `open`.
    """

    limits: bool = False
    no_new_privileges: bool = False
    landlock: int = 0
    network: str = "open"

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def for_inputs(module: str, reads: Iterable[str], writes: Iterable[str], input_bytes: int, *, gpu: bool) -> Confinement:
    """Return the confinement of a process that works on model files.

    Args:
        module: The plugin's.
        reads: Its inputs.
        writes: Where it writes.
        input_bytes: The size of its inputs, in bytes; memory and output are bounded by it.
        gpu: Whether it works on a GPU.
    """
    return Confinement(
        modules=(module,),
        reads=tuple(reads),
        writes=tuple(writes),
        data_bytes=None if gpu else _BASE_BYTES + _DATA_FACTOR * input_bytes,
        file_bytes=_BASE_FILE_BYTES + _FILE_FACTOR * input_bytes,
        gpu=gpu,
    )


def for_running(
    module: str,
    programs: Iterable[str],
    reads: Iterable[str],
    writes: Iterable[str],
    model_bytes: int,
    *,
    gpu: bool,
    port: int | None,
) -> Confinement:
    """Return the confinement of a process that runs or serves a bundle.

    It may write no file, so none is bounded: its output may be a log that is large already.

    Args:
        module: The backend's plugin's.
        programs: What it executes.
        reads: What it reads: the bundle.
        writes: What the backend says that it writes.
        model_bytes: What weights and KV cache take, in bytes; memory is bounded by it.
        gpu: Whether it works on a GPU.
        port: Where it listens; None where it talks to the terminal.
    """
    libraries = [path for name in _LIBRARY_VARIABLES for path in os.environ.get(name, "").split(os.pathsep) if path]
    return Confinement(
        modules=(module,),
        programs=tuple(programs),
        reads=(*reads, *libraries),
        writes=tuple(writes),
        data_bytes=None if gpu else _BASE_BYTES + _DATA_FACTOR * model_bytes,
        gpu=gpu,
        terminal=port is None,
        port=port,
    )
