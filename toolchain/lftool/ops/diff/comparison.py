"""Compare two models: tensors, keys, tokenizer, chat template, and what bundles say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from lftool.host.rendering import rendered
from lftool.ops.diff.contracts import FieldChange, diff_bundles
from lftool.ops.diff.keys import (
    KeyDiff,
    TokenizerDiff,
    diff_keys,
    diff_text,
    diff_tokenizers,
    special_text,
    template_of,
)
from lftool.ops.diff.tensors import TensorDiff, diff_tensors
from lftool.ops.models.opened_model import opened_model

if TYPE_CHECKING:
    from lftool.ops.models.opened_model import OpenedModel
    from lftool.pipeline.ports import Ports

# What both templates render, so that their difference shows in a prompt.
CONVERSATION = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Good morning!"},
    {"role": "assistant", "content": "Good morning to you."},
    {"role": "user", "content": "How are you?"},
)


@frozen(kw_only=True)
class TemplateDiff:
    """Two chat templates that differ.

    Attributes:
        present: Whether each model has one.
        lines: A text diff.
        prompts: `CONVERSATION` as each renders it; None where there is no template, or it fails.
        failures: Why it could not be rendered; empty where it was.
    """

    present: tuple[bool, bool]
    lines: tuple[str, ...]
    prompts: tuple[str | None, str | None]
    failures: tuple[str, str] = ("", "")


@frozen(kw_only=True)
class ModelDiff:
    """What differs between two models.

    Attributes:
        names: Their names.
        kinds: What they are.
        template: None if both have the same one, or none.
        fields: What bundles say; empty if one is no bundle.
    """

    names: tuple[str, str]
    kinds: tuple[str, str]
    tensors: TensorDiff
    keys: KeyDiff
    tokenizer: TokenizerDiff
    template: TemplateDiff | None
    fields: tuple[FieldChange, ...]

    @property
    def any(self) -> bool:
        """Whether there is a difference."""
        said = self.tensors.changes or self.keys.any or self.tokenizer.any or self.template or self.fields
        return bool(said)


def _prompt(model: OpenedModel) -> tuple[str | None, str]:
    """Return the conversation as the model's template renders it, or why that fails."""
    template = template_of(model)
    if template is None:
        return None, ""
    bos, eos = special_text(model, "bos"), special_text(model, "eos")
    try:
        return rendered(template, CONVERSATION, bos, eos), ""
    except ValueError as error:
        return None, str(error)


def _templates(one: OpenedModel, other: OpenedModel) -> TemplateDiff | None:
    ours, theirs = template_of(one), template_of(other)
    if ours == theirs:
        return None
    (prompt, failure), (other_prompt, other_failure) = _prompt(one), _prompt(other)
    return TemplateDiff(
        present=(ours is not None, theirs is not None),
        lines=diff_text(ours or "", theirs or ""),
        prompts=(prompt, other_prompt),
        failures=(failure, other_failure),
    )


def diff_opened(one: OpenedModel, other: OpenedModel, ports: Ports) -> ModelDiff:
    """Compare two opened models.

    Raises:
        LftoolError: They cannot be read, or a document in a bundle is malformed.
    """
    tokenizer = diff_tokenizers(one, other)
    return ModelDiff(
        names=(one.name, other.name),
        kinds=(one.kind, other.kind),
        tensors=diff_tensors(one, other, ports),
        keys=diff_keys(one, other, tokenizer),
        tokenizer=tokenizer,
        template=_templates(one, other),
        fields=diff_bundles(one.bundle, other.bundle),
    )


def diff_models(one: str, other: str, ports: Ports) -> ModelDiff:
    """Compare the models that two names mean: paths, or URIs of sources.

    Raises:
        LftoolError: Whatever opening and reading raise.
    """
    with opened_model(one, ports) as ours, opened_model(other, ports) as theirs:
        return diff_opened(ours, theirs, ports)
