"""Credentials for a registry, where the user's credentials.toml names none: three variables, else what `docker login` wrote."""

from __future__ import annotations

import base64
import binascii
import json
import os
from pathlib import Path
from urllib.parse import urlsplit

REGISTRY = "LFTOOL_OCI_REGISTRY"
USERNAME, PASSWORD = "LFTOOL_OCI_USERNAME", "LFTOOL_OCI_PASSWORD"
_DOCKER_HUB_TOKENS = "auth.docker.io"
_DOCKER_HUB = {"docker.io", "registry-1.docker.io", "index.docker.io"}


def _docker_config() -> Path:
    folder = os.environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


def basic_credentials(registry: str) -> str | None:
    """Return the value of an `Authorization: Basic` header for a registry, if there is any.

    `LFTOOL_OCI_USERNAME` and `LFTOOL_OCI_PASSWORD` are for the registry that `LFTOOL_OCI_REGISTRY` names, and go before the `auths` of `$DOCKER_CONFIG/config.json`. Credential
    helpers are programs, and are not run.
    """
    user, password = os.environ.get(USERNAME), os.environ.get(PASSWORD)
    if user and password and os.environ.get(REGISTRY) == registry:
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


def may_see_credentials(realm: str, base: str) -> bool:
    """Tell whether a token service may be shown the credentials of a registry.

    It must be reached no less safely, and be the registry's own host, one below it or the one above it (as
    registry.gitlab.com asks gitlab.com), or Docker Hub's.

    Args:
        realm: URL that the registry's challenge names.
        base: URL of the registry.
    """
    service, registry = urlsplit(realm), urlsplit(base)
    if service.scheme != "https" and registry.scheme == "https":
        return False
    theirs, ours = (service.hostname or ""), (registry.hostname or "")
    above = "." in theirs and ours.endswith(f".{theirs}")
    hub = theirs == _DOCKER_HUB_TOKENS and ours in _DOCKER_HUB
    return theirs == ours or theirs.endswith(f".{ours}") or above or hub
