"""Landlock through system calls. Imports little, since `lftool run` confines itself before anything else.

Source: landlock(7), include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on every architecture
_VERSION_FLAG, _PATH_BENEATH, _NET_PORT = 1, 1, 2

EXECUTE, WRITE, READ, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_FILE, MAKE_FILE = 1 << 5, 1 << 8
REFER, TRUNCATE, IOCTL = 1 << 13, 1 << 14, 1 << 15
ALL_FIRST = (1 << 13) - 1  # every right in the first version
_OF_FILES = EXECUTE | WRITE | READ | TRUNCATE | IOCTL
_BIND, _CONNECT = 1 << 0, 1 << 1
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1
NET_VERSION = 4
_IOCTL_VERSION, _SCOPE_VERSION, _TRUNCATE_VERSION, _REFER_VERSION = 5, 6, 3, 2


class RuleSet:
    """A set of rules; `version` is the version of the interface, 0 if the kernel has none.

    Args:
        libc: The C library, loaded with `use_errno`.
    """

    def __init__(self, libc: ctypes.CDLL) -> None:
        self._libc = libc
        self.version = max(0, libc.syscall(_CREATE, None, 0, _VERSION_FLAG))
        self._handled = ALL_FIRST
        for least, right in ((_REFER_VERSION, REFER), (_TRUNCATE_VERSION, TRUNCATE), (_IOCTL_VERSION, IOCTL)):
            if self.version >= least:
                self._handled |= right
        self._rules = -1

    def create(self) -> bool:
        """Create the rule set; return whether it exists now."""
        fields = [self._handled]
        if self.version >= NET_VERSION:
            fields.append(_BIND | _CONNECT)
        if self.version >= _SCOPE_VERSION:
            fields.append(_ABSTRACT_SOCKETS | _SIGNALS)
        described = struct.pack(f"={len(fields)}Q", *fields)
        self._rules = self._libc.syscall(_CREATE, described, len(described), 0)
        return self._rules >= 0

    def _add(self, kind: int, rule: bytes, what: str) -> None:
        if self._libc.syscall(_ADD, self._rules, kind, rule, 0) != 0:
            code = ctypes.get_errno()
            if code not in {errno.ENOMSG, errno.EBADFD}:  # no right is left, or a pipe, which needs none
                raise OSError(code, f"landlock_add_rule: {what}")

    def allow(self, path: str, rights: int) -> None:
        """Allow rights below a path; does nothing if the path does not exist.

        Raises:
            OSError: The kernel refuses the rule.
        """
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        try:
            if not os.path.isdir(path):  # noqa: PTH112 - a string
                rights &= _OF_FILES
            self._add(_PATH_BENEATH, struct.pack("=Qi", rights & self._handled, descriptor), path)
        finally:
            os.close(descriptor)

    def allow_listening(self, port: int) -> None:
        """Allow listening on a TCP port.

        Raises:
            OSError: The kernel refuses the rule.
        """
        if self.version >= NET_VERSION:
            self._add(_NET_PORT, struct.pack("=QQ", _BIND, port), f"port {port}")

    def restrict(self) -> bool:
        """Enforce the rules on this process for good; return whether the kernel does."""
        done: int = self._libc.syscall(_RESTRICT, self._rules, 0)
        os.close(self._rules)
        return done == 0
