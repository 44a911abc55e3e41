"""`lftool export`: an image of a native bundle, and manifests that run it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import tarfile

import pytest
import yaml
from tests.native.conftest import NAME, PROMPT, root_command, start

from lftool.api import ModelSize
from lftool.builtin.deployments import Deployment, compose, kubernetes, label_of, memory_of, own_pod
from lftool.errors import IntegrityError
from lftool.testing import ExporterConformance, ExportExample

IMAGE = "registry.example.com/story:1"


# Python before 3.11.4 has no filters, and 3.12 warns where none is named.
FILTERED = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


@pytest.fixture
def image(story, native, tmp_path):
    story.run("export", "container", native, tmp_path / "image").assert_success()
    return tmp_path / "image"


def test_the_image_has_one_layer_with_one_file_that_is_the_bundle(image, native):
    index = json.loads((image / "index.json").read_bytes())
    manifest = json.loads(blob(image, index["manifests"][0]))
    config = json.loads(blob(image, manifest["config"]))
    (layer,) = manifest["layers"]
    with tarfile.open(path_of(image, layer)) as found:
        (member,) = found
        assert (member.name, member.mode, member.mtime, member.uid) == ("story.llamafile", 0o555, 0, 0)
        assert found.extractfile(member).read() == native.read_bytes()
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    assert config["config"]["Entrypoint"] == ["/story.llamafile"]
    assert (config["os"], config["architecture"]) == ("linux", "amd64")


def path_of(image, descriptor):
    return image / "blobs" / "sha256" / descriptor["digest"].removeprefix("sha256:")


def blob(image, descriptor) -> bytes:
    data = path_of(image, descriptor).read_bytes()
    assert (len(data), f"sha256:{hashlib.sha256(data).hexdigest()}") == (descriptor["size"], descriptor["digest"])
    return data


def test_every_descriptor_names_its_bytes(image):
    index = json.loads((image / "index.json").read_bytes())
    manifest = json.loads(blob(image, index["manifests"][0]))
    for descriptor in (manifest["config"], *manifest["layers"]):
        blob(image, descriptor)
    assert len(list((image / "blobs" / "sha256").iterdir())) == 3


def test_the_same_bundle_gives_the_same_image(story, native, image, tmp_path):
    copy = tmp_path / "elsewhere" / native.name
    copy.parent.mkdir()
    shutil.copy(native, copy)
    shown = story.run("export", "container", "--json", copy, tmp_path / "second").assert_success().json()
    first = {path.relative_to(image): path.read_bytes() for path in image.rglob("*") if path.is_file()}
    second = {
        path.relative_to(tmp_path / "second"): path.read_bytes()
        for path in (tmp_path / "second").rglob("*")
        if path.is_file()
    }
    assert first == second
    assert shown["digest"] == json.loads((image / "index.json").read_bytes())["manifests"][0]["digest"]


def test_skopeo_reads_and_copies_it(image, tmp_path):
    if shutil.which("skopeo") is None:
        pytest.skip("no skopeo: make peers")
    inspected = json.loads(
        subprocess.run(["skopeo", "inspect", f"oci:{image}"], capture_output=True, check=True).stdout
    )
    assert (inspected["Os"], inspected["Architecture"], len(inspected["Layers"])) == ("linux", "amd64", 1)
    copied = ["skopeo", "copy", "-q", f"oci:{image}", f"docker-archive:{tmp_path / 'image.tar'}:{IMAGE}"]
    subprocess.run(copied, check=True)
    with tarfile.open(tmp_path / "image.tar") as found:
        manifest = json.load(found.extractfile("manifest.json"))
    assert manifest[0]["RepoTags"] == [IMAGE]


def test_what_the_image_holds_answers_in_a_root_of_its_own(image, tmp_path):
    index = json.loads((image / "index.json").read_bytes())
    (layer,) = json.loads(blob(image, index["manifests"][0]))["layers"]
    root = tmp_path / "root"
    root.mkdir()
    with tarfile.open(path_of(image, layer)) as found:
        found.extractall(root, **FILTERED)
    done = start(*root_command(root, "/story.llamafile", "-p", PROMPT, "--max-tokens", "8"), env=os.environ)
    assert (done.returncode, done.stdout) == (0, "Once upon a time there was a girl\n"), done.stderr


def test_a_bundle_without_a_native_runtime_is_refused(story, tmp_path):
    plain = story.root / "dist" / NAME.format("python", "llamafile")
    done = story.run("export", "container", plain, tmp_path / "image")
    assert (done.status, done.err) == (
        2,
        (
            f"error: {plain.name}: its runtime is python/1, and an image needs a native one\n"
            '  hint: build a target with `runtime = "native"`\n'
        ),
    )
    assert not (tmp_path / "image").exists()


def test_a_bundle_that_has_changed_is_refused(story, native, tmp_path):
    changed = tmp_path / native.name
    data = bytearray(native.read_bytes())
    data[-600_000] ^= 1
    changed.write_bytes(data)
    done = story.run("export", "container", changed, tmp_path / "image")
    assert done.status == 4
    assert not (tmp_path / "image").exists()


def test_a_folder_that_is_not_empty_is_refused(story, native, image):
    done = story.run("export", "container", native, image)
    hint = f"remove it, or name another folder: rm -r {image}"
    assert (done.status, done.err) == (2, f"error: {image} is not empty\n  hint: {hint}\n")


def test_memory_is_that_of_weights_cache_and_work():
    size = ModelSize(weights=4 << 30, layers=(1 << 27,) * 32, cache=(4096,) * 32, context=8192)
    assert memory_of(size) == 4096 + 1024 + 256
    assert memory_of(ModelSize(weights=1)) == 320


def test_a_server_needs_the_context_of_all_its_requests():
    size = ModelSize(weights=4 << 30, layers=(1 << 27,) * 32, cache=(4096,) * 32, context=8192, asked=True)
    assert memory_of(size.served(4)) == 4096 + 4 * 1024 + 256
    assert size.served(4).served(4) == size.served(4)


def test_compose_limits_memory_asks_for_health_and_for_a_key(story, native):
    shown = story.run("export", "compose", native, "--image", IMAGE).assert_success().out
    (service,) = yaml.safe_load(shown)["services"].values()
    assert service["image"] == IMAGE
    assert service["environment"]["LLAMA_API_KEY"].startswith("${LLAMA_API_KEY:?")
    assert service["healthcheck"]["test"] == ["CMD", "/story.llamafile", "--healthy", "8080"]
    assert service["deploy"]["resources"]["limits"]["memory"] == "320M"
    assert service["ports"] == ["127.0.0.1:8080:8080"]


def test_kubernetes_gets_probes_resources_and_a_secret(story, native, tmp_path):
    story.run("export", "k8s", native, "--image", IMAGE, "-o", tmp_path / "k8s.yaml").assert_success()
    deployment, service = yaml.safe_load_all((tmp_path / "k8s.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == IMAGE
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"] == "320Mi"
    asked = {"command": ["/story.llamafile", "--healthy", "8080"]}
    assert [container[probe]["exec"] for probe in ("startupProbe", "readinessProbe")] == [asked, asked]
    assert "livenessProbe" not in container
    assert container["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "story-native", "key": "api-key"}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("story", "story-q4"),
        ("7b.Chat", "m-7b-chat-q4"),
        ("a" * 60, "a" * 60 + "-q4"),
        ("a" * 61, "a" * 54 + "-da621da8"),
    ],
)
def test_a_name_of_kubernetes_is_a_label_that_begins_with_a_letter(name, label):
    assert label_of(name, "q4") == label


def test_targets_of_a_long_name_have_names_of_their_own():
    assert label_of("a" * 80, "q4") != label_of("a" * 80, "q8")


def test_a_projector_and_an_adapter_take_memory_too():
    assert memory_of(ModelSize(weights=1 << 30), 1 << 29) == 1024 + 512 + 256


def test_a_detached_bundle_is_exported_as_the_bundle(story, native, tmp_path):
    story.run("detach", native, "-o", tmp_path).assert_success()
    (sidecar,) = tmp_path.glob("*.lftool")
    whole = story.run("export", "compose", native, "--image", IMAGE).assert_success()
    assert story.run("export", "compose", sidecar, "--image", IMAGE) == whole


@pytest.mark.parametrize("kind", ["compose", "k8s"])
@pytest.mark.parametrize("image", ["", " ", "a b"])
def test_a_manifest_needs_the_reference_of_an_image(story, native, kind, image):
    done = story.run("export", kind, native, "--image", image)
    assert (done.status, "is not an image reference" in done.err) == (2, True)


@pytest.mark.parametrize("kind", ["compose", "k8s"])
def test_a_manifest_is_of_a_native_bundle_that_is_what_it_says(story, native, kind, tmp_path):
    (gguf,) = (story.root / "dist").glob("story-1-gguf.*")
    done = story.run("export", kind, gguf, "--image", IMAGE)
    assert (done.status, "an image needs a native one" in done.err) == (2, True)
    changed = tmp_path / "changed.llamafile"
    data = bytearray(native.read_bytes())
    data[-200_000] ^= 1
    changed.write_bytes(data)
    assert story.run("export", kind, changed, "--image", IMAGE).status == 4


def test_an_image_is_the_same_whatever_its_file_is_called(story, native, image, tmp_path):
    shutil.copy(native, tmp_path / "renamed")
    story.run("export", "container", tmp_path / "renamed", tmp_path / "other").assert_success()
    assert (tmp_path / "other" / "index.json").read_bytes() == (image / "index.json").read_bytes()


def test_half_an_image_is_not_left_behind(story, native, tmp_path, monkeypatch):
    from lftool.builtin import container as containers

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(containers, "_write_json", full)
    done = story.run("export", "container", native, tmp_path / "image")
    assert (done.status, "No space left" in done.err) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_an_image_on_another_file_system_is_copied_through_memory(story, native, image, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    made = story.run("export", "container", native, tmp_path / "other", "--json").assert_success().json()
    assert made["digest"] == json.loads((image / "index.json").read_bytes())["manifests"][0]["digest"]


def test_a_copy_of_a_bundle_that_gets_shorter_ends(tmp_path):
    from lftool.builtin.container import _copy

    (tmp_path / "short").write_bytes(b"x" * 10)
    with (
        (tmp_path / "short").open("rb") as source,
        (tmp_path / "copy").open("wb") as target,
        pytest.raises(IntegrityError, match="shorter"),
    ):
        _copy(source.fileno(), target.fileno(), 20, 0)


def test_an_executable_that_needs_a_linker_is_refused(story, native, tmp_path):
    """As those for GPUs are: this machine's own Python, seen as a bundle's prefix."""
    from lftool.builtin.container import _has_interpreter

    with native.open("rb") as bundle, open(os.path.realpath("/bin/ls"), "rb") as other:  # noqa: PTH123 - a descriptor
        assert not _has_interpreter(bundle.fileno())
        assert _has_interpreter(other.fileno())


@pytest.mark.parametrize(("accelerator", "resource"), [("nvidia.com/gpu", 1), ("amd.com/gpu", 1), (None, None)])
def test_a_bundle_for_a_device_asks_for_one(accelerator, resource):
    made = Deployment(
        name="m", image='i"\n: x', entry="m.llamafile", memory=64, accelerator=accelerator, start_tries=12
    )
    deployment, _ = yaml.safe_load_all(kubernetes(own_pod(made)))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"].get(accelerator) == resource
    assert container["image"] == 'i"\n: x'
    assert yaml.safe_load(compose(made))["services"]["m"]["image"] == 'i"\n: x'


@pytest.mark.parametrize("reference", ["REG/UPPER", "-x", "a:b:c", "a/b:1;rm", "", "a b", "a//b", "a@sha256:12"])
def test_what_is_no_reference_of_an_image_is_refused(story, native, reference):
    done = story.run("export", "k8s", native, f"--image={reference}")
    assert (done.status, f"$.image: {reference!r} is not an image reference" in done.err) == (2, True)


@pytest.mark.parametrize("reference", ["name", "Host:5000/a/b_c-d.e:v1.0", f"r.example/n:1@sha256:{'0' * 64}"])
def test_references_of_images_are_taken_as_they_are(story, native, reference):
    assert f"image: {reference}" in story.run(
        "export", "k8s", native, "--image", reference
    ).assert_success().out.replace('"', "")


def test_how_to_push_an_image_can_be_pasted(story, native, tmp_path):
    done = story.run("export", "container", native, tmp_path / "im age").assert_success()
    assert f"push it: skopeo copy --preserve-digests 'oci:{tmp_path}/im age' docker://REGISTRY/NAME:TAG\n" in done.err


class TestContainerKit(ExporterConformance):
    @pytest.fixture
    def export(self, native):
        return ExportExample(name="container", bundle=native)


class TestDeploymentKits(ExporterConformance):
    @pytest.fixture(params=["compose", "k8s"])
    def export(self, request, native):
        return ExportExample(name=request.param, options=("--image", IMAGE), bundle=native)
