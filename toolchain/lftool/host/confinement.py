"""Confine a process that parses or executes model files: limits, no network, and a view of the file system that is small.

A worker does this to itself before it loads a plugin. What a kernel cannot do is left out and reported: confinement limits
the damage of a hostile model, it is not what makes a build right.

Sources: landlock(7), setrlimit(2), prctl(2) PR_SET_NO_NEW_PRIVS, unshare(2), include/uapi/linux/landlock.h. There is no
RLIMIT_AS or RLIMIT_NPROC: weights are mapped, and threads of other processes of the user count. There is no rule against
memory that is writable and executable: kernels are compiled at run time.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib.util
import json
import os
import resource
import struct
import sys
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the numbers on every architecture
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_PR_SET_NO_NEW_PRIVS = 38
_NEWUSER, _NEWNET = 0x10000000, 0x40000000

_EXECUTE, _WRITE, _READ, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_ALL_FIRST = (1 << 13) - 1  # every right of the first version
_OF_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL
_NET_VERSION, _IOCTL_VERSION, _SCOPE_VERSION, _TRUNCATE_VERSION, _REFER_VERSION = 4, 5, 6, 3, 2

# What an interpreter and its libraries read of a system.
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
# What the drivers of GPUs read, and talk to.
_GPU_READS = ("/proc/driver/nvidia", "/sys", "/etc/vulkan", "/etc/OpenCL")
_GPU_DEVICES = ("/dev/nvidia-caps", "/dev/dri", "/dev/kfd", "/dev/shm")  # noqa: S108 - where drivers share memory

_BASE_BYTES = 6 << 30  # what importing torch and transformers reserves, with a margin
_DATA_FACTOR, _FILE_FACTOR = 4, 8
_BASE_FILE_BYTES = 1 << 30


@frozen(kw_only=True)
class Confinement:
    """What a process may do.

    Attributes:
        reads: Files and folders that it may read, besides the interpreter and the system's libraries.
        writes: Files and folders that it may write.
        data_bytes: The most memory of its own; None for no limit.
        file_bytes: The largest file that it may write; None for no limit.
        gpu: Whether it works on a GPU: then it may use the devices, and has no limit of memory.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    data_bytes: int | None = None
    file_bytes: int | None = None
    gpu: bool = False

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@frozen(kw_only=True)
class Applied:
    """What could be applied on this machine.

    Attributes:
        limits: Memory, file size and core dumps.
        no_new_privileges: Programs that it starts get no rights that it has not.
        landlock: Version of the kernel's interface; 0 where there is none.
        network: How the network is closed: `namespace`, `tcp` (only TCP is), or `open`.
    """

    limits: bool = False
    no_new_privileges: bool = False
    landlock: int = 0
    network: str = "open"

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def for_inputs(reads: Iterable[str], writes: Iterable[str], input_bytes: int, *, gpu: bool) -> Confinement:
    """Return the confinement of a process that works on model files.

    Args:
        reads: Its inputs.
        writes: Where it writes.
        input_bytes: The size of its inputs, in bytes; memory and output are bounded by it.
        gpu: Whether it works on a GPU.
    """
    return Confinement(
        reads=tuple(reads),
        writes=tuple(writes),
        data_bytes=None if gpu else _BASE_BYTES + _DATA_FACTOR * input_bytes,
        file_bytes=_BASE_FILE_BYTES + _FILE_FACTOR * input_bytes,
        gpu=gpu,
    )


def _limit(what: int, most: int | None) -> None:
    if most is None:
        return
    _, hard = resource.getrlimit(what)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (bound, bound))


def _apply_limits(wanted: Confinement) -> bool:
    try:
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_FSIZE, wanted.file_bytes)
        _limit(resource.RLIMIT_DATA, wanted.data_bytes)
    except (OSError, ValueError):
        return False
    return True


def _map_ids(uid: int, gid: int) -> None:
    """Keep the names of user and group in a new user namespace; user_namespaces(7)."""
    with contextlib.suppress(OSError):
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 - no path of anybody's
                file.write(text)


def _leave_network(libc: ctypes.CDLL) -> bool:
    """Go into a network namespace without interfaces; where that needs it, into a user namespace too."""
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(_NEWNET) == 0:
        return True
    if libc.unshare(_NEWUSER | _NEWNET) == 0:
        _map_ids(uid, gid)
        return True
    return False


