"""Results of the checks of a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen

from lftool.errors import PolicyError, UnavailableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN = 200


@frozen(kw_only=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: Its name in reports.
        failure: Why it failed or could not run; None if it passed.
        detail: The full finding: the model's answer, if the check is about one.
        seconds: Duration in seconds.
        made: Whether it could run.
    """

    name: str
    failure: str | None
    detail: str
    seconds: float
    made: bool = True


@define(kw_only=True)
class CheckReport:
    """The results of all checks of a bundle, filled in as they run.

    Attributes:
        bundle: Name of the file.
        target: Target in the recipe; empty until the bundle has been read.
        found: Number of a check to its result.
        error: Why checking stopped early; None if it did not.
        asked: What the checks ran on: the runtime and its device; empty if no answer was needed.
    """

    bundle: str
    target: str = ""
    found: dict[int, CheckResult] = field(factory=dict)
    error: str | None = None
    asked: str = ""

    @property
    def results(self) -> tuple[CheckResult, ...]:
        """The results in the order of the recipe."""
        return tuple(self.found[number] for number in sorted(self.found))

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The results that failed."""
        return tuple(result for result in self.results if result.failure is not None and result.made)

    @property
    def unmade(self) -> tuple[CheckResult, ...]:
        """The checks that could not run."""
        return tuple(result for result in self.results if not result.made)


def raise_if_failed(reports: Sequence[CheckReport]) -> None:
    """Raise unless all checks of all bundles passed.

    Raises:
        PolicyError: A check failed.
        UnavailableError: A check could not run.
        UsageError: There were no checks to run.
    """
    if not any(report.results for report in reports):
        targets = ", ".join(report.target for report in reports)
        raise UsageError(
            f"the recipe has no [[checks]] for {targets}", hints=("how to write them: lftool help check-bundles",)
        )
    total = sum(len(report.results) for report in reports)
    failed = [f"{report.target}/{result.name}" for report in reports for result in report.failed]
    unmade = [f"{report.target}/{result.name}" for report in reports for result in report.unmade]
    not_made = f"{len(unmade)} of {total} checks could not be run: {', '.join(unmade)}"
    if failed:
        more = f"; {not_made}" if unmade else ""
        raise PolicyError(f"{len(failed)} of {total} checks failed: {', '.join(failed)}{more}")
    if unmade:
        raise UnavailableError(not_made)


def _left_out(text: str) -> str:
    rest = len(text) - _SHOWN
    return f" … ({rest} more characters)" if rest > 0 else ""


def beginning(text: str) -> str:
    """Return the beginning of a text, shortened for display."""
    return text[:_SHOWN] + _left_out(text)
