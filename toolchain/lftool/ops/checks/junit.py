"""Write check results as JUnit XML, which CI systems display: testsuites, testsuite, testcase.

A failure is a check that did not pass; an error is one that could not run, or a bundle not checked to the end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.ops.checks.report import CheckReport

# Characters that XML 1.0 cannot hold: a model's answer may contain any.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _text(value: str) -> str:
    return _FORBIDDEN.sub("\ufffd", value)


def _counts(reports: Sequence[CheckReport]) -> dict[str, str]:
    ended = sum(report.error is not None for report in reports)
    errors = ended + sum(len(report.unmade) for report in reports)
    return {
        "tests": str(sum(len(report.results) for report in reports) + ended),
        "failures": str(sum(len(report.failed) for report in reports)),
        "errors": str(errors),
    }


def junit_xml(reports: Sequence[CheckReport]) -> bytes:
    """Return the document."""
    root = ET.Element("testsuites", _counts(reports))
    for report in reports:
        took = sum(result.seconds for result in report.results)
        about = {"name": _text(report.bundle), "time": f"{took:.3f}", **_counts([report])}
        suite = ET.SubElement(root, "testsuite", about)
        for result in report.results:
            case = ET.SubElement(
                suite, "testcase", name=_text(result.name), classname=_text(report.target), time=f"{result.seconds:.3f}"
            )
            if result.failure is not None:
                element = ET.SubElement(case, "failure" if result.made else "error")
                element.set("message", _text(result.failure.partition("\n")[0]))
                element.text = _text(result.failure)
            if result.detail:
                ET.SubElement(case, "system-out").text = _text(result.detail)
        if report.error is not None:
            case = ET.SubElement(suite, "testcase", name="checked to the end", classname=_text(report.target))
            ET.SubElement(case, "error", message=_text(report.error.partition("\n")[0])).text = _text(report.error)
    ET.indent(root)
    made: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return made + b"\n"
