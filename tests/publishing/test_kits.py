"""The kit of destinations, on those of our own."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

import obstore
import pytest
from tests.sources.buckets import KEYS, new_bucket, store_of
from tests.sources.conftest import swift

from lftool.testing import DestinationConformance, PublishingPlace
from lftool.testing.hub import HubServer

__all__ = ["swift"]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class TestFolder(DestinationConformance):
    """`file:`."""

    @pytest.fixture
    def publishing(self, tmp_path):
        shelf = tmp_path / "shelf"
        shelf.mkdir()
        return PublishingPlace(
            uri=f"file:{shelf}", digests=lambda: {digest_of(path.read_bytes()) for path in shelf.iterdir()}
        )


class TestRegistry(DestinationConformance):
    """`oci:`."""

    @pytest.fixture
    def publishing(self, registry):
        server = registry()
        blobs = server.root / "docker" / "registry" / "v2" / "blobs"
        return PublishingPlace(
            uri=f"oci://{urlsplit(server.url).netloc}/models/tiny:v1",
            digests=lambda: {digest_of(path.read_bytes()) for path in blobs.rglob("data")},
            options=("--docker",),
        )


class TestHub(DestinationConformance):
    """`hf:`."""

    @pytest.fixture
    def publishing(self):
        with HubServer() as hub:
            repository = hub.repository("org/tiny")
            repository.commit({})
            yield PublishingPlace(
                uri="hf://org/tiny",
                digests=lambda: {digest_of(data) for data in repository.commits[repository.refs["main"]].values()},
                environment={"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token},
            )


class TestBucket(DestinationConformance):
    """`s3:`."""

    @pytest.fixture
    def publishing(self, swift):
        bucket = new_bucket(swift)
        store = store_of(swift, bucket)

        def digests() -> set[str]:
            paths = [item["path"] for page in obstore.list(store) for item in page]
            return {digest_of(bytes(obstore.get(store, path).bytes())) for path in paths}

        return PublishingPlace(
            uri=f"s3://{bucket}/models/", digests=digests, environment={**KEYS, "AWS_ENDPOINT_URL": swift}
        )
