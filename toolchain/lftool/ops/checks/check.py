"""`lftool check`: hold a bundle against the recipe's `[[checks]]`."""

from __future__ import annotations

import math
import re
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from lftool.bundle.contents import weights_header
from lftool.bundle.extraction import copy_weights
from lftool.bundle.reader import opened
from lftool.errors import LftoolError, PolicyError, RecipeError, StorageError, UnavailableError, UsageError
from lftool.formats.model_kind import model_kind
from lftool.models.checks import PERPLEXITY
from lftool.models.reals import as_decimal
from lftool.ops.checks.report import CheckReport, CheckResult, quoted
from lftool.ops.run.integrity import check_opened
from lftool.ops.run.served_model import Question, served
from lftool.pipeline.building.builds import make_weights
from lftool.pipeline.model.parts import WEIGHTS, model_parts
from lftool.pipeline.stages.measure import increase, measure, require, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lftool.api import ProjectFiles
    from lftool.bundle.reader import Bundle
    from lftool.formats.model_kind import Does
    from lftool.models.checks import CheckSpec
    from lftool.models.manifest import BundleManifest
    from lftool.ops.project import Project
    from lftool.ops.run.served_model import ServedModel
    from lftool.pipeline.ports import Ports

_ROUNDS = 5
_EMBEDDING = "embedding"


class _NotHeldError(Exception):
    """A check does not hold; `found` is all that the model said."""

    def __init__(self, message: str, found: str = "") -> None:
        super().__init__(message)
        self.found = found


def check_bundle(report: CheckReport, path: Path, project: Project, ports: Ports, backend: str | None = None) -> None:
    """Hold a bundle against the checks of a recipe that apply to its target.

    Args:
        report: Gets the results as they come, and why there are no more of them.
        path: The bundle.
        project: The recipe, and files that its checks name.
        ports: Store and registry.
        backend: Which backend; None for the bundle's.

    Raises:
        IntegrityError: The bundle is not what it says.
        UsageError: It is not of the recipe, or of no target of it.
        UnavailableError: It cannot be served here.
        LftoolError: A check cannot be carried out.
    """
    try:
        _check(report, path, project, ports, backend)
    except LftoolError as error:
        report.error = error.message
        raise
    except BaseException as error:
        report.error = str(error) if isinstance(error, Exception) else "it was stopped"
        raise


def check_bundles(
    paths: Sequence[Path], project: Project, ports: Ports, backend: str | None, reports: list[CheckReport]
) -> LftoolError | None:
    """Hold bundles against the checks of a recipe; one that cannot be checked does not hide the others.

    Args:
        paths: The bundles.
        project: The recipe, and files that its checks name.
        ports: Store and registry.
        backend: Which backend; None for each bundle's own.
        reports: Gets a report for each, as they come.

    Returns:
        Of the errors, the one with the highest exit status; None without one.
    """
    errors: list[LftoolError] = []
    for path in paths:
        reports.append(CheckReport(bundle=path.name))
        try:
            check_bundle(reports[-1], path, project, ports, backend)
        except LftoolError as error:
            errors.append(error)
    return max(errors, key=lambda error: error.exit_status, default=None)


def _check(report: CheckReport, path: Path, project: Project, ports: Ports, backend: str | None) -> None:
    results = report.found
    with opened(path) as bundle:
        check_opened(bundle, ports.store)
        does = model_kind(weights_header(bundle)).does
        report.target = bundle.manifest.target
        checks = _applying(project, bundle.manifest, path.name)
        _require_kinds(checks, does, path.name)
        for number, check in checks:
            if check.kind == PERPLEXITY:
                results[number] = _timed(number, check, partial(_perplexity, check, bundle, project, ports))
    asked = [item for item in checks if item[1].kind != PERPLEXITY]
    if does == "embeds":
        answers = {number: check.prompt or "" for number, check in asked}
    else:
        answers = _answers(path, asked, report, backend, ports)
    if answers:
        with served(path, ports.store, backend, embeddings=True) as model:
            report.asked = model.sentence
            for number, check in asked:
                if number in answers:
                    results[number] = _timed(number, check, partial(_embedding, check, answers[number], model))


def _answers(
    path: Path, asked: list[tuple[int, CheckSpec]], report: CheckReport, backend: str | None, ports: Ports
) -> dict[int, str]:
    """Carry out the checks that need answers; return the answers whose vectors are to be compared."""
    answers: dict[int, str] = {}
    if not asked:
        return answers
    results = report.found
    with served(path, ports.store, backend) as model:
        report.asked = model.sentence
        for number, check in asked:
            if check.kind == _EMBEDDING:
                said = _timed(number, check, partial(model.ask, _question(check)))
                if said.failure is None:
                    answers[number] = said.detail
                else:
                    results[number] = said
            else:
                results[number] = _timed(number, check, partial(_ask, check, model, ports.files))
    return answers


def _require_kinds(checks: list[tuple[int, CheckSpec]], does: Does, name: str) -> None:
    """Raise UsageError if a check asks of a model what it does not do."""
    for _, check in checks:
        if does == "ranks" or (does == "embeds" and check.kind != _EMBEDDING):
            raise UsageError(
                f"{name}: a check of kind {check.kind!r} needs a model that generates text, and this one {does}",
                hints=("a check of kind 'embedding' compares the vectors of two texts",) if does == "embeds" else (),
            )


