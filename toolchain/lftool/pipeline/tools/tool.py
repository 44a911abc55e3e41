"""Tools that run transforms: identity, fingerprint and plan; slow results are remembered in the action cache."""

from __future__ import annotations

import contextlib
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from lftool.api import (
    ConverterType,
    InputFile,
    Notice,
    QuantizerType,
    ToolIdentity,
    TransformPlan,
    TransformSpec,
    TransformType,
)
from lftool.codec.canonical import canonical_json
from lftool.errors import PluginError, UnavailableError
from lftool.formats.gguf_read import read_gguf
from lftool.formats.safetensors import read_safetensors
from lftool.host.guarding import guarded
from lftool.host.registry import Registered
from lftool.host.wire import decode_plan, encode_plan, encode_spec
from lftool.models.digest import Artifact, Digest
from lftool.pipeline.identity import plan_action, probe_action
from lftool.pipeline.model.headers import header_of, skeleton
from lftool.pipeline.tools.identifying import identify
from lftool.pipeline.uses import parse_use
from lftool.store.durable import scratch_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lftool.models.lock import LockedTool
    from lftool.pipeline.ports import Ports

_PLAN = "plan"  # the output's name in the record of a plan
_BUILT_IN = Digest.of(b"built-in")  # files and version are part of the identity


@frozen(kw_only=True)
class Tool:
    """An installed converter or quantizer: its record, its version, and the digest of the files that it runs.

    Attributes:
        archive: The members that it needs from its archive; see `lftool.pipeline.tools.archives`.
    """

    registered: Registered[TransformType]
    identity: ToolIdentity
    files: Digest
    plugin: Digest
    archive: Path | None = None

    @property
    def key(self) -> dict[str, str]:
        """Its identity in keys: record, version, and digests of the files that it runs."""
        record = self.registered.record
        return {
            "kind": type(record).__name__,
            "name": record.name,
            "version": self.identity.version,
            "files": self.files.hex,
            "plugin": self.plugin.hex,
        }


def tool_of(registered: Registered[TransformType], ports: Ports) -> Tool:
    """Return the tool behind a converter or quantizer.

    Raises:
        UnavailableError: Software that it runs is not installed.
        PluginError: The plugin failed.
    """
    identity, files = identify(registered, ports)
    return Tool(
        registered=registered,
        identity=identity,
        files=files,
        plugin=_BUILT_IN if registered.origin.is_builtin else ports.registry.digest(registered.origin),
    )


def fingerprint(tool: Tool, use: str, ports: Ports) -> Digest:
    """Return the sha256 of the file that the tool makes from its fixed input for `use`, cached or newly made.

    Raises:
        PluginError: The plugin failed.
    """
    mixture = mixture_of(tool, ports)
    key = probe_action([tool.key] if mixture is None else [tool.key, mixture.key], use)
    return ports.store.remembered(key, "fingerprint", lambda: _make_fixed(tool, use, ports)).sha256


def _make_fixed(tool: Tool, use: str, ports: Ports) -> Artifact:
    """Return the file that a tool makes from its fixed input for `use`, with the options that decide its bits."""
    asked = parse_use(use)
    options = dict(asked.options)
    if isinstance(tool.registered.record, ConverterType):  # it starts torch, and makes several models
        name = tool.registered.record.name
        ports.emit(Notice(text=f"trying the converter {name!r} on small models for its fingerprint, once per version"))
    with scratch_directory(ports.store.temporary) as folder:
        mixture = mixture_of(tool, ports)

        def complete(spec: TransformSpec, inputs: dict[str, InputFile]) -> TransformSpec:
            if mixture is None:
                return spec
            return spec_to_run(tool, spec, ports.isolated.plan(mixture.registered, spec, options, inputs))

        spec = TransformSpec(produces=asked.produces, name="fingerprint", archive=tool.archive)
        return ports.store.blobs.put_with(
            lambda path: ports.isolated.run_fixed(
                tool.registered, asked.name, spec, options, folder, path, ports.threads, complete
            ),
            lambda _: None,
        )


def mixture_of(tool: Tool, ports: Ports) -> Tool | None:
    """Return the quantizer that chooses the types for `tool`; None if the tool chooses them itself.

    Raises:
        UnavailableError: It is not installed.
    """
    record = tool.registered.record
    if not isinstance(record, QuantizerType) or record.mixture is None:
        return None
    return tool_of(ports.registry.get(QuantizerType, record.mixture, UnavailableError), ports)


def plan_transform(
    tool: Tool, spec: TransformSpec, options: dict[str, Any], inputs: dict[str, Artifact], ports: Ports
) -> TransformPlan:
    """Return the tool's plan for inputs in the store, cached or newly made.

    With a mixture, the plan comes from the quantizer that chooses the types; the tool checks that it can make them.

    Raises:
        RecipeError: The spec cannot be met.
        PluginError: The plugin failed.
    """
    return _planned(tool, spec, ports, lambda asked, what: _own_plan(asked, what, options, inputs, ports))


