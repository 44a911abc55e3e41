"""A real engine, podman with runc, starts the image that `lftool export container` wrote, and what `export k8s` and `compose` say."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import time

import pytest
import yaml
from tests.engine import Engine, engine_in

pytestmark = pytest.mark.slow
IMAGE = "registry.example.com/story:1"
DEADLINE = 60


def healthy(engine: Engine, container: str) -> bool:
    """Wait until the executable in a container says of itself that it is well."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        if engine.run("exec", container, "/story.llamafile", "--healthy", "8080", check=False).returncode == 0:
            return True
        time.sleep(0.2)
    return False


def asked(engine: Engine, path: str, body: dict) -> dict:
    """Ask a server in the network namespace."""
    with_key = ["-H", "Authorization: Bearer key", "-H", "Content-Type: application/json"]
    curl = ["nsenter", f"--net=/run/netns/{engine.network}", "curl", "-s", "-m", "60", *with_key]
    done = subprocess.run(
        [*curl, "-d", json.dumps(body), f"http://127.0.0.1:8080{path}"], capture_output=True, check=True
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with engine_in(tmp_path_factory.mktemp("engine")) as made:
        yield made


@pytest.fixture(scope="module")
def loaded(engine, story, native) -> str:
    """The image, loaded from the layout; its name is the one that `--ref` gave it."""
    layout = engine.folder / "image"
    story.run("export", "container", native, layout, "--ref", IMAGE).assert_success()
    subprocess.run(["tar", "-C", layout, "-cf", engine.folder / "image.tar", "."], check=True)
    engine.run("load", "-i", engine.folder / "image.tar")
    assert json.loads(engine.run("image", "inspect", IMAGE).stdout)[0]["RepoTags"] == [IMAGE]
    return IMAGE


def test_the_image_serves_with_a_root_that_cannot_be_written(engine, loaded):
    hardened = ["--read-only", "--cap-drop", "all", "--network", "host", "-e", "LLAMA_API_KEY=key"]
    container = engine.run("run", "-d", *hardened, loaded).stdout.strip()
    try:
        assert healthy(engine, container)
        said = asked(engine, "/v1/completions", {"prompt": "Once upon", "max_tokens": 4, "temperature": 0})
        assert said["usage"]["completion_tokens"] == 4
    finally:
        engine.run("rm", "--force", "--time", "0", container)


def test_the_image_refuses_to_start_without_a_key(engine, loaded):
    done = engine.run("run", "--rm", "--network", "none", loaded, check=False)
    assert (done.returncode, "lets other machines in: give --api-key" in done.stderr) == (2, True)


def test_what_k8s_says_is_played(engine, loaded, story, native):
    path = engine.folder / "k8s.yaml"
    story.run("export", "k8s", native, "--image", loaded, "-o", path).assert_success()
    deployment, _ = yaml.safe_load_all(path.read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    key = container["env"][0]["valueFrom"]["secretKeyRef"]
    secret = engine.folder / "secret"
    secret.write_text(
        json.dumps({key["key"]: base64.b64encode(b"key").decode()})
    )  # as podman keeps Kubernetes' secrets
    engine.run("secret", "create", key["name"], secret)
    engine.run("kube", "play", path)
    try:
        (name,) = engine.run("ps", "--filter", "name=model", "--format", "{{.Names}}").stdout.split()
        assert healthy(engine, name)
        said = asked(engine, "/v1/completions", {"prompt": "Once upon", "max_tokens": 4, "temperature": 0})
        assert said["usage"]["completion_tokens"] == 4
    finally:
        engine.run("kube", "down", path)
        with contextlib.suppress(AssertionError):
            engine.run("secret", "rm", key["name"])


def test_what_compose_says_is_well_by_its_own_check(engine, loaded, story, native):
    """There is no compose on this machine that podman 4.3.1 would answer: the service is started as the file says."""
    path = engine.folder / "compose.yaml"
    story.run("export", "compose", native, "--image", loaded, "-o", path).assert_success()
    (service,) = yaml.safe_load(path.read_text())["services"].values()
    assert service["healthcheck"]["test"][0] == "CMD"
    options = ["--read-only", "--security-opt", *service["security_opt"], "--cap-drop", *service["cap_drop"]]
    options += ["--memory", service["deploy"]["resources"]["limits"]["memory"].lower(), "-e", "LLAMA_API_KEY=key"]
    options += ["--health-cmd", json.dumps(service["healthcheck"]["test"][1:]), "--network", "host"]
    container = engine.run("run", "-d", *options, service["image"]).stdout.strip()
    try:
        assert healthy(engine, container)
        assert engine.run("healthcheck", "run", container).stdout.strip() in {"", "healthy"}
    finally:
        engine.run("rm", "--force", "--time", "0", container)
