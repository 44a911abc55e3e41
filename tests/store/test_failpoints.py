"""`kill -9`, a full disk and Ctrl-C at every step of every write path of a real command.

The quick suite kills around each rename, where the old file gives way to the new one; the slow one walks all steps.
"""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import frozen

from lftool.models.digest import Digest
from lftool.store.durable import LABELS, STEPS
from lftool.testing import Outcome, ProjectFolder, tiny_gguf
from lftool.testing.plugin import PLAIN_RECIPE

QUICK_STEPS = ("before-rename", "after-rename")
STORY = Path(__file__).parents[2] / "examples" / "tiny-story" / "tiny-story-f16.gguf"
QUALITY = ("quality", "plain", "--text", "text.txt", "--context", "8", "-j", "1")
BUNDLE = Path("dist") / "tiny-1-plain.gguf"
LITTER = re.compile(r"(^|/)\.lftool-[^/]*\.tmp(/|$)")
NO_SPACE_HINT = "  hint: free some space on that disk; if the cache is there, `lftool cache gc` shrinks it, and XDG_CACHE_HOME moves it\n"


@frozen(kw_only=True)
class Scene:
    """A command that writes through `label`, in a project where something is lost if that goes wrong."""

    name: str
    label: str
    command: tuple[str, ...]
    prepare: Callable[[ProjectFolder], None]
    follow_up: tuple[tuple[str, ...], ...] = ()
    quantized: bool = False


@frozen
class Stages:
    """A project before the command, after it, and when the follow-up is done as well."""

    before: ProjectFolder
    after: ProjectFolder
    done: ProjectFolder


def _plain(project: ProjectFolder) -> None:
    tiny_gguf(project.root / "model.gguf", width=32)
    project.write_recipe(PLAIN_RECIPE)


def _locked(project: ProjectFolder) -> None:
    _plain(project)
    project.run("lock").assert_success()


def _with_an_older_bundle(project: ProjectFolder) -> None:
    """An older bundle in dist, and a fresh lock for a newer one of the same name."""
    _locked(project)
    project.run("build").assert_success()
    project.write_recipe(PLAIN_RECIPE + "[run]\ncontext = 64\n")
    project.run("lock").assert_success()


def _with_an_older_lock(project: ProjectFolder) -> None:
    _locked(project)
    project.write_recipe(PLAIN_RECIPE + "[run]\ncontext = 64\n")


def _cold_with_a_bundle(project: ProjectFolder) -> None:
    _with_an_older_bundle(project)
    shutil.rmtree(project.cache)


def _built(project: ProjectFolder) -> None:
    _locked(project)
    project.run("build").assert_success()


def _without_stamps(project: ProjectFolder) -> None:
    shutil.rmtree(project.cache / "stamps-v1")


def _nothing(project: ProjectFolder) -> None:
    pass


def _measured_before(project: ProjectFolder) -> None:
    """What is measured is remembered; its statement is gone."""
    shutil.copy(STORY, project.root / "model.gguf")
    (project.root / "text.txt").write_text("Once upon a time there was a fox. " * 4)
    recipe = PLAIN_RECIPE.replace("[targets.plain]", '[targets.plain]\nquantize = "Q8_0"')
    project.write_recipe(recipe + '[sign]\nkey = "file:release.key"\n')
    project.run("keygen", "-o", "release").assert_success()
    project.run("lock").assert_success()
    project.run("build").assert_success()
    project.run(*QUALITY).assert_success()
    (project.root / "dist" / "tiny-1-plain.quality.sigstore.json").unlink()


SCENES = (
    Scene(name="blob", label="blob", command=("build",), prepare=_cold_with_a_bundle),
    Scene(name="facts", label="facts", command=("build",), prepare=_cold_with_a_bundle),
    Scene(name="action", label="action", command=("build",), prepare=_nothing, quantized=True),
    Scene(
        name="stamp",
        label="stamp",
        command=("lock",),
        prepare=_without_stamps,
        follow_up=(("build",),),
        quantized=True,
    ),
    Scene(name="lock", label="lock", command=("lock",), prepare=_with_an_older_lock, follow_up=(("build",),)),
    Scene(name="lock-outputs", label="lock", command=("build",), prepare=_locked),
    Scene(name="bundle", label="bundle", command=("build",), prepare=_with_an_older_bundle),
    Scene(name="key", label="key", command=("keygen", "-o", "release"), prepare=_nothing),
    Scene(name="extract", label="extract", command=("extract", str(BUNDLE), "parts"), prepare=_built),
    Scene(name="recipe", label="recipe", command=("init", "--name", "tiny"), prepare=_nothing),
    Scene(name="statement", label="statement", command=QUALITY, prepare=_measured_before),
)


