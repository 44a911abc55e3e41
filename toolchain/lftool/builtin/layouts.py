"""The two layouts: the GGUF as the prefix, or a runtime as the prefix with the GGUF as a member."""

from __future__ import annotations

from lftool.api import WEIGHTS_PATH, LayoutInputs, LayoutPlan, PlannedMember, PlannedPrefix, RecipeError


class GGUFLayout:
    """The file is a GGUF to every reader of that format; the archive follows the last tensor."""

    def plan(self, inputs: LayoutInputs) -> LayoutPlan:
        """Return the plan.

        Raises:
            RecipeError: The recipe asks for a runtime, and a GGUF has no room for one.
        """
        if inputs.runtime_prefix is not None:
            raise RecipeError("layout gguf has no runtime: the GGUF itself is the prefix")
        return LayoutPlan(prefix=PlannedPrefix(role="gguf", artifact=inputs.weights), members=inputs.companions)


class LlamafileLayout:
    """The file is executable; the GGUF is an aligned member that is mapped in place."""

    def plan(self, inputs: LayoutInputs) -> LayoutPlan:
        """Return the plan.

        Raises:
            RecipeError: There is no runtime.
        """
        if inputs.runtime_prefix is None:
            raise RecipeError("layout llamafile needs a runtime")
        weights = PlannedMember(path=WEIGHTS_PATH, role="weights", artifact=inputs.weights)
        return LayoutPlan(
            prefix=PlannedPrefix(role="runtime", artifact=inputs.runtime_prefix),
            members=(weights, *inputs.companions, *inputs.runtime_members),
        )
