"""Keys: making them, naming them in a recipe, and what a missing one says."""

from __future__ import annotations

import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

SIGN_FILE = '\n[sign]\nkey = "file:release.key"\n'
SIGN_ENV = '\n[sign]\nkey = "env:RELEASE_KEY"\n'


def bundle_of(project):
    return project.root / "dist" / "tiny-1-plain.gguf"


def signed_by(project, text: str) -> None:
    project.write_recipe(project.recipe.read_text() + text)


def test_keygen_writes_a_key_that_only_its_owner_can_read(project):
    outcome = project.run("keygen", "-o", "release").assert_success()

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in project.root.iterdir()}
    assert modes == {"release.key": 0o600, "release.pub": 0o644}
    assert (outcome.out, outcome.err) == (
        "",
        "wrote release.key (keep it secret) and release.pub (give it to those who verify)\n",
    )


def test_keygen_json_names_absolute_paths(project):
    outcome = project.run("keygen", "-o", "release", "--json").assert_success()

    assert outcome.json() == {
        "private": str(project.root / "release.key"),
        "public": str(project.root / "release.pub"),
    }


@pytest.mark.parametrize("name", ["release.key", "release.pub"])
def test_keygen_overwrites_nothing(project, name):
    (project.root / name).write_text("precious")

    outcome = project.run("keygen", "-o", "release")

    assert (outcome.status, outcome.err) == (
        2,
        f"error: {name} already exists\n  hint: choose another prefix; a key is never overwritten\n",
    )
    assert {path.name: path.read_text() for path in project.root.iterdir()} == {name: "precious"}


def test_keygen_makes_another_key_each_time(project):
    project.run("keygen", "-o", "one").assert_success()
    project.run("keygen", "-o", "two").assert_success()

    assert (project.root / "one.key").read_bytes() != (project.root / "two.key").read_bytes()


def test_a_prefix_may_have_dots(project):
    project.run("keygen", "-o", "release-1.0").assert_success()

    assert sorted(path.name for path in project.root.iterdir()) == ["release-1.0.key", "release-1.0.pub"]


def test_a_key_in_a_file_signs(locked_project):
    locked_project.run("keygen", "-o", "release").assert_success()
    signed_by(locked_project, SIGN_FILE)
    locked_project.run("build").assert_success()

    locked_project.run("verify", bundle_of(locked_project), "--key", "release.pub").assert_success()


def test_a_key_in_a_variable_signs_and_gives_the_same_bytes(locked_project):
    locked_project.run("keygen", "-o", "release").assert_success()
    recipe = locked_project.recipe.read_text()
    locked_project.write_recipe(recipe + SIGN_FILE)
    locked_project.run("build").assert_success()
    by_file = bundle_of(locked_project).read_bytes()
    locked_project.write_recipe(recipe + SIGN_ENV)
    bundle_of(locked_project).unlink()

    pem = (locked_project.root / "release.key").read_text()
    locked_project.run("build", env={"RELEASE_KEY": pem}).assert_success()

    assert bundle_of(locked_project).read_bytes() == by_file


def test_signing_says_which_key(locked_project):
    locked_project.run("keygen", "-o", "release").assert_success()
    signed_by(locked_project, SIGN_FILE)

    outcome = locked_project.run("build").assert_success()

    report = locked_project.run("verify", bundle_of(locked_project), "--key", "release.pub", "--json").json()
    key_id = next(line.split()[3] for line in outcome.err.splitlines() if line.split()[0] == "sign")
    assert key_id in str(report)


def refused_build(project, message: str, status: int = 5) -> None:
    lock = project.lock.read_bytes()

    outcome = project.run("build")

    assert (outcome.status, outcome.out, outcome.err) == (status, "", message)
    assert project.lock.read_bytes() == lock
    assert not (project.root / "dist").exists()


