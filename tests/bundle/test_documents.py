"""Provenance and bill of materials: what they say, for which recipe, lock and model card."""

from __future__ import annotations

import json

import attrs
import pytest

from lftool.bundle.documents import MOST_FILES, provenance_predicate, sbom
from lftool.bundle.model_card import ModelCard
from lftool.codec.file_lists import content_digest
from lftool.models.digest import Artifact, Digest
from lftool.models.lock import Lock, LockedFile, LockedRecipe, LockedRuntime, LockedSource, LockedTool
from lftool.models.recipe import BundleInfo, ModelSpec, Recipe, SourceSpec, TargetSpec

NO_CARD = ModelCard(facts={})
WEIGHTS = Artifact.of(b"weights")


def digest(text: str) -> Digest:
    return Digest.of(text.encode())


def lock_of(**counts: int) -> Lock:
    sources = {
        name: LockedSource(
            uri=f"x:{name}",
            revision=f"r-{name}",
            files=tuple(LockedFile(path=f"{n:02}", size=n, sha256=digest(f"{name}{n}")) for n in range(count)),
        )
        for name, count in counts.items()
    }
    return Lock(recipe=LockedRecipe(sha256=digest("recipe")), sources=sources, targets={})


def recipe(**bundle: str) -> Recipe:
    return Recipe(
        bundle=BundleInfo(name="tiny", version="1", **bundle),
        sources={"base": SourceSpec(uri="x:base")},
        model=ModelSpec(weights="base"),
        targets={"q4": TargetSpec(layout="gguf", quantize="Q4_K_M"), "plain": TargetSpec(layout="gguf")},
    )


def component(card: ModelCard = NO_CARD, target: str = "plain", **bundle: str) -> dict:
    return json.loads(sbom(recipe(**bundle), target, WEIGHTS, lock_of(base=1), card))["metadata"]["component"]


PLAIN = {
    "bom-ref": "weights",
    "type": "machine-learning-model",
    "name": "tiny",
    "version": "1",
    "hashes": [{"alg": "SHA-256", "content": WEIGHTS.sha256.hex}],
}


def test_a_bill_of_materials_lists_every_file_of_every_source():
    files = [("base", 0), ("base", 1), ("matrix", 0)]
    assert json.loads(sbom(recipe(), "plain", WEIGHTS, lock_of(matrix=1, base=2), NO_CARD)) == {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": PLAIN},
        "components": [
            {
                "bom-ref": f"source:{name}/{n:02}",
                "type": "data",
                "name": f"{name}/{n:02}",
                "version": f"r-{name}",
                "hashes": [{"alg": "SHA-256", "content": digest(f"{name}{n}").hex}],
            }
            for name, n in files
        ],
        "dependencies": [{"ref": "weights", "dependsOn": [f"source:{name}/{n:02}" for name, n in files]}],
    }


def test_it_says_what_the_recipe_says():
    assert component(description="A story teller", target="q4") == {
        **PLAIN,
        "description": "A story teller",
        "modelCard": {"properties": [{"name": "lftool:quantize", "value": "Q4_K_M"}]},
    }


@pytest.mark.parametrize(
    ("expression", "licenses"),
    [
        ("Apache-2.0", [{"license": {"id": "Apache-2.0"}}]),
        ("Apache-2.0 OR MIT", [{"expression": "Apache-2.0 OR MIT"}]),
    ],
)
def test_one_licence_is_an_id_and_several_are_an_expression(expression, licenses):
    assert component(license=expression) == {**PLAIN, "licenses": licenses}


def test_the_licence_of_the_card_is_a_name_and_stands_where_the_recipe_has_none():
    card = ModelCard(facts={"license": "gemma"})
    assert component(card) == {**PLAIN, "licenses": [{"license": {"name": "gemma"}}]}
    assert component(card, license="MIT") == {**PLAIN, "licenses": [{"license": {"id": "MIT"}}]}


def test_base_models_are_ancestors():
    url = "https://example.org/a"
    bases = (
        {"name": "A", "organization": "Org", "version": "2", "repo_url": url},
        {"repo_url": url},
        {"version": "3"},
    )
    assert component(ModelCard(facts={}, bases=bases)) == {
        **PLAIN,
        "pedigree": {
            "ancestors": [
                {
                    "type": "machine-learning-model",
                    "name": "A",
                    "group": "Org",
                    "version": "2",
                    "externalReferences": [{"type": "distribution", "url": url}],
                },
                {
                    "type": "machine-learning-model",
                    "name": url,
                    "externalReferences": [{"type": "distribution", "url": url}],
                },
                {"type": "machine-learning-model", "name": "unnamed", "version": "3"},
            ]
        },
    }


def predicate(lock: Lock, card: ModelCard = NO_CARD) -> dict:
    return provenance_predicate(digest("recipe"), digest("lock"), lock, "q4", card)


def test_provenance_names_slices_sources_and_card():
    assert predicate(lock_of(base=1), ModelCard(facts={"name": "Tiny"})) == {
        "buildDefinition": {
            "buildType": "urn:lftool:buildtypes:bundle:v1",
            "externalParameters": {"lock": "lftool/lock.toml", "recipe": "lftool/recipe.toml", "target": "q4"},
            "internalParameters": {"rules": "1", "model": {"name": "Tiny"}},
            "resolvedDependencies": [
                {"name": "lftool/recipe.toml", "digest": {"sha256": digest("recipe").hex}},
                {"name": "lftool/lock.toml", "digest": {"sha256": digest("lock").hex}},
                {
                    "name": "source:base/00",
                    "digest": {"sha256": digest("base0").hex},
                    "annotations": {"revision": "r-base", "size": "0"},
                },
            ],
        },
        "runDetails": {"builder": {"id": "urn:lftool:builders:local:v1"}},
    }


def test_provenance_names_every_tool_and_runtime_and_not_who_provided_them():
    tools = {
        "z/1": LockedTool(fingerprints={"b": digest("zb"), "a": digest("za")}, providers={"somebody": "1"}),
        "m/1": LockedTool(fingerprints={"a": digest("ma")}),
    }
    runtimes = {name: LockedRuntime(sha256=digest(name)) for name in ("python/1", "native/1")}
    made = attrs.evolve(lock_of(base=1), tools=tools, runtimes=runtimes)
    assert predicate(made)["buildDefinition"]["resolvedDependencies"][3:] == [
        {"name": name, "digest": {"sha256": digest(text).hex}}
        for name, text in [
            ("tool:m/1#a", "ma"),
            ("tool:z/1#a", "za"),
            ("tool:z/1#b", "zb"),
            ("runtime:native/1", "native/1"),
            ("runtime:python/1", "python/1"),
        ]
    ]


def test_without_a_card_provenance_does_not_speak_of_one():
    assert predicate(lock_of(base=1))["buildDefinition"]["internalParameters"] == {"rules": "1"}


def test_a_source_of_many_files_is_named_by_the_digest_of_its_list():
    for count, expected in ((MOST_FILES, MOST_FILES), (MOST_FILES + 1, 1)):
        lock = lock_of(base=count)
        found = predicate(lock)["buildDefinition"]["resolvedDependencies"][2:]
        assert len(found) == expected
    assert found == [
        {
            "name": "source:base",
            "digest": {"sha256": content_digest(lock.sources["base"].files).hex},
            "annotations": {"revision": "r-base", "files": "65"},
        }
    ]
