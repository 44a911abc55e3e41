"""`oci://` sources against a real docker-registry, with the three kinds of model artifact."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import http.client
import json
import shutil
import subprocess
import tomllib
from urllib.parse import urlsplit

import attrs
import pytest

from lftool.testing import FaultProxy, FileServer, tiny_gguf
from lftool.testing.source_kit import RECIPE, Served, SourceConformance, large_model
from lftool_oci.credentials import may_see_credentials

OCI = "application/vnd.oci.image.manifest.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
TEMPLATE, LICENSE = b"{{ messages }}", b"Apache-2.0\n"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Pusher:
    """Pushes blobs and manifests as the distribution spec has it."""

    def __init__(self, url: str, repository: str) -> None:
        self.host, self.repository = urlsplit(url).netloc, repository
        self.headers: dict[str, str] = {}

    def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> http.client.HTTPResponse:
        with contextlib.closing(http.client.HTTPConnection(self.host)) as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {**self.headers, **named})
            answer = connection.getresponse()
            answer.read()
        assert answer.status < 300, (method, path, answer.status)
        return answer

    def blob(self, data: bytes, media_type: str, **annotations: str) -> dict:
        where = self.call("POST", f"/v2/{self.repository}/blobs/uploads/").getheader("location")
        parts = urlsplit(where)
        path = f"{parts.path}?{parts.query}&digest={digest_of(data)}"
        self.call("PUT", path, data, content_type="application/octet-stream")
        made = {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}
        if annotations:
            made["annotations"] = {name.replace("_", "."): value for name, value in annotations.items()}
        return made

    def manifest(self, tag: str, media_type: str, config: dict, layers: list[dict], **more: str) -> str:
        value = {"schemaVersion": 2, "mediaType": media_type, **more, "config": config, "layers": layers}
        data = json.dumps(value).encode()
        self.call("PUT", f"/v2/{self.repository}/manifests/{tag}", data, content_type=media_type)
        return digest_of(data)


def push_modelpack(pusher: Pusher, tag: str = "v1") -> str:
    kind = "application/vnd.cncf.model"
    return pusher.manifest(
        tag,
        OCI,
        pusher.blob(b"{}", f"{kind}.config.v1+json"),
        [
            pusher.blob(large_model(), f"{kind}.weight.v1.raw", org_cncf_model_filepath="model.gguf"),
            pusher.blob(TEMPLATE, f"{kind}.weight.config.v1.raw", org_cncf_model_filepath="chat/template.jinja"),
            pusher.blob(b"packed", f"{kind}.code.v1.tar", org_cncf_model_filepath="code"),
        ],
        artifactType=f"{kind}.manifest.v1+json",
    )


def push_docker(pusher: Pusher) -> str:
    kind = "application/vnd.docker.ai"
    layers = [
        pusher.blob(large_model(), f"{kind}.gguf.v3"),
        pusher.blob(LICENSE, f"{kind}.license"),
        pusher.blob(b"another\n", f"{kind}.license"),
    ]
    return pusher.manifest("v1", OCI, pusher.blob(b"{}", f"{kind}.model.config.v0.1+json"), layers)


def push_ollama(pusher: Pusher) -> str:
    kind = "application/vnd.ollama.image"
    layers = [
        pusher.blob(large_model(), f"{kind}.model"),
        pusher.blob(TEMPLATE, f"{kind}.template"),
        pusher.blob(b"{}\n", f"{kind}.params"),
    ]
    config = pusher.blob(b"{}", "application/vnd.docker.container.image.v1+json")
    return pusher.manifest("v1", DOCKER, config, layers)


KINDS = {
    "ModelPack": (push_modelpack, {"model.gguf": large_model(), "chat/template.jinja": TEMPLATE}),
    "Docker": (push_docker, {"LICENSE": LICENSE, "LICENSE-2": b"another\n", "model.gguf": large_model()}),
    "Ollama": (push_ollama, {"model.gguf": large_model(), "params.json": b"{}\n", "template": TEMPLATE}),
}


# The engine that waits is the same for all; nginx stays.
@pytest.mark.slow_cases(
    r"fault_ends_in.*\[(?!a short body|another part|another version for good|one wrong bit, once|a token)"
)
class TestRegistry(SourceConformance):
    """A ModelPack artifact by tag."""

    @pytest.fixture
    def served(self, registry):
        server = registry()
        push_modelpack(Pusher(server.url, "models/tiny"))
        with FaultProxy(server.url) as proxy:
            yield Served(
                uri=f"oci://{proxy.address}/models/tiny:v1",
                files=KINDS["ModelPack"][1],
                proxy=proxy,
                fault_path=digest_of(large_model()),
            )


@pytest.fixture
def lftool(project):
    def run(uri: str, *arguments: str, options: str = "", **variables: str):
        project.write_recipe(RECIPE.format(uri=uri, options=options))
        return project.run(*arguments, env={"LFTOOL_FETCH_ATTEMPTS": "1", **variables})

    return run


def source_of(project) -> dict:
    return tomllib.loads(project.lock.read_text())["sources"]["base"]


@pytest.mark.parametrize("kind", KINDS)
def test_artifacts_of_every_kind_are_read(lftool, project, registry, kind):
    server = registry()
    push, files = KINDS[kind]
    digest = push(Pusher(server.url, "models/tiny"))

    lftool(f"oci://{urlsplit(server.url).netloc}/models/tiny:v1", "lock").assert_success()

    found = source_of(project)
    assert found["revision"] == digest
    assert [(file["path"], f"sha256:{file['sha256']}") for file in found["files"]] == [
        (path, digest_of(data)) for path, data in sorted(files.items())
    ]


def test_a_digest_names_a_manifest_whatever_its_tag_does(lftool, project, registry):
    server = registry()
    pusher = Pusher(server.url, "models/tiny")
    digest = push_modelpack(pusher)
    pusher.manifest("v1", OCI, pusher.blob(b"{}", "x"), [pusher.blob(b"other", "y", org_cncf_model_filepath="o")])

    lftool(f"oci://{urlsplit(server.url).netloc}/models/tiny@{digest}", "lock").assert_success()

    assert source_of(project)["revision"] == digest


INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def index(registry, tmp_path):
    """Push manifests and an index of them; return the repository's address and the digests, by tag."""
    pusher = Pusher(registry().url, "models/tiny")

    def push(platforms: dict[str, dict], tag: str = "all") -> tuple[str, dict[str, str]]:
        digests = {}
        for name in platforms:
            data = tiny_gguf(tmp_path / f"{name}.gguf", seed=len(digests)).read_bytes()
            layer = pusher.blob(data, "application/vnd.cncf.model.weight.v1.raw", org_cncf_model_filepath="m.gguf")
            digests[name] = pusher.manifest(name, OCI, pusher.blob(b"{}", "application/json"), [layer])
        listed = [{"mediaType": OCI, "digest": digests[name], "size": 1, **more} for name, more in platforms.items()]
        pusher.call("PUT", f"/v2/models/tiny/manifests/{tag}", indexed(listed), content_type=INDEX)
        return f"oci://{pusher.host}/models/tiny", digests

    return push


