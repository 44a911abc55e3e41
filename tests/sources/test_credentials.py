"""Credentials never reach lock, bundle, log or error, whatever they look like and wherever they fail."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lftool.cli.main import run
from lftool.testing import FaultProxy, FileServer
from lftool.testing.faults import answer
from lftool.testing.source_kit import RECIPE, large_model

SECRETS = st.text(
    alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"\\#?&% '), min_size=12, max_size=40
)
CREDENTIALS = '[hosts."{host}"]\ntoken = "env:TOKEN"\nquery = "env:QUERY"\n'


@pytest.fixture(scope="module")
def served():
    with FileServer(files={"/model.gguf": large_model()}) as server, FaultProxy(server.url) as proxy:
        yield proxy


def lftool(folder: Path, secret: str, *arguments: str) -> str:
    """Run a command with the secret in both variables; return all that it printed."""
    out = io.StringIO()
    before, here = dict(os.environ), Path.cwd()
    os.environ.update(
        {
            "TOKEN": secret,
            "QUERY": f"sig={secret}",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / ".config"),
            "LFTOOL_FETCH_ATTEMPTS": "1",
        }
    )
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            run(list(arguments))
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)
    return out.getvalue()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    secret=SECRETS,
    status=st.sampled_from([200, 401, 403, 404, 429, 500, 302]),
    command=st.sampled_from(["lock", "build"]),
)
def test_a_secret_is_sent_and_never_written_or_printed(served, tmp_path_factory, secret, status, command):
    folder = tmp_path_factory.mktemp("secret")
    (folder / "lftool.toml").write_text(RECIPE.format(uri=f"{served.url}/model.gguf", options=""))
    config = folder / ".config" / "lftool"
    config.mkdir(parents=True)
    (config / "credentials.toml").write_text(CREDENTIALS.format(host=served.url))
    served.heal()
    served.requests.clear()
    printed = lftool(folder, secret, "lock")
    if command == "build":
        for path in (folder / "cache").rglob("*"):
            if path.is_file():
                path.unlink()
    if status != 200:
        served.inject(answer(status, location=f"http://127.0.0.1:1/x?sig={secret}"), times=100)
        printed += lftool(folder, secret, command, *(["--upgrade"] if command == "lock" else []))
    else:
        printed += lftool(folder, secret, "build")

    assert {request.headers.get("authorization") for request in served.requests} == {f"Bearer {secret}"}
    assert {unquote(request.path) for request in served.requests} == {f"/model.gguf?sig={secret}"}
    assert secret not in printed
    assert quote(secret) not in printed
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size < 1_000_000:
            assert secret.encode() not in path.read_bytes(), path
    bundles = list((folder / "dist").glob("*")) if (folder / "dist").exists() else []
    assert all(secret.encode() not in bundle.read_bytes() for bundle in bundles)
