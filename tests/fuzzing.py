"""What parses, on inputs that are nearly right: `make fuzz MINUTES=20`. Each refusal is a LftoolError, soon and within memory.

Inputs are valid ones, changed a little. What is accepted is no failure: other tests say what is to be refused. An input that
fails is kept in the folder that is named, and is the seed of a test to be written.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import multiprocessing
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from lftool.bundle.bundle_files import opened
from lftool.codec.canonical import canonical_json
from lftool.codec.locks import parse_lock
from lftool.codec.manifests import parse_manifest
from lftool.codec.policies import parse_policy
from lftool.codec.recipes import parse_recipe
from lftool.errors import LftoolError
from lftool.formats.gguf_read import read_gguf
from lftool.formats.safetensors import read_safetensors
from lftool.testing import ProjectFolder, tiny_gguf
from lftool.trust.envelope import decode_envelope
from lftool.trust.statement import decode_statement
from lftool_llamacpp.front_matter import problem_of

VALID = Path(__file__).parent.parent / "schemas" / "examples" / "valid"
CASE_SECONDS = 10
DATA_BYTES = 2 << 30
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
_WORDS = (
    b"[",
    b"{",
    b"]",
    b"}",
    b'"',
    b"'",
    b"\\u0000",
    b"\n",
    b"=",
    b".",
    b"&a ",
    b"*a",
    b"<<: ",
    b"- ",
    b"null",
    b"1e999",
    b"-1",
    b"\xed\xa0\x80",
)


def changed(data: bytes, generator: random.Random) -> bytes:
    """Return bytes that differ in one to four places: bits, numbers, words, and pieces that are cut, doubled or moved."""
    made = bytearray(data)
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(made) + 1)
        length = generator.choice((1, 2, 4, 8, 64, 1024))
        match generator.randrange(8):
            case 0 if at < len(made):
                made[at] ^= 1 << generator.randrange(8)
            case 1:
                width = generator.choice((1, 2, 4, 8))
                number = generator.choice(_INTERESTING) % (1 << 8 * width)
                made[at : at + width] = number.to_bytes(width, "little")
            case 2:
                made[at:at] = generator.choice(_WORDS) * generator.choice((1, 1, 1, 2, 50, 3000))
            case 3:
                made[at:at] = made[at : at + length] * generator.choice((1, 1, 2, 100))
            case 4:
                del made[at : at + length]
            case 5:
                piece = made[at : at + length]
                del made[at : at + length]
                to = generator.randrange(len(made) + 1)
                made[to:to] = piece
            case 6:
                digits = list(re.finditer(rb"\d+", bytes(made[at : at + 4096])))
                if digits:
                    found = generator.choice(digits)
                    number = generator.choice(_INTERESTING)
                    made[at + found.start() : at + found.end()] = str(number).encode()
            case _:
                made[at : at + length] = generator.randbytes(length)
    return bytes(made)


@frozen
class Target:
    """What is fuzzed.

    Attributes:
        seeds: Valid inputs.
        read: Reads an input; may raise LftoolError, and nothing else.
        canonical: Whether it is canonical JSON: half of the inputs are then put into that form, to come further.
    """

    seeds: tuple[bytes, ...]
    read: Callable[[bytes], Any]
    canonical: bool = False


def _bundles(folder: Path) -> tuple[bytes, ...]:
    project = ProjectFolder(root=folder / "project", home=folder / "home")
    project.root.mkdir()
    project.home.mkdir()
    tiny_gguf(project.root / "model.gguf", width=32)
    targets = '[targets.a]\nlayout = "gguf"\n[targets.b]\nlayout = "llamafile"\n'
    sources = '[sources.base]\nuri = "file:model.gguf"\n[model]\nweights = "base"\n'
    project.run("keygen", "-o", "release").assert_success()
    signed = '[sign]\nkey = "file:release.key"\n'
    project.write_recipe(f'[bundle]\nname = "tiny"\nversion = "1"\n{sources}{targets}{signed}')
    for command in ("lock", "build"):
        project.run(command).assert_success()
    return tuple(path.read_bytes() for path in sorted((project.root / "dist").iterdir()))


def _through_file(folder: Path, name: str, read: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    def through(data: bytes) -> Any:
        path = folder / name
        path.write_bytes(data)
        return read(path)

    return through


def _opened(path: Path) -> None:
    with opened(path):
        pass


def _signature(bundle: Path) -> bytes:
    with opened(bundle) as found:
        return found.signatures[0]


def _safetensors() -> bytes:
    entries = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [16, 24]},
    }
    header = json.dumps(entries).encode()
    return len(header).to_bytes(8, "little") + header + bytes(24)


_POLICY = b"""version = 1

