"""Flavours of the native runtime: how llama.cpp is built for a backend. Other plugins make theirs of it."""

from __future__ import annotations

import platform

from attrs import field, frozen

REQUESTS = 4  # that a server of the native runtime answers at once: REQUESTS of native/serve.cpp

_X86 = ("SSE42", "AVX", "AVX2", "BMI2", "FMA", "F16C", "AVX512")

# Level of the x86-64 ABI (psABI, "Micro-architecture levels") to what ggml calls the instructions that it has.
_LEVELS = {
    "x86-64-v1": (),
    "x86-64-v3": ("SSE42", "AVX", "AVX2", "BMI2", "FMA", "F16C"),
    "x86-64-v4": _X86,
}


def levels(machine: str) -> tuple[str, ...]:
    """Return for which levels of a machine there are executables, the oldest first; of others than x86-64 there is one."""
    return tuple(_LEVELS) if machine == "x86_64" else (machine,)


def level_options(level: str) -> tuple[str, ...]:
    """Return the CMake options of ggml's CPU code for a level."""
    if level not in _LEVELS:
        return ()
    has = _LEVELS[level]
    return tuple(f"-DGGML_{name}={'ON' if name in has else 'OFF'}" for name in _X86)


@frozen(kw_only=True)
class Flavour:
    """How llama.cpp is built for a backend.

    Attributes:
        backend: The backend.
        options: CMake options, such as `-DGGML_CUDA=ON`.
        libraries: Targets of CMake beside those of the CPU flavour, each a static library.
        link: What the linker gets besides.
        static: Whether nothing is linked dynamically; the libraries of a driver must be.
        compiler: Program that it needs beside a C++ compiler, with its arguments that say its version.
        web_ui: Whether llama.cpp's web page is in it, which npm builds.
        levels: For which processors there are executables, the oldest first; the others are carried by the first.
    """

    backend: str
    options: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    static: bool = True
    compiler: tuple[str, ...] = ()
    web_ui: bool = False
    levels: tuple[str, ...] = field(factory=lambda: levels(platform.machine()))


CPU = Flavour(backend="cpu")
CPU_UI = Flavour(backend="cpu", web_ui=True)
