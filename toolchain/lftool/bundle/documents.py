"""The documents in a bundle, provenance and bill of materials. Both are pure functions of the slices.

Nothing here depends on time, host, user, plugin or tool version: those would change U.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lftool.codec.canonical import canonical_json
from lftool.codec.file_lists import content_digest
from lftool.models.manifest import LOCK_PATH, RECIPE_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lftool.bundle.model_card import ModelCard
    from lftool.models.digest import Artifact, Digest
    from lftool.models.lock import Lock, LockedSource
    from lftool.models.recipe import Recipe

# Identifiers, not addresses: SLSA requires a URI for the build type and the builder (docs/reference/provenance.md).
BUILD_TYPE = "urn:lftool:buildtypes:bundle:v1"
BUILDER_ID = "urn:lftool:builders:local:v1"

# A source with more files is named by the digest of its list; at 300 bytes a file, a signature stays within its bound.
MOST_FILES = 64

_SPDX_ID = re.compile(r"[A-Za-z0-9.+-]+\Z")


def _dependency(name: str, digest: Digest, **annotations: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "digest": {"sha256": digest.hex}}
    if annotations:
        made["annotations"] = annotations
    return made


def _source_dependencies(name: str, source: LockedSource) -> list[dict[str, Any]]:
    """Return every file of a small source; for a large one, the digest of the list in the lock's slice.

    Every signature contains the predicate, and the format bounds the size of a signature.
    """
    if len(source.files) > MOST_FILES:
        count = str(len(source.files))
        return [_dependency(f"source:{name}", content_digest(source.files), revision=source.revision, files=count)]
    return [
        _dependency(f"source:{name}/{file.path}", file.sha256, revision=source.revision, size=str(file.size))
        for file in source.files
    ]


def source_dependencies(recipe_digest: Digest, lock_digest: Digest, lock: Lock) -> list[dict[str, Any]]:
    """Return what a bundle was made from: its slices, and everything that the lock's slice pins.

    Args:
        recipe_digest: sha256 of the bytes of the recipe's slice.
        lock_digest: sha256 of the bytes of the lock's slice.
        lock: The lock's slice.
    """
    dependencies = [_dependency(RECIPE_PATH, recipe_digest), _dependency(LOCK_PATH, lock_digest)]
    for name, source in sorted(lock.sources.items()):
        dependencies += _source_dependencies(name, source)
    for name, tool in sorted(lock.tools.items()):
        dependencies += [_dependency(f"tool:{name}#{use}", digest) for use, digest in sorted(tool.fingerprints.items())]
    dependencies += [_dependency(f"runtime:{name}", item.sha256) for name, item in sorted(lock.runtimes.items())]
    return dependencies


def provenance_predicate(
    recipe_digest: Digest, lock_digest: Digest, lock: Lock, target: str, card: ModelCard
) -> dict[str, Any]:
    """Return the SLSA provenance v1 predicate of a bundle, without subject.

    Args:
        recipe_digest: sha256 of the bytes of the recipe's slice.
        lock_digest: sha256 of the bytes of the lock's slice.
        lock: The slice.
        target: The target's name.
        card: The model card in the weights.
    """
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"lock": LOCK_PATH, "recipe": RECIPE_PATH, "target": target},
            "internalParameters": {"rules": str(lock.rules), **({"model": card.plain()} if card.plain() else {})},
            "resolvedDependencies": source_dependencies(recipe_digest, lock_digest, lock),
        },
        "runDetails": {"builder": {"id": BUILDER_ID}},
    }


def _licenses(expression: str) -> list[dict[str, Any]]:
    if _SPDX_ID.match(expression):
        return [{"license": {"id": expression}}]
    return [{"expression": expression}]


def _ancestor(base: Mapping[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "machine-learning-model",
        "name": base.get("name") or base.get("repo_url", "unnamed"),
    }
    if "organization" in base:
        made["group"] = base["organization"]
    if "version" in base:
        made["version"] = base["version"]
    if "repo_url" in base:
        made["externalReferences"] = [{"type": "distribution", "url": base["repo_url"]}]
    return made


def sbom(recipe: Recipe, target: str, weights: Artifact, lock: Lock, card: ModelCard) -> bytes:
    """Return a CycloneDX 1.6 bill of materials for the weights, without the optional serial number and time.

    The licence is the recipe's, or else the one named in the weights. The weights' base models become ancestors.
    """
    component: dict[str, Any] = {
        "bom-ref": "weights",
        "type": "machine-learning-model",
        "name": recipe.bundle.name,
        "version": recipe.bundle.version,
        "hashes": [{"alg": "SHA-256", "content": weights.sha256.hex}],
    }
    if recipe.bundle.description:
        component["description"] = recipe.bundle.description
    if recipe.bundle.license:
        component["licenses"] = _licenses(recipe.bundle.license)
    elif "license" in card.facts:  # a model hub's name for it, not an SPDX expression
        component["licenses"] = [{"license": {"name": card.facts["license"]}}]
    if card.bases:
        component["pedigree"] = {"ancestors": [_ancestor(base) for base in card.bases]}
    quantize = recipe.targets[target].quantize
    if quantize:
        component["modelCard"] = {"properties": [{"name": "lftool:quantize", "value": quantize}]}
    files = [
        {
            "bom-ref": f"source:{name}/{file.path}",
            "type": "data",
            "name": f"{name}/{file.path}",
            "version": source.revision,
            "hashes": [{"alg": "SHA-256", "content": file.sha256.hex}],
        }
        for name, source in sorted(lock.sources.items())
        for file in source.files
    ]
    return canonical_json(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {"component": component},
            "components": files,
            "dependencies": [{"ref": "weights", "dependsOn": [item["bom-ref"] for item in files]}],
        }
    )
