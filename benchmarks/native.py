"""Native bundles against llama.cpp's own programs, built from the same sources with the same options, on the plain GGUF."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from rows import Row

if TYPE_CHECKING:
    from packing import Bench

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lftool-dev"
LFTOOL = Path(sys.executable).with_name("lftool")
PROMPT = "User: Tell me a story about a fox.\nAssistant:"
CLIENTS, REQUESTS, TOKENS = 4, 240, 96  # few requests: the clients share the two cores
SAMPLING = ("--temp", "0", "--seed", "0", "-fit", "off", "--offline")

TARGET = """
[targets.native]
layout = "llamafile"
runtime = "native"
"""


def best_level() -> str:
    """Return the level that the native runtime goes on with here."""
    bare = {"PATH": os.environ["PATH"]}
    said = subprocess.run([runtime(), "--version"], env=bare, check=True, capture_output=True, text=True).stdout
    return said.split(", ")[2]


def runtime() -> str:
    """Return the native runtime, compiled by `make native`."""
    command: list[str | Path] = [LFTOOL, "runtime", "build", "-o", CACHE / "native" / "runtime"]
    subprocess.run(
        command, env={**os.environ, "XDG_CACHE_HOME": str(CACHE / "native")}, check=True, capture_output=True
    )
    return str(CACHE / "native" / "runtime")


def peers() -> dict[str, Path]:
    """Return llama-server and llama-completion of the same sources, compiled once with the same options."""
    from lftool_llamacpp.flavours import level_options
    from lftool_llamacpp.native_runtime import _OPTIONS, _TREE
    from lftool_llamacpp.toolchain import find_toolchain

    level, tools = best_level(), find_toolchain()
    options = [*_OPTIONS, *level_options(level), "-DCMAKE_EXE_LINKER_FLAGS=-static -s"]
    key = hashlib.sha256("\n".join([tools.version, *options]).encode()).hexdigest()[:16]
    folder = CACHE / "peers" / key
    names = ("llama-server", "llama-completion")
    if not all((folder / "bin" / name).is_file() for name in names):
        print("compiling llama.cpp's own programs, once: six minutes on two cores …", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with zipfile.ZipFile(_sources()) as members:
            members.extractall(folder)
        configure: list[str | Path] = [
            tools.cmake,
            "-S",
            folder / _TREE,
            "-B",
            folder,
            "-G",
            "Unix Makefiles",
            *options,
        ]
        environment = {**os.environ, "GIT_DIR": "/nonexistent"}
        subprocess.run(configure, check=True, capture_output=True, env=environment)
        threads = str(os.cpu_count())
        build: list[str | Path] = [tools.cmake, "--build", folder, "-j", threads, "--target", *names]
        subprocess.run(build, check=True, capture_output=True, env=environment)
    return {name: folder / "bin" / name for name in names}


def _sources() -> Path:
    """Return the ZIP of llama.cpp's sources that the runtime is compiled from."""
    os.environ["XDG_CACHE_HOME"] = str(CACHE / "native")
    from lftool.ops.project import open_ports
    from lftool.ops.runtime import lock_of
    from lftool.pipeline.tools.archives import resolve_archive, unpacked
    from lftool.pipeline.tools.runtimes import archive_of

    ports = open_ports(None)
    registered = ports.registry.runtime("native", "cpu")
    archive, name = archive_of(registered), registered.record.semantics
    pinned = resolve_archive(archive, None, name, ports)
    artifact = unpacked(archive, pinned, name, lock_of(registered.origin, pinned, ports), ports)
    return ports.store.blobs.require(artifact, "the sources")


def seed_cache(cache: Path) -> None:
    """Give a bench's cache what `make native` compiled."""
    for part in ("cas-v1", "ac-v2"):
        shutil.copytree(CACHE / "native" / "lftool" / part, cache / "lftool" / part, dirs_exist_ok=True)