def indexed(manifests: list[dict]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).encode()


def platform(name: str) -> dict:
    return {"platform": dict(zip(("os", "architecture", "variant"), name.split("/"), strict=False))}


BOTH = {"amd64": platform("linux/amd64"), "arm64": platform("linux/arm64/v8")}


@pytest.mark.parametrize(
    ("options", "wrong"),
    [("", "several manifests"), ('options = { platform = "linux/arm" }', "0 manifests for 'linux/arm'")],
)
def test_an_index_in_which_several_manifests_or_none_could_be_meant_lists_them(lftool, index, options, wrong):
    base, digests = index(BOTH)

    done = lftool(f"{base}:all", "lock", options=options)

    lines = sorted((f"  {digests['amd64']}  linux/amd64\n", f"  {digests['arm64']}  linux/arm64/v8\n"))
    assert (done.status, done.err) == (
        2,
        f"error: source '{base}:all' is an index of {wrong}; it has:\n"
        + "".join(lines)
        + f'  hint: name one: uri = "{base}:all@sha256:…", or options = {{ platform = "OS/ARCHITECTURE" }}\n',
    )


@pytest.mark.parametrize("name", ["linux/arm64", "linux/arm64/v8"])
def test_the_platform_that_the_recipe_names_chooses_in_an_index(lftool, project, index, name):
    base, digests = index(BOTH)

    lftool(f"{base}:all", "lock", options=f'options = {{ platform = "{name}" }}').assert_success()

    assert source_of(project)["revision"] == digests["arm64"]


