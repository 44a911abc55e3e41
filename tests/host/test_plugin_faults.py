"""Whatever a plugin raises, returns or does wrongly is an error that names it; nothing is lost, and nothing else ends."""

from __future__ import annotations

import shutil
import textwrap
import threading
import tomllib

import pytest
from tests.sites import lftool_of

from lftool.host import guarding
from lftool.testing import tiny_gguf

RECIPE = """\
[bundle]
name = "tiny"
version = "1"
[sources.base]
uri = "{uri}"
[model]
weights = "base"
[targets.plain]
layout = "{layout}"
{more}
"""
SIGN = '[sign]\nkey = "demo:x"\n'
ORIGIN = "error: plugin 'shop' of demo-shop 3.1"


@pytest.fixture
def shop(site, lftool):
    """Install a plugin and write a recipe that uses it."""

    def prepare(code: str, *, uri: str = "file:model.gguf", layout: str = "gguf", more: str = "") -> None:
        site.install("demo-shop", textwrap.dedent(code), entry="shop", version="3.1")
        tiny_gguf(lftool.project.root / "model.gguf", width=32)
        lftool.project.write_recipe(RECIPE.format(uri=uri, layout=layout, more=more))

    return prepare


def error_of(outcome) -> str:
    return next(line for line in outcome.err.splitlines() if line.startswith("error: "))


SIGNER = """
class Signer:
    scheme = {scheme!r}
    def public_key(self):
        return {public_key}
    def sign(self, data):
        {sign}

class Verifier:
    def key_id(self, public_key):
        {key_id}
    def verify(self, data, signature, public_key):
        {verify}

@hookimpl
def lftool_signers():
    yield SignerType(name="demo", summary="", schemes=("demo",), factory=lambda context: Signer())

@hookimpl
def lftool_verifiers():
    yield VerifierType(name="demo-1", summary="", factory=Verifier)
"""
GOOD = {
    "scheme": "demo-1",
    "public_key": "'key'",
    "sign": "return b'signature'",
    "key_id": "return '0' * 64",
    "verify": "return True",
}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sign": "raise ValueError('no ink')"}, f"{ORIGIN} failed: ValueError: no ink"),
        ({"sign": "return 'text'"}, f"{ORIGIN}: sign() returned str, not bytes"),
        ({"sign": "import os; os._exit(0)"}, f"{ORIGIN} failed: SystemExit: os._exit(0)"),
        ({"public_key": "b'key'"}, f"{ORIGIN}: public_key() returned bytes, not str"),
        ({"scheme": 1}, f"{ORIGIN}: scheme returned int, not str"),
        ({"key_id": "return 'short'"}, f"{ORIGIN}: key_id() returned 'short', not 64 hexadecimal digits"),
        ({"key_id": "return 1 / 0"}, f"{ORIGIN} failed: ZeroDivisionError: division by zero"),
        ({"verify": "return 1"}, f"{ORIGIN}: verify() returned int, not bool"),
    ],
)
def test_a_signer_or_verifier_that_fails_is_named_and_no_bundle_is_left(shop, lftool, wrong, said) -> None:
    shop(SIGNER.format(**{**GOOD, **wrong}), more=SIGN)
    lftool("lock").assert_success()
    outcome = lftool("build")
    assert (outcome.status, error_of(outcome)) == (8, said)
    assert not list((lftool.project.root / "dist").glob("*"))


POLICY = """\
version = 1
[[keys]]
name = "release"
scheme = "demo-1"
plugin = "{plugin}"
public-key = "key"
"""


@pytest.mark.parametrize(
    ("plugin", "allowed", "status", "said"),
    [
        ("shop", None, 0, ""),
        ("shop", "other", 5, "the policy names the plugin 'shop', which LFTOOL_PLUGINS or --no-plugins leaves out"),
        ("nobody", None, 5, "the policy names the plugin 'nobody', and no installed plugin is called that"),
    ],
)
def test_what_the_user_forbids_no_policy_loads(shop, lftool, plugin, allowed, status, said) -> None:
    shop(SIGNER.format(**GOOD), more=SIGN)
    lftool("lock").assert_success()
    lftool("build").assert_success()
    (lftool.project.root / "policy.toml").write_text(POLICY.format(plugin=plugin))
    variables = {} if allowed is None else {"LFTOOL_PLUGINS": allowed}
    outcome = lftool("verify", "dist/tiny-1-plain.gguf", "--trust", "policy.toml", **variables)
    assert outcome.status == status, outcome.err
    if said:
        assert error_of(outcome) == f"error: trusted key 'release': {said}"


def test_no_plugins_wins_over_a_policy(shop, lftool) -> None:
    shop(SIGNER.format(**GOOD), more=SIGN)
    lftool("lock").assert_success()
    lftool("build").assert_success()
    (lftool.project.root / "policy.toml").write_text(POLICY.format(plugin="shop"))
    outcome = lftool("--no-plugins", "verify", "dist/tiny-1-plain.gguf", "--trust", "policy.toml")
    assert outcome.status == 5
    assert "which LFTOOL_PLUGINS or --no-plugins leaves out" in error_of(outcome)


