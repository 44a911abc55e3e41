"""The fetch rows of `make bench`: nginx on loopback, one file, against curl and against huggingface_hub."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from model import write_model
from rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.testing.hub import HubServer

NGINX = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  default_type application/octet-stream;
  sendfile on;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""

RECIPE = """\
[bundle]
name = "bench"
version = "1"
[sources.base]
uri = "{uri}"
[model]
weights = "base"
[targets.f16]
layout = "gguf"
"""
LFTOOL = Path(sys.executable).with_name("lftool")
GIBIBYTE = 1024**3
MEMORY = """\
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, capture_output=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""

HUB_DOWNLOAD = """\
import hashlib, sys
from huggingface_hub import hf_hub_download
path = hf_hub_download("org/repo", "model.gguf", endpoint=sys.argv[1], cache_dir=sys.argv[2])
with open(path, "rb") as file:
    hashlib.file_digest(file, "sha256")
"""


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def nginx(root: Path) -> Iterator[str]:
    """Serve a folder; yield the URL."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        sys.exit("the fetch rows need nginx: apt-get install nginx-light")
    folder = root / "nginx"
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "conf").write_text(NGINX.format(folder=folder, root=root, port=port, user=user))
    with subprocess.Popen([program, "-c", folder / "conf", "-e", folder / "error.log"]) as process:
        try:
            while not _listening(port):
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _timed(*command: object, cwd: Path, env: dict[str, str]) -> float:
    """Return seconds; what earlier runs left to write is on the disk before the clock starts."""
    os.sync()
    started = time.perf_counter()
    subprocess.run([str(part) for part in command], cwd=cwd, env=env, check=True, capture_output=True)
    return time.perf_counter() - started


def _project(folder: Path, uri: str, env: dict[str, str]) -> Path:
    folder.mkdir()
    (folder / "lftool.toml").write_text(RECIPE.format(uri=uri))
    _timed(LFTOOL, "lock", cwd=folder, env={**env, "XDG_CACHE_HOME": str(folder / "first")})
    shutil.rmtree(folder / "first")
    return folder


def fetch_rows(folder: Path, template: Path, rounds: int) -> list[Row]:
    """Fetch 1 GiB into an empty cache, against curl and openssl, and against huggingface_hub and a hash."""
    from lftool.testing.hub import HubServer

    write_model(folder / "model.gguf", template, GIBIBYTE)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    env["HF_HUB_DISABLE_TELEMETRY"] = "1"
    cache, copy = folder / "cache", folder / "copy"
    ours: list[float] = []
    peer: list[float] = []
    hub_ours: list[float] = []
    hub_peer: list[float] = []
    with nginx(folder) as url, HubServer() as hub:
        _serve_from(hub, folder, url)
        env |= {"HF_ENDPOINT": hub.url, "XDG_CACHE_HOME": str(cache)}
        plain = _project(folder / "plain", f"{url}/model.gguf", env)
        hugging = _project(folder / "hugging", "hf://org/repo", env)
        for _ in range(rounds):
            get = f"curl -s -o '{copy}' {url}/model.gguf && openssl dgst -sha256 '{copy}'"
            peer.append(_timed("sh", "-c", get, cwd=folder, env=env))
            copy.unlink()
            ours.append(_timed(LFTOOL, "fetch", cwd=plain, env=env))
            shutil.rmtree(cache)
        for _ in range(rounds):
            download = [sys.executable, "-c", HUB_DOWNLOAD, hub.url, folder / "hub-cache"]
            hub_peer.append(_timed(*download, cwd=folder, env=env))
            shutil.rmtree(folder / "hub-cache")
            hub_ours.append(_timed(LFTOOL, "fetch", cwd=hugging, env=env))
            shutil.rmtree(cache)
        measure = [sys.executable, "-c", MEMORY, str(LFTOOL), "fetch"]
        done = subprocess.run(measure, cwd=plain, env=env, check=True, capture_output=True, text=True)
    return [
        Row(
            name="fetch 1 GiB over loopback, hashed while written",
            ours=tuple(ours),
            peer=tuple(peer),
            peer_name="curl to a file, then openssl dgst -sha256",
            budget=0.95,
        ),
        Row(
            name="fetch 1 GiB from a Hugging Face endpoint",
            ours=tuple(hub_ours),
            peer=tuple(hub_peer),
            peer_name="huggingface_hub's download, then sha256",
            budget=1.0,
        ),
        Row(name="peak memory of fetch", ours=(int(done.stdout) / 1024,), budget=200, unit="MiB"),
    ]


def _serve_from(hub: HubServer, folder: Path, url: str) -> None:
    """Let the hub name the model, and nginx deliver it."""
    with (folder / "model.gguf").open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    (folder / "lfs").mkdir()
    (folder / "lfs" / sha256).hardlink_to(folder / "model.gguf")
    hub.repository("org/repo").commit({"model.gguf": (folder / "model.gguf").read_bytes()})
    hub.large_url = url