def test_what_attests_in_an_index_is_no_model(lftool, project, index):
    attests = {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    base, digests = index({"model": platform("linux/amd64"), "attestation": {**attests, **platform("unknown/unknown")}})

    lftool(f"{base}:all", "lock").assert_success()

    assert source_of(project)["revision"] == digests["model"]


def test_an_index_in_an_index_is_looked_into(lftool, project, index):
    base, digests = index({"model": {}}, tag="inner")
    inner = digest_of(indexed([{"mediaType": OCI, "digest": digests["model"], "size": 1}]))
    url = f"http://{urlsplit(base).netloc}"
    Pusher(url, "models/tiny").call(
        "PUT",
        "/v2/models/tiny/manifests/all",
        indexed([{"mediaType": INDEX, "digest": inner, "size": 1}]),
        content_type=INDEX,
    )

    lftool(f"{base}:all", "lock").assert_success()

    assert source_of(project)["revision"] == digests["model"]


def test_an_image_is_no_model(lftool, registry):
    server = registry()
    pusher = Pusher(server.url, "images/base")
    layer = pusher.blob(b"x", "application/vnd.oci.image.layer.v1.tar+gzip")
    pusher.manifest("v1", OCI, pusher.blob(b"{}", "application/vnd.oci.image.config.v1+json"), [layer])
    uri = f"oci://{urlsplit(server.url).netloc}/images/base:v1"

    done = lftool(uri, "lock")

    assert (done.status, done.err) == (
        4,
        (f"error: source {uri!r}: no layer is a model file; it has application/vnd.oci.image.layer.v1.tar+gzip\n"),
    )


def titled(registry, *titles: str, model: bytes = b"{}") -> str:
    pusher = Pusher(registry().url, "models/tiny")
    kind = "application/vnd.oci.image.layer.v1.blob"
    layers = [pusher.blob(model, kind, org_opencontainers_image_title=title) for title in titles]
    pusher.manifest("v1", OCI, pusher.blob(b"{}", "application/json"), layers)
    return f"oci://{pusher.host}/models/tiny:v1"


def test_titles_may_be_paths(lftool, project, registry, tmp_path):
    data = tiny_gguf(tmp_path / "model.gguf").read_bytes()

    lftool(titled(registry, "./of/model.gguf", model=data), "lock").assert_success()

    assert [file["path"] for file in source_of(project)["files"]] == ["of/model.gguf"]


@pytest.mark.parametrize("title", ["/srv/models/model.gguf", "../model.gguf", "models\\model.gguf"])
def test_titles_that_lead_elsewhere_are_named(lftool, registry, title):
    done = lftool(titled(registry, title), "lock")

    assert done.status == 1
    assert f"is called {title!r}: {title!r} is not a relative path" in done.err
    assert done.err.endswith("  hint: push the files by relative paths, from their own folder\n")


def test_two_layers_of_one_title_are_an_error(lftool, registry):
    done = lftool(titled(registry, "config.json", "config.json"), "lock")

    assert (done.status, "two layers are called 'config.json'" in done.err) == (1, True)


@pytest.mark.parametrize("where", ["models/nothing:v1", "models/tiny:v9"])
def test_what_is_not_there_is_said(lftool, registry, where):
    server = registry()
    push_modelpack(Pusher(server.url, "models/tiny"))
    host = urlsplit(server.url).netloc
    repository, _, tag = where.partition(":")

    done = lftool(f"oci://{host}/{where}", "lock")

    assert (done.status, done.err) == (
        1,
        (
            f"error: source 'oci://{host}/{where}': http://{host}/v2/{repository}/manifests/{tag} returned 404:"
            " not found\n"
        ),
    )


@pytest.mark.parametrize("uri", ["oci://host", "oci://host/UPPER:v1", "oci://host/a@sha256:12", "oci:host/a"])
def test_a_uri_of_another_form_is_refused(lftool, uri):
    done = lftool(uri, "lock")

    assert done.status == 2
    assert "expected oci://REGISTRY/REPOSITORY:TAG" in done.err or "user information" in done.err


def test_an_artifact_that_skopeo_copied_is_the_same(lftool, project, registry, tmp_path):
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("skopeo is not installed; it is in the Debian package of that name")
    server = registry()
    host = urlsplit(server.url).netloc
    digest = push_modelpack(Pusher(server.url, "models/tiny"))
    plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    copy = [f"docker://{host}/models/tiny:v1", f"docker://{host}/mirror/tiny:v1"]
    subprocess.run([skopeo, "copy", "--insecure-policy", *plain, *copy], check=True, capture_output=True)

    lftool(f"oci://{host}/mirror/tiny:v1", "lock").assert_success()

    assert source_of(project)["revision"] == digest


def bcrypt(password: str) -> str:
    """The entry of an htpasswd file, which docker-registry wants in bcrypt; libcrypt makes it."""
    try:
        library = ctypes.CDLL("libcrypt.so.1")
    except OSError:
        pytest.skip("this system has no libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    made = library.crypt(password.encode(), b"$2b$04$abcdefghijklmnopqrstuu")
    if not made or not made.startswith(b"$2"):
        pytest.skip("this libcrypt makes no bcrypt")
    return made.decode()


@pytest.fixture
def guarded(registry, tmp_path):
    """A registry that asks for a name and a password; its host, with one artifact pushed."""
    (tmp_path / "htpasswd").write_text(f"tester:{bcrypt('a-secret')}\n")
    server = registry(f"auth: {{htpasswd: {{realm: test, path: {tmp_path / 'htpasswd'}}}}}")
    pusher = Pusher(server.url, "models/tiny")
    pusher.headers = {"authorization": "Basic " + base64.b64encode(b"tester:a-secret").decode()}
    push_modelpack(pusher)
    return urlsplit(server.url).netloc


def test_name_and_password_from_variables_open_a_registry(lftool, guarded):
    keys = {"LFTOOL_OCI_REGISTRY": guarded, "LFTOOL_OCI_USERNAME": "tester", "LFTOOL_OCI_PASSWORD": "a-secret"}

    lftool(f"oci://{guarded}/models/tiny:v1", "lock", **keys).assert_success()


def test_what_docker_login_wrote_opens_a_registry(lftool, guarded, tmp_path):
    auth = base64.b64encode(b"tester:a-secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {guarded: {"auth": auth}}}))

    lftool(f"oci://{guarded}/models/tiny:v1", "lock", DOCKER_CONFIG=str(tmp_path)).assert_success()


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"LFTOOL_OCI_REGISTRY": "*", "LFTOOL_OCI_USERNAME": "tester", "LFTOOL_OCI_PASSWORD": "a-wrong-secret"},
        {"LFTOOL_OCI_REGISTRY": "elsewhere", "LFTOOL_OCI_USERNAME": "tester", "LFTOOL_OCI_PASSWORD": "a-secret"},
    ],
)
def test_a_registry_that_refuses_says_what_to_set_and_repeats_no_secret(lftool, guarded, keys, tmp_path):
    uri = f"oci://{guarded}/models/tiny:v1"
    if keys.get("LFTOOL_OCI_REGISTRY") == "*":
        keys = {**keys, "LFTOOL_OCI_REGISTRY": guarded}

    done = lftool(uri, "lock", DOCKER_CONFIG=str(tmp_path / "none"), **keys)

    assert (done.status, done.out, done.err) == (
        1,
        "",
        (
            f"error: source {uri!r}: http://{guarded}/v2/models/tiny/manifests/v1 returned 401: not allowed\n"
            f"  hint: run `docker login {guarded}`, name the registry in credentials.toml,"
            " or set LFTOOL_OCI_REGISTRY to it, and LFTOOL_OCI_USERNAME and LFTOOL_OCI_PASSWORD\n"
        ),
    )


