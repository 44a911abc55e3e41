"""Rows of pushing, pulling and the metadata stage: against skopeo and openssl with a registry on this machine, and cp."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from packing import LFTOOL, SETTLE_SECONDS, Bench
from quantizing import MEMORY, timed
from rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PUSH, AGAIN, PULL, METADATA, MEBIBYTES = 1.05, 0.2, 1.0, 1.15, 64
REGISTRY = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: 127.0.0.1:{port}}}
"""
# The stage alone: weights in the store, and one key more.
DESCRIBE = """\
import sys, time
from pathlib import Path
from lftool.formats.gguf_edit import KeyEdit
from lftool.models.digest import Artifact, Digest
from lftool.ops.project import open_ports
from lftool.pipeline.model.header_edits import HeaderEdits, new_header
from lftool.pipeline.stages.describing import write_described
path = Path(sys.argv[1])
weights = Artifact(Digest(path.parent.name + path.name), path.stat().st_size)
ports = open_ports(None)
edits = HeaderEdits(edits=(KeyEdit(key="example.round", type="string", value=sys.argv[2]),))
started = time.perf_counter()
made = write_described(new_header(edits, weights, "", ports), weights, ports)
print(time.perf_counter() - started)
ports.store.blobs.path(made).unlink()
"""


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Run an empty docker-registry; yield its host and port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = folder / f"registry-{port}"
    (folder / "registry.yml").write_text(REGISTRY.format(root=root, port=port))
    command = ["docker-registry", "serve", str(folder / "registry.yml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
    shutil.rmtree(root, ignore_errors=True)


def _settle() -> None:
    os.sync()  # what came before is not to keep the disk busy
    time.sleep(SETTLE_SECONDS)


def publish_rows(folder: Path, size: int, rounds: int) -> list[Row]:
    """Push and pull a bundle, every byte checked, against copying the same blobs; and give weights another key."""
    bench = Bench(folder, size, rounds)
    bench.prepare()
    bundle, layout = next((folder / "dist").iterdir()), folder / "layout"
    copy = ("skopeo", "copy", "--insecure-policy", "--preserve-digests")
    os.environ.update(XDG_CACHE_HOME=str(folder / "machine" / "cache"), XDG_CONFIG_HOME=str(folder / "machine"))
    times: dict[str, list[float]] = {name: [] for name in ("push", "again", "skopeo", "pull", "copied")}
    back, files = folder / "back", folder / "files"
    for number in range(rounds):
        with registry(folder) as host:
            uri = f"oci://{host}/models/bench:1"
            _settle()
            times["push"].append(timed(LFTOOL, "push", uri, bundle, "-q")[0])
            times["again"].append(timed(LFTOOL, "push", uri, bundle, "-q")[0])
            for old in (back, files, folder / "machine"):
                shutil.rmtree(old, ignore_errors=True)
            _settle()
            times["pull"].append(timed(LFTOOL, "pull", uri, "-o", back, "-q")[0])
            if (back / bundle.name).stat().st_size != bundle.stat().st_size:
                sys.exit("what was pulled is not the bundle")
            shutil.rmtree(back)
            _settle()
            source = f"docker://{host}/models/bench:1"
            fetched = timed(*copy, "--src-tls-verify=false", source, f"dir:{files}")[0]
            hashed = timed("openssl", "dgst", "-sha256", *sorted(files.iterdir()))[0]
            times["copied"].append(fetched + hashed)
            if number == 0:
                timed(*copy, "--src-tls-verify=false", source, f"oci:{layout}:1")
        with registry(folder) as host:
            _settle()
            target = f"docker://{host}/models/bench:1"
            times["skopeo"].append(timed(*copy, "--dest-tls-verify=false", f"oci:{layout}:1", target)[0])
    memory = []
    with registry(folder) as host:
        uri = f"oci://{host}/models/bench:1"
        for command in (("push", uri, bundle), ("pull", uri, "-o", back)):
            shutil.rmtree(folder / "machine", ignore_errors=True)
            memory.append(int(timed(sys.executable, "-c", MEMORY, LFTOOL, *command, "-q")[1]) / 1024)
    described, copied, used = _metadata(bench, rounds)
    return [
        Row(
            name="push",
            ours=tuple(times["push"]),
            peer=tuple(times["skopeo"]),
            peer_name="skopeo copy --preserve-digests",
            budget=PUSH,
        ),
        Row(
            name="second push",
            ours=tuple(times["again"]),
            peer=tuple(times["push"]),
            peer_name="the first",
            budget=AGAIN,
        ),
        Row(
            name="pull",
            ours=tuple(times["pull"]),
            peer=tuple(times["copied"]),
            peer_name="skopeo copy, openssl dgst -sha256",
            budget=PULL,
        ),
        Row(name="metadata stage", ours=described, peer=copied, peer_name="cp A B && sync B", budget=METADATA),
        *(
            Row(name=f"peak memory of {name}", ours=(value,), budget=MEBIBYTES, unit="MiB")
            for name, value in zip(("push", "pull", "the metadata stage"), (*memory, used), strict=True)
        ),
    ]


def _metadata(bench: Bench, rounds: int) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    """Return times of the stage, those of copying, and its memory in MiB."""
    os.environ["XDG_CACHE_HOME"] = str(bench.folder / "cache")
    blob = max((bench.folder / "cache" / "lftool" / "cas-v1").glob("*/*"), key=lambda path: path.stat().st_size)
    copy = bench.folder / "copy"
    ours, peer = [], []
    for number in range(rounds):
        _settle()
        ours.append(float(timed(sys.executable, "-c", DESCRIBE, blob, number)[1]))
        copy.unlink(missing_ok=True)
        _settle()
        peer.append(timed("sh", "-c", 'cp "$1" "$2" && sync "$2"', "copy", blob, copy)[0])
    used = int(timed(sys.executable, "-c", MEMORY, sys.executable, "-c", DESCRIBE, blob, "x")[1]) / 1024
    return tuple(ours), tuple(peer), used
