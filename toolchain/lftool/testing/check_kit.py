"""Tests that every kind of check must pass. Inherit the class, describe a bundle for each result, and run pytest.

    class TestMine(CheckConformance):
        @pytest.fixture
        def check(self):
            return CheckExample(
                name="polite",
                options={"prompt": "Hello"},
                holds=FakeCheckContext(answers={"Hello": "Good day!"}),
                fails=FakeCheckContext(answers={"Hello": "What?"}),
            )

In an example of `lftool_examples`, `make` gives the same value.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import Factory, evolve, frozen

from lftool.api import (
    Check,
    CheckType,
    Digest,
    ExitStatus,
    Figures,
    Finding,
    OpenedBundle,
    ProjectFiles,
    UnavailableError,
)
from lftool.api.gguf import GGUFHeader
from lftool.errors import RecipeError
from lftool.formats.model_kind import Does
from lftool.host.given_options import factory_arguments
from lftool.testing.bundle_recipes import write_small_recipe

if TYPE_CHECKING:
    from lftool.testing.project_folder import ProjectFolder


def fake_bundle(**changes: Any) -> OpenedBundle:  # noqa: ANN401 - fields of the value
    """Return an opened bundle for a test. Its file is empty.

    Args:
        changes: Fields to change.
    """
    header = GGUFHeader(version=3, metadata={}, tensors=(), alignment=32, data_offset=0, size=0, extents={})
    whole = OpenedBundle(
        file=io.BytesIO(),
        path=Path("conforming-1-plain.gguf"),
        size=0,
        name="conforming",
        version="1",
        target="plain",
        layout="gguf",
        backend="cpu",
        runtime="",
        manifest=Digest.of(b""),
        members=(),
        weights=header,
    )
    return evolve(whole, **changes)


@frozen(kw_only=True)
class FakeCheckContext:
    """A bundle with the answers that a test defines: `lftool.api.CheckContext` without a model.

    Attributes:
        answers: Prompt to answer; other prompts cannot be answered.
        vectors: Text to vector; other texts cannot be embedded.
        scores: Document to score, whatever the query is; other documents cannot be ranked.
        seconds: How long the first token takes.
        figures: What `quality` returns; None if nothing measures.
        bundle: The bundle and its manifest: `fake_bundle(size=…)`.
        does: What the model does.
        files: Opens files of the project.
    """

    answers: Mapping[str, str] = Factory(dict)
    vectors: Mapping[str, Sequence[float]] = Factory(dict)
    scores: Mapping[str, float] = Factory(dict)
    seconds: float = 0.0
    figures: Figures | None = None
    bundle: OpenedBundle = Factory(fake_bundle)
    does: Does = "generates"
    files: ProjectFiles = Factory(lambda: ProjectFiles(project=Path()))

    def ask(
        self,
        prompt: str,
        *,
        raw: bool = False,
        max_tokens: int | None = None,
        schema: Any = None,  # noqa: ANN401 - JSON
    ) -> str:
        """Return the answer from `answers`. Raises UnavailableError if there is none."""
        del raw, max_tokens, schema
        if prompt not in self.answers:
            raise UnavailableError(f"nothing answers {prompt!r} here")
        return self.answers[prompt]

    def first_token(self, prompt: str, *, raw: bool = False) -> float:
        """Return `seconds`."""
        del prompt, raw
        return self.seconds

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return the vectors from `vectors`. Raises UnavailableError if one is missing."""
        missing = [text for text in texts if text not in self.vectors]
        if missing:
            raise UnavailableError(f"nothing embeds {missing[0]!r} here")
        return [list(self.vectors[text]) for text in texts]

    def rank(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return the scores from `scores`. Raises UnavailableError if one is missing."""
        missing = [text for text in documents if text not in self.scores]
        if missing:
            raise UnavailableError(f"nothing ranks {missing[0]!r} for {query!r} here")
        return [self.scores[text] for text in documents]

    def quality(self, text: str, context: int | None = None) -> Figures:
        """Return `figures`. Raises UnavailableError if there are none."""
        del context
        if self.figures is None:
            raise UnavailableError(f"nothing measures {text!r} here")
        return self.figures


@frozen(kw_only=True)
class CheckExample:
    """A kind of check under test.

    Attributes:
        name: Name of the record.
        options: The keys of its table besides `kind`.
        holds: A bundle that passes the check.
        fails: A bundle that fails the check.
        files: Path beside the recipe to content, for files that options name.
    """

    name: str
    options: Mapping[str, Any] = Factory(dict)
    holds: FakeCheckContext
    fails: FakeCheckContext
    files: Mapping[str, bytes] = Factory(dict)


class CheckConformance:
    """Tests of a kind of check."""

    @pytest.fixture
    def check(self) -> CheckExample:
        """Override: return the kind of check and its bundles."""
        raise NotImplementedError

    @pytest.fixture
    def made(self, project: ProjectFolder, check: CheckExample) -> Check:
        """The check under test."""
        record = project.registry().get(CheckType, check.name).record
        arguments = factory_arguments(record, check.options, "kind of check", "$.checks[0]", RecipeError)
        found: Check = record.factory(*arguments)
        return found

    def test_it_holds_for_a_bundle_that_is_right(self, made: Check, check: CheckExample) -> None:
        """A finding without a failure."""
        finding = made.check(check.holds)
        assert isinstance(finding, Finding)
        assert finding.failure is None

    def test_it_says_what_is_wrong_with_another(self, made: Check, check: CheckExample) -> None:
        """A failure is a sentence for people."""
        finding = made.check(check.fails)
        assert isinstance(finding, Finding)
        assert finding.failure

    def test_a_recipe_with_it_locks(self, project: ProjectFolder, check: CheckExample) -> None:
        """Its options are keys of `[[checks]]`."""
        self._write(project, check, check.options)
        project.run("lock").assert_success()

    def test_a_key_that_it_does_not_have_is_refused(self, project: ProjectFolder, check: CheckExample) -> None:
        """Exit status 2, when the recipe is locked."""
        self._write(project, check, {**check.options, "no-key-has-this-name": 1})
        assert project.run("lock").status == ExitStatus.USAGE

    def _write(self, project: ProjectFolder, check: CheckExample, options: Mapping[str, Any]) -> None:
        write_small_recipe(project, {"layout": "gguf"}, {"[checks]": {"kind": check.name, **options}})
        for name, content in check.files.items():
            (project.root / name).parent.mkdir(parents=True, exist_ok=True)
            (project.root / name).write_bytes(content)
