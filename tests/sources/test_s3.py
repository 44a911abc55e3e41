"""`s3://` sources against OpenStack Swift's S3 API, which checks signatures; uploads go through obstore as well."""

from __future__ import annotations

import tomllib

import obstore
import pytest

from lftool.testing import FaultProxy
from lftool.testing.source_kit import RECIPE, Served, SourceConformance, large_model

from .buckets import KEYS, keep_versions, new_bucket, store_of


@pytest.fixture
def bucket(swift):
    """The name of a new, empty bucket."""
    return new_bucket(swift)


@pytest.fixture
def upload(swift, bucket):
    store = store_of(swift, bucket)

    def put(files: dict[str, bytes], prefix: str = "") -> None:
        for path, data in files.items():
            obstore.put(store, prefix + path, data, chunk_size=5 * 1024 * 1024)

    return put


FILES = {"config.json": b"{}", "model.gguf": large_model()}


# The engine that waits is the same for all; nginx stays.
@pytest.mark.slow_cases(
    r"fault_ends_in.*\[(?!a short body|another part|another version for good|one wrong bit, once|a token)"
)
class TestSwift(SourceConformance):
    """All objects below a prefix; the large one was uploaded in parts."""

    @pytest.fixture
    def served(self, swift, bucket, upload):
        upload(FILES, "models/tiny/")
        with FaultProxy(swift) as proxy:
            yield Served(
                uri=f"s3://{bucket}/models/tiny/",
                files=FILES,
                environment={**KEYS, "AWS_ENDPOINT_URL": proxy.url},
                proxy=proxy,
                fault_path="model.gguf",
            )


@pytest.fixture
def lftool(project, swift):
    def run(uri: str, *arguments: str, options: str = "", **variables: str):
        project.write_recipe(RECIPE.format(uri=uri, options=options))
        environment = {**KEYS, "AWS_ENDPOINT_URL": swift, "LFTOOL_FETCH_ATTEMPTS": "1", **variables}
        return project.run(*arguments, env=environment)

    return run


def files_of(project) -> list[dict]:
    return tomllib.loads(project.lock.read_text())["sources"]["base"]["files"]


def test_one_object_is_called_by_the_last_part_of_its_key(lftool, project, bucket, upload):
    upload(FILES)

    lftool(f"s3://{bucket}/model.gguf", "lock").assert_success()

    (file,) = files_of(project)
    assert (file["path"], file["revision"][:6]) == ("model.gguf", 'etag "')


def test_globs_choose_among_objects(lftool, project, bucket, upload):
    upload({**FILES, "a/b.txt": b"x"})

    lftool(f"s3://{bucket}/", "lock", options='exclude = ["**/*.txt"]').assert_success()

    assert [file["path"] for file in files_of(project)] == ["config.json", "model.gguf"]


def test_an_object_that_was_replaced_is_refused_with_the_way_on(lftool, project, bucket, upload):
    upload(FILES)
    lftool(f"s3://{bucket}/", "lock").assert_success()
    upload({"model.gguf": FILES["model.gguf"][:-1] + b"\x11"})

    done = lftool(f"s3://{bucket}/", "build", XDG_CACHE_HOME=str(project.home / "another"))

    assert (done.status, done.err.splitlines()[-1]) == (
        4,
        "  hint: to accept the change: lftool lock --upgrade base",
    )


def test_a_wrong_secret_is_refused_and_not_repeated(lftool, project, bucket, upload):
    upload(FILES)

    done = lftool(f"s3://{bucket}/model.gguf", "lock", AWS_SECRET_ACCESS_KEY="wrong-secret")

    assert (done.status, done.err) == (
        1,
        (
            f"error: source 's3://{bucket}/model.gguf': not allowed\n"
            "  hint: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE\n"
            "  hint: requests to an endpoint from the recipe are anonymous: add its host to credentials.toml with an"
            " aws-profile\n"
            "  hint: for a public bucket: options = { anonymous = true }\n"
        ),
    )
    assert "wrong-secret" not in done.err


def test_a_profile_of_the_shared_credentials_file_signs(lftool, project, bucket, upload, tmp_path):
    upload(FILES)
    credentials = tmp_path / "credentials"
    credentials.write_text("[release]\naws_access_key_id = test:tester\naws_secret_access_key = testing\n")
    options = 'options = { region = "us-east-1" }'

    done = lftool(
        f"s3://{bucket}/model.gguf",
        "lock",
        options=options,
        AWS_ACCESS_KEY_ID="",
        AWS_SECRET_ACCESS_KEY="",
        AWS_PROFILE="release",
        AWS_SHARED_CREDENTIALS_FILE=str(credentials),
    )

    done.assert_success()


def test_an_unknown_profile_is_named(lftool, bucket, tmp_path):
    credentials = tmp_path / "credentials"
    credentials.write_text("")

    done = lftool(f"s3://{bucket}/x", "lock", AWS_PROFILE="no", AWS_SHARED_CREDENTIALS_FILE=str(credentials))

    assert (done.status, done.err) == (
        8,
        f"error: there is no profile 'no' in {credentials}\n  hint: add it with `aws configure`\n",
    )


@pytest.mark.parametrize("key", ["nothing.gguf", "nothing/"])
def test_what_is_not_there_is_said(lftool, bucket, key):
    done = lftool(f"s3://{bucket}/{key}", "lock")

    assert done.status == 1
    assert done.err.startswith(f"error: source 's3://{bucket}/{key}': ")


def test_a_bucket_that_keeps_versions_delivers_the_locked_one_after_it_was_replaced(project, swift, bucket, upload):
    keep_versions(swift, bucket)
    upload({"model.gguf": large_model()})
    project.write_recipe(
        RECIPE.format(uri=f"s3://{bucket}/model.gguf", options=f'options = {{ endpoint = "{swift}" }}')
    )
    keys = {**KEYS, "AWS_ENDPOINT_URL": swift}  # the user's word that this endpoint may see them
    project.run("lock", env=keys).assert_success()
    upload({"model.gguf": b"something else"})

    project.run("fetch", env={**keys, "XDG_CACHE_HOME": str(project.home / "new")}).assert_success()

    (file,) = tomllib.loads(project.lock.read_text())["sources"]["base"]["files"]
    assert file["revision"].startswith("version ")
