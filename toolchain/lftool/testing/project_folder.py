"""A folder to run lftool in: in this process for speed, or in one of its own where that is the point."""

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
    """What a command did: exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    def json(self) -> Any:  # noqa: ANN401 - JSON is dynamic
        """Return standard output as JSON."""
        return json.loads(self.out)

    def assert_success(self) -> Outcome:
        """Return self if the command succeeded.

        Raises:
            AssertionError: It did not; the message holds what it printed.
        """
        if self.status != 0:
            raise AssertionError(
                f"exit status {self.status}\n--- standard output\n{self.out}\n--- standard error\n{self.err}"
            )
        return self


@frozen(kw_only=True)
class ProjectFolder:
    """A project in `root` whose cache and configuration lie in `home`.

    Attributes:
        loads: Whether `lock` tries to load the model, which takes half a second.
        sites: Folders that plugins are looked for in besides those that are installed.
    """

    root: Path
    home: Path
    loads: bool = False
    sites: tuple[Path, ...] = ()

    def with_plugins(self, *modules: ModuleType | str) -> ProjectFolder:
        """Return the same project with modules or packages as plugins, which need not be installed.

        Each becomes a distribution of its name in a folder of this project, with `-` for `_`, and an entry point of that name;
        lftool takes it for an installed one, in this process and in those that it starts. A module that an installed
        distribution has an entry point for is left as it is.
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
        """The variables that a command of this project runs with."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("LFTOOL_", "XDG_"))},
            "HOME": str(self.home),
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
        """Return what plugins offer here."""
        sys.path[:0] = map(str, self.sites)
        try:
            return Registry.discovered()
        finally:
            del sys.path[: len(self.sites)]

    def run(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Outcome:
        """Run a command in this process, in the project's folder; `env` is added to its variables."""
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
        """Start a command in a process of its own and return it; standard streams are pipes."""
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
        """Run a command in a process of its own."""
        process = self.start(*arguments, env=env)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        return Outcome(status=process.returncode, out=out, err=err)
