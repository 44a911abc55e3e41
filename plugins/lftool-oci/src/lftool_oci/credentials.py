"""Credentials for a registry: two variables, else what `docker login` wrote."""

from __future__ import annotations

import base64
import binascii
import json
import os
from pathlib import Path

USERNAME, PASSWORD = "LFTOOL_OCI_USERNAME", "LFTOOL_OCI_PASSWORD"
_DOCKER_HUB = {"docker.io", "registry-1.docker.io", "index.docker.io"}


def _docker_config() -> Path:
    folder = os.environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


def basic_credentials(registry: str) -> str | None:
    """Return the value of an `Authorization: Basic` header for a registry, if there is any.

    `LFTOOL_OCI_USERNAME` and `LFTOOL_OCI_PASSWORD` go before the `auths` of `$DOCKER_CONFIG/config.json`. Credential
    helpers are programs, and are not run.
    """
    user, password = os.environ.get(USERNAME), os.environ.get(PASSWORD)
    if user and password:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    try:
        auths = json.loads(_docker_config().read_text())["auths"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    names = [registry, f"https://{registry}", f"https://{registry}/v1/"]
    if registry in _DOCKER_HUB:
        names.append("https://index.docker.io/v1/")
    for name in names:
        entry = auths.get(name)
        auth = entry.get("auth") if isinstance(entry, dict) else None
        if isinstance(auth, str) and auth:
            try:
                base64.b64decode(auth, validate=True)
            except binascii.Error:
                continue
            return f"Basic {auth}"
    return None