def _walk(scenes: tuple[Scene, ...], quick: tuple[str, ...] = QUICK_STEPS) -> list[object]:
    return [
        pytest.param(scene, step, id=f"{scene.name}-{step}", marks=() if step in quick else pytest.mark.slow)
        for scene in scenes
        for step in STEPS
    ]


@pytest.fixture(scope="session")
def scenes(tmp_path_factory, quantized_template) -> Callable[[Scene], Stages]:
    """A scene as it runs undisturbed; made once, to be copied and compared only."""
    made: dict[str, Stages] = {}

    def get(scene: Scene) -> Stages:
        if scene.name not in made:
            folder = tmp_path_factory.mktemp(scene.name)
            before = ProjectFolder(root=folder / "before" / "project", home=folder / "before" / "home")
            if scene.quantized:
                before = _copied(quantized_template, folder / "before")
            else:
                before.root.mkdir(parents=True)
                before.home.mkdir()
            scene.prepare(before)
            after = _copied(before, folder / "after")
            _run(after, *scene.command).assert_success()
            done = _copied(after, folder / "done")
            for command in scene.follow_up:
                _run(done, *command).assert_success()
            made[scene.name] = Stages(before, after, done)
        return made[scene.name]

    return get


def _run(project: ProjectFolder, *command: str) -> Outcome:
    """Run a command in this process, save for the one that ends its process by becoming another."""
    return project.spawn(*command) if command[0] == "run" else project.run(*command)


def _files(project: ProjectFolder) -> dict[str, bytes]:
    """Every file of the project and the notes beside the store; of a key, which is random, whether it is whole."""
    pem = re.compile(rb"-----BEGIN ([A-Z ]+)-----\n[A-Za-z0-9+/=\n]+-----END \1-----\n\Z")
    files = {str(path.relative_to(project.root)): path for path in project.root.rglob("*") if path.is_file()}
    files |= {path.name: path for path in project.cache.glob("*.json")}
    return {
        name: (b"a whole key" if pem.match(path.read_bytes()) else b"half a key")
        if path.suffix in {".key", ".pub"}
        else path.read_bytes()
        for name, path in sorted(files.items())
    }


def _copied(template: ProjectFolder, folder: Path) -> ProjectFolder:
    copied = ProjectFolder(root=folder / "project", home=folder / "home")
    shutil.copytree(template.root, copied.root)
    shutil.copytree(template.home, copied.home)
    return copied


