"""`lftool check`: hold a bundle against the recipe's `[[checks]]`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from attrs import field, frozen

from lftool.api import Figures, Finding, OpenedBundle, ProjectFiles
from lftool.bundle.contents import weights_header
from lftool.bundle.extraction import copy_weights
from lftool.bundle.reader import Bundle, opened
from lftool.errors import LftoolError, PolicyError, UnavailableError, UsageError
from lftool.formats.model_kind import Does, model_kind
from lftool.host.guarding import guarded
from lftool.host.returned import checked
from lftool.models.checks import PERPLEXITY
from lftool.ops.checks.report import CheckReport, CheckResult
from lftool.ops.checks.turns import Turn, Want
from lftool.ops.opened_bundles import described
from lftool.ops.project import Project
from lftool.ops.run.integrity import check_opened
from lftool.ops.run.served_model import Question, ServedModel, served
from lftool.pipeline.building.builds import make_weights
from lftool.pipeline.model.parts import WEIGHTS, model_parts
from lftool.pipeline.model.planned_checks import PlannedCheck, planned_check
from lftool.pipeline.pinned import require_plugins
from lftool.pipeline.ports import Ports
from lftool.pipeline.stages.measure import MOST_TEXT_BYTES, Text, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lftool.models.manifest import BundleManifest

T = TypeVar("T")
_ANSWERS, _VECTORS, _FIGURES = "answers", "vectors", "figures"


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
            bench = _Bench(
                bundle=bundle, shown=shown, path=path, project=project, ports=ports, does=does, backend=backend
            )
            with contextlib.closing(bench):
                bench.make(checks, report)


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


@frozen(kw_only=True)
class _Bench:
    """A bundle that checks are made on, and the server that answers once a check asks."""

    bundle: Bundle
    shown: OpenedBundle
    path: Path
    project: Project
    ports: Ports
    does: Does
    backend: str | None
    _served: dict[str, ServedModel] = field(factory=dict)
    _open: contextlib.ExitStack = field(factory=contextlib.ExitStack)
    _turns: list[Turn] = field(factory=list)

    def close(self) -> None:
        """End the server, and checks that wait."""
        for turn in self._turns:
            turn.give_up()
        self._open.close()

    def model(self, what: str, report: CheckReport) -> ServedModel:
        """Return the bundle, served for answers or for vectors, in place of what was served before."""
        if what not in self._served:
            self._open.close()
            self._served.clear()
            model = self._open.enter_context(
                served(self.path, self.ports.store, self.backend, embeddings=what == _VECTORS)
            )
            self._served[what] = model
            report.asked = model.sentence
        return self._served[what]

    def figures(self, name: str, context: int | None) -> Figures:
        """Return how well the weights predict a text of the project."""
        recipe, lock, ports = self.project.recipe, self.project.require_lock(), self.ports
        target, weights = self.bundle.manifest.target, self.bundle.manifest.weights.artifact
        text = Text(name=name.rpartition("/")[2], data=ports.files.read(name, "checks", MOST_TEXT_BYTES))
        with ports.store.in_use():
            if not ports.store.blobs.is_sound(weights):
                # built elsewhere: a backend measures files
                ports.store.blobs.put_with(lambda out: copy_weights(self.bundle, out), lambda _: None)
            parts = model_parts(recipe, lock)
            return measure(
                target,
                recipe.targets[target].backend,
                text,
                context,
                weights,
                parts.artifact(WEIGHTS),
                ports,
                lambda: make_weights(recipe, lock, parts, ports),
            ).figures

    def make(self, checks: Sequence[PlannedCheck], report: CheckReport) -> None:
        """Make checks, and report what comes of them as it comes: of those that want vectors last."""
        laid_aside: list[tuple[PlannedCheck, Turn, list[CheckResult]]] = []
        for check in checks:
            found: list[CheckResult] = []
            turn = Turn(_work(check, self, report, found))
            self._turns.append(turn)
            turn.begin()
            while turn.want is not None and turn.want.served != _VECTORS:
                turn.go_on()
            if turn.want is None:
                report.found[check.number] = attrs.evolve(found[0], seconds=turn.seconds)
            else:
                laid_aside.append((check, turn, found))
        for check, turn, found in laid_aside:
            while turn.want is not None:
                turn.go_on()
            report.found[check.number] = attrs.evolve(found[0], seconds=turn.seconds)


def _work(check: PlannedCheck, bench: _Bench, report: CheckReport, found: list[CheckResult]) -> Callable[[Turn], None]:
    """Return the work of one check: it leaves its result in `found`."""
    origin = check.registered.origin

    def work(turn: Turn) -> None:
        finding, made = Finding(), True
        context = _Context(bench=bench, turn=turn, report=report)
        try:
            with guarded(origin, f"check {check.spec.kind!r}"):
                finding = checked(check.make().check(context), Finding, "check()", origin)
        except PolicyError as error:
            finding = Finding(failure=error.message)
        except UnavailableError as error:
            finding, made = Finding(failure=error.message), False
        found.append(
            CheckResult(name=check.name, failure=finding.failure, detail=finding.detail, seconds=0.0, made=made)
        )

    return work


@frozen(kw_only=True)
class _Context:
    """What one check sees: `lftool.api.CheckContext`."""

    bench: _Bench
    turn: Turn
    report: CheckReport

    @property
    def bundle(self) -> OpenedBundle:
        return self.bench.shown

    @property
    def does(self) -> Does:
        return self.bench.does

    @property
    def files(self) -> ProjectFiles:
        return self.bench.ports.files

    def _have(self, served: str, do: Callable[[ServedModel], T]) -> T:
        made: T = self.turn.have(Want(served, lambda: do(self.bench.model(served, self.report))))
        return made

    def ask(
        self,
        prompt: str,
        *,
        raw: bool = False,
        max_tokens: int | None = None,
        schema: Any = None,  # noqa: ANN401 - JSON
    ) -> str:
        question = Question(prompt=prompt, raw=raw, max_tokens=max_tokens, schema=schema)
        return self._have(_ANSWERS, lambda model: model.ask(question))

    def first_token(self, prompt: str, *, raw: bool = False) -> float:
        question = Question(prompt=prompt, raw=raw)
        return self._have(_ANSWERS, lambda model: model.first_token(question))

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return self._have(_VECTORS, lambda model: model.embed(texts))

    def quality(self, text: str, context: int | None = None) -> Figures:
        found: Figures = self.turn.have(Want(_FIGURES, lambda: self.bench.figures(text, context)))
        return found
