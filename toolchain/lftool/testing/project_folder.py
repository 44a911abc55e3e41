"""A folder to run lftool in: in this process for speed, or in a separate one if the test is about that."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from lftool.cli.main import run
from lftool.host.registry import Registry
from lftool.testing.uninstalled import register

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType


@frozen(kw_only=True)
class Outcome:
    """The result of a command: exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    def json(self) -> Any:  # noqa: ANN401 - JSON is dynamic
        """Return standard output as JSON."""
        return json.loads(self.out)

    def assert_success(self) -> Outcome:
        """Return self if the command succeeded.

        Raises:
            AssertionError: The command failed. The message contains its output.
        """
        if self.status != 0:
            raise AssertionError(
                f"exit status {self.status}\n--- standard output\n{self.out}\n--- standard error\n{self.err}"
            )
        return self


@frozen(kw_only=True)
class ProjectFolder:
    """A project in `root` with its cache and configuration in `home`.

    Attributes:
        loads: Whether `lock` tries to load the model, which takes half a second.
        sites: Folders to look for plugins in, besides the installed ones.
    """

    root: Path
    home: Path
    loads: bool = False
    sites: tuple[Path, ...] = ()

    def with_plugins(self, *modules: ModuleType | str) -> ProjectFolder:
        """Return the same project with modules or packages as plugins, which need not be installed.

        Each is copied to a folder of this project as a distribution with an entry point, both named after it with `-`
        for `_`. lftool treats it as installed, in this process and in the processes that it starts. A module that an
        installed distribution has an entry point for is left as it is.
        """
        folder = self.home / "site"
        installed = {entry.module for entry in entry_points(group="lftool")}
        for module in modules:
            found = import_module(module) if isinstance(module, str) else module
            if found.__name__ not in installed:
                register(found, folder)
        return evolve(self, sites=(*self.sites, folder) if folder.exists() else self.sites)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of this project's commands."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("LFTOOL_", "XDG_"))},
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_CACHE_HOME": str(self.cache.parent),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "LFTOOL_LOAD": str(int(self.loads)),
            **({"PYTHONPATH": os.pathsep.join(self._paths)} if self.sites else {}),
        }

    @property
    def _paths(self) -> list[str]:
        before = os.environ.get("PYTHONPATH")
        return [*map(str, self.sites), *([before] if before else [])]

    @property
    def cache(self) -> Path:
        """The store."""
        return self.home / "cache" / "lftool"

    @property
    def recipe(self) -> Path:
        """The recipe."""
        return self.root / "lftool.toml"

    @property
    def lock(self) -> Path:
        """The lock."""
        return self.root / "lftool.lock"

    def write_recipe(self, text: str) -> None:
        """Write the recipe."""
        self.recipe.write_text(text)

    def write_credentials(self, text: str) -> None:
        """Write the user's credentials file."""
        path = self.home / "config" / "lftool" / "credentials.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def write_configuration(self, text: str) -> None:
        """Write the user's configuration file."""
        path = self.home / "config" / "lftool" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def registry(self) -> Registry:
        """Return the registry of plugins in this project."""
        sys.path[:0] = map(str, self.sites)
        try:
            return Registry.discovered()
        finally:
            del sys.path[: len(self.sites)]

    def run(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Outcome:
        """Run a command in this process, in the project's folder. `env` is added to its environment variables."""
        out, err = io.StringIO(), io.StringIO()
        before, folder = dict(os.environ), os.getcwd()  # noqa: PTH109 - a plain string to go back to
        environment = {**self.environment, **(env or {})}
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(self.root)
        sys.path[:0] = map(str, self.sites)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = run([str(argument) for argument in arguments])
        finally:
            del sys.path[: len(self.sites)]
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(before)
        return Outcome(status=status, out=out.getvalue(), err=err.getvalue())

    def start(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command in a separate process and return the process. Its standard streams are pipes."""
        return subprocess.Popen(
            [sys.executable, "-m", "lftool.cli.entry", *map(str, arguments)],
            cwd=self.root,
            env={**self.environment, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def spawn(
        self, *arguments: str | Path, env: Mapping[str, str] | None = None, stdin: str = "", timeout: float = 120
    ) -> Outcome:
        """Run a command in a separate process."""
        process = self.start(*arguments, env=env)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        return Outcome(status=process.returncode, out=out, err=err)
