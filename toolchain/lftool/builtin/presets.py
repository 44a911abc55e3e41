"""`lftool export preset`: a section of llama.cpp's file of presets, with the run contract.

Source: llama.cpp, tools/server/README.md, "Model presets": an INI file for `llama-server --models-preset`, whose sections
are models and whose keys are command-line arguments without their dashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from lftool.api import Export, UsageError
from lftool.builtin.llama_arguments import llama_arguments, lost_notes

if TYPE_CHECKING:
    from lftool.api import ExportRequest

_BREAKS = "\n\r#;"  # end a value: a comment goes on to the end of the line


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
            UsageError: The bundle is no GGUF, or a name has a line break, a bracket, `#` or `;`.
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
            if any(character in text for character in f"{_BREAKS}[]"):
                raise UsageError(f"{text!r} cannot stand in a preset: it has a line break, a bracket, # or ;")
        arguments = {name: value.strip() for name, value in llama_arguments(bundle.run).items()}
        whole = {name: value for name, value in arguments.items() if not any(item in value for item in _BREAKS)}
        lines = ["version = 1", "", f"[{section}]", f"model = {path}"]
        lines += [f"{name} = {value}" for name, value in whole.items()]
        broken = [
            f"a preset cannot hold a {name} of several lines, or with # or ;: clients have to send it"
            for name in arguments
            if name not in whole
        ]
        return Export(text="\n".join(lines) + "\n", notes=(*lost_notes(bundle.run), *broken))
