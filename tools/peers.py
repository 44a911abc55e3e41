"""Install the programs that tests compare lftool with; where that cannot be done, their tests are skipped and say so.

Only as root on a system with apt-get; elsewhere this names what is missing, and the tests run without.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

# What a test runs, and the Debian package that it is in.
PEERS = {
    "7z": "p7zip-full",
    "bsdtar": "libarchive-tools",
    "docker-registry": "docker-registry",
    "faketime": "faketime",
    "nginx": "nginx-light",
    "skopeo": "skopeo",
    "unzip": "unzip",
}
# What starts images, for `make test-long`.
ENGINES = {
    "catatonit": "catatonit",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "netavark": "netavark",
    "podman": "podman",
    "runc": "runc",
}
# What looks at the site of docs/ and at the chat page, for `make test-site`.
BROWSER = {
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "node": "nodejs",
    "npm": "npm",
}


def wanted_programs() -> dict[str, str]:
    """Return program to package of what the tests that were asked for run."""
    if "--browser" in sys.argv:
        return BROWSER
    return PEERS | ENGINES if "--engines" in sys.argv else PEERS


def missing() -> dict[str, str]:
    """Return program to package of what is not on PATH."""
    path = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/usr/lib/podman"
    return {
        program: package for program, package in wanted_programs().items() if shutil.which(program, path=path) is None
    }


def main() -> None:
    """Install what is missing, if this may be done here."""
    wanted = missing()
    if not wanted:
        return
    packages = sorted(set(wanted.values()))
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"== tests with {', '.join(sorted(wanted))} will be skipped; Debian packages: {' '.join(packages)}")
        return
    print(f"== programs that tests compare with: apt-get install {' '.join(packages)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", "-qq", *command], env=environment, check=False, stdout=subprocess.DEVNULL)
        if done.returncode:
            print(f"== apt-get {command[0]} failed; tests without those programs are skipped", file=sys.stderr)
            return


if __name__ == "__main__":
    main()
