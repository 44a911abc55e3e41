"""`lftool sign`: a signature more, and not one other byte changed."""

from __future__ import annotations

import shutil
import stat

import pytest

from lftool.bundle.bundle_files import opened

SIGN_FILE = '\n[sign]\nkey = "file:release.key"\n'


@pytest.fixture
def released(locked_project):
    """A project with a signed bundle, and a second key."""
    for name in ("release", "reviewer"):
        locked_project.run("keygen", "-o", name).assert_success()
    locked_project.write_recipe(locked_project.recipe.read_text() + SIGN_FILE)
    locked_project.run("build").assert_success()
    tables = [
        f'\n[[keys]]\nname = "{name}"\npublic-key = """\n{(locked_project.root / f"{name}.pub").read_text()}"""\n'
        for name in ("release", "reviewer")
    ]
    (locked_project.root / "trust.toml").write_text("version = 1\n" + "".join(tables))
    return locked_project


def bundle_of(project):
    return project.root / "dist" / "tiny-1-plain.gguf"


def report(project, bundle, *options):
    return project.run("verify", bundle, "--json", "--full", *options)


def test_a_second_signature_is_added_and_the_first_stays_valid(released):
    before = report(released, bundle_of(released), "--trust", "trust.toml").assert_success().json()

    done = released.run("sign", bundle_of(released), "--sign-key", "reviewer.key").assert_success()

    after = report(released, bundle_of(released), "--trust", "trust.toml").assert_success().json()
    assert (before["signed_by"], after["signed_by"]) == (["release"], ["release", "reviewer"])
    assert [before[name] for name in ("manifest_sha256", "unsigned_sha256")] == [
        after[name] for name in ("manifest_sha256", "unsigned_sha256")
    ]
    assert done.err.endswith("; it has 2 signatures now\n")


def test_the_order_in_which_keys_sign_does_not_matter(released):
    unsigned = released.root / "unsigned.gguf"
    released.run("build", "--no-sign", "-o", "plain").assert_success()
    shutil.copyfile(released.root / "plain" / "tiny-1-plain.gguf", unsigned)

    made = []
    for order in (("release", "reviewer"), ("reviewer", "release")):
        bundle = released.root / f"{order[0]}-first.gguf"
        released.run("sign", unsigned, "--sign-key", f"{order[0]}.key", "-o", bundle).assert_success()
        released.run("sign", bundle, "--sign-key", f"{order[1]}.key").assert_success()
        made.append(bundle.read_bytes())

    assert made[0] == made[1]


def test_one_signature_on_an_unsigned_bundle_is_what_a_build_makes(released):
    built = bundle_of(released).read_bytes()
    released.run("build", "--no-sign", "-o", "plain").assert_success()
    bundle = released.root / "plain" / "tiny-1-plain.gguf"

    released.run("sign", bundle, "--sign-key", "release.key").assert_success()

    assert bundle.read_bytes() == built


def test_signing_again_with_the_same_key_changes_nothing(released):
    before = bundle_of(released).read_bytes()

    done = released.run("sign", bundle_of(released), "--sign-key", "release.key", "--json").assert_success().json()

    assert (done["added"], done["signatures"], bundle_of(released).read_bytes()) == (False, 1, before)


def test_another_output_leaves_the_bundle_and_its_mode(released):
    bundle_of(released).chmod(0o755)
    before = bundle_of(released).read_bytes()

    released.run("sign", bundle_of(released), "--sign-key", "reviewer.key", "-o", "out/two.gguf").assert_success()

    made = released.root / "out" / "two.gguf"
    assert bundle_of(released).read_bytes() == before
    assert stat.S_IMODE(made.stat().st_mode) == 0o755
    with opened(made) as bundle:
        assert len(bundle.signatures) == 2


def test_a_damaged_bundle_is_not_signed(released):
    with opened(bundle_of(released)) as bundle:
        offset, size = bundle.weights_extent()
    data = bytearray(bundle_of(released).read_bytes())
    data[offset + size - 1] ^= 1
    bundle_of(released).write_bytes(data)

    done = released.run("sign", bundle_of(released), "--sign-key", "reviewer.key")

    assert (done.status, bundle_of(released).read_bytes()) == (4, bytes(data))


def test_a_key_must_be_named(released):
    done = released.run("sign", bundle_of(released))

    assert (done.status, done.err) == (
        2,
        "error: no key to sign with\n  hint: name one: --sign-key PATH; make one: lftool keygen -o release\n",
    )


def test_a_build_leaves_an_added_signature(released):
    released.run("sign", bundle_of(released), "--sign-key", "reviewer.key").assert_success()
    before = bundle_of(released).read_bytes()

    released.run("build").assert_success()
    released.run("build", "--locked").assert_success()

    assert bundle_of(released).read_bytes() == before


def test_two_keys_can_be_trusted_and_one_alone_is_told_what_to_do(released):
    released.run("sign", bundle_of(released), "--sign-key", "reviewer.key").assert_success()

    released.run("verify", bundle_of(released), "--key", "release.pub", "--key", "reviewer.pub").assert_success()
    alone = released.run("verify", bundle_of(released), "--key", "release.pub")

    assert (alone.status, alone.err.splitlines()[1:]) == (
        5,
        [
            "  hint: trust that key too, with another --key or a policy file",
            "  hint: or list signatures of other keys instead of failing: --allow-other-signatures",
        ],
    )
