"""Rows of detaching and attaching: whole commands against `cp` and `sync` of the same bytes."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING

from packing import LFTOOL, SETTLE_SECONDS, Bench
from quantizing import MEMORY, timed
from rows import Row

if TYPE_CHECKING:
    from pathlib import Path

COPIES, MEBIBYTES = 1.1, 64


def detach_rows(folder: Path, size: int, rounds: int) -> list[Row]:
    """Take a bundle apart and put it together again, every byte checked, against copying it."""
    bench = Bench(folder, size, rounds)
    bench.prepare()
    bundle = next((folder / "dist").iterdir())
    parts, again, copy = folder / "parts", folder / "again", folder / "copy"
    apart = (LFTOOL, "detach", bundle, "-o", parts, "-q")
    together = (LFTOOL, "attach", parts / f"{bundle.stem}.lftool", "-o", again, "-q")
    copying = ("sh", "-c", 'cp "$1" "$2" && sync "$2"', "copy", bundle, copy)
    detached, attached, peer = list[float](), list[float](), list[float]()
    for _ in range(rounds):
        for times, command in ((peer, copying), (detached, apart), (attached, together)):
            if command is not together:  # which needs the parts
                shutil.rmtree(parts, ignore_errors=True)
            for old in (copy, again):
                old.unlink(missing_ok=True)
            os.sync()  # what came before is not to keep the disk busy
            time.sleep(SETTLE_SECONDS)
            times.append(timed(*command)[0])
        if again.stat().st_size != bundle.stat().st_size:
            sys.exit("what was attached is not the bundle")
    memory = []
    for clear, command in ((parts, apart), (again, together)):
        shutil.rmtree(clear, ignore_errors=True) if clear.is_dir() else clear.unlink(missing_ok=True)
        memory.append(int(timed(sys.executable, "-c", MEMORY, *command)[1]) / 1024)
    return [
        Row(name=name, ours=tuple(ours), peer=tuple(peer), peer_name="cp A B && sync B", budget=COPIES)
        for name, ours in (("detach", detached), ("attach", attached))
    ] + [
        Row(name=f"peak memory of {name}", ours=(used,), budget=MEBIBYTES, unit="MiB")
        for name, used in zip(("detach", "attach"), memory, strict=True)
    ]
