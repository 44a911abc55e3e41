"""The examples for CI systems: what they install exists, and their commands go through, one after the other."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from tests.native.conftest import PROMPT, make_project

ROOT = Path(__file__).parents[2]
CI = ROOT / "examples" / "ci"
RECIPE = f"""\
[bundle]
name = "story"
version = "1"
[sources.base]
uri = "file:tiny-story-f16.gguf"
[model]
weights = "base"
[targets.q4]
quantize = "Q4_K_M"
layout = "llamafile"
[targets.q8]
quantize = "Q8_0"
layout = "llamafile"
[sign]
key = "env:LFTOOL_SIGNING_KEY"
[run]
context = 256
temperature = 0.0
[[checks]]
kind = "prompt"
prompt = "{PROMPT}"
contains = ["fox"]
"""


def github() -> list[str]:
    jobs = yaml.safe_load((CI / "github-actions.yml").read_text())["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def gitlab() -> list[str]:
    jobs = yaml.safe_load((CI / "gitlab-ci.yml").read_text())
    return [line for job in jobs.values() if isinstance(job, dict) for line in job.get("script", ())]


EXAMPLES = {"github-actions.yml": github, "gitlab-ci.yml": gitlab}


@pytest.mark.parametrize("commands", EXAMPLES.values(), ids=EXAMPLES)
def test_what_is_installed_is_an_extra_of_lftool(commands):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installs = [line for line in commands() if " install " in line]
    asked = {name for line in installs for name in re.search(r"lftool\[(.*)\]", line)[1].split(",")}
    assert asked == {"cpu", "checks"}
    assert asked <= extras.keys()
    # A bundle that is asked has to be served.
    assert any(re.match(r"lftool-llamacpp\[.*\bserver\b", item) for item in extras["checks"])


@pytest.mark.slow_cases(r"\[gitlab")
@pytest.mark.parametrize("commands", EXAMPLES.values(), ids=EXAMPLES)
def test_every_command_goes_through_with_two_bundles(commands, tmp_path):
    project = make_project(tmp_path, RECIPE)
    project.run("keygen", "-o", "release").assert_success()
    environment = {**project.environment, "LFTOOL_SIGNING_KEY": (project.root / "release.key").read_text()}
    for line in ("lftool lock", "lftool build", *[line for line in commands() if line.startswith("lftool ")]):
        words = " ".join(shlex.quote(word) if "*" not in word else word for word in shlex.split(line)[1:])
        script = f'"$PYTHON" -m lftool.cli.entry {words}'
        done = subprocess.run(
            ["bash", "-ec", script],
            cwd=project.root,
            env={**environment, "PYTHON": sys.executable},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (line, done.stderr)
    assert (project.root / "checks.xml").read_text().count("<testcase ") == 2
