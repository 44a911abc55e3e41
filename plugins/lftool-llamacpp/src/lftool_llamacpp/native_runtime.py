"""Runtime native/1: llama.cpp and a front end of ours as one executable, which runs the GGUF that lies behind it.

The sources of llama.cpp are those in the source distribution of llama-cpp-python, unchanged. The linker puts functions of
ours (native/weights.cpp) in place of those that load by path: `ld --wrap`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import asdict, define

from lftool.api import ToolIdentity, UnavailableError
from lftool_llamacpp.flavours import Flavour, level_options
from lftool_llamacpp.licenses import licenses
from lftool_llamacpp.sources import source_archive
from lftool_llamacpp.toolchain import Toolchain, find_npm, find_toolchain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VERSION = "0.3.36"  # of llama-cpp-python: native/*.cpp are written against its llama.cpp
_TREE = "vendor/llama.cpp"
_MEMBERS = (
    f"{_TREE}/CMakeLists.txt",
    f"{_TREE}/LICENSE",
    *(f"{_TREE}/{part}/**" for part in ("cmake", "common", "ggml", "include", "licenses", "src", "tools", "vendor")),
    f"{_TREE}/scripts/*.cmake",
)
_OWN = Path(__file__).parent / "native"
_PAGE = Path(__file__).parent / "page"
_FILES = (Path(__file__), Path(__file__).parent / "licenses.py")
_SOURCES = (
    "zip",
    "bundle",
    "applied",
    "weights",
    "cores",
    "neighbours",
    "kind",
    "options",
    "throwing",
    "templates",
    "screen",
    "conversation",
    "chatting",
    "talk",
    "page",
    "gate",
    "connections",
    "chat_params",
    "fetching",
    "serve",
    "main",
)

# Functions that ours replace: C names, and C++ names under the macro by which our sources know them (Itanium C++ ABI). Those are
# of llama-server, which reads a request and takes connections, and of what renders chat templates.
_STRING = "NSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
_REPLACED = {
    "LFTOOL_CHAT_PARAMS": "_Z27oaicompat_chat_params_parseR11common_jsonRK18server_chat_paramsRSt6vectorIS4_IhSaIhEESaIS6_EE",
    "LFTOOL_SCHEMA": (
        "_ZN13server_schema22eval_llama_cmpl_schemaEPK11llama_vocabRK13common_params"
        "RKSt6vectorI16llama_logit_biasSaIS7_EERK11common_json"
    ),
    "LFTOOL_PRE_ROUTING": (
        "_ZN7httplib6Server23set_pre_routing_handlerESt8functionIFNS0_15HandlerResponseERKNS_7RequestERNS_8ResponseEEE"
    ),
    "LFTOOL_ENQUEUE": "_ZN7httplib10ThreadPool7enqueueESt8functionIFvvEE",
    "LFTOOL_TEMPLATES_INIT": f"_Z26common_chat_templates_initPK11llama_modelRK{_STRING}S9_S9_",
    "LFTOOL_TEMPLATES_APPLY": "_Z27common_chat_templates_applyPK21common_chat_templatesRK28common_chat_templates_inputs",
    "LFTOOL_FORMAT_EXAMPLE": (
        "_Z26common_chat_format_examplePK21common_chat_templatesbRK"
        f"St3mapI{_STRING}S8_St4lessIS8_ESaISt4pairIKS8_S8_EEE"
    ),
    "LFTOOL_FETCH": f"_Z25common_remote_get_contentRK{_STRING}RK20common_remote_params",
    "LFTOOL_ENABLE_THINKING": "_Z45common_chat_templates_support_enable_thinkingPK21common_chat_templates",
}
_WRAPPED = (
    "llama_model_load_from_file",
    "llama_adapter_lora_init",
    "llama_decode",
    "llama_encode",
    "llama_process",
    "llama_attach_threadpool",
    "llama_vocab_is_eog",
    "llama_token_to_piece",
    *_REPLACED.values(),
)
# Operator new and delete; compilers call one delete or the other.
_WRAPPED_OF_CXX = ("_Znwm", "_ZdlPvm", "_ZdlPv")
_OPTIONAL = {"_ZdlPv"}

# A server that strangers may reach. Warnings are errors in tests only: a newer compiler's must not end a user's build.
_HARDENED = ("-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2", "-D_GLIBCXX_ASSERTIONS")
_WARNINGS = ("-Wall", "-Wextra")
_HARDENED_LINK = ("-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack")

_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DCMAKE_POSITION_INDEPENDENT_CODE=ON",
    "-DGGML_NATIVE=OFF",
    "-DGGML_OPENMP=OFF",
    "-DGGML_CCACHE=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_SUBPROCESS=OFF",  # a model in a file starts no programs
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_BUILD_NUMBER=0",
    f"-DLLAMA_BUILD_COMMIT=llama-cpp-python-{VERSION}",
)
_TARGETS = ("llama-server-impl",)
_LIBRARIES = (
    "tools/server/libllama-server-impl.a",
    "tools/server/libserver-context.a",
    "tools/ui/libllama-ui.a",
    "tools/mtmd/libmtmd.a",
    "common/libllama-common.a",
    "common/libllama-common-base.a",
    "vendor/cpp-httplib/libcpp-httplib.a",
    "vendor/hash/libvendor-hash.a",
    "src/libllama.a",
    "ggml/src/libggml.a",
    "ggml/src/libggml-base.a",
)
_CPU_LIBRARY = "ggml/src/libggml-cpu.a"
_INCLUDES = ("include", "common", "ggml/include", "vendor", "tools/server", "tools/mtmd")

_PERCENT = re.compile(r"\[\s*(\d+)%\]")
_TAIL = 25
_FIRST_SHARE = 84  # per cent of the time that the first level takes; the others compile ggml's CPU code again


def own_arguments(tree: Path) -> list[str]:
    """Return the arguments that every file of ours is compiled with.

    Args:
        tree: llama.cpp's sources; their headers are not asked for warnings.
    """
    return [
        "-std=c++17",
        *_WARNINGS,
        *(argument for part in _INCLUDES for argument in ("-isystem", str(tree / part))),
        *(f"-D{macro}={name}" for macro, name in _REPLACED.items()),
    ]


def symbols(nm: str, files: Sequence[str], *, undefined: bool) -> set[str]:
    """Return the symbols that object files and archives refer to, or those that they define for others."""
    kind = "--undefined-only" if undefined else "--defined-only"
    command = [nm, "--extern-only", kind, "--format=posix", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True, errors="replace")
    return {words[0] for line in done.stdout.splitlines() if len(words := line.split()) > 1}


def lost_wraps(names: Sequence[str], called: set[str], ours: set[str]) -> list[str]:
    """Return the symbols that `ld --wrap` would do nothing for: nothing refers to them, or none of ours replaces them."""
    return [name for name in names if name not in called or f"__wrap_{name}" not in ours]


@define
class _Build:
    """One compilation, in the folder that this process works in."""

    flavour: Flavour
    tools: Toolchain
    threads: int
    progress: Callable[[str, int, int], None]
    tree: Path = Path("sources") / _TREE

    def run(
        self,
        *command: str,
        share: tuple[int, int] | None = None,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run a program.

        Args:
            command: The program and its arguments.
            share: From and to which per cent of the whole it goes.
            folder: Where it works; here by default.
            environment: Variables besides those of this process.

        Raises:
            UnavailableError: It failed; the message has the last that it printed.
        """
        tail: list[str] = []
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=folder,
            env={**os.environ, "GIT_DIR": "/nonexistent", "SOURCE_DATE_EPOCH": "0", **(environment or {})},
        ) as process:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            for line in process.stdout:
                tail = [*tail[-_TAIL:], line.rstrip()]
                found = _PERCENT.match(line)
                if found and share:
                    self.progress("", share[0] + (share[1] - share[0]) * int(found[1]) // 100, 100)
        if process.returncode:
            told = "\n".join(tail)
            raise UnavailableError(f"compiling the runtime failed: {' '.join(command[:6])} …\n{told}")

    def web_ui(self) -> None:
        """Build the web page where CMake looks for it; its packages are pinned by the sources' own package-lock.json."""
        npm, _ = find_npm()
        here = Path.cwd()
        folder, clock = here / self.tree / "tools" / "ui", here / "clock.cjs"
        clock.write_text("Date.now = () => 0;\n")  # SvelteKit would call its version by the time of day
        self.run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder)
        more = {
            "NODE_OPTIONS": f"--require {clock}",
            "LLAMA_UI_OUT_DIR": str(folder / "dist"),
            "LLAMA_BUILD_NUMBER": "0",
        }
        self.run(npm, "run", "build", folder=folder, environment=more)

    def _flags(self) -> list[str]:
        # In place of the folder, whose name would stand in assertions, a name that is the same everywhere.
        here = Path.cwd()
        return [f"-ffile-prefix-map={here}/{self.tree}=llama.cpp", f"-ffile-prefix-map={here}=.", *_HARDENED]

    def libraries(self, level: str, targets: Sequence[str], share: tuple[int, int]) -> None:
        """Compile libraries of llama.cpp for a level, in a folder of that name."""
        flags = " ".join(self._flags())
        self.run(
            *(self.tools.cmake, "-S", str(self.tree), "-B", level, "-G", "Unix Makefiles", *_OPTIONS),
            *(*level_options(level), *self.flavour.options),
            f"-DCMAKE_MAKE_PROGRAM={self.tools.make}",
            f"-DCMAKE_C_COMPILER={self.tools.c_compiler}",
            f"-DCMAKE_CXX_COMPILER={self.tools.compiler}",
            f"-DCMAKE_C_FLAGS={flags}",
            f"-DCMAKE_CXX_FLAGS={flags}",
        )
        self.run(self.tools.cmake, "--build", level, "-j", str(self.threads), "--target", *targets, share=share)

    def own(self, source: str, output: str, *more: str) -> None:
        """Compile a file of ours."""
        here = Path.cwd()
        self.run(
            *(self.tools.compiler, "-c", "-O2", "-DNDEBUG", "-fPIE", *self._flags()),
            f"-ffile-prefix-map={_OWN}=native",
            *own_arguments(here / self.tree),
            f'-DLFTOOL_BACKEND="{self.flavour.backend}"',
            f"-DLFTOOL_PAGE={int(not self.flavour.web_ui)}",
            *(*more, source, "-o", output),
        )

    def check_wraps(self, level: str) -> None:
        """Check that each function that ours replace is called, and that ours is there.

        `ld --wrap` says nothing of a symbol that nothing refers to: the bundle's weights, or a guard, would be left out.

        Raises:
            UnavailableError: A function has another name in these sources, or with this compiler.
        """
        objects = [f"{name}.o" for name in _SOURCES]
        libraries = [f"{level}/{path}" for path in (_CPU_LIBRARY, *_LIBRARIES)]
        called = symbols(self.tools.nm, [*libraries, *objects], undefined=True) | _OPTIONAL
        ours = symbols(self.tools.nm, objects, undefined=False)
        if lost := lost_wraps((*_WRAPPED, *_WRAPPED_OF_CXX), called, ours):
            raise UnavailableError(f"compiling the runtime failed: nothing calls {', '.join(lost)} in these sources")

    def link(self, level: str, *objects: str) -> None:
        """Link the executable of a level."""
        first = self.flavour.levels[0]
        libraries = [f"{first}/{path}" for path in (*_LIBRARIES, *self.flavour.libraries)]
        kind = ["-static-pie"] if self.flavour.static else ["-pie", "-static-libgcc", "-static-libstdc++"]
        self.run(
            *(self.tools.compiler, *kind, "-s", "-Wl,--build-id=none", "-Wl,--gc-sections", *_HARDENED_LINK),
            *(f"-Wl,--wrap={name}" for name in (*_WRAPPED, *_WRAPPED_OF_CXX)),
            *(*(f"{name}.o" for name in _SOURCES), "page-files.o", *objects),
            *("-Wl,--start-group", f"{level}/{_CPU_LIBRARY}", *libraries, "-Wl,--end-group"),
            *("-lpthread", "-ldl", "-lm", *self.flavour.link, "-o", f"executable-{level}"),
        )

    def all(self, archive: Path) -> Path:
        """Compile everything and return the executable."""
        with zipfile.ZipFile(archive) as members:
            members.extractall("sources")
        if self.flavour.web_ui:
            self.web_ui()
        first, *others = self.flavour.levels
        self.libraries(first, _TARGETS, (0, _FIRST_SHARE if others else 99))
        step = (99 - _FIRST_SHARE) // max(1, len(others))
        for place, level in enumerate(others):
            begin = _FIRST_SHARE + place * step
            self.libraries(level, ("ggml-cpu",), (begin, begin + step))
        shutil.copytree(_PAGE, "page")
        self.own(str(_OWN / "page.S"), "page-files.o")
        for name in _SOURCES:
            self.own(str(_OWN / f"{name}.cpp"), f"{name}.o")
        self.check_wraps(first)
        Path("licenses.txt").write_text(licenses(self.tree))
        self.own(str(_OWN / "licenses.S"), "licenses.o")
        self.own(str(_OWN / "licenses.S"), "carried.o", "-DLFTOOL_CARRIED")
        for level in others:
            self.own(str(_OWN / "level.cpp"), f"level-{level}.o", f'-DLFTOOL_LEVEL="{level}"')
            self.link(level, f"level-{level}.o", "carried.o")
            Path(f"executable-{level}").rename(level.rpartition("-")[2])
        carrying = ["-DLFTOOL_HAS_LEVELS"] if others else []
        self.own(str(_OWN / "level.cpp"), f"level-{first}.o", f'-DLFTOOL_LEVEL="{first}"', *carrying)
        if others:
            self.own(str(_OWN / "levels.S"), "levels.o")
        self.link(first, f"level-{first}.o", "licenses.o", *(["levels.o"] if others else []))
        return Path(f"executable-{first}")


@define
class NativeRuntime:
    """Compiles the runtime of a flavour."""

    flavour: Flavour

    def tool(self) -> ToolIdentity:
        """Return our sources, the options, and the archive of llama.cpp's sources."""
        return ToolIdentity(
            version=f"llama-cpp-python {VERSION}",
            files=(*_FILES, *sorted(_OWN.iterdir()), *sorted(_PAGE.iterdir())),
            parameters=tuple(f"{name}={value}" for name, value in asdict(self.flavour).items()),
            archive=source_archive(VERSION, _MEMBERS),
        )

    def toolchain(self) -> str:
        """Return the versions of compiler, linker and libraries."""
        version = find_toolchain(self.flavour.compiler).version
        return f"{version}; {find_npm()[1]}" if self.flavour.web_ui else version

    def compile(self, archive: Path, output: Path, threads: int, progress: Callable[[str, int, int], None]) -> None:
        """Compile and link."""
        tools = find_toolchain(self.flavour.compiler)
        made = _Build(flavour=self.flavour, tools=tools, threads=threads, progress=progress).all(archive)
        output.write_bytes(made.read_bytes())
        progress("", 100, 100)
