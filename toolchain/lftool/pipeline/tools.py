"""Tools: what executes a transform, its fingerprint, its plan; the slow answers remembered in the action cache."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from attrs import frozen

from lftool.api import InputFile, ToolIdentity, TransformPlan, TransformSpec, TransformType
from lftool.codec.canonical import canonical_json
from lftool.errors import UnavailableError
from lftool.formats.gguf import read_gguf
from lftool.host.guarding import guarded
from lftool.host.registry import Registered
from lftool.host.wire import decode_plan, encode_plan, encode_spec
from lftool.models.digest import Artifact, Digest
from lftool.pipeline.identity import plan_action, probe_action

if TYPE_CHECKING:
    from pathlib import Path

    from lftool.pipeline.ports import Ports

_KIND = "tool"
_BUILT_IN = Digest.of(b"built-in")  # its files and version are in the identity


@frozen(kw_only=True)
class Tool:
    """A quantizer as it is installed here: its record, version, and the digest of what executes."""

    registered: Registered[TransformType]
    identity: ToolIdentity
    files: Digest
    plugin: Digest


def _file_digest(path: Path, ports: Ports) -> str:
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        known = ports.store.stamps.recall(before, _KIND)
        if known is not None:
            return known["sha256"]
        found = hashlib.file_digest(file, "sha256").hexdigest()
        ports.store.stamps.remember(before, os.fstat(file.fileno()), _KIND, {"sha256": found})
        return found


def tool_of(registered: Registered[TransformType], ports: Ports) -> Tool:
    """Return the tool behind a quantizer.

    Raises:
        UnavailableError: What it runs is not installed.
        PluginError: The plugin failed.
    """
    with guarded(registered.origin):
        identity = registered.record.factory().tool()
        digests = [[path.name, _file_digest(path, ports)] for path in identity.files]
    return Tool(
        registered=registered,
        identity=identity,
        files=Digest.of(canonical_json(sorted(digests))),
        plugin=_BUILT_IN if registered.origin.is_builtin else ports.registry.digest(registered.origin),
    )


def fingerprint(tool: Tool, use: str, ports: Ports) -> Digest:
    """Return the sha256 of the file that the tool makes of its fixed input, from memory or by making it.

    Raises:
        PluginError: The plugin failed.
    """
    action = probe_action(tool.files, tool.plugin, tool.identity, use)
    with ports.store.doing(action):
        known = ports.store.actions.get(action)
        if known is None:
            made = ports.store.blobs.put_with(
                lambda path: ports.isolated.probe_transform(tool.registered, use, path), lambda _: None
            )
            known = {"fingerprint": made}
            ports.store.actions.put(action, known)
    return known["fingerprint"].sha256


def plan_transform(
    tool: Tool, spec: TransformSpec, options: dict[str, Any], inputs: dict[str, Artifact], ports: Ports
) -> TransformPlan:
    """Return the tool's plan for inputs in the store, from memory or by asking it.

    Raises:
        RecipeError: The spec cannot be met.
        PluginError: The plugin failed.
    """
    action = plan_action(tool.files, tool.plugin, encode_spec(spec, options), inputs)
    with ports.store.doing(action):
        known = ports.store.actions.get(action)
        if known is not None and ports.store.blobs.is_sound(known["plan"]):
            path = ports.store.blobs.require(known["plan"], "a remembered plan")
            return decode_plan(json.loads(path.read_bytes()))
        plan = ports.isolated.plan(tool.registered, spec, options, input_files(inputs, ports))
        with guarded(tool.registered.origin):  # a plan with a float has no canonical form
            encoded = canonical_json(encode_plan(plan))
        made = ports.store.blobs.put_bytes(encoded, "a plan")
        ports.store.actions.put(action, {"plan": made})
    return plan


def input_files(inputs: dict[str, Artifact], ports: Ports) -> dict[str, InputFile]:
    """Return checked, read-only files of inputs in the store; GGUF headers are read within budgets first.

    Raises:
        FormatError: The weights are no sound GGUF.
        IntegrityError: A blob was corrupted.
    """
    found = {}
    for role, artifact in inputs.items():
        path = ports.store.blobs.require(artifact, f"the {role}")
        with path.open("rb") as file:
            if role == "weights" or file.read(4) == b"GGUF":
                read_gguf(file, artifact.size, f"the {role} (sha256 {artifact.sha256})")
        found[role] = InputFile(path=path, artifact=artifact)
    return found


def require_pinned_fingerprint(tool: Tool, semantics: str, use: str, expected: Digest, ports: Ports) -> None:
    """Raise UnavailableError unless the installed tool makes the bits that the lock's fingerprint stands for."""
    got = fingerprint(tool, use, ports)
    if got != expected:
        raise UnavailableError(
            f"{tool.registered.record.name} {tool.identity.version} does not make the bits of {semantics} for {use}:"
            f" the lock pins fingerprint {expected}, this machine's is {got}",
            hints=(
                "build llama.cpp without contraction of multiply and add (-ffp-contract=off); docs/explanation/determinism.md",
                f"or accept this tool's bits: lftool lock --upgrade tool:{semantics}",
            ),
        )
