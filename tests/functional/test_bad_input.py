"""Bad input: each test asserts the whole message."""

from __future__ import annotations

import os
import pickle  # noqa: TID251 - what a hostile file looks like
import zipfile

import attrs
import pytest

from lftool.errors import RecipeError, UnavailableError
from lftool.host.discovery import builtin_plugin
from lftool.host.registry import Registry
from lftool.testing import tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"

[sources.base]
uri = "file:model.gguf"

[model]
weights = "base"

[targets.plain]
layout = "gguf"
"""
GGUF_HINT = "  hint: use the model's GGUF or safetensors files\n"


def refused(project, status: int, message: str, *arguments: str) -> None:
    """The command fails with exactly this message, and leaves the project's files as they were."""
    before = {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file()}

    outcome = project.run(*(arguments or ("lock",)))

    assert (outcome.status, outcome.out, outcome.err) == (status, "", message)
    assert {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file()} == before


def with_uri(project, uri: str) -> None:
    project.write_recipe(RECIPE.replace("file:model.gguf", uri))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(
            'layout = "gguf"',
            'layout = "gguf"\nquantise = "Q8_0"',
            "error: lftool.toml: $.targets.plain.quantise: unknown key; did you mean 'quantize'?\n",
            id="a key of a target",
        ),
        pytest.param(
            "[model]",
            "[modle]",
            "error: lftool.toml: $.model: missing\nlftool.toml: $.modle: unknown key; did you mean 'model'?\n",
            id="a table",
        ),
        pytest.param(
            'version = "1"',
            "version = 1",
            "error: lftool.toml: $.bundle.version: expected a string, got an integer\n",
            id="a number where a string belongs",
        ),
        pytest.param(
            'weights = "base"',
            'weights = "bsae"',
            "error: lftool.toml: $: model.weights names the source 'bsae', but the recipe has base\n",
            id="a source that is not there",
        ),
        pytest.param(
            'name = "tiny"',
            'name = "../tiny"',
            "error: lftool.toml: $.bundle.name: '../tiny' is not a name: letters, digits and . _ + -, at most 64,"
            " starting with a letter or digit\n",
            id="a name that is a path",
        ),
        pytest.param(
            '[targets.plain]\nlayout = "gguf"\n',
            "targets = {}\n",
            "error: lftool.toml: $.model.targets: unknown key; did you mean 'tags'?\nlftool.toml: $.targets: missing\n",
            id="no targets",
        ),
        pytest.param(
            'name = "tiny"',
            "name = tiny",
            "error: lftool.toml: not valid TOML: Invalid value (at line 2, column 8)\n",
            id="not TOML",
        ),
    ],
)
def test_a_typo_in_the_recipe(plain_project, old, new, message):
    plain_project.write_recipe(RECIPE.replace(old, new))

    refused(plain_project, 2, message)


@pytest.mark.parametrize("key", ["temperature", "top_p"])
def test_a_real_that_is_none(plain_project, key):
    plain_project.write_recipe(RECIPE + f"\n[run]\n{key} = true\n")

    refused(plain_project, 2, f"error: lftool.toml: $.run.{key}: expected a number, got a boolean\n")


@pytest.mark.parametrize(
    ("wrong", "right"), [("Q4_KM", "Q4_K_M"), ("q8_0", "Q8_0"), ("Q5_K_XL", "Q5_K_S"), ("iq4-xs", "IQ4_XS")]
)
def test_an_unknown_quantisation(plain_project, wrong, right):
    plain_project.write_recipe(RECIPE + f'quantize = "{wrong}"\n')

    refused(plain_project, 2, f"error: unknown quantisation '{wrong}'; did you mean '{right}'?\n")


def test_without_plugins_no_quantizer_is_installed(plain_project):
    plain_project.write_recipe(RECIPE + 'quantize = "Q8_0"\n')

    refused(
        plain_project,
        8,
        "error: no quantizer is installed\n"
        "  hint: install one: pip install 'lftool[quantize]'\n"
        + "".join(
            f"  hint: plugin '{name}' of lftool-{name} 0.1.0 could not be used: left out by --no-plugins, or an empty LFTOOL_PLUGINS\n"
            for name in ("cuda", "hf", "llamacpp", "metal", "oci", "rocm", "s3", "strict", "xllamacpp")
        ),
        "--no-plugins",
        "lock",
    )


