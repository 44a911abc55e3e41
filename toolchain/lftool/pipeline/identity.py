"""Decides what goes into a cache key. Nothing else does.

An action is the sha256 of canonical JSON over pinned inputs, parameters and tool fingerprints. Times, paths, hosts,
thread counts, and plugin and tool versions are left out, since they do not affect any byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from lftool.codec.canonical import canonical_json
from lftool.codec.options import canonical_options
from lftool.formats.gguf_edit import SEMANTICS
from lftool.models.digest import Artifact, Digest
from lftool.models.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lftool.api import RuntimeMember, SourceFile, TransformPlan
    from lftool.models.lock import (
        LockedConvert,
        LockedMetadata,
        LockedQuantize,
        LockedRuntime,
        LockedSource,
        LockedTool,
    )


def _digest(value: dict[str, Any]) -> Digest:
    return Digest.of(canonical_json(value))


def _plain(artifact: Artifact) -> dict[str, Any]:
    return {"sha256": artifact.sha256.hex, "size": artifact.size}


def plan_digest(plan: TransformPlan) -> Digest:
    """Return the digest of a transform's plan: parameters and the type of every tensor."""
    tensors = [[item.tensor, item.type] for item in plan.tensors]
    return _digest({"parameters": dict(plan.parameters), "tensors": tensors})


def transform_action(
    stage: Literal["convert", "quantize"],
    inputs: Mapping[str, Artifact],
    semantics: str,
    use: str,
    tool: LockedTool,
    plan: Digest,
) -> Digest:
    """Return the action of a convert or quantize stage."""
    archive = {} if tool.archive is None else {"archive": [file.sha256.hex for file in tool.archive.files]}
    return _digest(
        {
            **archive,
            "stage": stage,
            "inputs": {role: _plain(artifact) for role, artifact in inputs.items()},
            "semantics": semantics,
            "use": use,
            "fingerprint": tool.fingerprints[use].hex,
            "plan": plan.hex,
        }
    )


def metadata_action(weights: Artifact | LockedQuantize, edits: Mapping[str, object]) -> Digest:
    """Return the action of a metadata stage.

    Args:
        weights: The pinned weights, or the quantize stage that makes them.
        edits: What is set and removed, as plain data, with the digest of the template.
    """
    source = {"artifact": _plain(weights)} if isinstance(weights, Artifact) else {"action": weights.action.hex}
    return _digest({"stage": "metadata", "semantics": SEMANTICS, "weights": source, **edits})


def pack_action(
    recipe_slice: Digest,
    sources: Mapping[str, LockedSource],
    weights: Artifact | LockedQuantize | LockedMetadata,
    runtime: tuple[str, LockedRuntime] | None,
    convert: Mapping[str, LockedConvert],
    layout: int | None = None,
) -> Digest:
    """Return the action of a pack stage.

    Args:
        recipe_slice: Digest of the recipe's slice: names, layout, run contract, sources.
        sources: The pinned sources of the slice; the bundle names all their files.
        weights: The pinned weights, or the last stage that makes them.
        runtime: Name and lock entry of the runtime, for layouts that have one.
        convert: The convert stages, which the lock's slice in the bundle contains.
        layout: Number of the layout; None for 1, which is omitted.
    """
    from lftool.codec.converter import to_plain  # noqa: PLC0415 - cattrs is heavy; see the start-up test

    source = {"artifact": _plain(weights)} if isinstance(weights, Artifact) else {"action": weights.action.hex}
    converted = {"convert": {role: stage.action.hex for role, stage in convert.items()}} if convert else {}
    return _digest(
        {
            **converted,
            **({} if layout is None else {"layout": layout}),
            "stage": "pack",
            "rules": RULES,
            "recipe": recipe_slice.hex,
            "sources": {name: to_plain(locked) for name, locked in sources.items()},
            "weights": source,
            "runtime": {"name": runtime[0], "sha256": runtime[1].sha256.hex} if runtime else None,
        }
    )


def runtime_digest(prefix: Digest, members: Sequence[RuntimeMember]) -> Digest:
    """Return the digest of a runtime, over the names and digests of its parts."""
    pieces = [["prefix", prefix.hex], *([member.path, Digest.of(member.data).hex] for member in members)]
    return Digest.of(canonical_json(sorted(pieces)))


def host_runtime(runtime: str) -> Digest:
    """Return the key for the executable of a runtime that this machine compiled last."""
    return _digest({"memo": "host-runtime", "runtime": runtime})


def compile_action(runtime: str, toolchain: str, files: Digest, archive: Digest) -> Digest:
    """Return the key for a compiled runtime.

    Args:
        runtime: Its name and number.
        toolchain: Versions of compiler and libraries, from this machine or a lock.
        files: Digest of the plugin's files that are compiled in.
        archive: sha256 of the source archive.
    """
    return _digest(
        {"memo": "runtime", "runtime": runtime, "toolchain": toolchain, "files": files.hex, "archive": archive.hex}
    )


def unpack_key(archive: Artifact, members: Sequence[str]) -> Digest:
    """Return the key for the repacked members of an archive."""
    return _digest({"memo": "unpack", "sha256": archive.sha256.hex, "members": list(members), "form": 1})


def fetch_key(uri: str, options: Mapping[str, Any], revision: str, file: SourceFile) -> Digest:
    """Return the key for one version of a source's file, as far as the source distinguishes versions."""
    return _digest(
        {
            "uri": uri,
            "options": canonical_options(options),
            "revision": revision,
            "path": file.path,
            "version": file.revision,
            "size": file.size,
            "sha256": file.sha256.hex if file.sha256 else None,
        }
    )


def header_key(weights: Artifact) -> Digest:
    """Return the key for the header of weights."""
    return _digest({"memo": "header", **_plain(weights)})


def card_key(weights: Artifact) -> Digest:
    """Return the key for the model card of weights."""
    return _digest({"memo": "model card", "sha256": weights.sha256.hex, "form": 1})


def load_key(plugin: str, backend: str, weights: Artifact, context: int | None) -> Digest:
    """Return the key for the result of loading a model.

    Args:
        plugin: Digest of the plugin whose engine loads the model; empty for a built-in one.
        backend: Name of the backend.
        weights: The weights to load.
        context: Tokens of context; None for the model's default.
    """
    key = {"memo": "load", "form": 2, "plugin": plugin, "backend": backend, "context": context or 0}
    return _digest({**key, "weights": weights.sha256.hex})


def quality_key(
    plugin: str, backend: str, context: int | None, weights: Artifact, reference: Artifact, text: Artifact
) -> Digest:
    """Return the key for measured quality; `plugin` and `backend` as for `load_key`."""
    key = {"memo": "quality", "plugin": plugin, "backend": backend, "context": str(context)}
    parts = {"weights": weights, "reference": reference, "text": text}
    return _digest({**key, **{name: part.sha256.hex for name, part in parts.items()}})


def probe_action(tools: Sequence[dict[str, str]], use: str) -> Digest:
    """Return the key for a fingerprint.

    Args:
        tools: The tool, and the one that chooses its types, if any.
        use: The use to fingerprint.
    """
    return _digest({"memo": "fingerprint", "tools": list(tools), "use": use})


def plan_action(tool: dict[str, str], spec: dict[str, Any], inputs: Mapping[str, Artifact]) -> Digest:
    """Return the key for a transform's plan."""
    return _digest(
        {
            "memo": "plan",
            "tool": tool,
            "spec": spec,
            "inputs": {role: _plain(artifact) for role, artifact in inputs.items()},
        }
    )
