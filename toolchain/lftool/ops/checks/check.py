"""`lftool check`: run the recipe's `[[checks]]` against bundles."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from lftool.bundle.bundle_files import opened
from lftool.bundle.contents import weights_header
from lftool.errors import LftoolError, UsageError
from lftool.formats.model_kind import Does, model_kind
from lftool.models.checks import PERPLEXITY
from lftool.ops.checks.checked_bundle import CheckedBundle
from lftool.ops.checks.report import CheckReport, CheckResult
from lftool.ops.opened_bundles import described
from lftool.ops.run.integrity import check_opened
from lftool.ops.run.whole import whole, whole_name
from lftool.pipeline.model.planned_checks import PlannedCheck, planned_check
from lftool.pipeline.pinned import require_plugins

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lftool.models.manifest import BundleManifest
    from lftool.ops.project import Project
    from lftool.pipeline.ports import Ports


def check_bundle(report: CheckReport, path: Path, project: Project, ports: Ports, backend: str | None = None) -> None:
    """Run the recipe's checks for its target against a bundle.

    Args:
        report: Receives the results as they come, and the reason if checking stops early.
        path: The bundle.
        project: The recipe, and the files that its checks name.
        ports: Store and registry.
        backend: The backend; None for the bundle's own.

    Raises:
        IntegrityError: The bundle is corrupted.
        UsageError: The bundle does not belong to the recipe, or to none of its targets.
        UnavailableError: The bundle cannot be served here.
        LftoolError: A check cannot be run.
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
    """Run the recipe's checks against bundles; an error in one bundle does not stop the others.

    Args:
        paths: The bundles.
        project: The recipe, and the files that its checks name.
        ports: Store and registry.
        backend: The backend; None for each bundle's own.
        reports: Receives one report per bundle.

    Returns:
        The error with the highest exit status; None if there was none.

    Raises:
        UnavailableError: A plugin that the recipe requires is not installed.
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
    file = whole(path, ports.store)
    with opened(file) as bundle:
        check_opened(bundle, ports.store)
        does = model_kind(weights_header(bundle)).does
        report.target = bundle.manifest.target
        checks = _applying(project, bundle.manifest, path.name, ports)
        for check in checks:
            why = _unsuitable(check, does)
            if why:
                report.found[check.number] = CheckResult(name=check.name, failure=why, detail="", seconds=0, made=False)
        checks = [check for check in checks if check.number not in report.found]
        with described(bundle, whole_name(path, bundle.manifest)) as shown:
            checked_bundle = CheckedBundle(
                bundle=bundle, shown=shown, path=file, project=project, ports=ports, does=does, backend=backend
            )
            with contextlib.closing(checked_bundle):
                checked_bundle.make(checks, report)


_ABILITIES = {"generates": "generates text", "embeds": "embeds text", "ranks": "ranks documents"}
_INSTEAD = {
    "embeds": "; a check of kind 'embedding' compares the vectors of two texts",
    "ranks": "; a check of kind 'rerank' compares the scores of documents",
}


def _unsuitable(check: PlannedCheck, does: Does) -> str:
    """Return why a check cannot be made of a model that does this; "" if it can."""
    if does in check.registered.record.of:
        return ""
    needed = " or ".join(_ABILITIES.get(kind, kind) for kind in check.registered.record.of)
    instead = _INSTEAD.get(does, "")
    return f"a check of kind {check.spec.kind!r} needs a model that {needed}, but this one {_ABILITIES[does]}{instead}"


def _applying(project: Project, manifest: BundleManifest, name: str, ports: Ports) -> list[PlannedCheck]:
    recipe, target = project.recipe, manifest.target
    if (manifest.name, manifest.version) != (recipe.bundle.name, recipe.bundle.version):
        raise UsageError(
            f"{name} is {manifest.name} {manifest.version}, but the recipe is for"
            f" {recipe.bundle.name} {recipe.bundle.version}",
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
