"""`lftool export preset`: a section of llama.cpp's file of presets, with the run contract.

Source: llama.cpp, tools/server/README.md, "Model presets": an INI file for `llama-server --models-preset`, whose sections
are models and whose keys are command-line arguments without their dashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from lftool.api import Export, UsageError

if TYPE_CHECKING:
    from lftool.api import ExportRequest

# Keys of the run contract, and llama.cpp's arguments.
ARGUMENTS = {
    "context": "ctx-size",
    "max_tokens": "n-predict",
    "seed": "seed",
    "temperature": "temp",
    "top_k": "top-k",
    "top_p": "top-p",
    "min_p": "min-p",
    "repeat_penalty": "repeat-penalty",
}
_NOT_THERE = {"system": "a system prompt", "stop": "strings that end an answer"}


@frozen(kw_only=True)
class PresetOptions:
    """Options of `lftool export preset`."""

    path: str | None = field(
        default=None,
        metadata={
            "doc": "Path of the GGUF on the machine that serves it; default: where BUNDLE is.",
            "metavar": "PATH",
        },
    )
    section: str | None = field(
        default=None,
        metadata={"doc": "Name of the model in requests; default: name, version and target.", "metavar": "NAME"},
    )


@frozen
class PresetExporter:
    """Writes a preset."""

    options: PresetOptions

    def export(self, request: ExportRequest) -> Export:
        """Return the file.

        Raises:
            UsageError: The bundle is no GGUF, or a name has a line break or a bracket.
        """
        bundle = request.bundle
        if bundle.runtime and self.options.path is None:
            raise UsageError(
                f"{bundle.path.name} begins with a runtime, and llama-server loads GGUFs",
                hints=(f"lftool detach {bundle.path}, and name the .gguf: --path",),
            )
        path = self.options.path or str(bundle.path.absolute())
        section = self.options.section or f"{bundle.name}-{bundle.version}-{bundle.target}"
        for text in (path, section):
            if any(character in text for character in "\n\r[]"):
                raise UsageError(f"{text!r} cannot stand in a preset: it has a line break or a bracket")
        lines = ["version = 1", "", f"[{section}]", f"model = {path}"]
        lines += [f"{name} = {bundle.run[key]}" for key, name in ARGUMENTS.items() if bundle.run.get(key) is not None]
        lost = [text for key, text in _NOT_THERE.items() if bundle.run.get(key)]
        notes = (f"llama-server has no argument for {' and '.join(lost)}: clients have to send them",) if lost else ()
        return Export(text="\n".join(lines) + "\n", notes=notes)