LAYOUT = """
class Layout:
    def plan(self, inputs):
        weights = PlannedPrefix(role="gguf", artifact=inputs.weights)
        {plan}

@hookimpl
def lftool_layouts():
    yield LayoutType(name="demo", summary="", suffix=".demo", media_type="application/octet-stream", factory=Layout)
"""
MEMBER = (
    "return LayoutPlan(prefix=weights, members=(PlannedMember(path={path!r}, role={role!r}, artifact={artifact}),))"
)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("return None", f"{ORIGIN}: plan() returned NoneType, not LayoutPlan"),
        ("raise KeyError('x')", f"{ORIGIN} failed: KeyError: 'x'"),
        (
            MEMBER.format(path="../out", role="license", artifact="inputs.weights"),
            f"{ORIGIN} failed: ValueError: '../out' ",
        ),
        (
            MEMBER.format(path="a", role="virus", artifact="inputs.weights"),
            f"{ORIGIN} failed: ValueError: PlannedMember.role: 'virus' is none of ",
        ),
        (
            MEMBER.format(path="a", role="license", artifact="'sha'"),
            f"{ORIGIN} failed: TypeError: PlannedMember.artifact must be a Artifact, not 'sha'",
        ),
    ],
)
def test_a_layout_that_plans_what_cannot_be_is_named(shop, lftool, plan, said) -> None:
    shop(LAYOUT.format(plan=plan), layout="demo")
    lftool("lock").assert_success()
    outcome = lftool("build")
    assert outcome.status == 8
    assert error_of(outcome).startswith(said)


SOURCE = """
import contextlib, os, time

class Source:
    def __init__(self, context): pass
    def resolve(self, request):
        {resolve}
    @contextlib.contextmanager
    def open(self, request, revision, file, offset, size):
        yield iter([b""])

@hookimpl
def lftool_sources():
    yield SourceType(name="demo", summary="", schemes=("demo",), factory=Source)
"""


@pytest.mark.parametrize(
    ("resolve", "said"),
    [
        ("os._exit(0)", f"{ORIGIN} failed: SystemExit: os._exit(0)"),
        ("raise SystemExit(0)", f"{ORIGIN} failed: SystemExit: 0"),
        (
            "return Resolution(revision='r', files=(SourceFile(path='m.gguf', size=1, sha256='00' * 32),))",
            f"{ORIGIN} failed: TypeError: SourceFile.sha256 must be a Digest or None, not '{'00' * 32}'",
        ),
        (
            "return Resolution(revision='r', files=[])",
            f"{ORIGIN} failed: TypeError: Resolution.files must be a tuple, not a list",
        ),
        (
            "return SourceFile(path=b'x', size=1)",
            f"{ORIGIN} failed: TypeError: SourceFile.path must be a str, not b'x'",
        ),
    ],
)
def test_a_source_that_resolves_to_what_cannot_be_is_named_and_nothing_is_locked(shop, lftool, resolve, said) -> None:
    shop(SOURCE.format(resolve=resolve), uri="demo:x")
    outcome = lftool("lock")
    assert (outcome.status, error_of(outcome)) == (8, said)
    assert not lftool.project.lock.exists()


OBSERVER = """
def watch(event):
    {act}

@hookimpl
def lftool_observers():
    yield ObserverType(name="watching", summary="", factory=lambda: watch)
"""


@pytest.mark.parametrize(
    "act",
    ["raise SystemExit(3)", "import os; os._exit(3)", "raise ValueError('x')", "raise type('P', (BaseException,), {})"],
)
def test_an_observer_ends_no_build(shop, lftool, act) -> None:
    shop(OBSERVER.format(act=act))
    lftool("lock").assert_success()
    outcome = lftool("build").assert_success()
    assert outcome.err.count("plugin 'shop' of demo-shop 3.1 failed") == 1


def test_a_plugin_that_ends_the_process_while_it_is_imported_is_a_failed_one(shop, lftool) -> None:
    shop("import os\nos._exit(0)\n")
    outcome = lftool("plugins", "list").assert_success()
    assert "shop  demo-shop 3.1  failed: SystemExit: os._exit(0)" in outcome.out


def test_what_hooks_print_is_no_part_of_a_report(shop, lftool) -> None:
    shop("print('at import')\n" + OBSERVER.format(act="pass").replace("    yield", "    print('in a hook')\n    yield"))
    listed = lftool("plugins", "list", "--json").assert_success()
    assert [item["plugin"] for item in listed.json()["plugins"] if item["plugin"] == "shop"] == ["shop"]
    assert "at import" in listed.err
    assert "in a hook" in listed.err


def test_people_are_told_whom_they_wait_for(monkeypatch) -> None:
    monkeypatch.setattr(guarding, "_WAIT_SECONDS", 0.01)
    told: list[str] = []
    import threading

    said = threading.Event()
    with guarding.awaited("plugin 'shop'", "importing", lambda text: (told.append(text), said.set())):  # type: ignore[arg-type]
        assert said.wait(10)
    assert told == ["plugin 'shop' has been importing for 0.01 seconds; Ctrl-C ends it"]