def plan_ahead(
    tool: Tool,
    spec: TransformSpec,
    options: dict[str, Any],
    files: dict[str, InputFile],
    ports: Ports,
    *,
    checked: bool = False,
) -> tuple[TransformPlan, Callable[[dict[str, Artifact]], None]]:
    """Return the tool's plan for weights that are being made, and a function that stores it once their names are known.

    Args:
        tool: The tool.
        spec: What to make.
        options: As written in the recipe.
        files: Role to file; for the weights, the header is enough.
        ports: Runs tools.
        checked: Whether a lock already shows that the tool can make the types that another tool chooses.

    Raises:
        RecipeError: The spec cannot be met.
        PluginError: The plugin failed.
    """
    answers: list[tuple[Tool, TransformSpec, TransformPlan]] = []

    def ask(asked: Tool, what: TransformSpec) -> TransformPlan:
        answers.append((asked, what, ports.isolated.plan(asked.registered, what, options, files)))
        return answers[-1][2]

    def remember(inputs: dict[str, Artifact]) -> None:
        for asked, what, plan in answers:
            key = plan_action(asked.key, encode_spec(what, options), inputs)
            ports.store.remembered_bytes(key, _PLAN, functools.partial(_encoded, asked, plan))

    mixture = mixture_of(tool, ports) if checked else None
    return (_planned(tool, spec, ports, ask) if mixture is None else ask(mixture, spec)), remember


def _planned(
    tool: Tool, spec: TransformSpec, ports: Ports, ask: Callable[[Tool, TransformSpec], TransformPlan]
) -> TransformPlan:
    mixture = mixture_of(tool, ports)
    if mixture is None:
        return ask(tool, spec)
    chosen = ask(mixture, spec)
    planned = ask(tool, spec_to_run(tool, spec, chosen))
    if planned.tensors != chosen.tensors:
        name = mixture.registered.record.name
        raise PluginError(f"{tool.registered.origin}: its plan has other types than {name!r} chose")
    return chosen


def spec_to_run(tool: Tool, spec: TransformSpec, plan: TransformPlan) -> TransformSpec:
    """Return the spec to run a tool with: includes its archive, and the plan's types if another tool chose them."""
    record = tool.registered.record
    mixed = isinstance(record, QuantizerType) and record.mixture is not None
    return attrs.evolve(spec, types=plan.tensors if mixed else (), archive=tool.archive)


def _own_plan(
    tool: Tool, spec: TransformSpec, options: dict[str, Any], inputs: dict[str, Artifact], ports: Ports
) -> TransformPlan:
    def make() -> bytes:
        with files_to_plan(inputs, ports) as files:
            return _encoded(tool, ports.isolated.plan(tool.registered, spec, options, files))

    key = plan_action(tool.key, encode_spec(spec, options), inputs)
    return decode_plan(json.loads(ports.store.remembered_bytes(key, _PLAN, make)))


def _encoded(tool: Tool, plan: TransformPlan) -> bytes:
    with guarded(tool.registered.origin):  # a plan with a float has no canonical form
        return canonical_json(encode_plan(plan))


@contextlib.contextmanager
def files_to_plan(inputs: dict[str, Artifact], ports: Ports) -> Iterator[dict[str, InputFile]]:
    """Yield the files for planning: files from the store, or headers of weights that are not stored.

    Weights are not stored if every step that reads them streams; then a header is enough.

    Raises:
        StorageError: An input is missing from the store.
    """
    weights = inputs.get("weights")
    header = None if weights is None or ports.store.blobs.holds(weights) else header_of(weights, ports)
    if header is None or weights is None:
        yield input_files(inputs, ports)
        return
    with skeleton(header.read_bytes(), weights.size, ports) as path:
        others = {role: artifact for role, artifact in inputs.items() if role != "weights"}
        yield {**input_files(others, ports), "weights": InputFile(path=path, artifact=weights)}


def input_files(inputs: dict[str, Artifact], ports: Ports) -> dict[str, InputFile]:
    """Return checked, read-only files of inputs in the store; reads headers of weights within budgets first.

    Raises:
        FormatError: A file of weights is not valid.
        IntegrityError: A blob is corrupted.
    """
    found = {}
    for role, artifact in inputs.items():
        path = ports.store.blobs.require(artifact, f"the {role}")
        with path.open("rb") as file:
            # A converter's roles are paths within the source, which users recognise.
            what = f"the {role} (sha256 {artifact.sha256})" if role in {"weights", "imatrix"} else role
            if role.endswith(".safetensors"):
                read_safetensors(file, artifact.size, what)
            elif role == "weights" or role.endswith(".gguf") or (role == "imatrix" and file.read(4) == b"GGUF"):
                file.seek(0)
                read_gguf(file, artifact.size, what)
        found[role] = InputFile(path=path, artifact=artifact)
    return found


def require_pinned_fingerprint(tool: Tool, semantics: str, use: str, locked: LockedTool, ports: Ports) -> None:
    """Raise UnavailableError unless the installed tool produces the bits of the lock's fingerprint."""
    got, expected = fingerprint(tool, use, ports), locked.fingerprints[use]
    if got != expected:
        made_with = ", ".join(f"{name} {version}" for name, version in sorted(locked.providers.items()))
        raise UnavailableError(
            f"{tool.registered.record.name} {tool.identity.version} does not reproduce {semantics} for {use}:"
            f" the lock pins fingerprint {expected}, this machine's is {got}",
            hints=(
                f"the lock was made with {made_with}; what changes bits: lftool help determinism",
                f"or accept this tool's bits: lftool lock --upgrade tool:{semantics}",
            ),
        )
