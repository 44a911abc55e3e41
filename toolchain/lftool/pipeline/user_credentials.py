"""The user's credentials: `credentials.toml`, then netrc. A project cannot influence them.

Most commands contact no server, so the modules that read these files are imported on first use.
"""

from __future__ import annotations

import base64
import os
import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lftool.api import Credential
from lftool.errors import UnavailableError, UsageError
from lftool.store.places import user_credentials

if TYPE_CHECKING:
    from lftool.models.credentials_file import CredentialsFile, HostCredential

_COMMAND_SECONDS = 120
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def _server(url: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname.lower(), port) if parts.hostname else None


def _secret(reference: str, where: str) -> str:
    """Return the secret behind a reference.

    Raises:
        UnavailableError: It yields nothing; the message contains no part of the secret.
    """
    kind, _, rest = reference.partition(":")
    found = ""
    if kind == "env":
        found, why = os.environ.get(rest, ""), f"the variable {rest} is not set"
    elif kind == "file":
        why = f"cannot read {rest}"
        try:
            found = Path(rest).expanduser().read_text()
        except (OSError, ValueError) as error:
            why = f"{why}: {getattr(error, 'strerror', None) or 'not text'}"
    else:
        import subprocess  # noqa: PLC0415 - see above

        command = shlex.split(rest)
        why = f"the command {command[0]} printed nothing" if command else "no command is given"
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                timeout=_COMMAND_SECONDS,
                check=True,
            )
            found = done.stdout
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            why = f"the command {command[0] if command else ''} failed: {type(error).__name__}"
    found = found.rstrip("\r\n")
    if not found:
        raise UnavailableError(f"credentials.toml: {where}: {why}")
    return found


class UserCredentials:
    """Reads the user's files on first use; safe to share between threads."""

    def __init__(self) -> None:
        self._file: CredentialsFile | None = None
        self._found: dict[str, Credential] = {}
        self._lock = threading.Lock()

    def _read(self) -> CredentialsFile:
        from lftool.codec.credential_files import parse_credentials  # noqa: PLC0415 - see above
        from lftool.codec.toml_in import read_bytes  # noqa: PLC0415 - see above
        from lftool.models.credentials_file import CredentialsFile  # noqa: PLC0415 - see above

        if self._file is None:
            path = user_credentials()
            if path.exists():
                self._file = parse_credentials(read_bytes(path, path.name, UsageError), path.name)
            else:
                self._file = CredentialsFile()
        return self._file

    def _named(self, url: str) -> tuple[str, HostCredential] | None:
        """Return the entry for a URL's host: the exact one, else the longest pattern."""
        from lftool.models.credentials_file import parse_host  # noqa: PLC0415 - see above

        server = _server(url)
        if server is None:
            return None
        found = [text for text in self._read().hosts if parse_host(text).matches(*server)]
        best = max(found, key=lambda text: ("*" not in text, len(text)), default=None)
        return None if best is None else (best, self._read().hosts[best])

    def named(self, url: str) -> Credential | None:
        """See `lftool.api.Credentials.named`."""
        with self._lock:
            entry = self._named(url)
            if entry is None:
                return None
            host, said = entry
            if host not in self._found:
                headers = {name: _secret(value, f"hosts.{host}.header.{name}") for name, value in said.header.items()}
                if said.token is not None:
                    headers["authorization"] = f"Bearer {_secret(said.token, f'hosts.{host}.token')}"
                query = None if said.query is None else _secret(said.query, f"hosts.{host}.query").removeprefix("?")
                self._found[host] = Credential(headers=headers, query=query, aws_profile=said.aws_profile)
            return self._found[host]

    def for_url(self, url: str) -> Credential:
        """See `lftool.api.Credentials.for_url`."""
        return self.named(url) or _from_netrc(url)


def _from_netrc(url: str) -> Credential:
    """Return the netrc entry with exactly this host's name, never `default`; only for TLS or this machine."""
    import netrc  # noqa: PLC0415 - see above

    server = _server(url)
    if server is None or (server[0] != "https" and server[1] not in _LOOPBACK):
        return Credential()
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        entry = netrc.netrc(path).hosts.get(server[1])
    except (OSError, netrc.NetrcParseError, ValueError):
        return Credential()
    if entry is None:
        return Credential()
    user, _, password = entry
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Credential(headers={"authorization": f"Basic {pair}"})