def _applying(project: Project, manifest: BundleManifest, name: str) -> list[tuple[int, CheckSpec]]:
    recipe, target = project.recipe, manifest.target
    if (manifest.name, manifest.version) != (recipe.bundle.name, recipe.bundle.version):
        raise UsageError(
            f"{name} is {manifest.name} {manifest.version}, and the recipe is of {recipe.bundle.name} {recipe.bundle.version}",
            hints=("build it: lftool build",),
        )
    if target not in recipe.targets:
        raise UsageError(f"{name} is target {target!r}, which the recipe does not have")
    quantised = recipe.targets[target].quantize is not None
    return [
        (number, check)
        for number, check in enumerate(recipe.checks, 1)
        if (not check.targets or target in check.targets) and (quantised or check.kind != PERPLEXITY)
    ]


def _timed(number: int, check: CheckSpec, run: Callable[[], str]) -> CheckResult:
    started, detail, made = time.monotonic(), "", True
    failure: str | None = None
    try:
        detail = run()
    except _NotHeldError as error:
        failure, detail = str(error), error.found
    except PolicyError as error:
        failure = error.message
    except (StorageError, RecipeError):
        raise  # a file that is missing is no matter of the bundle's
    except UnavailableError as error:
        failure, made = error.message, False
    name = check.name or f"{check.kind}-{number}"
    return CheckResult(name=name, failure=failure, detail=detail, seconds=time.monotonic() - started, made=made)


def _question(check: CheckSpec, schema: Any = None) -> Question:  # noqa: ANN401 - JSON
    assert check.prompt is not None  # noqa: S101 - the model requires it of all kinds but perplexity
    return Question(prompt=check.prompt, raw=check.raw, max_tokens=check.max_tokens, schema=schema)


def _ask(check: CheckSpec, model: ServedModel, files: ProjectFiles) -> str:
    """Carry out a check that needs an answer; return what was found."""
    match check.kind:
        case "prompt":
            answer = model.ask(_question(check))
            missing = [text for text in check.contains if text not in answer]
            if missing:
                raise _NotHeldError(f"{missing[0]!r} is not in the answer {quoted(answer)}", answer)
            return answer
        case "regex":
            answer = model.ask(_question(check))
            if check.matches is None or re.search(check.matches, answer) is None:
                raise _NotHeldError(f"{check.matches!r} matches nothing in the answer {quoted(answer)}", answer)
            return answer
        case "json-schema":
            return _valid(check, model, files)
        case _:
            return _first_token(check, model)


def _valid(check: CheckSpec, model: ServedModel, files: ProjectFiles) -> str:
    from lftool.ops.checks.json_schemas import difference, read_schema  # noqa: PLC0415 - needs an extra

    schema = read_schema(check.schema or "", files)
    try:
        answer = model.ask(_question(check, schema if check.constrained else None))
    except UnavailableError as error:
        if not check.constrained:
            raise
        message = f"{error.message}; if the server cannot hold this model's answers to a schema, drop `constrained`"
        raise UnavailableError(message) from error
    found = difference(answer, schema, check.schema or "")
    if found is not None:
        raise _NotHeldError(f"{found}; the answer is {quoted(answer)}", answer)
    return answer


def _first_token(check: CheckSpec, model: ServedModel) -> str:
    question = _question(check)
    model.first_token(question)  # the first one reads the weights
    found = statistics.median(model.first_token(question) for _ in range(_ROUNDS))
    most = float(as_decimal(check.max_seconds or "0"))
    if found > most:
        raise _NotHeldError(f"the first token came after {found:.3f} s, and the check allows {most:g} s")
    return f"{found:.3f} s"


def _embedding(check: CheckSpec, answer: str, model: ServedModel) -> str:
    one, other = model.embed([answer or " ", check.similar_to or ""])
    length = math.sqrt(sum(x * x for x in one) * sum(y * y for y in other))
    cosine = sum(x * y for x, y in zip(one, other, strict=True)) / length if length else 0.0
    least = float(as_decimal(check.min_similarity or "0"))
    if not cosine >= least:  # also where it is no number
        raise _NotHeldError(
            f"the similarity to {check.similar_to!r} is {cosine:.3f}, and the check asks for {least:g};"
            f" the answer is {quoted(answer)}",
            answer,
        )
    return f"similarity {cosine:.3f}"


def _perplexity(check: CheckSpec, bundle: Bundle, project: Project, ports: Ports) -> str:
    recipe, lock = project.recipe, project.require_lock()
    target, weights = bundle.manifest.target, bundle.manifest.weights.artifact
    with ports.store.in_use():
        if not ports.store.blobs.is_sound(weights):
            # built elsewhere: a backend measures files
            ports.store.blobs.put_with(lambda out: copy_weights(bundle, out), lambda _: None)
        parts = model_parts(recipe, lock)
        found = measure(
            target,
            recipe.targets[target].backend,
            text_of(check, ports.files),
            check.context,
            weights,
            parts.artifact(WEIGHTS),
            ports,
            lambda: make_weights(recipe, lock, parts, ports),
        )
    figures = require(check, found, target)
    return f"perplexity {figures.perplexity:.4f}, {increase(figures):+.2%}"
