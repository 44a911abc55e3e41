"""Results of checks as JUnit XML, which CI systems show: testsuites, testsuite, testcase, failure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.ops.bundle_checks import CheckReport

# What XML 1.0 cannot hold: models say anything.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _text(value: str) -> str:
    return _FORBIDDEN.sub("\ufffd", value)


def junit_xml(reports: Sequence[CheckReport]) -> bytes:
    """Return the document."""
    results = [result for report in reports for result in report.results]
    root = ET.Element("testsuites", tests=str(len(results)), failures=str(sum(len(r.failed) for r in reports)))
    for report in reports:
        suite = ET.SubElement(
            root,
            "testsuite",
            name=_text(report.bundle),
            tests=str(len(report.results)),
            failures=str(len(report.failed)),
            time=f"{sum(result.seconds for result in report.results):.3f}",
        )
        for result in report.results:
            case = ET.SubElement(
                suite, "testcase", name=_text(result.name), classname=_text(report.target), time=f"{result.seconds:.3f}"
            )
            if result.failure is not None:
                ET.SubElement(case, "failure", message=_text(result.failure.partition("\n")[0])).text = _text(
                    result.failure
                )
            elif result.detail:
                ET.SubElement(case, "system-out").text = _text(result.detail)
    ET.indent(root)
    made: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return made + b"\n"
