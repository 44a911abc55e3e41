"""`lftool build`: what it prints, where bundles go, and under which lock it works at all."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
import tomllib

import attrs
import pytest

from lftool.cli.shared_options import size_text
from lftool.testing import tiny_gguf

SHARED_WORK = """\
[bundle]
name = "tiny"
version = "1"

[sources.base]
uri = "file:model.gguf"

[model]
weights = "base"

[targets.alone]
quantize = "Q8_0"
layout = "llamafile"

[targets.plain]
layout = "gguf"

[targets.q8]
quantize = "Q8_0"
layout = "gguf"
"""


def sha256_of(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def state(path) -> tuple[int, bytes]:
    return path.stat().st_mtime_ns, path.read_bytes()


def test_json_is_all_that_stands_on_standard_output(locked_project):
    outcome = locked_project.spawn("build", "--json").assert_success()

    path = locked_project.root / "dist" / "tiny-1-plain.gguf"
    assert outcome.json() == {
        "bundles": [
            {
                "target": "plain",
                "path": str(path),
                "size": path.stat().st_size,
                "unsigned_sha256": sha256_of(path),
                "sha256": sha256_of(path),
                "signed": False,
            }
        ]
    }


def test_json_of_a_signed_bundle_names_both_digests(locked_project):
    unsigned = locked_project.run("build", "--json").assert_success().json()["bundles"][0]["sha256"]
    locked_project.run("keygen", "-o", "release").assert_success()
    locked_project.write_recipe(locked_project.recipe.read_text() + '\n[sign]\nkey = "file:release.key"\n')

    outcome = locked_project.run("build", "--json").assert_success()

    path = locked_project.root / "dist" / "tiny-1-plain.gguf"
    assert outcome.json()["bundles"] == [
        {
            "target": "plain",
            "path": str(path),
            "size": path.stat().st_size,
            "unsigned_sha256": unsigned,
            "sha256": sha256_of(path),
            "signed": True,
        }
    ]
    assert sha256_of(path) != unsigned


def test_json_of_a_second_build_is_the_same(locked_project):
    first = locked_project.run("build", "--json").assert_success().json()

    assert locked_project.run("build", "--json").assert_success().json() == first


def test_people_get_one_line_a_bundle_and_the_digest_on_demand(locked_project):
    outcome = locked_project.run("build").assert_success()

    path = locked_project.root / "dist" / "tiny-1-plain.gguf"
    assert re.fullmatch(rf"{path}  {path.stat().st_size / 1000:.1f} kB, \d+\.\d\d bits a weight\n", outcome.out)
    assert re.fullmatch(r"1 bundle in \d+\.\d s", outcome.err.splitlines()[-1])
    verbose = locked_project.run("build", "-v").assert_success().out
    assert verbose == f"{path}  {path.stat().st_size / 1000:.1f} kB\n  sha256 {sha256_of(path)}\n"
    assert locked_project.run("build", "-q").assert_success().err == ""


def test_a_quantised_bundle_says_what_it_was_made_from(quantized_project):
    path = quantized_project.root / "dist" / "tiny-1-q8.gguf"
    source = quantized_project.root / "model.gguf"
    out = quantized_project.run("build").assert_success().out
    size, before = (size_text(file.stat().st_size) for file in (path, source))
    assert re.fullmatch(rf"{path}  {size} from {before}, \d+\.\d\d bits a weight\n", out)


def test_progress_goes_to_standard_error_a_line_a_stage(quantized_project):
    lines = quantized_project.spawn("build").assert_success().err.splitlines()

    assert [line.split()[:2] for line in lines] == [
        ["fetch", "base"],
        ["quantize", "q8"],
        ["pack", "q8"],
        ["note", "unsigned:"],
        ["1", "bundle"],
    ]


def test_a_second_build_says_what_it_took_from_the_cache(quantized_project):
    quantized_project.run("build").assert_success()

    outcome = quantized_project.spawn("build").assert_success()

    *lines, last = outcome.err.splitlines()
    assert lines == [
        " quantize  q8  cached: Q8_0 with strict",
        "     pack  q8  cached: tiny-1-q8.gguf",
        "     note  unsigned: the recipe has no [sign]",
    ]
    assert last.startswith("1 bundle in ")


def test_an_unsigned_recipe_says_so(locked_project):
    outcome = locked_project.spawn("build").assert_success()

    assert outcome.err.splitlines()[-2] == "     note  unsigned: the recipe has no [sign]"


def test_no_sign_stops_at_the_unsigned_bundle_and_says_so(locked_project):
    unsigned = locked_project.run("build", "--json").assert_success().json()
    locked_project.write_recipe(locked_project.recipe.read_text() + '\n[sign]\nkey = "file:not-there.key"\n')

    outcome = locked_project.spawn("build", "--no-sign", "--json").assert_success()

    assert outcome.json() == unsigned
    assert outcome.err.splitlines()[-1] == "     note  unsigned: --no-sign"


def test_another_folder_can_be_chosen(locked_project, tmp_path):
    locked_project.run("build", "-o", tmp_path / "out").assert_success()

    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tiny-1-plain.gguf"]
    assert not (locked_project.root / "dist").exists()


def test_a_relative_folder_is_relative_to_the_working_directory_and_reported_absolute(locked_project):
    outcome = locked_project.run("build", "-o", "out", "--json").assert_success()

    assert outcome.json()["bundles"][0]["path"] == str(locked_project.root / "out" / "tiny-1-plain.gguf")


def test_an_unknown_target_is_refused_with_the_valid_ones(locked_project):
    outcome = locked_project.run("build", "plian")

    assert (outcome.status, outcome.err) == (2, "error: the recipe has no target 'plian'; did you mean 'plain'?\n")


def test_only_the_named_target_is_built(locked_project):
    locked_project.write_recipe(locked_project.recipe.read_text() + '\n[targets.second]\nlayout = "gguf"\n')
    locked_project.run("lock").assert_success()

    locked_project.run("build", "second").assert_success()

    assert [path.name for path in (locked_project.root / "dist").iterdir()] == ["tiny-1-second.gguf"]
    targets = tomllib.loads(locked_project.lock.read_text())["targets"]
    assert targets["plain"]["pack"].keys() == {"action"}
    assert targets["second"]["pack"].keys() == {"action", "manifest", "sha256", "size"}


@pytest.mark.parametrize("options", [[], ["--locked"], ["--frozen"], ["--offline"], ["--dry-run"]])
def test_without_a_lock_and_a_terminal_nothing_is_built(plain_project, options):
    outcome = plain_project.spawn("build", *options)

    assert (outcome.status, outcome.out, outcome.err) == (
        3,
        "",
        f"error: there is no lftool.lock in {plain_project.root}\n  hint: make one: lftool lock\n",
    )
    assert sorted(path.name for path in plain_project.root.iterdir()) == ["lftool.toml", "model.gguf"]


@pytest.mark.parametrize("options", [[], ["--locked"], ["--frozen"], ["--offline"], ["--dry-run"]])
def test_nothing_is_built_from_a_stale_lock(locked_project, options):
    locked_project.write_recipe(locked_project.recipe.read_text() + "\n[run]\ncontext = 64\n")
    before = state(locked_project.lock)

    outcome = locked_project.run("build", *options)

    assert (outcome.status, outcome.err) == (
        3,
        "error: lftool.lock is stale:\n  run.context: added, 64\n  hint: bring it up to date: lftool lock\n",
    )
    assert state(locked_project.lock) == before
    assert not (locked_project.root / "dist").exists()


@pytest.mark.parametrize("option", ["--locked", "--frozen"])
def test_a_locked_build_needs_every_output_in_the_lock(locked_project, option):
    before = state(locked_project.lock)

    outcome = locked_project.run("build", option)

    assert (outcome.status, outcome.err) == (
        3,
        (
            "error: lftool.lock has no output for targets.plain, stage pack; --locked needs it to compare with\n"
            "  hint: build once without --locked, or `lftool lock --record BUNDLE`, and commit the lock\n"
        ),
    )
    assert state(locked_project.lock) == before
    assert not (locked_project.root / "dist").exists()


@pytest.mark.parametrize("option", ["--locked", "--frozen"])
def test_a_locked_build_does_not_write_the_lock(locked_project, option):
    locked_project.run("build").assert_success()
    before = state(locked_project.lock)

    locked_project.run("build", option, "-o", "again").assert_success()

    assert state(locked_project.lock) == before
    first, again = (locked_project.root / folder / "tiny-1-plain.gguf" for folder in ("dist", "again"))
    assert again.read_bytes() == first.read_bytes()


def test_a_locked_build_works_with_an_empty_cache(locked_project, tmp_path):
    locked_project.run("build").assert_success()
    (tmp_path / "empty").mkdir()
    other = attrs.evolve(locked_project, home=tmp_path / "empty")

    other.run("build", "--frozen", "-o", "again").assert_success()

    first, again = (locked_project.root / folder / "tiny-1-plain.gguf" for folder in ("dist", "again"))
    assert again.read_bytes() == first.read_bytes()


def test_a_locked_build_of_one_target_does_not_ask_for_the_outputs_of_others(locked_project):
    locked_project.run("build").assert_success()
    locked_project.write_recipe(locked_project.recipe.read_text() + '\n[targets.second]\nlayout = "gguf"\n')
    locked_project.run("lock").assert_success()

    locked_project.run("build", "--locked", "plain").assert_success()


def test_offline_builds_and_records(locked_project):
    locked_project.run("build", "--offline").assert_success()

    assert "sha256" in tomllib.loads(locked_project.lock.read_text())["targets"]["plain"]["pack"]


def test_from_the_cache_it_builds_without_the_source(locked_project):
    (locked_project.root / "model.gguf").unlink()

    locked_project.run("build").assert_success()


def test_a_dry_run_prints_the_plan_with_what_is_cached_and_builds_nothing(quantized_project):
    quantized_project.write_recipe(SHARED_WORK)
    quantized_project.run("lock").assert_success()

    outcome = quantized_project.run("build", "--dry-run").assert_success()

    size = (quantized_project.root / "model.gguf").stat().st_size / 1e6
    assert outcome.out == (
        f"    fetch  alone, plain, q8  base/model.gguf, {size:.1f} MB  cached\n"
        " quantize  alone, q8  Q8_0 with strict\n"
        "     pack  alone  layout llamafile\n"
        "     pack  plain  layout gguf\n"
        "     pack  q8  layout gguf\n"
    )
    assert not (quantized_project.root / "dist").exists()


def test_a_dry_run_in_json_has_steps_with_what_they_wait_for_their_actions_and_outputs(locked_project):
    locked_project.write_recipe(locked_project.recipe.read_text() + '\n[sign]\nkey = "env:SOME_KEY"\n')

    outcome = locked_project.run("build", "--dry-run", "--json").assert_success()

    lock = tomllib.loads(locked_project.lock.read_text())
    (file,) = lock["sources"]["base"]["files"]
    common = {"targets": ["plain"], "output": None, "action": None}
    assert outcome.json() == {
        "steps": [
            {
                **common,
                "name": "fetch base/model.gguf",
                "stage": "fetch",
                "detail": f"base/model.gguf, {file['size'] / 1e6:.1f} MB",
                "cached": True,
                "after": [],
                "output": {"sha256": file["sha256"], "size": file["size"]},
            },
            {
                **common,
                "name": "pack plain",
                "stage": "pack",
                "detail": "layout gguf",
                "cached": False,
                "after": ["fetch base/model.gguf"],
                "action": lock["targets"]["plain"]["pack"]["action"],
            },
            {
                **common,
                "name": "sign plain",
                "stage": "sign",
                "detail": "env:SOME_KEY",
                "cached": False,
                "after": ["pack plain"],
            },
        ]
    }


def test_the_steps_of_a_dry_run_can_be_drawn(locked_project):
    drawn = locked_project.run("build", "--dry-run", "--graph", "mermaid").assert_success()
    assert drawn.out.splitlines()[0] == "flowchart LR"
    assert '["pack plain<br/>layout gguf"]' in drawn.out
    assert locked_project.run("build", "--dry-run", "--graph", "svg").assert_success().out.startswith("<svg ")


@pytest.mark.parametrize("arguments", [["--graph", "svg"], ["--dry-run", "--json", "--graph", "svg"]])
def test_a_drawing_goes_with_a_dry_run_and_is_no_json(locked_project, arguments):
    outcome = locked_project.run("build", *arguments)
    assert outcome.status == 2
    assert "--graph needs --dry-run and cannot be used with --json" in outcome.err


def test_after_a_build_the_plan_says_that_quantised_weights_are_cached(quantized_project):
    quantized_project.run("build").assert_success()

    outcome = quantized_project.run("build", "--dry-run").assert_success()

    assert outcome.out == " quantize  q8  Q8_0 with strict  cached\n     pack  q8  layout gguf\n"


def test_a_finished_bundle_is_cached_in_the_plan_once_it_has_settled(locked_project):
    locked_project.run("keygen", "-o", "release").assert_success()
    locked_project.write_recipe(locked_project.recipe.read_text() + '\n[sign]\nkey = "file:release.key"\n')
    locked_project.run("build").assert_success()
    time.sleep(2.1)  # a file younger than two seconds gets no stamp
    locked_project.run("build").assert_success()

    outcome = locked_project.run("build", "--dry-run").assert_success()

    size = (locked_project.root / "model.gguf").stat().st_size / 1e6
    assert outcome.out == (
        f"    fetch  plain  base/model.gguf, {size:.1f} MB  cached\n"
        "     pack  plain  layout gguf  cached\n"
        "     sign  plain  file:release.key  cached\n"
    )


def test_targets_that_ask_for_the_same_weights_share_the_work(quantized_project):
    quantized_project.write_recipe(SHARED_WORK)
    quantized_project.run("lock").assert_success()

    lines = quantized_project.spawn("build").assert_success().err.splitlines()

    done = [line.split()[:2] for line in lines if line.split()[0] == "quantize"]
    assert done == [["quantize", "alone"]]
    quantize = {
        name: target["quantize"]
        for name, target in tomllib.loads(quantized_project.lock.read_text())["targets"].items()
        if "quantize" in target
    }
    assert quantize.keys() == {"alone", "q8"}
    assert quantize["alone"] == quantize["q8"]
    assert "sha256" in quantize["q8"]


def test_a_llamafile_is_executable_and_a_gguf_is_not(locked_project):
    locked_project.write_recipe(locked_project.recipe.read_text() + '\n[targets.starts]\nlayout = "llamafile"\n')
    locked_project.run("lock").assert_success()

    locked_project.run("build").assert_success()

    modes = {path.name: path.stat().st_mode & 0o777 for path in (locked_project.root / "dist").iterdir()}
    assert modes == {"tiny-1-plain.gguf": 0o644, "tiny-1-starts.llamafile": 0o755}


def test_a_source_that_changed_after_locking_is_refused_with_both_digests(locked_project, tmp_path):
    pinned = sha256_of(locked_project.root / "model.gguf")
    path = tiny_gguf(locked_project.root / "model.gguf", width=32, seed=1)
    size = path.stat().st_size
    (tmp_path / "empty").mkdir()
    project = attrs.evolve(locked_project, home=tmp_path / "empty")

    outcome = project.run("build")

    assert outcome.status == 4
    assert outcome.err.splitlines()[-2:] == [
        (
            f"error: source 'base', file model.gguf: expected sha256 {pinned} ({size} bytes),"
            f" got {sha256_of(path)} ({size} bytes); it has changed since it was locked"
        ),
        "  hint: to accept the change: lftool lock --upgrade base",
    ]
    assert not list((project.root / "dist").glob("*"))


def test_a_source_that_grew_after_locking_is_refused(locked_project, tmp_path):
    path = locked_project.root / "model.gguf"
    pinned, size = sha256_of(path), path.stat().st_size
    path.write_bytes(path.read_bytes() + bytes(32))
    (tmp_path / "empty").mkdir()

    outcome = attrs.evolve(locked_project, home=tmp_path / "empty").run("build")

    assert outcome.status == 4
    assert outcome.err.splitlines()[-2:] == [
        (
            f"error: source 'base', file model.gguf: expected sha256 {pinned} ({size} bytes),"
            f" got {sha256_of(path)} ({size + 32} bytes); it has changed since it was locked"
        ),
        "  hint: to accept the change: lftool lock --upgrade base",
    ]


def test_the_hint_of_a_changed_source_works(locked_project, tmp_path):
    tiny_gguf(locked_project.root / "model.gguf", width=32, seed=1)
    (tmp_path / "empty").mkdir()
    project = attrs.evolve(locked_project, home=tmp_path / "empty")
    project.run("lock", "--upgrade", "base").assert_success()

    project.run("build").assert_success()


def test_a_failed_build_leaves_an_earlier_bundle_alone(locked_project, tmp_path):
    locked_project.run("build").assert_success()
    bundle = locked_project.root / "dist" / "tiny-1-plain.gguf"
    before = state(bundle)
    tiny_gguf(locked_project.root / "model.gguf", width=32, seed=1)
    (tmp_path / "empty").mkdir()

    assert attrs.evolve(locked_project, home=tmp_path / "empty").run("build").status == 4

    assert state(bundle) == before


def test_a_bundle_that_somebody_changed_is_made_again(locked_project):
    locked_project.run("build").assert_success()
    bundle = locked_project.root / "dist" / "tiny-1-plain.gguf"
    good = bundle.read_bytes()
    bundle.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))

    locked_project.run("build").assert_success()

    assert bundle.read_bytes() == good


def test_a_bundle_that_is_as_it_should_be_is_not_written_again(locked_project):
    locked_project.run("build").assert_success()
    bundle = locked_project.root / "dist" / "tiny-1-plain.gguf"
    before = bundle.stat()

    locked_project.run("build").assert_success()

    after = bundle.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("jobs", ["1", "2", "7"])
def test_the_number_of_threads_changes_no_byte(quantized_project, jobs, warm_bundle):
    quantized_project.run("build", "-j", jobs).assert_success()

    assert (quantized_project.root / "dist" / "tiny-1-q8.gguf").read_bytes() == warm_bundle


@pytest.fixture(scope="module")
def warm_bundle(warm_project, tmp_path_factory) -> bytes:
    """The bundle of the quantised project, built on its own."""
    base = tmp_path_factory.mktemp("warm-bundle")
    shutil.copytree(warm_project.root, base / "project")
    shutil.copytree(warm_project.home, base / "home")
    attrs.evolve(warm_project, root=base / "project", home=base / "home").run("build").assert_success()
    return (base / "project" / "dist" / "tiny-1-q8.gguf").read_bytes()


def test_no_threads_at_all_is_a_usage_error(locked_project):
    outcome = locked_project.run("build", "-j", "0")

    assert outcome.status == 2
    assert outcome.err.splitlines()[-2] == "error: invalid value for '-j' / '--jobs': 0 is not in the range x>=1."


WATCHER = """\
import os, sys
def look(event, arguments):
    if event in {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.system", "os.exec", "os.spawn"}:
        with open(os.environ["STARTED"], "a") as file:
            file.write(event + "\\n")
sys.addaudithook(look)
"""


def test_a_build_with_everything_there_starts_no_process(quantized_project, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WATCHER)
    variables = {"PYTHONPATH": str(tmp_path), "STARTED": str(tmp_path / "started")}

    quantized_project.spawn("build", env=variables).assert_success()
    assert (tmp_path / "started").exists()
    (tmp_path / "started").unlink()
    time.sleep(2.1)  # a file younger than two seconds gets no stamp
    quantized_project.spawn("build").assert_success()

    quantized_project.spawn("build", env=variables).assert_success()
    assert not (tmp_path / "started").exists()
