from __future__ import annotations

import attrs
import pytest

from lftool.models.digest import Artifact, Digest
from lftool.models.manifest import REQUIRED, BundleManifest, Member, Prefix, is_large, member_order
from lftool.models.run_contract import RunContract

DIGEST = Digest("0" * 64)


def member(path: str, role: str) -> Member:
    return Member(path=path, role=role, size=1, sha256=DIGEST, crc32="00000000")


REQUIRED_MEMBERS = tuple(member(path, role) for path, role in REQUIRED.items())
GGUF_PREFIX = Prefix(role="gguf", size=100, sha256=Digest("a" * 64), crc32="0123abcd")
RUNTIME_PREFIX = Prefix(role="runtime", size=100, sha256=Digest("a" * 64), crc32="0123abcd")
WEIGHTS = member("model.gguf", "weights")


def manifest(*extra: Member, prefix: Prefix = GGUF_PREFIX, members: tuple[Member, ...] | None = None) -> BundleManifest:
    """A manifest of the required members and `extra`, in order, or of exactly `members`."""
    if members is None:
        members = tuple(sorted((*REQUIRED_MEMBERS, *extra), key=member_order))
    return BundleManifest(
        name="tiny", version="1", target="q4", layout="gguf", backend="cpu", prefix=prefix, members=members
    )


def refusal(*extra: Member, prefix: Prefix = GGUF_PREFIX, members: tuple[Member, ...] | None = None) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        manifest(*extra, prefix=prefix, members=members)
    return str(caught.value)


def test_the_weights_of_a_gguf_bundle_are_its_prefix():
    made = manifest()
    assert (made.weights, made.stem, made.run) == (GGUF_PREFIX, "tiny-1-q4", RunContract())


def test_the_weights_of_a_llamafile_bundle_are_a_member():
    assert manifest(WEIGHTS, prefix=RUNTIME_PREFIX).weights == WEIGHTS


def test_prefix_and_members_are_artifacts():
    assert GGUF_PREFIX.artifact == Artifact(Digest("a" * 64), 100)
    assert WEIGHTS.artifact == Artifact(DIGEST, 1)


def test_a_member_is_found_by_its_path():
    made = manifest()
    assert (made.member("lftool/lock.toml"), made.member("lftool/other")) == (member("lftool/lock.toml", "lock"), None)


def test_members_are_ordered_by_rank_of_role_then_path():
    members = [
        member("lftool/chunks", "chunks"), member("z", "weights"), member("b", "license"), member("a", "license"),
        member("a.gguf", "draft"), member("r", "runner"), member("b.gguf", "adapter"), member("a2.gguf", "adapter"),
    ]  # fmt: skip
    assert [item.path for item in sorted(members, key=member_order)] == [
        "z", "a2.gguf", "b.gguf", "a.gguf", "r", "a", "b", "lftool/chunks",
    ]  # fmt: skip


def test_weights_adapters_projectors_and_drafts_are_large():
    roles = ("weights", "adapter", "projector", "draft", "runner", "license", "chunks", "manifest", "signature")
    assert [role for role in roles if is_large(role)] == ["weights", "adapter", "projector", "draft"]


def test_members_in_another_order_are_refused():
    assert refusal(members=REQUIRED_MEMBERS[::-1]) == "members are not in the order of (role, path)"


def test_paths_that_differ_in_case_only_are_refused():
    message = refusal(member("LICENSE", "license"), member("license", "license"))
    assert message == "two members have paths that differ in case only, or not at all"


def test_a_path_that_stands_twice_is_refused():
    message = refusal(member("LICENSE", "license"), member("LICENSE", "license"))
    assert message == "two members have paths that differ in case only, or not at all"


def test_a_path_that_stands_twice_under_two_roles_is_refused():
    message = refusal(member("LICENSE", "license"), member("LICENSE", "template"))
    assert message == "two members have paths that differ in case only, or not at all"


