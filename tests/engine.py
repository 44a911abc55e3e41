"""podman, with a storage and a network of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

# Without systemd, and without the right to raise limits.
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
"""


@frozen
class Engine:
    """podman with a storage of its own, in a network namespace of its own.

    Attributes:
        folder: Images and containers.
        state: What runs; podman takes no path of more than 50 characters.
        network: Name of the namespace.
    """

    folder: Path
    state: Path
    network: str

    def command(self, *arguments: object) -> list[str]:
        """Return the command line of podman with arguments."""
        storage = ["--root", self.folder / "root", "--runroot", self.state, "--storage-driver", "vfs"]
        entered = ["nsenter", f"--net=/run/netns/{self.network}"]
        return [*entered, "podman", *map(str, [*storage, *arguments])]

    def run(self, *arguments: object, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run podman."""
        environment = {**os.environ, "CONTAINERS_CONF": str(self.folder / "containers.conf")}
        done = subprocess.run(
            self.command(*arguments),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done


@contextmanager
def engine_in(folder: Path) -> Iterator[Engine]:
    """Yield an engine that keeps everything in a folder; its containers end with it.

    Skips the test where podman, or what it needs, is not installed or not allowed.
    """
    for program in ("podman", "runc", "ip", "nsenter", "curl"):
        if shutil.which(program) is None:
            pytest.skip(
                f"there is no {program} here: Debian packages podman, runc, netavark, catatonit, iproute2, curl"
            )
    network = f"lftool-{secrets.token_hex(4)}"
    (folder / "containers.conf").write_text(CONFIGURATION)
    if subprocess.run(["ip", "netns", "add", network], check=False, capture_output=True).returncode:
        pytest.skip("network namespaces are not allowed here")
    with tempfile.TemporaryDirectory(prefix="lftool-") as state:
        made = Engine(folder, Path(state), network)
        try:
            subprocess.run(["ip", "-n", network, "link", "set", "lo", "up"], check=True)
            yield made
        finally:
            made.run("rm", "--all", "--force", "--time", "0", check=False)
            subprocess.run(["ip", "netns", "delete", network], check=False)
