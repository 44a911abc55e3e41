"""What a rebuild came to: a verdict for each part, and the worst for the whole. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from attrs import field, frozen

from lftool.models.digest import Artifact, Digest
from lftool.models.manifest import BundleManifest

Verdict = Literal["identical", "different", "cannot check here"]
IDENTICAL: Verdict = "identical"
DIFFERENT: Verdict = "different"
CANNOT: Verdict = "cannot check here"
WORST = (IDENTICAL, CANNOT, DIFFERENT)  # a difference is a finding; what cannot be checked may hide another


@frozen(kw_only=True)
class PartVerdict:
    """What was found about one part.

    Attributes:
        part: `weights`, `adapter`, `projector`, `runtime`, or `bundle` for everything together.
        verdict: The verdict.
        reason: What differs, or what is missing; empty if identical.
        hints: What helps.
        expected: In the bundle; None if there is no one blob.
        made: In the rebuilt bundle; None if nothing was made.
    """

    part: str
    verdict: Verdict
    reason: str = ""
    hints: tuple[str, ...] = ()
    expected: Artifact | None = None
    made: Artifact | None = None


@frozen(kw_only=True)
class Tooling:
    """A tool that took part: the semantics of the lock, and what executed them here."""

    semantics: str
    provider: str
    version: str


@frozen(kw_only=True)
class Rebuilt:
    """The result.

    Attributes:
        path: The bundle.
        manifest: Its manifest.
        manifest_digest: M.
        unsigned: U.
        parts: A verdict for each part.
        members: Paths of members that differ, are missing, or are new in the rebuilt bundle.
        kept: The rebuilt bundle, if it was kept.
        tools: What executed the stages here.
        plugins: Distribution to (version, digest) of the plugins that took part.
    """

    path: Path
    manifest: BundleManifest
    manifest_digest: Digest
    unsigned: Artifact
    parts: tuple[PartVerdict, ...]
    members: tuple[str, ...] = ()
    kept: Path | None = None
    tools: tuple[Tooling, ...] = ()
    plugins: Mapping[str, tuple[str, str]] = field(factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of a part."""
        return max((part.verdict for part in self.parts), key=WORST.index)
