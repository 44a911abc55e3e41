"""`lftool push oci://…` and `lftool pull oci://…` with a real docker-registry."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import time

import attrs
import pytest

from lftool.testing import FaultProxy
from lftool.testing.faults import answer

PLAIN, START = "dist/tiny-1-plain.gguf", "dist/tiny-1-start.llamafile"
KIND = "application/vnd.cncf.model"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def got(host: str, path: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(host)
    connection.request("GET", f"/v2/{path}", headers={"accept": f"{MANIFEST}, {INDEX}"})
    found = connection.getresponse()
    made = found.status, found.read(), {key.lower(): value for key, value in found.getheaders()}
    connection.close()
    return made


def document(host: str, reference: str, repository: str = "models/tiny") -> dict:
    status, body, _ = got(host, f"{repository}/manifests/{reference}")
    assert status == 200
    return json.loads(body)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wholly_equal(one, other) -> bool:
    return one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("name", [PLAIN, START])
def test_a_bundle_comes_back_bit_for_bit(folder, host, name):
    folder.run("push", f"oci://{host}/models/tiny:v1", name).assert_success()
    done = folder.run("pull", f"oci://{host}/models/tiny:v1", "-o", "back", "--key", "release.pub").assert_success()
    back = folder.root / "back" / name.partition("/")[2]
    assert wholly_equal(back, folder.root / name)
    assert [path.name for path in (folder.root / "back").iterdir()] == [back.name]
    assert (back.stat().st_mode & 0o111 != 0) == (name == START)
    assert done.out.endswith("every byte checked; signed by release.pub, which you trust\n")


def test_the_parts_of_a_detached_bundle_come_back(folder, host):
    folder.run("detach", START, "-o", "parts").assert_success()
    folder.run("push", f"oci://{host}/models/tiny:v1", "parts/tiny-1-start.lftool").assert_success()
    folder.run("pull", f"oci://{host}/models/tiny:v1", "-o", "back", "--detached").assert_success()
    names = sorted(path.name for path in (folder.root / "parts").iterdir())
    assert sorted(path.name for path in (folder.root / "back").iterdir()) == names
    assert all(wholly_equal(folder.root / "back" / name, folder.root / "parts" / name) for name in names)


def test_the_manifest_of_a_bundle(folder, host):
    """A ModelPack artifact: its clients refuse a layer of any other type, and some take the first name for the model."""
    folder.run("push", f"oci://{host}/models/tiny:v1", START).assert_success()
    folder.run("detach", START, "-o", "parts").assert_success()
    found = document(host, "v1")
    config = json.loads(got(host, f"models/tiny/blobs/{found['config']['digest']}")[1])
    names = ["tiny-1-start.gguf", "tiny-1-start.runtime", "tiny-1-start.lftool"]
    digests = [f"sha256:{sha256((folder.root / 'parts' / name).read_bytes())}" for name in names]
    assert list(found) == ["schemaVersion", "mediaType", "artifactType", "config", "layers", "annotations"]
    assert found["artifactType"] == f"{KIND}.manifest.v1+json"
    assert [(layer["mediaType"], layer["digest"]) for layer in found["layers"]] == [
        (f"{KIND}.weight.v1.raw", digests[0]),
        (f"{KIND}.code.v1.raw", digests[1]),
        (f"{KIND}.doc.v1.raw", digests[2]),
    ]
    assert [layer["annotations"]["org.cncf.model.filepath"] for layer in found["layers"]] == names
    assert json.loads(found["layers"][1]["annotations"]["org.cncf.model.file.metadata+json"]) == {
        "name": "tiny-1-start.runtime",
        "mode": 0o755,
        "uid": 0,
        "gid": 0,
        "size": found["layers"][1]["size"],
        "mtime": "1970-01-01T00:00:00Z",
        "typeflag": 0,
    }
    assert config == {
        "descriptor": {
            "name": "tiny",
            "version": "1",
            "description": "A model for tests.",
            "licenses": ["Apache-2.0"],
        },
        "config": {"architecture": "llama", "format": "gguf", "paramSize": "5.3M", "quantization": "F16"},
        "modelfs": {"type": "layers", "diffIds": digests},
    }


def test_several_bundles_are_an_index_and_each_has_a_tag(folder, host):
    folder.run("push", f"oci://{host}/models/tiny:v1", "dist").assert_success()
    found = document(host, "v1")
    assert found["mediaType"] == INDEX
    assert [item["annotations"]["lftool.target"] for item in found["manifests"]] == ["plain", "start"]
    for item in found["manifests"]:
        _, body, _ = got(host, f"models/tiny/manifests/v1-{item['annotations']['lftool.target']}")
        assert f"sha256:{sha256(body)}" == item["digest"]
        assert item["annotations"]["lftool.context"] == "64"


def test_one_target_of_several_is_pulled(folder, host):
    folder.run("push", f"oci://{host}/models/tiny:v1", "dist").assert_success()
    several = folder.run("pull", f"oci://{host}/models/tiny:v1", "-o", "back")
    assert (several.status, several.err.endswith("  hint: take one: --target NAME\n")) == (2, True)
    assert not (folder.root / "back").exists()
    folder.run("pull", f"oci://{host}/models/tiny:v1", "-o", "back", "--target", "start").assert_success()
    assert wholly_equal(folder.root / "back" / "tiny-1-start.llamafile", folder.root / START)


def test_a_dry_run_names_the_digests_and_contacts_nobody(folder, host):
    planned = folder.run("push", "oci://127.0.0.1:1/models/tiny:v1", "dist", "--docker", "--dry-run", "--json")
    plan = planned.assert_success().json()
    folder.run("push", f"oci://{host}/models/tiny:v1", "dist", "--docker").assert_success()
    tags = {item["name"].rpartition(", tag ")[2]: item["digest"] for item in plan["items"] if ", tag " in item["name"]}
    assert set(tags) == {"v1", "v1-plain", "v1-start", "v1-plain-docker", "v1-start-docker"}
    for tag, digest in tags.items():
        assert f"sha256:{sha256(got(host, f'models/tiny/manifests/{tag}')[1])}" == digest
    assert plan["location"] == f"oci://127.0.0.1:1/models/tiny@{tags['v1']}"


def test_docker_s_manifest_has_the_same_blob(folder, host):
    folder.run("push", f"oci://{host}/models/tiny:v1", PLAIN, "--docker").assert_success()
    docker, modelpack = document(host, "v1-docker"), document(host, "v1")
    assert docker["layers"] == [
        {key: modelpack["layers"][0][key] for key in ("digest", "size")}
        | {"mediaType": "application/vnd.docker.ai.gguf.v3"}
    ]
    assert docker["config"]["mediaType"] == "application/vnd.docker.ai.model.config.v0.1+json"


def test_what_is_there_is_not_sent_again(folder, host):
    first = folder.run("push", f"oci://{host}/models/tiny:v1", "dist", "--json").assert_success().json()
    again = folder.run("push", f"oci://{host}/models/tiny:v2", "dist", "--json").assert_success().json()
    assert (again["sent"], again["location"]) == (0, first["location"])


def test_blobs_are_mounted_from_another_repository(folder, host):
    folder.run("push", f"oci://{host}/models/base:v1", PLAIN).assert_success()
    done = folder.run("push", f"oci://{host}/models/tiny:v1", PLAIN, "--mount", "models/base", "--json")
    assert done.assert_success().json()["sent"] == 0


@pytest.fixture
def statement(published, folder):
    """A statement of a rebuild of the bundle of layout gguf."""
    done = published.run(
        "rebuild",
        PLAIN,
        "--statement",
        folder.root / "rebuilt.json",
        "--sign-key",
        "release.key",
    )
    done.assert_success()
    return "rebuilt.json"


def test_statements_are_referrers_under_the_tag_of_the_schema(folder, host, statement):
    """docker-registry has no list of referrers."""
    uri = f"oci://{host}/models/tiny:v1"
    for _ in range(2):
        folder.run("push", uri, PLAIN, "--statement", statement).assert_success()
    subject = f"sha256:{sha256(got(host, 'models/tiny/manifests/v1')[1])}"
    listed = document(host, subject.replace(":", "-"))
    (entry,) = listed["manifests"]
    referrer = document(host, entry["digest"])
    assert (listed["mediaType"], entry["artifactType"]) == (INDEX, "application/vnd.dev.sigstore.bundle.v0.3+json")
    assert referrer["subject"]["digest"] == subject
    blob = got(host, f"models/tiny/blobs/{referrer['layers'][0]['digest']}")[1]
    assert blob == (folder.root / statement).read_bytes()


def test_a_statement_about_another_bundle_is_refused(folder, host, statement):
    done = folder.run("push", f"oci://{host}/models/tiny:v1", START, "--statement", statement)
    assert done.status == 2
    assert "--statement rebuilt.json: it is about the bundle with M" in done.err


def test_a_registry_with_a_list_of_referrers_is_left_to_keep_it(folder, registry, statement):
    """It says so with OCI-Subject (distribution-spec v1.1); no registry that has one can be installed here."""
    server = registry()
    with FaultProxy(server.url) as proxy:

        def with_subject(request, response, _upstream):
            if b'"subject"' not in request.body:
                return response
            return attrs.evolve(response, headers={**response.headers, "oci-subject": "sha256:of-it"})

        proxy.inject(with_subject, times=100, methods=frozenset({"PUT"}))
        folder.run("push", f"oci://{proxy.address}/models/tiny:v1", PLAIN, "--statement", statement).assert_success()
        assert not [request for request in proxy.asked("PUT") if "/manifests/sha256-" in request.path]


@pytest.fixture
def proxy(registry):
    """A registry behind a proxy that breaks what it answers."""
    with FaultProxy(registry().url) as proxy:
        yield proxy


def pushed(folder, proxy, *options: str):
    variables = {"LFTOOL_FETCH_ATTEMPTS": "3", "LFTOOL_STALL_SECONDS": "2"}
    return folder.run("push", f"oci://{proxy.address}/models/tiny:v1", PLAIN, *options, env=variables)


def is_visible(proxy) -> bool:
    return got(proxy.address, "models/tiny/manifests/v1")[0] == 200


def weights_of(folder) -> bytes:
    from lftool.bundle.bundle_files import opened

    with opened(folder.root / PLAIN) as bundle:
        return bundle.read(*bundle.weights_extent())


def patches(proxy) -> list[str]:
    return [request.headers["content-range"] for request in proxy.asked("PATCH")]


def test_large_files_go_in_chunks(folder, proxy):
    pushed(folder, proxy, "--chunk", "1").assert_success()
    size = len(weights_of(folder))
    starts = range(0, size, 2**20)
    assert patches(proxy) == [f"{start}-{min(start + 2**20, size) - 1}" for start in starts]


def test_an_upload_that_the_registry_has_forgotten_starts_over(folder, proxy):
    proxy.inject(answer(404), path="/uploads/", methods=frozenset({"PATCH"}))
    pushed(folder, proxy, "--chunk", "1").assert_success()
    assert patches(proxy).count("0-1048575") == 2


def test_a_registry_that_takes_no_chunks_gets_all_at_once(folder, proxy):
    proxy.inject(answer(416), times=100, path="/uploads/", methods=frozenset({"PATCH"}))
    pushed(folder, proxy, "--chunk", "1").assert_success()
    (whole,) = [request for request in proxy.asked("PUT") if len(request.body) > 2**20]
    assert whole.body == weights_of(folder)


@pytest.mark.parametrize("status", [429, 502])
def test_a_busy_registry_is_asked_again(folder, proxy, status):
    proxy.inject(answer(status, retry_after="0"), path="/uploads/", methods=frozenset({"POST"}))
    proxy.inject(answer(status, retry_after="0"), path="/manifests/", methods=frozenset({"PUT"}))
    pushed(folder, proxy).assert_success()


def errors(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


def refusing(status: int, body: bytes):
    """A fault: the registry answers with an error of its own."""

    def fault(_request, response, _upstream):
        return attrs.evolve(response, status=status, headers={"content-length": str(len(body))}, body=body)

    return fault


REFUSALS = {
    "a quota": (
        "POST",
        "/uploads/",
        refusing(403, errors("DENIED", "quota exceeded")),
        "the registry returned 403: DENIED quota exceeded; a push needs the scope repository:models/tiny:pull,push",
    ),
    "read only": ("POST", "/uploads/", refusing(405, b"Method not allowed\n"), "the registry takes no uploads (405)"),
    "too large": ("PUT", "/uploads/", refusing(413, b"<html>"), "the registry takes no upload of this size (413)"),
    "another digest": (
        "PUT",
        "/uploads/",
        answer(201, docker_content_digest="sha256:other"),
        "the registry says that it is sha256:other, expected sha256:",
    ),
    "a manifest that it does not like": (
        "PUT",
        "/manifests/",
        refusing(400, errors("MANIFEST_INVALID", "manifest\x1b[31m invalid")),
        "the registry returned 400: MANIFEST_INVALID manifest\\x1b[31m invalid",
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_says_why_and_nothing_is_visible(folder, proxy, kind):
    method, path, fault, says = REFUSALS[kind]
    proxy.inject(fault, times=100, path=path, methods=frozenset({method}))
    done = pushed(folder, proxy)
    assert (done.status, says in done.err) == (1, True), done.err
    assert not is_visible(proxy)


def test_a_push_that_stopped_at_a_quota_goes_on_later(folder, proxy):
    proxy.inject(refusing(403, errors("DENIED", "quota exceeded")), path="/manifests/", methods=frozenset({"PUT"}))
    assert pushed(folder, proxy).status == 1
    again = pushed(folder, proxy, "--json").assert_success().json()
    assert again["sent"] == 0
    assert is_visible(proxy)


def test_an_upload_that_the_registry_cut_short_is_found(folder, proxy):
    """It says that all is well, and has less."""
    size = str(len(weights_of(folder)) - 7)

    def shorter(_request, response, _upstream):
        return (
            response
            if response.status != 200
            else attrs.evolve(response, headers={**response.headers, "content-length": size})
        )

    proxy.inject(shorter, times=100, path="/blobs/", methods=frozenset({"HEAD"}))
    done = pushed(folder, proxy)
    assert (done.status, f"the registry says that it has {size} bytes" in done.err) == (1, True), done.err
    assert not is_visible(proxy)


def test_a_tag_that_somebody_moves_meanwhile_is_left(folder, proxy):
    pushed(folder, proxy).assert_success()
    other = document(proxy.address, "v1")
    other["annotations"] = {"of": "somebody else"}
    moved = []

    def move(_request, response, upstream):
        if not moved:
            moved.append(True)
            path = "/v2/models/tiny/manifests/v1"
            body = json.dumps(other).encode()
            headers = {"content-type": MANIFEST, "content-length": str(len(body)), "host": proxy.address}
            from lftool.testing.faults import Request

            upstream(Request(method="PUT", path=path, headers=headers, body=body))
        return response

    proxy.inject(move, times=1, path="/blobs/", methods=frozenset({"HEAD"}))
    done = pushed(folder, proxy, "--docker")
    assert done.status == 1
    assert "somebody else moved the tag v1 meanwhile" in done.err
    assert document(proxy.address, "v1")["annotations"] == {"of": "somebody else"}


def test_a_tag_that_named_something_else_is_told(folder, host):
    folder.run("push", f"oci://{host}/models/tiny:v1", PLAIN).assert_success()
    done = folder.run("push", f"oci://{host}/models/tiny:v1", START).assert_success()
    assert "the tag v1 named sha256:" in done.err


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("oci://ghcr.io/org/tiny@sha256:" + "0" * 64, "a push names a tag, not a digest"),
        ("oci://HOST/Org/Tiny:v1", "expected oci://REGISTRY/REPOSITORY:TAG"),
        ("oci://host/tiny:" + "v" * 125, "has 131 characters, at most 128 are allowed"),
        ("nowhere://host/tiny", "unknown destination scheme 'nowhere'"),
        ("tiny", "'tiny' has no scheme"),
    ],
)
def test_a_wrong_place_is_refused(folder, uri, says):
    done = folder.run("push", uri, "dist", "--dry-run")
    assert (done.status, says in done.err) == (2, True), done.err


def test_a_layer_over_a_registry_s_limit_is_refused_before_anything_is_sent(folder, monkeypatch):
    from lftool_oci import uploads

    limits = tuple((pattern, 1000, source) for pattern, _, source in uploads._LIMITS)
    monkeypatch.setattr(uploads, "_LIMITS", limits)
    done = folder.run("push", "oci://ghcr.io/org/tiny:v1", PLAIN, "--dry-run")
    assert done.status == 8
    assert "ghcr.io takes layers of at most 1000 (docs.github.com" in done.err


def test_bundles_of_two_versions_are_not_pushed_together(folder, published, tmp_path):
    other = attrs.evolve(published, root=tmp_path / "other")
    other.root.mkdir()
    for name in ("model.gguf", "release.key"):
        (other.root / name).write_bytes((published.root / name).read_bytes())
    other.write_recipe(published.recipe.read_text().replace('version = "1"', 'version = "2"'))
    other.run("lock").assert_success()
    other.run("build", "plain").assert_success()
    done = folder.run("push", "oci://host/tiny:v1", PLAIN, other.root / "dist" / "tiny-2-plain.gguf", "--dry-run")
    assert done.status == 2
    assert "tiny-2-plain.gguf is tiny 2, but tiny-1-plain.gguf is tiny 1" in done.err


def test_a_bundle_that_was_changed_is_not_pushed(folder, host):
    data = bytearray((folder.root / PLAIN).read_bytes())
    data[len(data) // 2] ^= 1
    (folder.root / PLAIN).write_bytes(data)
    assert folder.run("push", f"oci://{host}/models/tiny:v1", PLAIN).status == 4
    assert got(host, "models/tiny/tags/list")[0] == 404


def put(proxy, tag: str, value: dict) -> None:
    with contextlib.closing(http.client.HTTPConnection(proxy.address)) as connection:
        connection.request("PUT", f"/v2/models/tiny/manifests/{tag}", json.dumps(value), {"content-type": MANIFEST})
        answered = connection.getresponse()
        answered.read()
    assert answered.status == 201


class TestPulling:
    """What a registry may do wrong, and what a user may ask for."""

    @pytest.fixture
    def uri(self, folder, proxy):
        pushed(folder, proxy).assert_success()
        return f"oci://{proxy.address}/models/tiny:v1"

    def pull(self, folder, uri, *options):
        return folder.run("pull", uri, "-o", "back", *options, env={"LFTOOL_FETCH_ATTEMPTS": "2"})

    def left(self, folder):
        back = folder.root / "back"
        return sorted(path.name for path in back.iterdir()) if back.exists() else []

    def test_a_key_that_did_not_sign(self, folder, uri):
        assert self.pull(folder, uri, "--key", "other.pub").status == 5
        assert self.left(folder) == []

    def test_a_layer_with_one_wrong_bit(self, folder, uri, proxy):
        digest = f"sha256:{sha256(weights_of(folder))}"

        def corrupt(_request, response, _upstream):
            return attrs.evolve(response, body=bytes([response.body[0] ^ 1]) + response.body[1:])

        proxy.inject(corrupt, times=1000, path=digest)
        assert self.pull(folder, uri).status == 4
        assert [name for name in self.left(folder) if not name.startswith(".")] == []

    def test_a_manifest_with_a_sidecar_of_another_gguf(self, folder, uri, proxy):
        value = document(proxy.address, "v1")
        folder.run("push", f"oci://{proxy.address}/models/tiny:v2", START).assert_success()
        value["layers"][1] = document(proxy.address, "v2")["layers"][2]
        value["layers"][1]["annotations"]["org.cncf.model.filepath"] = "tiny-1-plain.lftool"
        value["layers"][0] = document(proxy.address, "v2")["layers"][1]
        value["layers"][0]["annotations"]["org.cncf.model.filepath"] = "tiny-1-plain.gguf"
        put(proxy, "mixed", value)
        done = self.pull(folder, f"oci://{proxy.address}/models/tiny:mixed")
        assert (done.status, "the sidecar beside it belongs to a file of" in done.err) == (1, True), done.err

    def test_a_file_that_is_there_already(self, folder, uri):
        self.pull(folder, uri).assert_success()
        path = folder.root / "back" / "tiny-1-plain.gguf"
        before = path.stat().st_mtime_ns
        self.pull(folder, uri).assert_success()
        assert path.stat().st_mtime_ns == before

    def test_another_file_of_that_name(self, folder, uri):
        (folder.root / "back").mkdir()
        path = folder.root / "back" / "tiny-1-plain.gguf"
        path.write_text("mine")
        done = self.pull(folder, uri)
        assert (done.status, "already exists, and is another file" in done.err) == (2, True)
        assert path.read_text() == "mine"
        self.pull(folder, uri, "--force").assert_success()
        assert wholly_equal(path, folder.root / PLAIN)

    def test_what_the_cache_has_is_not_fetched(self, published, uri, proxy, tmp_path):
        before = len(proxy.asked())
        published.run("pull", uri, "-o", tmp_path / "back").assert_success()
        asked = [request.path for request in proxy.asked()[before:] if "/blobs/" in request.path]
        assert len(asked) == 1  # the sidecar
        assert wholly_equal(tmp_path / "back" / "tiny-1-plain.gguf", published.root / PLAIN)

    def test_an_interrupted_pull_goes_on(self, folder, uri, proxy):
        digest, size = f"sha256:{sha256(weights_of(folder))}", len(weights_of(folder))

        def last(request, response, _upstream):
            if not request.headers.get("range", "").endswith(f"-{size - 1}"):
                return response
            time.sleep(0.5)  # the others have arrived by then
            return attrs.evolve(response, status=404, headers={}, body=b"", sent=0, end="close")

        proxy.inject(last, times=1000, path=digest)
        assert self.pull(folder, uri).status == 1
        assert self.left(folder) == [".lftool-pull"]
        proxy.heal()
        before = len(proxy.asked())
        self.pull(folder, uri).assert_success()
        (asked,) = [request for request in proxy.asked()[before:] if digest in request.path]
        assert asked.headers["range"].endswith(f"-{size - 1}")
        assert self.left(folder) == ["tiny-1-plain.gguf"]

    def test_a_model_that_is_no_bundle(self, folder, proxy):
        from tests.sources.test_oci import Pusher, large_model, push_modelpack

        push_modelpack(Pusher(proxy.url, "models/other"))
        uri = f"oci://{proxy.address}/models/other:v1"
        refused = self.pull(folder, uri, "--key", "release.pub")
        assert (refused.status, "no bundle, so nothing says who made it" in refused.err) == (5, True), refused.err
        assert self.left(folder) == []
        done = self.pull(folder, uri).assert_success()
        assert "no bundle: compared with the source's digest only" in done.out
        assert (folder.root / "back" / "model.gguf").read_bytes() == large_model()
        assert (folder.root / "back" / "chat" / "template.jinja").exists()
