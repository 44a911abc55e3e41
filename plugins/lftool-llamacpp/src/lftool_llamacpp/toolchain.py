"""What compiles: CMake, a C++ compiler and its linker, found and asked for their versions."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from lftool.api import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

_VERSION = re.compile(r"\d+(?:\.\d+)+\S*")
_SECONDS = 30
_C_OF = {"c++": ("cc", "gcc"), "g++": ("gcc",), "clang++": ("clang",)}


@frozen(kw_only=True)
class Toolchain:
    """Programs, and one line that names what decides the bytes that they make."""

    cmake: str
    compiler: str
    c_compiler: str
    make: str
    nm: str
    version: str


def first_line(command: Sequence[str], what: str) -> str:
    """Return the first line that a program says of itself.

    Raises:
        UnavailableError: It cannot be started.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UnavailableError(f"{what}: {command[0]} cannot be used: {error}") from None
    return next((line.strip() for line in done.stdout.splitlines() if line.strip()), "")


def version_in(line: str) -> str:
    """Return the last version number that stands in a line: compilers name their distribution's first."""
    found = _VERSION.findall(line)
    return found[-1] if found else line


def _program(names: Sequence[str], purpose: str, hint: str) -> str:
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    raise UnavailableError(f"{purpose} needs {names[0]}", hints=(hint,))


def _cmake() -> str:
    """Return CMake: that of the Python package if it is installed, else the system's."""
    spec = importlib.util.find_spec("cmake")
    if spec is not None and spec.origin is not None:
        own = Path(spec.origin).parent / "data" / "bin" / "cmake"
        if own.is_file():
            return str(own)
    return _program(("cmake",), "compiling a runtime", "pip install 'lftool-llamacpp[native]'")


def _library(compiler: str, name: str) -> str:
    """Return the beginning of the digest of a static library, whose distribution mends it under the same version."""
    found = Path(first_line([compiler, f"-print-file-name={name}"], "compiling a runtime"))
    if not found.is_file():
        raise UnavailableError(f"compiling a runtime needs {name}", hints=("install it: apt install libc6-dev g++",))
    with found.open("rb") as file:
        return f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def find_npm() -> tuple[str, str]:
    """Return npm, and one line that names it and Node.js.

    Raises:
        UnavailableError: It is not installed.
    """
    hint = 'install Node.js, or use `runtime = "native"`, which has no web page'
    npm, node = (_program((name,), "building the web page", hint) for name in ("npm", "node"))
    versions = [first_line([program, "--version"], "building the web page") for program in (node, npm)]
    return npm, f"node {versions[0]}, npm {versions[1]}"


def find_toolchain(extra: Sequence[str] = ()) -> Toolchain:
    """Return what compiles on this machine.

    Args:
        extra: Another compiler, with the arguments that make it say its version.

    Raises:
        UnavailableError: Something is missing.
    """
    cmake = _cmake()
    compiler = _program(("c++", "g++", "clang++"), "compiling a runtime", "install a C++ compiler: apt install g++")
    c_compiler = _program(_C_OF[Path(compiler).name], "compiling a runtime", "install a C compiler: apt install gcc")
    make = _program(("make", "gmake"), "compiling a runtime", "install make: apt install make")
    nm = first_line([compiler, "-print-prog-name=nm"], "compiling a runtime")
    parts = [
        first_line([compiler, "--version"], "compiling a runtime"),
        first_line([c_compiler, "--version"], "compiling a runtime"),
        first_line([compiler, "-Wl,--version", "-nostdlib"], "compiling a runtime"),
        _library(compiler, "libc.a"),
        _library(compiler, "libstdc++.a"),
        f"cmake {version_in(first_line([cmake, '--version'], 'compiling a runtime'))}",
    ]
    if extra:
        named = _program((extra[0],), "compiling this runtime", f"install the package that provides {extra[0]}")
        lines = subprocess.run([named, *extra[1:]], capture_output=True, text=True, check=False).stdout.splitlines()
        parts.append(f"{extra[0]} {version_in(lines[-1] if lines else '')}")
    return Toolchain(cmake=cmake, compiler=compiler, c_compiler=c_compiler, make=make, nm=nm, version="; ".join(parts))
