"""The last line of `lftool check` counts what does not hold and what could not be made."""

from __future__ import annotations

import pytest

from lftool.errors import PolicyError, UnavailableError
from lftool.ops.checks.report import CheckReport, CheckResult, raise_if_failed


def result(name: str, failure: str | None = None, *, made: bool = True) -> CheckResult:
    return CheckResult(name=name, failure=failure, detail="", seconds=0.0, made=made)


HOLDS, FAILS, ERROR = result("good"), result("bad", "no"), result("broken", "no answer", made=False)


def report(*results: CheckResult) -> CheckReport:
    return CheckReport(bundle="b", target="one", found=dict(enumerate(results)))


def test_all_hold():
    raise_if_failed([report(HOLDS, HOLDS)])


def test_what_does_not_hold_is_counted():
    with pytest.raises(PolicyError, match=r"^1 of 2 checks failed: one/bad$"):
        raise_if_failed([report(HOLDS, FAILS)])


def test_what_could_not_be_made_is_counted():
    with pytest.raises(UnavailableError, match=r"^1 of 2 checks could not be run: one/broken$"):
        raise_if_failed([report(HOLDS, ERROR)])


def test_both_are():
    said = r"^1 of 3 checks failed: one/bad; 1 of 3 checks could not be run: one/broken$"
    with pytest.raises(PolicyError, match=said):
        raise_if_failed([report(HOLDS, FAILS, ERROR)])