def test_a_missing_key_file_is_an_error_before_anything_is_built(locked_project):
    signed_by(locked_project, SIGN_FILE)

    refused_build(
        locked_project,
        f"error: cannot read the signing key release.key: there is no {locked_project.root / 'release.key'}\n"
        "  hint: make one with `lftool keygen -o PREFIX`, or build with --no-sign\n"
        "  hint: to use a key outside the project: --sign-key PATH, or [sign] key in your config.toml\n",
    )


def test_a_missing_variable_is_an_error_before_anything_is_built(locked_project):
    signed_by(locked_project, SIGN_ENV)

    refused_build(
        locked_project,
        "error: the variable RELEASE_KEY that [sign] key names is not set\n"
        "  hint: set RELEASE_KEY to the text of the private key, or build with --no-sign\n",
    )


def test_a_public_key_does_not_sign(locked_project):
    locked_project.run("keygen", "-o", "release").assert_success()
    signed_by(locked_project, '\n[sign]\nkey = "file:release.pub"\n')

    refused_build(
        locked_project,
        "error: the key file:release.pub holds no unencrypted PEM private key\n"
        "  hint: make one with `lftool keygen -o PREFIX`\n",
    )


def test_a_key_of_another_curve_does_not_sign(locked_project):
    pem = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (locked_project.root / "release.key").write_bytes(pem)
    signed_by(locked_project, SIGN_FILE)

    refused_build(
        locked_project,
        "error: the key file:release.key is not a P-256 key\n  hint: make one with `lftool keygen -o PREFIX`\n",
    )


def test_an_unknown_key_scheme_is_refused_with_the_installed_ones(locked_project):
    signed_by(locked_project, '\n[sign]\nkey = "vault:release"\n')

    refused_build(locked_project, "error: unknown key scheme 'vault'; installed: env, file\n", status=2)


def test_a_key_written_into_the_recipe_is_refused(locked_project):
    signed_by(locked_project, '\n[sign]\nkey = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQ"\n')

    refused_build(
        locked_project,
        "error: lftool.toml: $.sign.key: a key is named as file:PATH or env:NAME;"
        " secrets are never written into a recipe\n",
        status=2,
    )


def test_keygen_that_fails_in_the_middle_leaves_neither_file(project):
    (project.root / "release.pub").symlink_to("nowhere/else")

    done = project.run("keygen", "-o", "release")

    assert (done.status, done.err) == (
        2,
        "error: release.pub already exists\n  hint: choose another prefix; a key is never overwritten\n",
    )
    assert sorted(path.name for path in project.root.iterdir()) == ["release.pub"]


def test_several_bundles_are_verified_and_the_first_that_fails_ends_it(locked_project):
    locked_project.run("keygen", "-o", "release").assert_success()
    signed_by(locked_project, SIGN_FILE)
    locked_project.run("build").assert_success()
    bundle = bundle_of(locked_project)
    copy = bundle.with_name("copy.gguf")
    copy.write_bytes(bundle.read_bytes())
    both = (bundle, copy, "--key", "release.pub")

    assert locked_project.run("verify", *both).assert_success().out.count("which you trust") == 2
    report = locked_project.run("verify", *both, "--json").json()
    assert [item["bundle"] for item in report["bundles"]] == [str(bundle), str(copy)]

    copy.write_bytes(bundle.read_bytes()[:-1])
    assert locked_project.run("verify", *both).status == 4


def test_a_key_that_is_named_signs_what_the_recipe_leaves_unsigned(plain_project):
    plain_project.run("keygen", "-o", "mine").assert_success()
    plain_project.run("lock").assert_success()
    unsigned = plain_project.run("build").assert_success()
    assert "note  unsigned: the recipe has no [sign]" in unsigned.err
    before = plain_project.lock.read_bytes()
    signed = plain_project.run("build", "--sign-key", "mine.key").assert_success()
    assert "unsigned" not in signed.err
    plain_project.run("verify", bundle_of(plain_project), "--key", "mine.pub").assert_success()
    assert plain_project.lock.read_bytes() == before