@pytest.fixture
def tokens():
    """A token service: `/token` hands out what `issue` put there."""
    with FileServer() as server:
        yield server


def issue(tokens, token: str) -> None:
    tokens.files["/token"] = json.dumps({"token": token}).encode()


def asking_for(accepted: list[str], realm: str):
    """A fault: whoever does not bring an accepted token is sent to the token service."""

    def fault(request, response, _upstream):
        if request.headers.get("authorization") in [f"Bearer {token}" for token in accepted]:
            return response
        challenge = f'Bearer realm="{realm}/token",service="models",scope="repository:models/tiny:pull"'
        return attrs.evolve(
            response, status=401, headers={"www-authenticate": challenge}, body=b"", sent=0, end="close"
        )

    return fault


def test_a_registry_of_tokens_is_asked_with_the_one_that_its_service_issues(lftool, registry, tokens):
    server = registry()
    push_modelpack(Pusher(server.url, "models/tiny"))
    issue(tokens, "first")
    with FaultProxy(server.url) as proxy:
        proxy.inject(asking_for(["first"], tokens.url), times=1000)

        lftool(f"oci://{proxy.address}/models/tiny:v1", "lock").assert_success()

        seen = [request.headers.get("authorization") for request in proxy.asked()]
        assert seen[:2] == [None, "Bearer first"]


