"""The example recipes are really built, against servers on loopback; only host names are put in their place."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import shutil
import urllib.request
from urllib.parse import urlsplit

import pytest

from lftool.testing.hub import HubServer


@pytest.fixture
def story(repository) -> bytes:
    return (repository / "examples" / "tiny-story" / "tiny-story-f16.gguf").read_bytes()


@pytest.fixture
def build(repository, project, story):
    """Lock and build an example with an empty cache; return the weights in the bundle."""

    def run(name: str, replace: dict[str, str] | None = None, **variables: str) -> bytes:
        text = (repository / "examples" / "sources" / name / "lftool.toml").read_text()
        for old, new in (replace or {}).items():
            assert old in text
            text = text.replace(old, new)
        project.write_recipe(text)
        project.spawn("lock", env=variables).assert_success()
        shutil.rmtree(project.cache)
        project.spawn("build", env=variables).assert_success()
        return (project.root / "dist" / "tiny-story-1.0.0-f16.gguf").read_bytes()[: len(story)]

    return run


def test_http(build, nginx, story):
    (nginx.root / "tiny-story").mkdir()
    (nginx.root / "tiny-story" / "tiny-story-f16.gguf").write_bytes(story)

    assert build("http", {"https://models.example": nginx.url}) == story


def test_hugging_face(build, story):
    with HubServer() as hub:
        hub.repository("lftool/tiny-story").commit({"tiny-story-f16.gguf": story, "README.md": b"# a model\n"})

        assert build("hugging-face", HF_ENDPOINT=hub.url) == story


def test_s3(build, swift, story):
    import datetime as dt

    import obstore
    from obstore.store import S3Store

    store = S3Store(
        "models",
        endpoint=swift,
        access_key_id="test:tester",
        secret_access_key="testing",
        region="us-east-1",
        client_options={"allow_http": True},
    )
    signed = obstore.sign(store, "PUT", "", dt.timedelta(minutes=1))
    with urllib.request.urlopen(urllib.request.Request(signed, method="PUT", data=b"")) as answer:
        assert answer.status == 200
    obstore.put(store, "tiny-story/tiny-story-f16.gguf", story)
    obstore.put(store, "tiny-story/README.md", b"# a model\n")
    keys = {"AWS_ACCESS_KEY_ID": "test:tester", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}

    assert build("s3", AWS_ENDPOINT_URL=swift, **keys) == story


def test_registry(build, registry, story):
    server = registry()
    host = urlsplit(server.url).netloc
    kind = "application/vnd.cncf.model"

    def call(method: str, path: str, body: bytes = b"", content_type: str = "application/octet-stream"):
        with contextlib.closing(http.client.HTTPConnection(host)) as connection:
            connection.request(method, path, body, {"content-type": content_type})
            answer = connection.getresponse()
            answer.read()
        assert answer.status < 300
        return answer

    def blob(data: bytes, media_type: str) -> dict:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        where = urlsplit(call("POST", "/v2/models/tiny-story/blobs/uploads/").getheader("location"))
        call("PUT", f"{where.path}?{where.query}&digest={digest}", data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    weights = blob(story, f"{kind}.weight.v1.raw")
    weights["annotations"] = {"org.cncf.model.filepath": "tiny-story-f16.gguf"}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": f"{kind}.manifest.v1+json",
        "config": blob(b"{}", f"{kind}.config.v1+json"),
        "layers": [weights],
    }
    path = "/v2/models/tiny-story/manifests/v1"
    call("PUT", path, json.dumps(manifest).encode(), content_type=manifest["mediaType"])

    assert build("registry", {"registry.example": host}) == story