def test_nobody_is_told_of_what_is_quick() -> None:
    with guarding.awaited("plugin 'shop'", "importing", lambda _: pytest.fail("it was quick")):  # type: ignore[arg-type]
        pass


QUANTIZER = """
from pathlib import Path

class Copy:
    def tool(self):
        return ToolIdentity(version="1", files=(Path(__file__),))
    def probe_inputs(self, use, folder):
        from lftool.api.gguf import write_probe_model
        write_probe_model(folder / "m.gguf")
        return {{"weights": folder / "m.gguf"}}
    def plan(self, spec, inputs):
        from lftool.api.gguf import read_gguf
        with inputs["weights"].path.open("rb") as file:
            header = read_gguf(file, None, "weights")
        kinds = tuple(TensorType(tensor=t.name, type=t.type.name) for t in header.tensors)
        return TransformPlan(parameters={{}}, tensors=kinds)
    def run(self, spec, inputs, output, threads, progress):
        progress({progress})
        output.write_bytes(inputs["weights"].path.read_bytes())

@hookimpl
def lftool_quantizers():
    yield QuantizerType(
        name="copy", summary="", consumes=("gguf",), produces=("Q4_K_M",), semantics="copy/1", preference=100, factory=Copy
    )
"""


def test_progress_of_other_types_is_the_plugins_failure(shop, site, interpreter, lftool) -> None:
    shop(QUANTIZER.format(progress="1, 'a', None"), more='quantize = "Q4_K_M"')
    outcome = lftool_of(interpreter, lftool.project, "lock", env={})
    assert outcome.status == 8
    assert error_of(outcome).startswith(f"{ORIGIN}")
    assert "TypeError: progress(1, 'a', None): it takes a str and two ints" in outcome.err


NUMBERED = """
class Layout:
    def plan(self, inputs):
        return LayoutPlan(prefix=PlannedPrefix(role="gguf", artifact=inputs.weights))

@hookimpl
def lftool_layouts():
    yield LayoutType(name="demo", summary="", suffix=".demo", media_type="x/y", number={number}, factory=Layout)
"""


def numbered(number: int) -> str:
    """The plugin, each number of another length: Python takes bytecode of a file of the same second and size for its own."""
    return NUMBERED.format(number=number) + "#" * number


def test_a_layout_that_changes_raises_its_number_and_a_lock_moves_with_it(shop, lftool) -> None:
    shop(numbered(1), layout="demo")
    lftool("lock").assert_success()
    lftool("build").assert_success()
    first = lftool.project.lock.read_text()
    assert "layout =" not in first.partition("[targets")[2]

    shop(numbered(2), layout="demo")
    lftool("lock", "--upgrade", "plugin:demo-shop").assert_success()
    second = tomllib.loads(lftool.project.lock.read_text())["targets"]["plain"]["pack"]
    assert second["layout"] == 2
    assert second["action"] != tomllib.loads(first)["targets"]["plain"]["pack"]["action"]
    assert "sha256" not in second  # what the first number made says nothing of this one
    lftool("build").assert_success()
    lftool("build", "--locked").assert_success()
    lftool("lock", "--check").assert_success()


def test_a_lock_of_another_number_of_a_layout_is_refused(shop, lftool) -> None:
    shop(numbered(2), layout="demo")
    lftool("lock").assert_success()
    text = lftool.project.lock.read_text()
    shop(numbered(3), layout="demo")
    lftool("lock", "--upgrade").assert_success()
    digest = tomllib.loads(lftool.project.lock.read_text())["plugins"]["demo-shop"]["sha256"]
    lftool.project.lock.write_text(text.replace(tomllib.loads(text)["plugins"]["demo-shop"]["sha256"], digest))
    outcome = lftool("build")
    assert (outcome.status, error_of(outcome)) == (
        8,
        "error: layout 'demo': the lock pins number 2, but 3 is installed",
    )


NEEDS = "the lock needs demo-shop 3.1: pip install demo-shop==3.1"


def test_a_plugin_that_a_lock_needs_and_that_is_gone_is_named_with_the_command_that_installs_it(
    shop, site, lftool
) -> None:
    shop(LAYOUT.format(plan="return LayoutPlan(prefix=weights)"), layout="demo")
    lftool("lock").assert_success()
    lftool("build").assert_success()
    shutil.rmtree(site.root)
    site.root.mkdir()
    assert f"  hint: {NEEDS}\n" in lftool("build").err
    assert NEEDS in lftool("build", "--dry-run").err
    checked = lftool("lock", "--check").assert_success()
    assert checked.err.splitlines() == ["lftool.lock is fresh", NEEDS]
    assert lftool("lock", "--check", "--json").json() == {"fresh": True, "missing_plugins": [NEEDS]}


def test_a_guard_that_another_thread_leaves_counts_where_it_was_entered():
    """A generator that nobody ended is ended by the garbage collector, in whatever thread that runs."""
    guard = guarding.not_ending()
    guard.__enter__()
    left = threading.Thread(target=guard.__exit__, args=(None, None, None))
    left.start()
    left.join()
    assert guarding._depth() == [0]
