"""A runtime or an engine that does not apply a key of the run contract is not given it."""

from __future__ import annotations

RECIPE = """\
[bundle]
name = "m"
version = "1"
[sources.base]
uri = "file:model.gguf"
[model]
weights = "base"
[targets.t]
layout = "{layout}"
{runtime}
[run]
{run}
"""


def write(project, run: str, layout: str = "gguf", runtime: str = "") -> None:
    project.write_recipe(RECIPE.format(run=run, layout=layout, runtime=runtime))


RUNTIME = """
class Own:
    def parts(self):
        return RuntimeParts(prefix=b"#!/bin/sh\\nexit 0\\n", members=())
    def runner(self):
        return None

@hookimpl
def lftool_runtimes():
    yield RuntimeType(name="own", number=1, summary="mine", factory=Own{more})
"""


def test_a_runtime_that_does_not_apply_a_key_is_refused(site, lftool, plain_project):
    site.install("own", RUNTIME.format(more=""))
    write(plain_project, 'temperature = 0.5\nreasoning = "on"\ncache_type = "f16"', "llamafile", 'runtime = "own"')
    done = lftool("lock")
    assert done.status == 2
    assert done.err == (
        "error: targets.t: the runtime own/1 does not apply [run] cache_type, reasoning\n"
        "  hint: remove it from the recipe\n"
        "  hint: or give the target another runtime, or the layout gguf\n"
    )
    site.install("own", RUNTIME.format(more=', applies=("temperature", "reasoning", "cache_type")'))
    lftool("lock").assert_success()


BACKEND = """
class Own:
    def probe(self):
        return Probe(available=True, reason="", devices=())
    def launch(self, request):
        return LaunchCommand(argv=("/bin/cat", request.bundle), sentence="on nothing")

@hookimpl
def lftool_backends():
    yield BackendType(name="own", engine="mine", summary="mine", factory=Own)
"""


def test_an_engine_that_does_not_apply_a_key_is_not_started(site, lftool, plain_project):
    site.install("own", BACKEND)
    write(plain_project, 'temperature = 0.5\nreasoning = "on"')
    lftool("lock").assert_success()
    lftool("build").assert_success()
    for _ in range(2):  # what was checked once is remembered
        done = lftool("run", "dist/m-1-t.gguf", "--backend", "own", "-p", "x")
        assert (done.status, done.out) == (8, "")
        assert done.err == (
            "error: the backend own mine does not apply [run] reasoning, which this bundle sets\n"
            "  hint: see which engines there are, and choose another with --engine: lftool backends\n"
        )