def _torn(before: dict[str, bytes], got: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """The files that are neither as they were nor as they will be; temporary files do not count."""
    return [
        name
        for name in sorted(before.keys() | got.keys())
        if not LITTER.search(name) and got.get(name) not in (before.get(name), after.get(name))
    ]


def _litter(*roots: Path) -> list[str]:
    return sorted(str(path) for root in roots for path in root.rglob("*") if LITTER.search(path.name))


def test_every_write_path_is_walked():
    assert {scene.label for scene in SCENES} == set(LABELS)


@pytest.mark.parametrize(("scene", "step"), _walk(SCENES))
def test_a_kill_leaves_old_or_new_and_a_plain_rerun_finishes(scene, step, scenes, tmp_path):
    stages = scenes(scene)
    project = _copied(stages.before, tmp_path)
    old, new = _files(stages.before), _files(stages.after)

    killed = project.spawn(*scene.command, env={"LFTOOL_FAILPOINT": f"{scene.label}.{step}=kill"})
    assert killed.status == -signal.SIGKILL, f"{scene.label}.{step} was not reached: {killed}"
    assert _torn(old, _files(project), new) == []

    if scene.label == "key" and (project.root / "release.key").exists():
        _assert_that_a_whole_key_is_not_overwritten(project)
    elif scene.label == "recipe" and project.recipe.exists():
        assert project.run(*scene.command).err == "error: lftool.toml already exists\n"
    else:
        _run(project, *scene.command).assert_success()
    for command in scene.follow_up:
        _run(project, *command).assert_success()

    left = {name: data for name, data in _files(project).items() if not LITTER.search(name)}
    assert left == _files(stages.done)


def _assert_that_a_whole_key_is_not_overwritten(project: ProjectFolder) -> None:
    """A key with its final name is never touched again; another prefix makes another pair."""
    key = (project.root / "release.key").read_bytes()
    again = project.run("keygen", "-o", "release")
    assert (again.status, again.err) == (
        2,
        "error: release.key already exists\n  hint: choose another prefix; a key is never overwritten\n",
    )
    assert (project.root / "release.key").read_bytes() == key
    project.run("keygen", "-o", "other").assert_success()
    (project.root / "other.key").unlink()
    (project.root / "other.pub").replace(project.root / "release.pub")


@pytest.mark.slow_cases(r"\[(?!action|lock|bundle)")
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_after_a_kill_and_a_rerun_no_temporary_file_is_left_in_project_and_cache(scene, scenes, tmp_path):
    project = _copied(scenes(scene).before, tmp_path)
    killed = project.spawn(*scene.command, env={"LFTOOL_FAILPOINT": f"{scene.label}.before-fsync=kill"})
    assert killed.status == -signal.SIGKILL
    assert _litter(project.root, project.home) != []
    _run(project, *scene.command)
    assert _litter(project.root, project.home) == []


FULL_DISK = tuple(scene for scene in SCENES if scene.name in {"blob", "bundle"})


@pytest.mark.parametrize(("scene", "step"), _walk(FULL_DISK, ("created", "before-rename", "after-rename")))
def test_a_full_disk_is_exit_status_1_and_leaves_bundle_and_lock_as_they_were(
    scene, step, scenes, tmp_path, without_tokens
):
    stages = scenes(scene)
    project = _copied(stages.before, tmp_path)
    old, new = _files(stages.before), _files(stages.after)

    failed = project.spawn(*scene.command, env={"LFTOOL_FAILPOINT": f"{scene.label}.{step}=enospc"})

    assert (failed.status, failed.out) == (1, "")
    assert without_tokens(failed.err).endswith(
        f"error: cannot write {_place(scene, step, project)}: No space left on device\n{NO_SPACE_HINT}"
    )
    if scene.label == "bundle" and step in STEPS[STEPS.index("after-rename") :]:
        old = {**old, str(BUNDLE): new[str(BUNDLE)]}
    assert _files(project) == old
    assert _litter(project.root, project.home) == []

    _run(project, *scene.command).assert_success()
    assert _files(project) == new


def _place(scene: Scene, step: str, project: ProjectFolder) -> Path:
    """What could not be written: the temporary file as long as the final name is not known."""
    if scene.label == "bundle":
        folder, final = project.root / "dist", project.root / BUNDLE
    else:
        folder = project.cache / "tmp"
        model = Digest.of((project.root / "model.gguf").read_bytes()).hex
        final = project.cache / "cas-v1" / model[:2] / model[2:]
    return folder / f".lftool-{scene.label}-TOKEN.tmp" if step == "created" else final


@pytest.mark.parametrize(("scene", "step"), _walk(FULL_DISK, ("before-rename",)))
def test_an_interrupt_is_exit_status_130_and_leaves_bundle_and_lock_as_they_were(scene, step, scenes, tmp_path):
    stages = scenes(scene)
    project = _copied(stages.before, tmp_path)
    old, new = _files(stages.before), _files(stages.after)

    stopped = project.spawn(*scene.command, env={"LFTOOL_FAILPOINT": f"{scene.label}.{step}=interrupt"})

    assert (stopped.status, stopped.out) == (130, "")
    assert stopped.err.endswith("interrupted; nothing half-written is left\n")
    if scene.label == "bundle" and step in STEPS[STEPS.index("after-rename") :]:
        old = {**old, str(BUNDLE): new[str(BUNDLE)]}
    assert _files(project) == old
    assert _litter(project.root, project.home) == []

    _run(project, *scene.command).assert_success()
    assert _files(project) == new