def test_a_missing_source_file(plain_project):
    with_uri(plain_project, "file:not-there.gguf")

    refused(
        plain_project,
        1,
        f"error: source 'file:not-there.gguf': there is no {plain_project.root / 'not-there.gguf'}\n",
    )


def test_a_glob_that_matches_nothing(plain_project):
    with_uri(plain_project, "file:*.safetensors")

    refused(plain_project, 1, "error: source 'file:*.safetensors': no file matches\n")


@pytest.mark.parametrize("uri", ["file:/etc/hostname", "file:///etc/hostname"])
def test_an_absolute_file_uri(plain_project, uri):
    with_uri(plain_project, uri)

    refused(
        plain_project,
        2,
        f"error: source '{uri}': file: paths are relative to the recipe\n"
        "  hint: name the folder once, in $XDG_CONFIG_HOME/lftool/config.toml (~/.config/lftool/config.toml):\n"
        "    [roots]\n"
        '    models = "/etc"\n'
        "  and write file://models/hostname\n",
    )


def test_a_root_that_is_not_configured(plain_project):
    with_uri(plain_project, "file://host/share/model.gguf")

    refused(
        plain_project,
        2,
        "error: source 'file://host/share/model.gguf': the root 'host' is not in your configuration; it has none\n"
        "  hint: add to $XDG_CONFIG_HOME/lftool/config.toml (~/.config/lftool/config.toml):\n"
        "    [roots]\n"
        '    host = "/ABSOLUTE/FOLDER"\n',
    )


@pytest.mark.parametrize("uri", ["file:../model.gguf", "file:a/../../model.gguf", "file:..", "file:a/.."])
def test_a_file_uri_that_goes_up(plain_project, uri):
    with_uri(plain_project, uri)

    refused(plain_project, 2, f"error: source '{uri}' points outside the recipe's folder\n")


def test_a_symlink_that_leaves_the_tree(plain_project, tmp_path):
    tiny_gguf(tmp_path / "outside.gguf", width=32)
    (plain_project.root / "link.gguf").symlink_to(tmp_path / "outside.gguf")
    with_uri(plain_project, "file:link.gguf")

    refused(
        plain_project,
        2,
        "error: source 'file:link.gguf': link.gguf is a link that points outside the recipe's folder\n",
    )


def test_a_symlink_that_leaves_the_tree_inside_a_folder(plain_project, tmp_path):
    tiny_gguf(tmp_path / "outside.gguf", width=32)
    (plain_project.root / "models").mkdir()
    (plain_project.root / "models" / "link.gguf").symlink_to(tmp_path / "outside.gguf")
    with_uri(plain_project, "file:models")

    refused(
        plain_project,
        2,
        "error: source 'file:models': models/link.gguf is a link that points outside the recipe's folder\n",
    )


def test_a_folder_reached_through_a_symlink_that_leaves_the_tree(plain_project, tmp_path):
    (tmp_path / "outside").mkdir()
    tiny_gguf(tmp_path / "outside" / "model.gguf", width=32)
    (plain_project.root / "models").symlink_to(tmp_path / "outside")
    with_uri(plain_project, "file:models/model.gguf")

    refused(
        plain_project,
        2,
        "error: source 'file:models/model.gguf': models/model.gguf is a link that points outside the recipe's folder\n",
    )


def test_a_symlink_that_stays_in_the_tree_is_fine(plain_project):
    (plain_project.root / "link.gguf").symlink_to("model.gguf")
    with_uri(plain_project, "file:link.gguf")

    plain_project.run("lock").assert_success()


def test_a_symlink_that_leaves_the_tree_after_locking(locked_project, tmp_path):
    model = locked_project.root / "model.gguf"
    model.rename(tmp_path / "outside.gguf")
    model.symlink_to(tmp_path / "outside.gguf")
    (tmp_path / "empty").mkdir()

    outcome = attrs.evolve(locked_project, home=tmp_path / "empty").run("build")

    assert outcome.status == 2
    assert outcome.err.splitlines()[-1] == (
        "error: source 'file:model.gguf': model.gguf is a link that points outside the recipe's folder"
    )


