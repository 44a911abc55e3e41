from __future__ import annotations

import pytest

from lftool.models.digest import Artifact, Digest
from lftool.models.lock import (
    Lock,
    LockedFile,
    LockedFileList,
    LockedPack,
    LockedQuantize,
    LockedRecipe,
    LockedRuntime,
    LockedSource,
    LockedTarget,
    LockedTool,
)

ONE, TWO = Digest("1" * 64), Digest("2" * 64)


def locked_file(path: str = "model.gguf", size: int = 1) -> LockedFile:
    return LockedFile(path=path, size=size, sha256=ONE)


def source(*paths: str) -> LockedSource:
    return LockedSource(uri="file:x", revision="r", files=tuple(map(locked_file, paths)))


def quantize(**changes) -> LockedQuantize:
    return LockedQuantize(**{"semantics": "ggml-q/1", "uses": "Q4_K_M", "plan": ONE, "action": TWO, **changes})


def lock(target: LockedTarget, **changes) -> Lock:
    return Lock(
        recipe=LockedRecipe(sha256=ONE), sources={"base": source("model.gguf")}, targets={"q4": target}, **changes
    )


def refusal(make) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        make()
    return str(caught.value)


def test_a_locked_file_is_an_artifact():
    assert locked_file(size=7).artifact == Artifact(ONE, 7)


@pytest.mark.parametrize("path", ["a", "a/b.gguf", ".hidden", "a b", "ünïcode", "...", "a/..b"])
def test_a_relative_path_is_accepted(path: str):
    assert locked_file(path).path == path


@pytest.mark.parametrize(
    "path", ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\\b", "a\nb", "a\x00", "\x7f"]
)
def test_a_path_that_could_leave_its_source_is_refused(path: str):
    assert refusal(lambda: locked_file(path)) == f"{path!r} is not a relative path with / between its parts"


def test_a_negative_size_is_refused():
    assert refusal(lambda: locked_file(size=-1)) == "'size' must be >= 0: -1"


def test_files_of_a_source_are_sorted():
    assert refusal(lambda: source("b", "a")) == "files must be sorted by path, without a duplicate"


def test_a_file_stands_once():
    assert refusal(lambda: source("a", "a")) == "files must be sorted by path, without a duplicate"


def test_a_source_without_files_is_refused():
    assert refusal(source) == "a locked source has either files, at least one, or a file-list"


def test_a_source_whose_files_stand_in_a_list_of_their_own_is_accepted():
    listed = LockedFileList(path="lftool.lock.d/base.toml", sha256=ONE)
    assert LockedSource(uri="file:x", revision="r", file_list=listed).files == ()


def test_a_source_with_both_files_and_a_file_list_is_refused():
    listed = LockedFileList(path="lftool.lock.d/base.toml", sha256=ONE)
    message = refusal(lambda: LockedSource(uri="x", revision="r", file_list=listed, files=(locked_file(),)))
    assert message == "a locked source has either files, at least one, or a file-list"


def test_a_file_list_stays_beside_the_lock():
    message = refusal(lambda: LockedFileList(path="../base.toml", sha256=ONE))
    assert message == "'../base.toml' is not a relative path with / between its parts"


def test_a_quantize_stage_without_output_has_none():
    assert quantize().output is None


def test_a_quantize_stage_with_output_names_the_artifact():
    assert quantize(sha256=ONE, size=3).output == Artifact(ONE, 3)


@pytest.mark.parametrize("half", [{"sha256": ONE}, {"size": 3}, {"size": 0}], ids=["digest", "size", "size 0"])
def test_half_an_output_of_quantize_is_refused(half):
    assert refusal(lambda: quantize(**half)) == "an output needs both sha256 and size"


def test_a_pack_stage_without_output_has_none():
    assert LockedPack(action=ONE).output is None


def test_a_pack_stage_with_output_names_the_artifact():
    assert LockedPack(action=ONE, manifest=TWO, sha256=ONE, size=3).output == Artifact(ONE, 3)


@pytest.mark.parametrize(
    "part",
    [{"sha256": ONE}, {"size": 3}, {"manifest": TWO}, {"sha256": ONE, "size": 3}, {"manifest": TWO, "sha256": ONE}],
    ids=["digest", "size", "manifest", "no manifest", "no size"],
)
def test_part_of_an_output_of_pack_is_refused(part):
    assert refusal(lambda: LockedPack(action=ONE, **part)) == "an output needs manifest, sha256 and size together"


def test_a_target_that_packs_weights_as_they_are_needs_no_tool():
    assert lock(LockedTarget()).targets["q4"].quantize is None


def test_a_quantize_stage_needs_its_tool():
    message = refusal(lambda: lock(LockedTarget(quantize=quantize())))
    assert message == "targets.q4.quantize uses 'Q4_K_M' of 'ggml-q/1', which is not in tools"


def test_a_quantize_stage_needs_its_fingerprint():
    tools = {"ggml-q/1": LockedTool(fingerprints={"Q8_0": ONE})}
    message = refusal(lambda: lock(LockedTarget(quantize=quantize()), tools=tools))
    assert message == "targets.q4.quantize uses 'Q4_K_M' of 'ggml-q/1', which is not in tools"


def test_a_quantize_stage_with_its_fingerprint_is_accepted():
    tools = {"ggml-q/1": LockedTool(fingerprints={"Q4_K_M": ONE})}
    assert lock(LockedTarget(quantize=quantize()), tools=tools).tools == tools


def test_a_target_needs_its_runtime():
    message = refusal(lambda: lock(LockedTarget(runtime="python/1")))
    assert message == "targets.q4.runtime is 'python/1', which is not in runtimes"


def test_a_target_with_its_runtime_is_accepted():
    runtimes = {"python/1": LockedRuntime(sha256=ONE)}
    assert lock(LockedTarget(runtime="python/1"), runtimes=runtimes).runtimes == runtimes
