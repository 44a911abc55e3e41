"""The check `budget`: a bundle is no larger than that. It asks the model nothing, so no server is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.validators import ge

from lftool.api import Finding

if TYPE_CHECKING:
    from lftool.api import CheckContext


@frozen(kw_only=True)
class Options:
    """Keys of `[[checks]] kind = "budget"`."""

    most_bytes: int = field(validator=ge(1), metadata={"doc": "The most bytes that the bundle may have."})


@frozen
class Budget:
    """One check of a recipe."""

    options: Options

    def check(self, context: CheckContext) -> Finding:
        """Compare sizes."""
        most, size = self.options.most_bytes, context.bundle.size
        failure = None if size <= most else f"the bundle has {size:,} bytes, and the check allows {most:,}"
        return Finding(failure=failure, detail=f"{size:,} bytes")
