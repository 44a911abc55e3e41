"""The messages between parent and worker: one JSON object per line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from lftool.api import (
    DeriveRequest,
    DeriveResult,
    Distance,
    Fit,
    InputFile,
    TensorBytes,
    TensorType,
    TransformPlan,
    TransformSpec,
)
from lftool.models.digest import Artifact, Digest


@frozen(kw_only=True)
class Task:
    """One call of a plugin's object in a worker.

    Attributes:
        module: Module of the plugin; its records are looked up there and nowhere else.
        kind: Name of the hook that yields the record.
        name: Key of the record.
        method: The method to call on the object that the record makes.
        arguments: Plain data; see `encode_*` and `decode_*`.
        confinement: The limits of the worker, as plain data; None if it is not confined.
        site: The folder where the plugin is installed.
    """

    module: str
    kind: str
    name: str
    method: str
    arguments: dict[str, Any]
    confinement: dict[str, Any] | None = None
    site: str = ""


def encode_inputs(inputs: dict[str, InputFile]) -> dict[str, Any]:
    """Return input files as plain data."""
    return {
        role: {
            "path": str(item.path),
            "sha256": item.artifact.sha256.hex,
            "size": item.artifact.size,
            "pipe": None if item.pipe is None else str(item.pipe),
        }
        for role, item in inputs.items()
    }


def decode_inputs(plain: dict[str, Any]) -> dict[str, InputFile]:
    """Return input files from plain data."""
    return {
        role: InputFile(
            path=Path(item["path"]),
            artifact=Artifact(Digest(item["sha256"]), item["size"]),
            pipe=None if item["pipe"] is None else Path(item["pipe"]),
        )
        for role, item in plain.items()
    }


def encode_spec(spec: TransformSpec, options: Any) -> dict[str, Any]:  # noqa: ANN401 - plain options
    """Return a spec as plain data; `options` is the table as written in the recipe."""
    return {
        "produces": spec.produces,
        "overrides": [[item.tensor, item.type] for item in spec.overrides],
        "options": options,
        **({"name": spec.name} if spec.name else {}),
        **({"mixture": spec.mixture} if spec.mixture else {}),
        **({"types": [[item.tensor, item.type] for item in spec.types]} if spec.types else {}),
    }


def decode_spec(plain: dict[str, Any], options: Any) -> TransformSpec:  # noqa: ANN401 - structured options
    """Return a spec from plain data, with its structured options."""
    return TransformSpec(
        produces=plain["produces"],
        overrides=_decode_types(plain["overrides"]),
        options=options,
        types=_decode_types(plain.get("types", [])),
        name=plain.get("name", ""),
        mixture=plain.get("mixture", ""),
    )


def _decode_types(plain: list[list[str]]) -> tuple[TensorType, ...]:
    return tuple(TensorType(tensor=tensor, type=kind) for tensor, kind in plain)


def encode_plan(plan: TransformPlan) -> dict[str, Any]:
    """Return a plan as plain data."""
    return {"parameters": dict(plan.parameters), "tensors": [[item.tensor, item.type] for item in plan.tensors]}


def decode_plan(plain: dict[str, Any]) -> TransformPlan:
    """Return a plan from plain data."""
    return TransformPlan(parameters=plain["parameters"], tensors=_decode_types(plain["tensors"]))


def encode_derive_request(request: DeriveRequest) -> dict[str, Any]:
    """Return a request as plain data."""
    plain = asdict(request)
    for role in ("base", "made"):
        plain[role]["path"] = str(plain[role]["path"])
    return {**plain, "imatrix": None if request.imatrix is None else str(request.imatrix)}


def decode_derive_request(plain: dict[str, Any]) -> DeriveRequest:
    """Return a request from plain data."""
    tensors = {role: TensorBytes(**{**plain[role], "path": Path(plain[role]["path"])}) for role in ("base", "made")}
    return DeriveRequest(
        **{
            **plain,
            **tensors,
            "dimensions": tuple(plain["dimensions"]),
            "arithmetics": tuple(plain["arithmetics"]),
            "imatrix": None if plain["imatrix"] is None else Path(plain["imatrix"]),
        }
    )


def decode_derive_result(plain: dict[str, Any]) -> DeriveResult:
    """Return a result from plain data."""
    distance = plain["distance"]
    return DeriveResult(
        blocks=plain["blocks"],
        importance=plain["importance"],
        fits=tuple(Fit(**item) for item in plain["fits"]),
        distance=None if distance is None else Distance(**distance),
    )