[[keys]]
name = "release 2026"
public-key = '''
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEw67qXqlNtnZetKDQWr6zwt7VYGmf
3e2Y9ppA50boxtEoVrakSxNJCCIIbYUM9jB6At08OICuArELuoKKPbgupw==
-----END PUBLIC KEY-----
'''
bundles = ["tiny-*", "demo"]
not-before = 2026-01-01
not-after = 2026-12-31
"""
_CARD = b"---\nlicense: mit\nbase_model: &a [x, y]\nwidget:\n- text: hi\n  other: *a\ntags: {a: 1, b: [2, 3]}\n---\n# A model\n"


def targets(folder: Path) -> dict[str, Target]:
    """Return what is fuzzed; files lie in an empty folder."""
    examples = {
        kind: tuple(path.read_bytes() for path in sorted(VALID.glob(f"{kind}-*")))
        for kind in ("lock", "recipe", "manifest")
    }
    bundles = _bundles(folder)
    (folder / "signed").write_bytes(bundles[0])
    signature = _signature(folder / "signed")
    statement = decode_envelope(signature, "signature").payload
    gguf = tiny_gguf(folder / "seed.gguf", width=32).read_bytes()
    return {
        "bundle": Target(bundles, _through_file(folder, "bundle", _opened)),
        "gguf": Target((gguf,), lambda data: read_gguf(io.BytesIO(data), len(data), "x.gguf")),
        "safetensors": Target((_safetensors(),), lambda data: read_safetensors(io.BytesIO(data), len(data), "x")),
        "lock": Target(examples["lock"], lambda data: parse_lock(data, "lftool.lock")),
        "recipe": Target(examples["recipe"], lambda data: parse_recipe(data, "lftool.toml")),
        "manifest": Target(examples["manifest"], lambda data: parse_manifest(data, "manifest"), canonical=True),
        "policy": Target((_POLICY,), lambda data: parse_policy(data, "trust.toml")),
        "envelope": Target((signature,), lambda data: decode_envelope(data, "signature"), canonical=True),
        "statement": Target((statement,), lambda data: decode_statement(data, "statement"), canonical=True),
        "front-matter": Target((_CARD,), _through_file(folder, "README.md", problem_of)),
    }


@define
class Found:
    """What came of fuzzing one target.

    Attributes:
        cases: Inputs that were read.
        refused: How many of them were refused.
        failures: Inputs that failed, each with what happened.
    """

    cases: int = 0
    refused: int = 0
    failures: list[tuple[bytes, str]] = field(factory=list)


class _LateError(BaseException):
    """A case took too long; no handler of what is fuzzed catches it."""


def _late(*_: object) -> None:
    raise _LateError


def fuzz(name: str, target: Target, *, seconds: float = 1e9, cases: int = 1 << 60, seed: str = "") -> Found:
    """Read changed inputs until time or number is used up, or ten have failed.

    Args:
        name: Its name.
        target: What reads.
        seconds: For how long.
        cases: How many.
        seed: Inputs are the same for the same name and seed.
    """
    generator = random.Random(f"{name} {seed}")
    end = time.monotonic() + seconds
    found = Found()
    before = signal.signal(signal.SIGALRM, _late)
    try:
        while found.cases < cases and time.monotonic() < end and len(found.failures) < 10:
            data = changed(generator.choice(target.seeds), generator)
            if target.canonical and generator.randrange(2):
                with contextlib.suppress(ValueError, RecursionError, LftoolError):
                    data = canonical_json(json.loads(data))
            found.cases += 1
            signal.alarm(CASE_SECONDS)
            try:
                target.read(data)
            except LftoolError:
                found.refused += 1
            except _LateError:
                found.failures.append((data, f"more than {CASE_SECONDS} seconds"))
            except Exception:  # noqa: BLE001 - what this looks for
                found.failures.append((data, traceback.format_exc()))
            finally:
                signal.alarm(0)
    finally:
        signal.signal(signal.SIGALRM, before)
    return found


def _one(name: str, seconds: float, seed: str) -> tuple[str, Found]:
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, DATA_BYTES))
    with tempfile.TemporaryDirectory() as folder:
        return name, fuzz(name, targets(Path(folder))[name], seconds=seconds, seed=seed)


def main() -> int:
    """Fuzz every target, and say what came of it.

    Returns:
        0, or 1 where something failed.
    """
    minutes, kept = float(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        names = list(targets(Path(folder)))
    workers = multiprocessing.cpu_count()
    seconds = minutes * 60 * workers / len(names)
    seed = str(time.time_ns())
    print(f"seed {seed}; {len(names)} targets, {seconds:.0f} s each, {workers} at once")
    failed = False
    with multiprocessing.Pool(workers, maxtasksperchild=1) as pool:
        for name, found in pool.starmap(_one, [(name, seconds, seed) for name in names], chunksize=1):
            print(f"{name:14} {found.cases:10,} inputs  {found.refused:10,} refused  {len(found.failures)} failed")
            for data, what in found.failures:
                failed = True
                kept.mkdir(parents=True, exist_ok=True)
                path = kept / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
                path.write_bytes(data)
                print(f"{path}\n{what}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