@pytest.mark.parametrize("path", REQUIRED)
def test_a_bundle_without_a_required_member_is_refused(path: str):
    members = tuple(item for item in REQUIRED_MEMBERS if item.path != path)
    assert refusal(members=members) == f"the member {path} of role {REQUIRED[path]} is missing"


def test_a_required_member_of_another_role_is_refused():
    members = [attrs.evolve(item, role="license") if item.role == "lock" else item for item in REQUIRED_MEMBERS]
    message = refusal(members=tuple(sorted(members, key=member_order)))
    assert message == "the member lftool/lock.toml of role lock is missing"


ONE_SET = "a bundle has one set of weights: its prefix, or one member"


def test_weights_beside_a_gguf_prefix_are_refused():
    assert refusal(member("other.gguf", "weights")) == ONE_SET


def test_a_runtime_without_weights_is_refused():
    assert refusal(prefix=RUNTIME_PREFIX) == ONE_SET


def test_two_sets_of_weights_are_refused():
    assert refusal(WEIGHTS, member("other.gguf", "weights"), prefix=RUNTIME_PREFIX) == ONE_SET


@pytest.mark.parametrize(
    "path", ["lftool/bundle.json", "LFTOOL/Bundle.json", "lftool/sig/bundle.sigstore.json", "lftool/SIG/x"]
)
def test_a_manifest_that_names_itself_or_a_signature_is_refused(path: str):
    assert refusal(member(path, "license")) == "the manifest must not name itself or signatures"


@pytest.mark.parametrize("path", ["model.gguf", "MODEL.gguf"])
def test_a_member_where_extract_writes_the_gguf_prefix_is_refused(path: str):
    """`lftool extract` would write it over the weights that were verified (design, section 8)."""
    with pytest.raises(ValueError, match=rf"(?i){path}"):
        manifest(member(path, "license"))


def test_a_member_where_extract_writes_the_runtime_is_refused():
    with pytest.raises(ValueError, match="runtime"):
        manifest(WEIGHTS, member("runtime", "license"), prefix=RUNTIME_PREFIX)


def test_a_member_that_is_a_folder_of_another_is_refused():
    with pytest.raises(ValueError, match="licenses"):
        manifest(member("licenses", "license"), member("licenses/MIT", "license"))


@pytest.mark.parametrize("crc32", ["", "0", "0123ABCD", "123456789", "0123abcg", "0123abcd\n"])
def test_a_crc32_is_8_lower_case_hex_digits(crc32: str):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        attrs.evolve(GGUF_PREFIX, crc32=crc32)
    assert str(caught.value) == f"a crc32 is 8 lower-case hex digits, not {crc32!r}"


def test_an_empty_prefix_is_refused():
    with pytest.raises(ValueError, match=r"^'size' must be >= 1: 0$"):
        attrs.evolve(GGUF_PREFIX, size=0)


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match=r"^'size' must be >= 0: -1$"):
        attrs.evolve(WEIGHTS, size=-1)


def test_an_empty_member_is_accepted():
    assert attrs.evolve(WEIGHTS, size=0).size == 0


@pytest.mark.parametrize("field", ["name", "version", "target", "layout", "backend"])
def test_every_name_of_a_manifest_is_checked(field: str):
    with pytest.raises(ValueError, match=r"^'a/b' is not a name: "):
        attrs.evolve(manifest(), **{field: "a/b"})


@pytest.mark.parametrize(
    ("role", "place"), [("adapter", "lora.gguf"), ("projector", "mmproj.gguf")], ids=["adapter", "projector"]
)
def test_an_adapter_or_projector_has_one_place(role: str, place: str):
    assert manifest(member(place, role)).member(place) == member(place, role)
    message = f"a member of role {role} must have the path {place}"
    assert refusal(member("other.gguf", role)) == message
    assert refusal(member(place, role), member("other.gguf", role)) == message