def first_token_rows(bench: Bench, bundle: Path) -> list[Row]:
    """First byte of an answer: of the bundle itself, and through `lftool run` the second time."""
    peer_command = [peers()["llama-completion"], "-m", bench.model, "-p", PROMPT, "-n", "1", "-c", "128", *SAMPLING]
    peer_command += ["--no-warmup", "-no-cnv", "--no-display-prompt", "--simple-io"]
    for path in (bench.model, bundle):
        bench.read_again(path)
    asked = ["--raw", "--max-tokens", "1", "-p", PROMPT]
    through = [LFTOOL, "run", bundle, *asked]
    first = bench.first_output(*through)
    own, run, peer = [], [], []
    for _ in range(bench.rounds):
        peer.append(bench.first_output(*peer_command))
        own.append(bench.first_output(bundle, *asked))
        run.append(bench.first_output(*through))
    name = "llama-completion, plain GGUF"
    return [
        Row(
            name="first token, native bundle by itself", ours=tuple(own), peer=tuple(peer), peer_name=name, budget=1.05
        ),
        Row(
            name="first token, native, `lftool run`, second start",
            ours=tuple(run),
            peer=tuple(peer),
            peer_name=name,
            budget=1.05,
            note=f"first start, which verifies: {first:.2f} s",
        ),
    ]


def export_row(bench: Bench, bundle: Path) -> Row:
    """An OCI image of the bundle against a copy of it."""
    ours, peer = [], []
    copy, image = bench.folder / "copy", bench.folder / "image"
    for _ in range(bench.rounds):
        peer.append(bench.timed("sh", "-c", f"cp '{bundle}' '{copy}' && sync '{copy}'"))
        copy.unlink()
        ours.append(bench.timed(LFTOOL, "export", "container", bundle, image))
        shutil.rmtree(image)
    return Row(name="export container", ours=tuple(ours), peer=tuple(peer), peer_name="cp A B && sync B", budget=1.3)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server that answers on loopback during the block."""

    def __init__(self, *command: object, environment: dict[str, str] | None = None) -> None:
        self.port = _free_port()
        self._environment = environment
        self._command = [*map(str, command), "--port", str(self.port)]

    def __enter__(self) -> Server:  # noqa: PYI034 - nobody derives from it
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self._environment
        )
        while True:
            try:
                if self._get("/health") == 200:
                    return self
            except OSError:
                assert self._process.poll() is None, "the server ended"
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def _get(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", path)
        return connection.getresponse().status

    def work(self) -> float:
        """Return the seconds that all requests take."""
        body = json.dumps({"prompt": PROMPT, "max_tokens": TOKENS, "ignore_eos": True, "cache_prompt": False})

        def one(_: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            for _ in range(REQUESTS // CLIENTS):
                connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
                assert answer.status == 200, text
            connection.close()

        started = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(one, range(CLIENTS)))
        return time.perf_counter() - started


def throughput_row(folder: Path, example: Path, rounds: int) -> Row:
    """Requests of four clients to tiny-story: a model so small that the server itself is much of the work."""
    recipe = (
        '[bundle]\nname = "story"\nversion = "1"\n[sources.base]\nuri = "file:story.gguf"\n[model]\nweights = "base"\n'
        '[targets.native]\nlayout = "llamafile"\nruntime = "native"\n[run]\ncontext = 512\ntemperature = 0.0\n'
    )
    shutil.copy(example, folder / "story.gguf")
    (folder / "lftool.toml").write_text(recipe)
    seed_cache(folder / "cache")
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    for command in ("lock", "build"):
        subprocess.run([LFTOOL, command], cwd=folder, env=environment, check=True, capture_output=True)
    own = [folder / "dist" / "story-1-native.llamafile", "--server"]
    slots = ("--parallel", "4", "--kv-unified", "--kv-unified-per-slot", "512")  # as native/serve.cpp asks for
    peer = [peers()["llama-server"], "-m", folder / "story.gguf", *slots, *SAMPLING]
    peer += ["--metrics", "--no-slots", "--cache-ram", "0"]
    ours, theirs = [], []
    with Server(*own) as mine, Server(*peer) as other:
        for server in (mine, other):
            server.work()
        for _ in range(2 * rounds):
            theirs.append(other.work())
            ours.append(mine.work())
    return Row(
        name=f"serve {REQUESTS} answers of {TOKENS} tokens to {CLIENTS} clients",
        ours=tuple(ours),
        peer=tuple(theirs),
        peer_name="llama-server, plain GGUF",
        budget=1 / 0.98,
    )
