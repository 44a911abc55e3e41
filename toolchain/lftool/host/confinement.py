"""What a process that parses or executes model files may do; `confining` makes the kernel enforce it.

Restrictions that the kernel does not support are left out and reported. Confinement limits the damage of a hostile
model; the correctness of a build does not depend on it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

_BASE_BYTES = 6 << 30  # memory reserved by importing torch and transformers, with a margin
_DATA_FACTOR, _FILE_FACTOR = 4, 8
_BASE_FILE_BYTES = 1 << 30
# Variables that tell the dynamic linker, or llama-cpp-python, where to look for libraries.
_LIBRARY_VARIABLES = ("LD_LIBRARY_PATH", "LLAMA_CPP_LIB_PATH")


@frozen(kw_only=True)
class Confinement:
    """The limits of a process.

    Attributes:
        reads: Files and folders that it may read, besides the interpreter and the system's libraries.
        writes: Files and folders that it may write.
        programs: Further files and folders that it may read and execute.
        modules: Modules that it imports, which may be installed anywhere.
        data_bytes: Limit for its private memory; None for no limit.
        file_bytes: Limit for the size of a file that it writes; None for no limit.
        gpu: Whether it uses a GPU. If so, it may use the devices, and has no memory limit.
        terminal: Whether it interacts with the user.
        port: The TCP port that it listens on; None for no network access.
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
        """Return it as plain data, as `confining.confine` takes it."""
        return asdict(self)


@frozen(kw_only=True)
class Applied:
    """The restrictions that could be applied on this machine.

    Attributes:
        limits: Memory, file size and core dumps.
        no_new_privileges: Whether programs that it starts cannot gain privileges.
        landlock: Version of the kernel's interface; 0 if there is none.
        network: How the network is blocked: `namespace`, `tcp` (TCP only), or `open` (not at all).
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
        module: The plugin's module.
        reads: Its inputs.
        writes: The files and folders that it writes.
        input_bytes: Total size of its inputs in bytes; limits its memory and output.
        gpu: Whether it uses a GPU.
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

    File size is not limited: it may write no files, and its output may go to a log that is large already.

    Args:
        module: The backend plugin's module.
        programs: The programs that it executes.
        reads: The files that it reads: the bundle.
        writes: The files that the backend declares to write.
        model_bytes: Size of weights and KV cache in bytes; limits its memory.
        gpu: Whether it uses a GPU.
        port: The port that it listens on; None if it uses the terminal.
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