def test_a_uri_without_a_scheme(plain_project):
    with_uri(plain_project, "model.gguf")

    refused(
        plain_project,
        2,
        "error: sources.base.uri: 'model.gguf' has no scheme\n"
        "  hint: for a file beside the recipe, write file:model.gguf\n",
    )


def test_an_unknown_scheme(plain_project):
    with_uri(plain_project, "gopher://example/model.gguf")

    refused(
        plain_project,
        2,
        "error: unknown source scheme 'gopher'; installed: az, file, gs, hf, http, https, oci, pypi, s3\n",
    )


def test_a_scheme_that_is_nearly_right(plain_project):
    with_uri(plain_project, "flie:model.gguf")

    refused(plain_project, 2, "error: unknown source scheme 'flie'; did you mean 'file'?\n")


@pytest.mark.parametrize(("scheme", "plugin"), [("hf", "lftool-hf"), ("s3", "lftool-s3"), ("oci", "lftool-oci")])
def test_a_scheme_of_a_plugin_that_is_not_installed(scheme, plugin):
    registry = Registry([builtin_plugin()])

    with pytest.raises(UnavailableError) as caught:
        registry.source(scheme)

    assert (caught.value.message, caught.value.hints) == (
        f"no installed plugin opens {scheme}: sources",
        (f"install {plugin}",),
    )


def test_an_unknown_scheme_without_plugins_says_which_plugins_bring_the_known_ones():
    registry = Registry([builtin_plugin()])

    with pytest.raises(RecipeError) as caught:
        registry.source("gopher")

    assert (caught.value.message, caught.value.hints) == (
        "unknown source scheme 'gopher'; installed: file, http, https",
        (
            (
                "other schemes come with plugins: az with lftool-s3, gs with lftool-s3, hf with lftool-hf,"
                " oci with lftool-oci, s3 with lftool-s3"
            ),
        ),
    )


@pytest.mark.parametrize("scheme", ["http", "https", "s3", "oci", "hf"])
def test_user_information_in_a_uri(plain_project, scheme):
    with_uri(plain_project, f"{scheme}://user:secret@host/model.gguf")

    refused(
        plain_project,
        2,
        "error: sources.base.uri: user information is refused: it would end up in the lock\n"
        "  hint: name credentials for the host in your credentials.toml (lftool help configuration)\n",
    )


HTTP_HINT = "  hint: put the query string in your credentials.toml: `query` of that host (lftool help configuration)\n"
OTHER_HINT = "  hint: name credentials for the host in your credentials.toml (lftool help configuration)\n"
QUERY_HINTS = {"http": HTTP_HINT, "https": HTTP_HINT, "s3": OTHER_HINT, "oci": OTHER_HINT, "hf": OTHER_HINT}


@pytest.mark.parametrize("scheme", ["http", "https", "s3", "oci", "hf"])
def test_a_query_string_in_a_uri(plain_project, scheme):
    with_uri(plain_project, f"{scheme}://host/model.gguf?token=secret")

    refused(
        plain_project,
        2,
        "error: sources.base.uri: a query string is refused: it would end up in the lock\n" + QUERY_HINTS[scheme],
    )


def test_two_files_that_could_be_the_weights(plain_project):
    for name in ("b.gguf", "a.gguf"):
        tiny_gguf(plain_project.root / name, width=32)
    with_uri(plain_project, "file:?.gguf")

    refused(
        plain_project,
        2,
        "error: source 'base' has 2 files that could be the weights: a.gguf, b.gguf\n"
        '  hint: choose one: include = ["a.gguf"] under [sources.base]\n',
    )


def test_the_hint_about_two_files_works(plain_project):
    for name in ("b.gguf", "a.gguf"):
        tiny_gguf(plain_project.root / name, width=32)
    with_uri(plain_project, 'file:?.gguf"\ninclude = ["a.gguf"]#')

    plain_project.run("lock").assert_success()


def test_options_of_a_source_that_has_none(plain_project):
    with_uri(plain_project, 'file:model.gguf"\noptions = { token = "x" } #')

    refused(plain_project, 2, "error: lftool.toml: $.sources.base.options: the source 'file' has no options\n")


