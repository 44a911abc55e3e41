"""Whether the terms of what a bundle was made from let it be given to others. lftool asks; it gives no legal advice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lftool.errors import PolicyError

if TYPE_CHECKING:
    from lftool.ops.publishing.gathering import Gathered

# SPDX ids of Creative Commons licences that forbid sharing what was made from a work.
_NO_DERIVATIVES = re.compile(r"\bCC-BY(?:-NC)?-ND-[0-9.]+")


def require_terms(found: Gathered) -> None:
    """Raise unless the bundles may be given to others, as far as their locks and licences tell.

    Raises:
        PolicyError: A source was gated when it was locked, or a licence does not let others have what was made from it.
    """
    for bundle, recipe, lock in zip(found.publication.bundles, found.recipes, found.locks, strict=True):
        for name, source in sorted(lock.sources.items()):
            if source.gated:
                raise PolicyError(
                    f"{bundle.title}: the source {name!r} ({source.uri}) is gated: its owner decides who gets it",
                    hints=("if its terms let you give it to others: --redistribute",),
                )
        made = recipe.targets[bundle.target].quantize is not None or bool(lock.convert)
        forbidding = _NO_DERIVATIVES.search(bundle.license or "") if made else None
        if forbidding:
            raise PolicyError(
                f"{bundle.title}: its licence, {forbidding[0]}, does not let others have what was made from the weights",
                hints=("if you have the right to: --redistribute",),
            )
