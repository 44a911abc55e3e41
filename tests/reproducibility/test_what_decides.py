"""What decides U, the unsigned bundle, and what must not."""

from __future__ import annotations

import shutil
import tomllib

import pytest
from attrs import frozen

from lftool.testing import ProjectFolder, tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
license = "Apache-2.0"

[sources.base]
uri = "file:model.gguf"

[model]
weights = "base"

[targets.q8]
quantize = "Q8_0"
layout = "gguf"

[run]
context = 64
temperature = 0.5
"""

REORDERED = """\
run = { temperature = 5e-1, context = 0x40 }

[targets]
q8 = { layout = "gguf", quantize = "Q8_0" }

[model]
weights = 'base'

[sources]
base.uri = \"\"\"file:model.gguf\"\"\"

[bundle]
license = "Apache-2.0"
version = "1"
name = "tiny"
"""


@frozen(kw_only=True)
class Result:
    """The name of U, and the lock with its output."""

    unsigned: str
    lock: str


class Workshop:
    """Builds recipes over the same weights; caches are shared, since they are not what is tested here."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.model = tiny_gguf(folder / "model.gguf")
        self.count = 0

    def build(self, recipe: str, *, folder: str = "project", model=None, target: str = "q8") -> Result:
        """Lock and build `recipe` in a new folder."""
        self.count += 1
        project = ProjectFolder(root=self.folder / str(self.count) / folder, home=self.home)
        project.root.mkdir(parents=True)
        shutil.copyfile(model or self.model, project.root / "model.gguf")
        project.write_recipe(recipe)
        if "[sign]" in recipe:
            project.run("keygen", "-o", "release").assert_success()
        project.run("lock").assert_success()
        built = project.run("build", "--json").assert_success().json()["bundles"]
        unsigned = next(item["unsigned_sha256"] for item in built if item["target"] == target)
        return Result(unsigned=unsigned, lock=project.lock.read_text())


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Workshop:
    """One workshop for the module."""
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="module")
def reference(workshop) -> Result:
    """What `RECIPE` gives."""
    return workshop.build(RECIPE)


IRRELEVANT = {
    "a comment": RECIPE.replace("[model]", "# which source plays which part\n[model]  # here") + "# the end\n",
    "blank lines": RECIPE.replace("\n\n", "\n\n\n\n"),
    "Windows line ends": RECIPE.replace("\n", "\r\n"),
    "the order of keys and how values are written": REORDERED,
    "a signing key": RECIPE + '\n[sign]\nkey = "file:release.key"\n',
    "defaults that are written out": RECIPE.replace('layout = "gguf"', 'layout = "gguf"\nbackend = "cpu"'),
}


@pytest.mark.parametrize("what", IRRELEVANT)
def test_it_changes_neither_the_bundle_nor_the_lock(workshop, reference, what):
    assert workshop.build(IRRELEVANT[what]) == reference


def test_another_key_changes_neither_the_bundle_nor_the_lock(workshop, reference):
    recipe = RECIPE + '\n[sign]\nkey = "file:release.key"\n'

    assert workshop.build(recipe) == workshop.build(recipe) == reference


@pytest.mark.parametrize("folder", ["elsewhere", "with spaces and ümlauts", "deep/er/still"])
def test_the_folder_of_the_project_changes_neither_the_bundle_nor_the_lock(workshop, reference, folder):
    assert workshop.build(RECIPE, folder=folder) == reference


def test_another_target_changes_nothing_but_its_own_part_of_the_lock(workshop, reference):
    got = workshop.build(RECIPE + '\n[targets.another]\nlayout = "llamafile"\n')

    assert got.unsigned == reference.unsigned
    lock, before = tomllib.loads(got.lock), tomllib.loads(reference.lock)
    assert lock["targets"].pop("another")["pack"].keys() == {"action", "manifest", "sha256", "size"}
    assert lock.pop("runtimes").keys() == {"python/1"}
    assert lock["recipe"]["fields"].pop("targets.another.layout") == "llamafile"
    assert lock["recipe"].pop("sha256") != before["recipe"].pop("sha256")
    assert lock == before


def test_a_source_that_no_role_names_changes_no_bundle(workshop, reference):
    got = workshop.build(RECIPE + '\n[sources.extra]\nuri = "file:model.gguf"\n')

    assert got.unsigned == reference.unsigned


RELEVANT = {
    "the run contract": RECIPE.replace("temperature = 0.5", "temperature = 0.25"),
    "a system prompt": RECIPE + 'system = "Be brief."\n',
    "the name": RECIPE.replace('name = "tiny"', 'name = "small"'),
    "the version": RECIPE.replace('version = "1"', 'version = "2"'),
    "the license": RECIPE.replace("Apache-2.0", "MIT"),
    "the description": RECIPE.replace('version = "1"', 'version = "1"\ndescription = "A model"'),
    "the quantisation": RECIPE.replace("Q8_0", "Q4_0"),
    "no quantisation": RECIPE.replace('quantize = "Q8_0"\n', ""),
    "an override": RECIPE.replace('quantize = "Q8_0"', 'quantize = "Q8_0"\noverrides = { "output.weight" = "F16" }'),
    "the layout": RECIPE.replace('layout = "gguf"', 'layout = "llamafile"'),
}


@pytest.mark.parametrize("what", RELEVANT)
def test_it_changes_the_bundle_and_the_lock(workshop, reference, what):
    got = workshop.build(RELEVANT[what])

    assert got.unsigned != reference.unsigned
    assert got.lock != reference.lock


def test_the_name_of_the_target_changes_the_bundle(workshop, reference):
    got = workshop.build(RECIPE.replace("[targets.q8]", "[targets.q8b]"), target="q8b")

    assert got.unsigned != reference.unsigned


def test_other_weights_change_the_bundle(workshop, reference):
    other = tiny_gguf(workshop.folder / "other.gguf", seed=1)

    assert workshop.build(RECIPE, model=other).unsigned != reference.unsigned


def test_two_changes_give_two_different_bundles(workshop):
    found = {what: workshop.build(recipe).unsigned for what, recipe in RELEVANT.items()}

    assert len(set(found.values())) == len(found)