@pytest.mark.parametrize("keep", [0, 3, 4, 23, 100])
def test_a_gguf_truncated_inside_its_header(plain_project, keep):
    path = plain_project.root / "model.gguf"
    path.write_bytes(path.read_bytes()[:keep])

    refused(
        plain_project,
        4,
        f"error: source 'base': not a sound GGUF: the file ends at byte {keep} inside its header: it is truncated\n",
    )


def test_a_gguf_truncated_inside_its_tensors(plain_project):
    path = plain_project.root / "model.gguf"
    path.write_bytes(path.read_bytes()[:-1])

    outcome = plain_project.run("lock")

    assert (outcome.status, outcome.err) == (
        4,
        (
            "error: source 'base': not a sound GGUF: tensor 'output_norm.weight' ends 1 bytes past the end of the file:"
            " it is truncated, or its header lies\n"
        ),
    )


def test_a_gguf_with_bytes_after_its_last_tensor(plain_project):
    path = plain_project.root / "model.gguf"
    path.write_bytes(path.read_bytes() + b"smuggled")

    refused(
        plain_project,
        4,
        "error: source 'base': not a sound GGUF: 8 bytes follow the last tensor\n  hint: write a sound copy: lftool gguf repair IN OUT\n",
    )


def test_a_file_that_is_no_gguf(plain_project):
    (plain_project.root / "model.gguf").write_bytes(b"GIF89a and more")

    refused(plain_project, 4, "error: source 'base': not a sound GGUF: it starts with b'GIF8', not b'GGUF'\n")


def write_pickle(path) -> None:
    path.write_bytes(pickle.dumps({"weights": [0.0]}))


