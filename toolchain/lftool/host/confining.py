"""Apply a confinement to this process. Imports little, since `lftool run` confines itself before anything else.

    python -I -m lftool.host.confining CONFINEMENT COMMAND...

becomes the command, confined; CONFINEMENT is its plain data as JSON. Without COMMAND, prints what is supported.

Sources: landlock(7), setrlimit(2), prctl(2) PR_SET_NO_NEW_PRIVS, unshare(2). RLIMIT_AS and RLIMIT_NPROC are not used:
weights are mapped, and threads of the user's other processes count. Memory may be both writable and
executable: kernels are compiled at run time.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import resource
import sys
from typing import TYPE_CHECKING, Any

from lftool.host import landlock
from lftool.host.landlock import EXECUTE, IOCTL, READ, READ_DIR, REFER, TRUNCATE, WRITE, RuleSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_PR_SET_NO_NEW_PRIVS = 38
_NEWUSER, _NEWNET = 0x10000000, 0x40000000

# System files that an interpreter and its libraries read.
_SYSTEM = (
    *("/usr", "/lib", "/lib64", "/lib32", "/bin", "/opt", "/nix/store"),
    *(
        "/etc/ld.so.cache",
        "/etc/ld.so.conf",
        "/etc/ld.so.conf.d",
        "/etc/localtime",
        "/etc/passwd",
        "/etc/nsswitch.conf",
    ),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm", "/proc/filesystems"),
    *("/sys/devices/system", "/sys/fs/cgroup", "/dev/urandom", "/dev/random", "/dev/zero"),
)
_SINKS = ("/dev/null",)
# Files and devices that GPU drivers use.
_GPU_READS = ("/proc/driver/nvidia", "/proc/devices", "/proc/modules", "/sys", "/etc/vulkan", "/etc/OpenCL")
_GPU_DEVICES = ("/dev/nvidia-caps", "/dev/dri", "/dev/kfd", "/dev/shm")  # noqa: S108 - drivers share memory there
# Files read to resolve the address to listen on: getaddrinfo(3).
_NAMES = ("/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/services", "/etc/gai.conf")
# Files read for interactive use: terminfo(5), readline(3).
_TERMINAL = ("/etc/terminfo", "/etc/inputrc", "~/.inputrc", "~/.terminfo")


def _limit(what: int, most: int | None) -> None:
    if most is None:
        return
    _, hard = resource.getrlimit(what)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (bound, bound))


def _apply_limits(wanted: Mapping[str, Any]) -> bool:
    try:
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_FSIZE, wanted["file_bytes"])
        _limit(resource.RLIMIT_DATA, wanted["data_bytes"])
    except (OSError, ValueError):
        return False
    return True


def _map_ids(uid: int, gid: int) -> None:
    """Keep the user and group ids in a new user namespace; user_namespaces(7)."""
    with contextlib.suppress(OSError):
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 - a fixed path
                file.write(text)


def _leave_network(libc: ctypes.CDLL) -> bool:
    """Enter a network namespace without interfaces, and a user namespace too if that requires one."""
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(_NEWNET) == 0:
        return True
    if libc.unshare(_NEWUSER | _NEWNET) == 0:
        _map_ids(uid, gid)
        return True
    return False


def _import_paths(modules: Iterable[str]) -> Iterator[str]:
    """Yield the import paths of this interpreter and the modules; editable installs may be anywhere."""
    yield from (sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(os.path.realpath(sys.executable)))  # noqa: PTH120 - strings
    yield from (path for path in sys.path if path)
    for module in ("lftool", *modules):
        with contextlib.suppress(ImportError, ValueError, AttributeError):
            spec = importlib.util.find_spec(module.partition(".")[0])
            if spec is not None:
                yield from spec.submodule_search_locations or ([spec.origin] if spec.origin else [])


def _gpu_devices() -> list[str]:
    found = [f"/dev/{name}" for name in os.listdir("/dev") if name.startswith("nvidia")]  # noqa: PTH208 - strings
    return [*found, *_GPU_DEVICES]


def _allowed(wanted: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield paths, each with the rights below it."""
    looks, changes = READ | READ_DIR, (landlock.ALL_FIRST & ~EXECUTE) | REFER | TRUNCATE
    programs = {*_import_paths(wanted["modules"]), *_SYSTEM, *wanted["programs"]}
    yield from ((path, looks | EXECUTE) for path in programs)
    yield from ((path, looks) for path in wanted["reads"])
    yield from ((path, changes) for path in wanted["writes"])
    yield from ((path, READ | WRITE) for path in _SINKS)
    if wanted["gpu"]:
        yield from ((path, looks) for path in _GPU_READS)
        of_devices = looks | WRITE | IOCTL | landlock.MAKE_FILE | landlock.REMOVE_FILE
        yield from ((path, of_devices) for path in _gpu_devices())
    if wanted["terminal"]:
        yield from ((os.path.expanduser(path), looks) for path in _TERMINAL)  # noqa: PTH111 - strings
        yield "/dev/tty", READ | WRITE | IOCTL
    if wanted["port"] is not None:
        yield from ((path, READ) for path in _NAMES)


def _apply_landlock(libc: ctypes.CDLL, wanted: Mapping[str, Any]) -> int:
    rules = RuleSet(libc)
    if not rules.version or not rules.create():
        return 0
    for path, rights in _allowed(wanted):
        rules.allow(path, rights)
    if wanted["port"] is not None:
        rules.allow_listening(wanted["port"])
    return rules.version if rules.restrict() else 0


def confine(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Confine this process for good, with everything that it starts or becomes. It must have only one thread.

    Args:
        wanted: The limits: a `Confinement` as plain data.

    Returns:
        The restrictions that could be applied: an `Applied` as plain data.
    """
    limits = _apply_limits(wanted)
    if sys.platform != "linux":
        return {"limits": limits, "no_new_privileges": False, "landlock": 0, "network": "open"}
    libc = ctypes.CDLL(None, use_errno=True)
    network = "namespace" if wanted["port"] is None and _leave_network(libc) else "open"
    privileges = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    version = _apply_landlock(libc, wanted) if privileges else 0
    if network == "open" and version >= landlock.NET_VERSION:
        network = "tcp"
    return {"limits": limits, "no_new_privileges": privileges, "landlock": version, "network": network}


def main() -> None:
    """Confine this process, then become the command given as arguments."""
    import json  # noqa: PLC0415 - `lftool run` does not need it

    wanted, *command = sys.argv[1:]
    applied = confine(json.loads(wanted))
    if command:
        os.execv(command[0], command)  # noqa: S606 - the caller's command
    sys.stdout.write(json.dumps(applied))


if __name__ == "__main__":
    main()
