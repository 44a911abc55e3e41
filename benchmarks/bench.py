"""`make bench`: the budgets, each as a ratio against the named peer in the same run; exit status 1 when one is missed."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))
from building import fingerprint_row, small_row, whole_rows
from chart import chart
from confining import lock_row, quantise_row
from detaching import detach_rows
from fetching import fetch_rows
from native import TARGET, export_row, first_token_rows, seed_cache, throughput_row
from packing import GIBIBYTE, Bench
from proving import prove_rows, rebuild_row
from publishing import publish_rows
from quantizing import grid_rows, quantize_rows
from serving import clients_row
from streaming import streaming_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from rows import Row

ROOT = Path(__file__).resolve().parent.parent


def _version(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]


def _raw(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3g}" for value in values)


def report(rows: list[Row], size: int) -> str:
    """Return the table."""
    lines = [
        (
            f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()};"
            f" {_version('openssl', 'version')}; {_version('cp', '--version')}; llama-cpp-python {metadata.version('llama-cpp-python')}; model {size / GIBIBYTE:.1f} GiB"
        ),
        "",
        "| what | ours, median [min-max] | peer, median [min-max] | ratio or value | budget | |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours = f"{statistics.median(row.ours):.3g} {row.unit} [{min(row.ours):.3g}-{max(row.ours):.3g}]"
        peer = (
            f"{row.peer_name}: {statistics.median(row.peer):.3g} {row.unit} [{min(row.peer):.3g}-{max(row.peer):.3g}]"
            if row.peer
            else ""
        )
        name = f"{row.name} ({row.note})" if row.note else row.name
        value = f"{row.value:.2f}x" if row.peer else f"{row.value:.3g} {row.unit}"
        budget = f"≤ {row.budget:g}x" if row.peer else f"≤ {row.budget:g} {row.unit}"
        if row.faster:
            value, budget = f"{1 / row.value:.1f}x faster", f"≥ {1 / row.budget:g}x faster"
        lines.append(f"| {name} | {ours} | {peer} | {value} | {budget} | {'met' if row.met else 'MISSED'} |")
    lines += ["", "Raw times in seconds, in the order of the runs:", ""]
    for row in rows:
        lines.append(f"- {row.name}: ours {_raw(row.ours)}{f'; peer {_raw(row.peer)}' if row.peer else ''}")
    return "\n".join(lines)


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-gib", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only",
        choices=["quantise", "grid", "build", "stream", "native", "confine", "serve", "prove", "detach", "publish"],
        help="only these rows",
    )
    parser.add_argument("--model", type=Path, help="a GGUF of a real model, for the rows that serve one")
    parser.add_argument("--chart", type=Path, help="also draw the table, as an SVG")
    parser.add_argument("--folder", type=Path, help="where to work; needs five times the model's size")
    options = parser.parse_args()
    if options.size_gib < 1:
        sys.exit("a model under 1 GiB measures start-up, not throughput; refused")
    template = ROOT / "examples" / "tiny-story" / "tiny-story-f16.gguf"
    served = options.model or template
    if options.only == "serve":
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
            finish([clients_row(Path(name), served, options.rounds)], served.stat().st_size, options.chart)
        return
    if options.only == "grid":
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
            finish(grid_rows(Path(name), template, min(2, options.rounds)), GIBIBYTE // 2, options.chart)
        return
    whole = int(options.size_gib * GIBIBYTE)
    alone: dict[str, tuple[Callable[[], list[Row]], int]] = {
        "build": (lambda: build_rows(options, served), GIBIBYTE // 2),
        "native": (lambda: native_rows(options, template), whole),
        "prove": (lambda: proof_rows(options, template), GIBIBYTE),
        "detach": (lambda: attach_rows(options), whole),
        "publish": (lambda: pushed_rows(options), whole),
        "confine": (lambda: confined_rows(options), GIBIBYTE),
    }
    if options.only in alone:
        measure, size = alone[options.only]
        finish(measure(), size, options.chart)
        return
    confined = confined_rows(options) if options.only is None else []
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        quantised = quantize_rows(Path(name), template, min(3, options.rounds)) if options.only != "stream" else []
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        example = template.parent / "tiny-story"
        quantised.append(streaming_row(Path(name), example, int(options.size_gib * GIBIBYTE), min(3, options.rounds)))
    if options.only:
        finish(quantised, GIBIBYTE, options.chart)
        return
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:  # first: a busy disk lasts
        fetched = fetch_rows(Path(name), template, options.rounds)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        bench = Bench(Path(name), int(options.size_gib * GIBIBYTE), options.rounds)
        bench.prepare()
        rows = [bench.version(), bench.pack(), bench.noop()]
        rows += [bench.verify("0", 1.15), bench.verify("0,1", 0.65)]
        rows += [bench.first_token(), bench.memory()]
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        rows.append(clients_row(Path(name), served, options.rounds))
    built = build_rows(options, served) + proof_rows(options, template) + attach_rows(options)
    built += pushed_rows(options)
    finish([*rows, *fetched, *quantised, *built, *confined, *native_rows(options, template)], bench.size, options.chart)


def confined_rows(options: argparse.Namespace) -> list[Row]:
    """Measure what confinement costs."""
    rows = []
    for row in (quantise_row, lock_row):
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
            rows.append(row(Path(name), options.rounds))
    return rows


def build_rows(options: argparse.Namespace, model: Path) -> list[Row]:
    """Measure whole builds, a small model and fingerprints."""
    rounds = min(3, options.rounds)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        rows = whole_rows(Path(name), rounds)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        return [*rows, small_row(Path(name), model, rounds), fingerprint_row(rounds)]


def proof_rows(options: argparse.Namespace, template: Path) -> list[Row]:
    """Measure proofs, comparisons and rebuilds."""
    rounds = min(3, options.rounds)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        rows = prove_rows(Path(name), template, rounds)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        return [*rows, rebuild_row(Path(name), rounds)]


def attach_rows(options: argparse.Namespace) -> list[Row]:
    """Measure detaching and attaching."""
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        return detach_rows(Path(name), int(options.size_gib * GIBIBYTE), options.rounds)


def pushed_rows(options: argparse.Namespace) -> list[Row]:
    """Measure pushing, pulling and the metadata stage."""
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        return publish_rows(Path(name), int(options.size_gib * GIBIBYTE), min(3, options.rounds))


def native_rows(options: argparse.Namespace, template: Path) -> list[Row]:
    """Measure native bundles."""
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        rows = [throughput_row(Path(name), template, options.rounds)]
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="lftool-bench-") as name:
        bench = Bench(Path(name), int(options.size_gib * GIBIBYTE), options.rounds)
        seed_cache(bench.folder / "cache")
        bench.prepare(TARGET)
        bundle = bench.folder / "dist" / "bench-1-native.llamafile"
        return [*rows, *first_token_rows(bench, bundle), export_row(bench, bundle)]


def finish(rows: list[Row], size: int, picture: Path | None) -> None:
    """Print the table, draw it, and exit with an error when a budget is missed."""
    told = report(rows, size)
    print(told)
    if picture is not None:
        picture.write_text(chart(told))
    missed = [row.name for row in rows if not row.met]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