def write_torch_zip(path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weights": [0.0]}))


@pytest.mark.parametrize("write", [write_pickle, write_torch_zip])
def test_a_pickle_checkpoint_under_the_name_of_a_gguf(plain_project, write):
    write(plain_project.root / "model.gguf")

    refused(
        plain_project,
        4,
        "error: source 'base': looks like a pickle checkpoint; those run code when loaded and are refused\n"
        + GGUF_HINT,
    )


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_any_protocol_is_refused(plain_project, protocol):
    data = pickle.dumps({"weights": [0.0]}, protocol=protocol)
    (plain_project.root / "model.gguf").write_bytes(data)

    assert plain_project.run("lock").status == 4
    assert not plain_project.lock.exists()


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl"])
@pytest.mark.parametrize("write", [write_pickle, write_torch_zip])
def test_a_pickle_checkpoint_under_its_own_name(plain_project, name, write):
    write(plain_project.root / name)
    with_uri(plain_project, f"file:{name}")

    refused(
        plain_project,
        4,
        f"error: source 'base': {name} is a pickle checkpoint; those run code when loaded and are refused\n"
        + GGUF_HINT,
    )


def test_safetensors(plain_project):
    (plain_project.root / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with_uri(plain_project, "file:model.safetensors")

    refused(
        plain_project,
        2,
        "error: the safetensors files have no config.json beside them: the architecture is unknown\n",
    )


def test_safetensors_without_a_converter(plain_project):
    (plain_project.root / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with_uri(plain_project, "file:model.safetensors")

    done = plain_project.run("--no-plugins", "lock")

    assert (done.status, done.err) == (
        8,
        (
            "error: source 'base' holds safetensors, and no installed plugin converts that to GGUF\n"
            "  hint: install one: pip install 'lftool[cpu,convert]'\n"
            "  hint: or point the source at a GGUF file\n"
        ),
    )


def test_safetensors_in_two_folders(plain_project):
    for folder in ("one", "two"):
        (plain_project.root / folder).mkdir()
        (plain_project.root / folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with_uri(plain_project, "file:**/*.safetensors")

    refused(
        plain_project,
        2,
        "error: source 'base' has 2 folders of safetensors that could be the weights: one, two\n"
        '  hint: leave the others out: exclude = ["two/**"] under [sources.base]\n',
    )


def test_a_split_gguf_without_one_of_its_parts(plain_project):
    for number in (1, 4):
        (plain_project.root / f"split-{number:05}-of-00004.gguf").write_bytes(b"GGUF")
    with_uri(plain_project, "file:split-*.gguf")

    refused(plain_project, 2, "error: source 'base': split.gguf has 4 parts; missing: 2, 3\n")


def test_a_split_gguf_without_most_of_its_parts(plain_project):
    (plain_project.root / "split-00001-of-99999.gguf").write_bytes(b"GGUF")
    with_uri(plain_project, "file:split-*.gguf")

    numbers = "2, 3, 4, 5, 6, 7, 8, 9 and 99990 more"
    refused(plain_project, 2, f"error: source 'base': split.gguf has 99999 parts; missing: {numbers}\n")


def test_a_split_gguf_beside_another_one(plain_project):
    for name in ("other.gguf", "split-00001-of-00002.gguf", "split-00002-of-00002.gguf"):
        (plain_project.root / "files").mkdir(exist_ok=True)
        (plain_project.root / "files" / name).write_bytes(b"GGUF")
    with_uri(plain_project, "file:files")

    refused(
        plain_project,
        2,
        "error: source 'base' has 3 files that could be the weights:"
        " other.gguf, split-00001-of-00002.gguf, split-00002-of-00002.gguf\n"
        '  hint: choose one: include = ["split-*-of-00002.gguf"] under [sources.base]\n',
    )


@pytest.mark.parametrize("name", ["a-imatrix.gguf", "imatrix.gguf", "mmproj-a.gguf", "a.lora.gguf", "A-LoRA-f16.gguf"])
def test_what_is_no_model_by_its_name_is_no_candidate_for_the_weights(plain_project, name):
    (plain_project.root / "files").mkdir()
    tiny_gguf(plain_project.root / "files" / "model.gguf", width=32)
    (plain_project.root / "files" / name).write_bytes(b"GGUF")
    with_uri(plain_project, "file:files")

    plain_project.run("lock").assert_success()
    assert 'path = "model.gguf"' in plain_project.lock.read_text()


@pytest.mark.parametrize("kind", ["imatrix", "adapter", "mmproj"])
def test_weights_that_are_no_model_by_their_header(plain_project, kind):
    from lftool.api.gguf import TensorData, write_gguf

    with (plain_project.root / "model.gguf").open("wb") as file:
        data = [TensorData(name="x", dimensions=(32,), type="F32", data=bytes(128))]
        write_gguf(file, {"general.architecture": "llama", "general.type": kind}, data)

    refused(
        plain_project,
        2,
        f"error: model.weights: the GGUF of source 'base' has general.type {kind!r}, expected 'model'\n",
    )


def test_an_unknown_layout(plain_project):
    plain_project.write_recipe(RECIPE.replace('layout = "gguf"', 'layout = "ggfu"'))

    refused(plain_project, 2, "error: unknown layout 'ggfu'; did you mean 'gguf'?\n")


def test_an_unknown_layout_that_is_near_to_none(plain_project):
    plain_project.write_recipe(RECIPE.replace('layout = "gguf"', 'layout = "tarball"'))

    refused(plain_project, 2, "error: unknown layout 'tarball'; installed: gguf, llamafile\n")


def test_an_unknown_runtime(plain_project):
    plain_project.write_recipe(RECIPE.replace('layout = "gguf"', 'layout = "llamafile"\nruntime = "pyhton"'))

    refused(plain_project, 2, "error: unknown runtime 'pyhton'; did you mean 'python'?\n")


def test_a_runtime_where_the_layout_has_none(plain_project):
    plain_project.write_recipe(RECIPE + 'runtime = "python"\n')

    refused(plain_project, 2, "error: layout 'gguf' has no runtime; drop `runtime = \"python\"`\n")


def test_an_unknown_backend(plain_project):
    plain_project.write_recipe(RECIPE + 'backend = "cup"\n')

    refused(plain_project, 2, "error: unknown backend 'cup'; did you mean 'cpu'?\n")


def test_an_unknown_quantizer(plain_project):
    plain_project.write_recipe(RECIPE + 'quantize = "Q8_0"\nquantizer = "lama.cpp"\n')

    refused(plain_project, 2, "error: unknown quantizer 'lama.cpp'; did you mean 'llama.cpp'?\n")


def test_an_override_that_matches_no_tensor(quantized_project):
    quantized_project.write_recipe(quantized_project.recipe.read_text() + 'overrides = { "output.wieght" = "F16" }\n')

    refused(
        quantized_project,
        2,
        "error: targets.q8.overrides: 'output.wieght' matches no tensor; did you mean 'output.weight'?\n",
    )


def test_an_override_of_an_unknown_type(quantized_project):
    quantized_project.write_recipe(quantized_project.recipe.read_text() + 'overrides = { "output.weight" = "Q6K" }\n')

    refused(
        quantized_project,
        2,
        "error: targets.q8.overrides: 'output.weight': unknown tensor type 'Q6K'; did you mean 'Q6_K'?\n",
    )


def test_two_overrides_that_disagree(quantized_project):
    quantized_project.write_recipe(
        quantized_project.recipe.read_text() + 'overrides = { "output.weight" = "F16", "out*.weight" = "Q6_K" }\n'
    )

    refused(
        quantized_project,
        2,
        "error: targets.q8.overrides: 'output.weight' makes output.weight F16, but 'out*.weight' makes it Q6_K\n",
    )


def test_overrides_without_a_quantize_stage(plain_project):
    plain_project.write_recipe(RECIPE + 'overrides = { "output.weight" = "F16" }\n')

    refused(plain_project, 2, "error: targets.plain.overrides: there is no quantize stage to apply them to\n")


def test_an_unknown_option_of_a_quantizer(plain_project):
    plain_project.write_recipe(RECIPE + 'quantize = "Q8_0"\noptions = { prue = true }\n')

    refused(
        plain_project,
        2,
        "error: lftool.toml: $.targets.plain.options.prue: unknown key; did you mean 'pure'?\n",
    )


def test_a_file_that_is_no_importance_matrix(quantized_project):
    (quantized_project.root / "model.imatrix").write_bytes(b"\xff" * 64)
    recipe = quantized_project.recipe.read_text().replace('weights = "base"', 'weights = "base"\nimatrix = "matrix"')
    quantized_project.write_recipe(recipe + '\n[sources.matrix]\nuri = "file:model.imatrix"\n')

    outcome = quantized_project.run("lock")

    assert outcome.status == 4
    assert "imatrix" in outcome.err or "importance matrix" in outcome.err
    assert "internal" not in outcome.err


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://[::1/x", "'http://[::1/x' is not a valid URI: Invalid IPv6 URL"),
        ("model.gguf", "'model.gguf' has no scheme\n  hint: for a file beside the recipe, write file:model.gguf"),
    ],
)
def test_what_is_no_uri_is_a_mistake_in_the_recipe(plain_project, uri, message):
    plain_project.write_recipe(plain_project.recipe.read_text().replace("file:model.gguf", uri))

    done = plain_project.run("lock")

    assert (done.status, done.err) == (2, f"error: sources.base.uri: {message}\n")


@pytest.mark.parametrize("name", [b"not-utf8-\xff.txt", b"back\\slash.txt", b"new\nline.txt"])
def test_a_file_whose_name_no_lock_can_hold_is_named(plain_project, name):
    folder = plain_project.root / "model"
    folder.mkdir()
    (plain_project.root / "model.gguf").rename(folder / "model.gguf")
    with open(os.fsencode(folder) + b"/" + name, "wb"):  # noqa: PTH123 - bytes, on purpose
        pass
    plain_project.write_recipe(plain_project.recipe.read_text().replace("file:model.gguf", "file:model"))

    done = plain_project.run("lock")

    assert (done.status, done.err) == (
        1,
        (
            f"error: source 'file:model': {os.fsdecode(name)!r} is not a relative path with / between its parts\n"
            "  hint: rename the file, or leave it out with `exclude`\n"
        ),
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("context = 9007199254740992", "$.run.context: 'context' must be <= 2147483647: 9007199254740992"),
        ("temperature = -5", "$.run.temperature: 'temperature' must be from 0 to 100, not -5"),
        ("top_p = 7", "$.run.top_p: 'top_p' must be from 0 to 1, not 7"),
    ],
)
def test_a_run_contract_out_of_range_is_refused(plain_project, line, message):
    plain_project.write_recipe(f"{plain_project.recipe.read_text()}[run]\n{line}\n")

    done = plain_project.run("lock")

    assert (done.status, done.err) == (2, f"error: lftool.toml: {message}\n")
