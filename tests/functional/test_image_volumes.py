"""`lftool export k8s --image-volume`: llama.cpp's server with the weights from an artifact in a registry."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

IMAGE, ARTIFACT = "registry.example.com/llama-server:1", "registry.example.com/models/tiny:1"
RUN = "\n[run]\ncontext = 64\ntemperature = 0.5\nmax_tokens = 9\n"


@pytest.fixture
def exported(plain_project):
    plain_project.write_recipe(plain_project.recipe.read_text() + RUN)
    plain_project.run("lock").assert_success()
    plain_project.run("build").assert_success()
    bundle = "dist/tiny-1-plain.gguf"
    return plain_project.run("export", "k8s", bundle, "--image", IMAGE, "--image-volume", ARTIFACT).assert_success()


def test_the_weights_come_from_the_artifact_and_the_server_has_the_contract(exported):
    deployment, service = yaml.safe_load_all(exported.out)
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == IMAGE
    assert container["args"][:2] == ["--model", "/models/tiny-1-plain.gguf"]
    assert container["args"][-6:] == ["--ctx-size", "64", "--n-predict", "9", "--temp", "0.5"]
    assert pod["volumes"] == [{"name": "model", "image": {"reference": ARTIFACT, "pullPolicy": "IfNotPresent"}}]
    assert container["volumeMounts"] == [{"name": "model", "mountPath": "/models", "readOnly": True}]
    assert (service["kind"], deployment["metadata"]["name"]) == ("Service", "tiny-plain")
    assert "containerd 2 mounts images only" in exported.err


def test_what_is_no_reference_is_refused(plain_project):
    plain_project.run("lock").assert_success()
    plain_project.run("build").assert_success()
    done = plain_project.run(
        "export", "k8s", "dist/tiny-1-plain.gguf", "--image", IMAGE, "--image-volume", "not a reference"
    )
    assert done.status == 2


@pytest.mark.slow
def test_kubernetes_s_own_schemas_accept_it(exported, tmp_path):
    """Those of 1.36, in which image volumes are generally available; without `strict` they accept any key."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--target", tmp_path / "packages", "kubernetes-validate==1.37.0"], check=True)
    (tmp_path / "manifests.yaml").write_text(exported.out)
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "packages")!r})
import kubernetes_validate, yaml
for document in yaml.safe_load_all(open({str(tmp_path / "manifests.yaml")!r})):
    kubernetes_validate.validate(document, "1.36", strict=True)
    document["spec"]["nonsense"] = 1
    try:
        kubernetes_validate.validate(document, "1.36", strict=True)
    except kubernetes_validate.ValidationError:
        print(document["kind"])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "Deployment\nService\n"
