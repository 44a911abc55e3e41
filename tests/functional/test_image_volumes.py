"""`lftool export k8s --image-volume`: llama.cpp's server with the weights from an artifact; also as KServe wants it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from lftool.builtin.deployments import label_of
from lftool.models.digest import Digest

IMAGE, ARTIFACT = "registry.example.com/llama-server:1", "registry.example.com/models/tiny:1"
RUN = "\n[run]\ncontext = 64\ntemperature = 0.5\nmax_tokens = 9\n"


@pytest.fixture
def export(plain_project):
    plain_project.write_recipe(plain_project.recipe.read_text() + RUN)
    plain_project.run("lock").assert_success()
    plain_project.run("build").assert_success()
    asked = ("export", "k8s", "dist/tiny-1-plain.gguf", "--image", IMAGE, "--image-volume", ARTIFACT)
    return lambda *more: plain_project.run(*asked, *more).assert_success()


@pytest.fixture
def exported(export):
    return export()


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


def test_a_grammar_arrives_as_it_is(plain_project):
    """Kubernetes would put the value of a variable in the place of `$(HOME)`; `$$` stands for `$`."""
    grammar = 'root ::= "$(HOME)$$(HOME)$$"\n# "quoted"\n'
    run = f"\n[run]\ngrammar = '''\n{grammar}'''\nstop = ['x']\n"
    plain_project.write_recipe(plain_project.recipe.read_text() + run)
    plain_project.run("lock").assert_success()
    plain_project.run("build").assert_success()
    asked = ("export", "k8s", "dist/tiny-1-plain.gguf", "--image", IMAGE, "--image-volume", ARTIFACT)
    done = plain_project.run(*asked).assert_success()
    deployment, _ = yaml.safe_load_all(done.out)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"][-2:] == ["--grammar", grammar.replace("$", "$$")]
    assert "llama-server has no argument for strings that end an answer: clients have to send them" in done.err


def test_kserve_gets_the_same_pod(export):
    deployment, _ = yaml.safe_load_all(export().out)
    (service,) = yaml.safe_load_all(export("--kserve").out)
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    containers = [{**container, "name": "kserve-container"}]
    assert service == {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "tiny-plain", "annotations": {"serving.kserve.io/deploymentMode": "Standard"}},
        "spec": {"predictor": {"minReplicas": 1, **pod, "containers": containers}},
    }


def test_a_long_name_leaves_room_for_what_kserve_appends():
    assert label_of("a" * 80, "b", most=53) == f"{'a' * 44}-{Digest.of(('a' * 80 + '-b').encode()).hex[:8]}"


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


# Every key of a document must be one of the class that KServe's client, or Kubernetes', has for it.
KSERVE_KEYS = """
import re, sys, kserve, kserve.models, kubernetes.client, yaml

def walk(value, kind, path):
    inner = re.fullmatch(r"(?:[Ll]ist\\[|[Dd]ict\\(str, |[Dd]ict\\[str, )(.+)[\\])]", kind)
    if inner:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [wrong for key, item in items for wrong in walk(item, inner[1], f"{path}.{key}")]
    made = getattr(kserve.models, kind, None) or getattr(kubernetes.client, kind, None)
    if made is None or not isinstance(value, dict):
        return [] if isinstance(value, (str, int)) else [path]
    types = {made.attribute_map[name]: kind for name, kind in made.openapi_types.items()}
    return [wrong for key, item in value.items() for wrong in
            (walk(item, types[key], f"{path}.{key}") if key in types else [f"{path}.{key}"])]

document = yaml.safe_load(sys.stdin)
print(walk(document, "V1beta1InferenceService", "$"))
document["spec"]["predictor"]["volumes"][0]["image"]["nonsense"] = 1
print(walk(document, "V1beta1InferenceService", "$"))
"""


@pytest.mark.slow
def test_kserve_s_own_client_knows_every_key(export, tmp_path):
    """Its 0.21.0, with the Kubernetes client that it asks for."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "kserve"], check=True)
    python = tmp_path / "kserve/bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "kserve==0.21.0"]
    subprocess.run(install, check=True)
    shown = export("--kserve").out
    done = subprocess.run([python, "-c", KSERVE_KEYS], input=shown, check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n['$.spec.predictor.volumes.0.image.nonsense']\n"
