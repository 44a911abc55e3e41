"""What `lftool quality` shows of several targets."""

from __future__ import annotations

from lftool.cli.quality_report import Report, Row


def report(*names: str) -> Report:
    rows = [
        Row(target=name, size=1_000_000 * (9 - at), bits=4.0 + at, cells=("3.5", f"+{at}.00%"), costs=(float(at), 0.0))
        for at, name in enumerate(names)
    ]
    return Report(
        title="a <b>", columns=("perplexity", "change"), charts=("rise", "none"), rows=tuple(rows), notes=("on x",)
    )


def test_a_table_is_sorted_by_size_and_aligned() -> None:
    assert report("q8", "a-longer-name").table() == [
        "target           size  bits/weight  perplexity  change",
        "a-longer-name  8.0 MB         5.00         3.5  +1.00%",
        "q8             9.0 MB         4.00         3.5  +0.00%",
    ]


def test_bars_go_from_nothing_to_the_worst() -> None:
    assert report("q8", "q4").bars() == [
        "rise",
        f"  q4     8.0 MB  {'█' * 30}",
        "  q8     9.0 MB  ▏",
        "none",
        "  q4     8.0 MB  ▏",
        "  q8     9.0 MB  ▏",
    ]


def test_a_page_has_what_names_say_as_text() -> None:
    page = report("<script>", "q4").page()
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") == 3  # two charts and a table
    assert page.count("<svg") == 2
