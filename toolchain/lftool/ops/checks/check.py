"""`lftool check`: hold a bundle against the recipe's `[[checks]]`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from lftool.bundle.contents import weights_header
from lftool.bundle.reader import opened
from lftool.errors import LftoolError, UsageError
from lftool.formats.model_kind import Does, model_kind
from lftool.models.checks import PERPLEXITY
from lftool.ops.checks.checked_bundle import CheckedBundle
from lftool.ops.checks.report import CheckReport
from lftool.ops.opened_bundles import described
from lftool.ops.run.integrity import check_opened
from lftool.pipeline.model.planned_checks import PlannedCheck, planned_check
from lftool.pipeline.pinned import require_plugins

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lftool.models.manifest import BundleManifest
    from lftool.ops.project import Project
    from lftool.pipeline.ports import Ports


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

    Raises:
        UnavailableError: A plugin that the recipe asks for is not installed.
    """
    require_plugins(project.recipe.plugins)
    errors: list[LftoolError] = []
    for path in paths:
        reports.append(CheckReport(bundle=path.name))
        try:
            check_bundle(reports[-1], path, project, ports, backend)
        except LftoolError as error:
            errors.append(error)
    return max(errors, key=lambda error: error.exit_status, default=None)


def _check(report: CheckReport, path: Path, project: Project, ports: Ports, backend: str | None) -> None:
    with opened(path) as bundle:
        check_opened(bundle, ports.store)
        does = model_kind(weights_header(bundle)).does
        report.target = bundle.manifest.target
        checks = _applying(project, bundle.manifest, path.name, ports)
        _require_kinds(checks, does, path.name)
        with described(bundle, path) as shown:
            checked_bundle = CheckedBundle(
                bundle=bundle, shown=shown, path=path, project=project, ports=ports, does=does, backend=backend
            )
            with contextlib.closing(checked_bundle):
                checked_bundle.make(checks, report)


def _require_kinds(checks: Sequence[PlannedCheck], does: Does, name: str) -> None:
    """Raise UsageError if a check asks of a model what it does not do."""
    for check in checks:
        if does not in check.registered.record.of:
            needed = " or ".join({"generates": "generates text"}.get(kind, kind) for kind in check.registered.record.of)
            raise UsageError(
                f"{name}: a check of kind {check.spec.kind!r} needs a model that {needed}, and this one {does}",
                hints=("a check of kind 'embedding' compares the vectors of two texts",) if does == "embeds" else (),
            )


def _applying(project: Project, manifest: BundleManifest, name: str, ports: Ports) -> list[PlannedCheck]:
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
        planned_check(number, check, ports.registry)
        for number, check in enumerate(recipe.checks, 1)
        if (not check.targets or target in check.targets) and (quantised or check.kind != PERPLEXITY)
    ]
