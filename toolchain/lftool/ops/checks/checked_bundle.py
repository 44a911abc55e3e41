"""A bundle under check. It is served on demand, first for answers, then for vectors."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from attrs import field, frozen

from lftool.api import Figures, Finding, OpenedBundle, ProjectFiles
from lftool.bundle.extraction import copy_weights
from lftool.bundle.reader import Bundle
from lftool.errors import PolicyError, RecipeError, UnavailableError, UsageError
from lftool.formats.model_kind import Does
from lftool.host.guarding import guarded
from lftool.host.returned import checked
from lftool.ops.checks.report import CheckReport, CheckResult
from lftool.ops.checks.turns import Turn, Want
from lftool.ops.project import Project
from lftool.ops.run.served_model import Question, ServedModel, served
from lftool.pipeline.building.builds import make_weights
from lftool.pipeline.model.parts import WEIGHTS, model_parts
from lftool.pipeline.ports import Ports
from lftool.pipeline.stages.measure import Comparison, measure, project_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lftool.pipeline.model.planned_checks import PlannedCheck

T = TypeVar("T")
_TEMPLATE = "tokenizer.chat_template"
_ANSWERS, _VECTORS, _FIGURES = "answers", "vectors", "figures"


@frozen(kw_only=True)
class CheckedBundle:
    """A bundle under check, and its server, which starts when a check needs it."""

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
        """Stop the server, and any waiting checks."""
        for turn in self._turns:
            turn.give_up()
        self._open.close()

    def model(self, what: str, report: CheckReport) -> ServedModel:
        """Return the bundle, served for answers or for vectors; stops a server for the other."""
        if what not in self._served:
            self._open.close()
            self._served.clear()
            model = self._open.enter_context(
                served(self.path, self.ports.store, self.backend, embeddings=what == _VECTORS)
            )
            self._served[what] = model
            report.asked = model.sentence + self._without_template()
        return self._served[what]

    def _without_template(self) -> str:
        """Return what to say of a model that has no chat template; answers then go on with the prompt."""
        chats = self.does != "generates" or _TEMPLATE in self.shown.weights.metadata
        return "" if chats else "; no chat template: it continues the text as it is"

    def figures(self, name: str, context: int | None) -> Figures:
        """Return how well the weights predict a text in the project."""
        recipe, lock, ports = self.project.recipe, self.project.require_lock(), self.ports
        target, weights = self.bundle.manifest.target, self.bundle.manifest.weights.artifact
        text = project_text(name, ports.files)
        with ports.store.in_use():
            if not ports.store.blobs.is_sound(weights):
                # built elsewhere: backends measure files
                ports.store.blobs.put_with(lambda out: copy_weights(self.bundle, out), lambda _: None)
            parts = model_parts(recipe, lock)
            comparison = Comparison(
                backend=recipe.targets[target].backend,
                text=text,
                context=context,
                reference=parts.artifact(WEIGHTS),
                prepare=lambda: make_weights(recipe, lock, parts, ports),
            )
            return measure(target, weights, comparison, ports).figures

    def make(self, checks: Sequence[PlannedCheck], report: CheckReport) -> None:
        """Run checks, and report each result as it comes; checks that need vectors finish last."""
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


def _work(
    check: PlannedCheck, checked_bundle: CheckedBundle, report: CheckReport, found: list[CheckResult]
) -> Callable[[Turn], None]:
    """Return the work of one check, which stores its result in `found`."""
    origin = check.registered.origin

    def work(turn: Turn) -> None:
        finding, made = Finding(), True
        context = _Context(checked_bundle=checked_bundle, turn=turn, report=report)
        try:
            with guarded(origin, f"check {check.spec.kind!r}"):
                finding = checked(check.make().check(context), Finding, "check()", origin)
        except PolicyError as error:
            finding = Finding(failure=error.message)
        except (UnavailableError, RecipeError, UsageError) as error:  # the others can run all the same
            finding, made = Finding(failure="; ".join((error.message, *error.hints))), False
        found.append(
            CheckResult(name=check.name, failure=finding.failure, detail=finding.detail, seconds=0.0, made=made)
        )

    return work


@frozen(kw_only=True)
class _Context:
    """The context of one check: `lftool.api.CheckContext`."""

    checked_bundle: CheckedBundle
    turn: Turn
    report: CheckReport

    @property
    def bundle(self) -> OpenedBundle:
        return self.checked_bundle.shown

    @property
    def does(self) -> Does:
        return self.checked_bundle.does

    @property
    def files(self) -> ProjectFiles:
        return self.checked_bundle.ports.files

    def _have(self, served: str, do: Callable[[ServedModel], T]) -> T:
        made: T = self.turn.have(Want(served, lambda: do(self.checked_bundle.model(served, self.report))))
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

    def rank(self, query: str, documents: Sequence[str]) -> list[float]:
        return self._have(_ANSWERS, lambda model: model.rank(query, documents))

    def quality(self, text: str, context: int | None = None) -> Figures:
        found: Figures = self.turn.have(Want(_FIGURES, lambda: self.checked_bundle.figures(text, context)))
        return found