def _import_paths(modules: Iterable[str]) -> Iterator[str]:
    """Yield where this interpreter and modules are imported from; editable installs lie anywhere."""
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


class _Landlock:
    """A rule set of the kernel's in the making."""

    def __init__(self, libc: ctypes.CDLL) -> None:
        self._libc = libc
        self.version = max(0, libc.syscall(_CREATE, None, 0, _VERSION_FLAG))
        self._handled = _ALL_FIRST
        for least, right in ((_REFER_VERSION, _REFER), (_TRUNCATE_VERSION, _TRUNCATE), (_IOCTL_VERSION, _IOCTL)):
            if self.version >= least:
                self._handled |= right
        self._rules = -1

    def create(self) -> bool:
        net = 0b11 if self.version >= _NET_VERSION else 0  # bind and connect of TCP
        scoped = 0b11 if self.version >= _SCOPE_VERSION else 0  # abstract sockets and signals outside
        fields = [self._handled]
        if self.version >= _NET_VERSION:
            fields.append(net)
        if self.version >= _SCOPE_VERSION:
            fields.append(scoped)
        described = struct.pack(f"={len(fields)}Q", *fields)
        self._rules = self._libc.syscall(_CREATE, described, len(described), 0)
        return self._rules >= 0

    def allow(self, path: str, rights: int) -> None:
        """Allow rights below a path; one that is not there needs none."""
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        try:
            if not os.path.isdir(path):  # noqa: PTH112 - a string
                rights &= _OF_FILES
            rule = struct.pack("=Qi", rights & self._handled, descriptor)
            if self._libc.syscall(_ADD, self._rules, _PATH_BENEATH, rule, 0) != 0:
                code = ctypes.get_errno()
                if code not in {errno.ENOMSG, errno.EBADFD}:  # no right is left; a pipe, which needs none
                    raise OSError(code, f"landlock_add_rule: {path}")
        finally:
            os.close(descriptor)

    def restrict(self) -> bool:
        done: int = self._libc.syscall(_RESTRICT, self._rules, 0)
        os.close(self._rules)
        return done == 0


def _apply_landlock(libc: ctypes.CDLL, wanted: Confinement, modules: Iterable[str]) -> int:
    rules = _Landlock(libc)
    if not rules.version or not rules.create():
        return 0
    looked_at = _READ | _READ_DIR | _EXECUTE
    for path in {*_import_paths(modules), *_SYSTEM}:
        rules.allow(path, looked_at)
    for path in wanted.reads:
        rules.allow(path, _READ | _READ_DIR)
    for path in wanted.writes:
        rules.allow(path, (_ALL_FIRST & ~_EXECUTE) | _REFER | _TRUNCATE)
    for path in _SINKS:
        rules.allow(path, _READ | _WRITE)
    if wanted.gpu:
        for path in _GPU_READS:
            rules.allow(path, _READ | _READ_DIR)
        for path in _gpu_devices():
            rules.allow(path, _READ | _READ_DIR | _WRITE | _IOCTL | (1 << 8) | (1 << 5))
    return rules.version if rules.restrict() else 0


def confine(wanted: Confinement, modules: Iterable[str] = ()) -> Applied:
    """Confine this process, for good; what it starts is confined as well. It must have one thread only.

    Args:
        wanted: What it may do.
        modules: What it is going to import; may be installed in place, anywhere.
    """
    limits = _apply_limits(wanted)
    if sys.platform != "linux":
        return Applied(limits=limits)
    libc = ctypes.CDLL(None, use_errno=True)
    network = "namespace" if _leave_network(libc) else "open"
    privileges = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    version = _apply_landlock(libc, wanted, modules) if privileges else 0
    if network == "open" and version >= _NET_VERSION:
        network = "tcp"
    return Applied(limits=limits, no_new_privileges=privileges, landlock=version, network=network)


if __name__ == "__main__":  # tells what could be applied here, by applying it to itself
    print(json.dumps(confine(Confinement(file_bytes=1 << 40, data_bytes=1 << 40)).plain()))  # noqa: T201 - its answer