def test_a_token_that_expires_on_the_way_is_renewed(lftool, project, registry, tokens):
    server = registry()
    push_modelpack(Pusher(server.url, "models/tiny"))
    accepted = ["first"]
    issue(tokens, "first")
    with FaultProxy(server.url) as proxy:
        check = asking_for(accepted, tokens.url)

        def expire(request, response, upstream):
            if "/blobs/" in request.path and accepted == ["first"]:
                accepted[:] = ["second"]
                issue(tokens, "second")
            return check(request, response, upstream)

        proxy.inject(expire, times=1000)

        lftool(f"oci://{proxy.address}/models/tiny:v1", "lock").assert_success()
        lftool(f"oci://{proxy.address}/models/tiny:v1", "fetch").assert_success()

        assert "Bearer second" in {request.headers.get("authorization") for request in proxy.asked()}
        assert "first" not in project.lock.read_text()


@pytest.mark.parametrize(
    ("realm", "base", "shown"),
    [
        ("https://registry.example/token", "https://registry.example/v2/a", True),
        ("https://auth.registry.example/token", "https://registry.example/v2/a", True),
        ("https://auth.docker.io/token", "https://registry-1.docker.io/v2/a", True),
        ("https://gitlab.example/jwt", "https://registry.gitlab.example/v2/a", True),
        ("https://other.co.example/token", "https://registry.co.example/v2/a", False),
        ("https://example/token", "https://registry.example/v2/a", False),
        ("http://registry.example/token", "https://registry.example/v2/a", False),
        ("https://attacker.example/token", "https://registry.other/v2/a", False),
        ("https://evilregistry.example/token", "https://registry.example/v2/a", False),
        ("http://127.0.0.1:9/token", "http://127.0.0.1:8/v2/a", True),
        ("http://10.0.0.1/token", "http://127.0.0.1:8/v2/a", False),
    ],
)
def test_who_may_see_the_credentials_of_a_registry(realm, base, shown):
    assert may_see_credentials(realm, base) is shown
