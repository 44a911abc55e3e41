"""Files that other tools have fetched already are taken when their sha256 matches, and only then."""

from __future__ import annotations

import pytest

from lftool.models.digest import Digest
from lftool.testing import FaultProxy, FileServer
from lftool.testing.source_kit import BUNDLE, RECIPE, large_model

SHA256 = Digest.of(large_model()).hex
PLACES = {
    "the Hugging Face cache": f".cache/huggingface/hub/models--org--repo/blobs/{SHA256}",
    "Ollama": f".ollama/models/blobs/sha256-{SHA256}",
    "LM Studio": ".lmstudio/models/org/repo/model-q4.gguf",
}


@pytest.fixture
def proxy():
    with FileServer(files={"/model.gguf": large_model()}) as server, FaultProxy(server.url) as made:
        yield made


@pytest.fixture
def remote(project, proxy):
    """A locked project with an empty cache, whose digest is known."""
    project.write_recipe(RECIPE.format(uri=f"{proxy.url}/model.gguf", options=""))
    project.run("lock", env={"XDG_CACHE_HOME": str(project.home / "first")}).assert_success()
    proxy.requests.clear()
    return project


@pytest.mark.parametrize(("whose", "place"), PLACES.items())
def test_a_file_of_another_tool_is_taken_and_never_fetched(remote, proxy, whose, place):
    path = remote.home / place
    path.parent.mkdir(parents=True)
    path.write_bytes(large_model())

    done = remote.run("build", "--offline").assert_success()

    assert f"source 'base', file model.gguf: taken from {whose}\n" in done.err
    assert proxy.requests == []
    assert (remote.root / BUNDLE).read_bytes().startswith(large_model())
    assert path.read_bytes() == large_model()


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_a_file_of_the_right_name_and_size_with_other_bytes_is_passed_over(remote, proxy, place):
    path = remote.home / place
    path.parent.mkdir(parents=True)
    path.write_bytes(large_model()[:-1] + b"\x99")

    remote.run("build").assert_success()

    assert proxy.asked()
    assert (remote.root / BUNDLE).read_bytes().startswith(large_model())


def test_a_place_that_a_variable_names_is_looked_at(remote, proxy, tmp_path):
    path = tmp_path / "hub" / "models--a--b" / "blobs" / SHA256
    path.parent.mkdir(parents=True)
    path.write_bytes(large_model())

    remote.run("build", env={"HF_HUB_CACHE": str(tmp_path / "hub")}).assert_success()

    assert proxy.requests == []
