"""The registry: records by kind and name, each with its plugin."""

from __future__ import annotations

import difflib
import importlib.util
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import frozen

from lftool.api import (
    BackendType,
    CheckType,
    CommandType,
    ConverterType,
    DestinationType,
    Example,
    ExporterType,
    LayoutType,
    ObserverType,
    QuantizerType,
    Record,
    RemoteStoreType,
    RuntimeType,
    SignerType,
    SourceType,
    VerifierType,
)
from lftool.errors import LftoolError, PluginError, RecipeError, UnavailableError, UsageError
from lftool.host.discovery import Plugin, discover
from lftool.host.origin import Origin, distribution_digest, is_editable
from lftool.host.published import BACKENDS, SCHEMES, hints_for_backend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lftool.models.digest import Digest

R = TypeVar("R", bound=Record)
R_co = TypeVar("R_co", bound=Record, covariant=True)
S = TypeVar("S", SourceType, SignerType, RemoteStoreType, DestinationType)


@frozen(kw_only=True)
class Registered(Generic[R_co]):
    """A record and the plugin that provides it."""

    record: R_co
    origin: Origin


class Registry:
    """The records of the loaded plugins; iteration is by name."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self.plugins = tuple(plugins)
        self._by_kind: dict[type[Record], dict[str, Registered[Record]]] = {}
        for plugin in self.plugins:
            for _, record in plugin.records:
                self._add(record, plugin.origin)

    @classmethod
    def discovered(cls, *, third_party: bool = True, only: frozenset[str] | None = None) -> Registry:
        """Return the registry of the installed plugins; if given, `only` limits third-party ones.

        Raises:
            PluginError: Two plugins, or two records of a kind, share a name.
        """
        return cls(discover(third_party=third_party, only=only))

    def _add(self, record: Record, origin: Origin) -> None:
        names = self._by_kind.setdefault(type(record), {})
        if record.key in names:
            raise PluginError(
                f"two plugins provide the {_noun(type(record))} {record.key!r}: {names[record.key].origin} and {origin}",
                hints=("uninstall one of them, or name the plugins to load in LFTOOL_PLUGINS",),
            )
        names[record.key] = Registered(record=record, origin=origin)

    def all(self, kind: type[R]) -> tuple[Registered[R], ...]:
        """Return all records of `kind`, by name."""
        found = self._by_kind.get(kind, {})
        return tuple(found[name] for name in sorted(found))  # type: ignore[misc]  # the key decides the type

    def _missing(
        self,
        kind: type[Record],
        wanted: str,
        valid: Sequence[str],
        error: type[LftoolError],
        listed: str = "installed",
    ) -> LftoolError:
        noun = _noun(kind)
        close = difflib.get_close_matches(wanted, valid, n=1, cutoff=0.5)
        close = close or [name for name in valid if name.lower() == wanted.lower()]
        meant = f"; did you mean {close[0]!r}?" if close else f"; {listed}: {', '.join(valid) or 'none'}"
        return error(f"unknown {noun} {wanted!r}{meant}", hints=self._unusable())

    def _unusable(self) -> tuple[str, ...]:
        """Return the plugins that could not be used, and why: one of them may provide what is missing."""
        return tuple(
            f"{plugin.origin} could not be used: {plugin.reason}"
            for plugin in self.plugins
            if plugin.status != "active"
        )

    def get(self, kind: type[R], name: str, error: type[LftoolError] = RecipeError) -> Registered[R]:
        """Return the record of `kind` called `name`.

        Raises:
            LftoolError: Of class `error`; there is none. The message names similar records, and plugins that failed.
        """
        found = self.all(kind)
        for registered in found:
            if registered.record.name == name:
                return registered
        raise self._missing(kind, name, [item.record.name for item in found], error)

    def engines(self, backend: str) -> tuple[Registered[BackendType], ...]:
        """Return the records of a backend, those whose module is installed first."""
        found = (item for item in self.all(BackendType) if item.record.name == backend)
        return tuple(sorted(found, key=lambda item: not is_installed(item.record)))

    def backend(self, name: str, engine: str | None = None) -> Registered[BackendType]:
        """Return a backend, with an engine whose module is installed if there is one.

        Args:
            name: The backend.
            engine: The engine; None for any.

        Raises:
            UnavailableError: No installed plugin provides it, or none with that engine. The message names what there is.
        """
        found = self.engines(name)
        if not found:
            valid = sorted({item.record.name for item in self.all(BackendType)})
            raise self._missing(BackendType, name, valid, UnavailableError)
        able = [item for item in found if engine in {None, item.record.engine}]
        if not able:
            have = ", ".join(sorted(item.record.engine for item in found if item.record.engine)) or "none by name"
            raise UnavailableError(
                f"no installed plugin has the engine {engine!r} for the backend {name}; there is: {have}"
            )
        return able[0]

    def _by_scheme(self, kind: type[S], scheme: str) -> Registered[S] | None:
        """Return the record of `kind` that opens `scheme`, if there is one.

        Raises:
            PluginError: Several plugins claim the scheme.
        """
        able = [item for item in self.all(kind) if scheme in item.record.schemes]
        if len(able) > 1:
            raise PluginError(
                f"two plugins provide the {_noun(kind)} {scheme!r}: {able[0].origin} and {able[1].origin}",
                hints=("uninstall one of them, or name the plugins to load in LFTOOL_PLUGINS",),
            )
        return able[0] if able else None

    def _schemes(self, kind: type[S]) -> list[str]:
        return sorted(scheme for item in self.all(kind) for scheme in item.record.schemes)

    def source(self, scheme: str) -> Registered[SourceType]:
        """Return the source for a URI scheme.

        Raises:
            RecipeError: No plugin is known to open it.
            UnavailableError: A plugin that is not installed opens it.
            PluginError: Several plugins claim it.
        """
        found = self._by_scheme(SourceType, scheme)
        if found is not None:
            return found
        if scheme in SCHEMES:
            distribution = SCHEMES[scheme]
            installed = any(plugin.origin.distribution == distribution for plugin in self.plugins)
            hints = self._unusable() if installed else (f"install {distribution}", *self._unusable())
            raise UnavailableError(f"no installed plugin opens {scheme}: sources", hints=hints)
        error = self._missing(SourceType, scheme, self._schemes(SourceType), RecipeError)
        others = sorted(set(SCHEMES) - set(self._schemes(SourceType)))
        if others:
            named = ", ".join(f"{name} with {SCHEMES[name]}" for name in others)
            error.hints = (*error.hints, f"other schemes come with plugins: {named}")
        raise error

    def signer(self, scheme: str) -> Registered[SignerType]:
        """Return the signer for a key reference scheme.

        Raises:
            RecipeError: No installed plugin opens it.
            PluginError: Several plugins claim it.
        """
        found = self._by_scheme(SignerType, scheme)
        if found is None:
            raise self._missing(SignerType, scheme, self._schemes(SignerType), RecipeError)
        return found

    def remote_store(self, scheme: str) -> Registered[RemoteStoreType]:
        """Return the kind of remote store for a URL scheme.

        Raises:
            UsageError: No installed plugin opens it.
            PluginError: Several plugins claim it.
        """
        found = self._by_scheme(RemoteStoreType, scheme)
        if found is None:
            raise self._missing(RemoteStoreType, scheme, self._schemes(RemoteStoreType), UsageError)
        return found

    def destination(self, scheme: str) -> Registered[DestinationType]:
        """Return the destination for a URI scheme.

        Raises:
            UsageError: No plugin is known to publish there.
            UnavailableError: A plugin that is not installed does.
            PluginError: Several plugins claim it.
        """
        found = self._by_scheme(DestinationType, scheme)
        if found is not None:
            return found
        if scheme in SCHEMES:
            raise UnavailableError(
                f"no installed plugin publishes to {scheme}:", hints=(f"install {SCHEMES[scheme]}", *self._unusable())
            )
        raise self._missing(DestinationType, scheme, self._schemes(DestinationType), UsageError)

    def check_backend(self, name: str) -> None:
        """Raise RecipeError unless `name` is a backend that is installed or known.

        A recipe may name another machine's backend: weights for it can be locked and packed here.
        """
        installed = sorted({item.record.name for item in self.all(BackendType)})
        if name not in installed and name not in BACKENDS:
            valid = sorted({*installed, *BACKENDS})
            raise self._missing(BackendType, name, valid, RecipeError, "installed, or ours to install")

    def runtime(self, name: str, backend: str, pinned: str | None = None) -> Registered[RuntimeType]:
        """Return the runtime called `name` for a backend: the pinned number if it belongs to it, or else the newest.

        Raises:
            RecipeError: No installed plugin provides it.
            UnavailableError: The pinned number is not installed.
        """
        able = [item for item in self.all(RuntimeType) if item.record.name == name]
        fitting = [item for item in able if item.record.backend in {None, backend}]
        if able and not fitting:
            have = ", ".join(sorted(str(item.record.backend) for item in able))
            raise UnavailableError(
                f"no installed plugin has the runtime {name!r} for the backend {backend!r}; there is {have}",
                hints=(*hints_for_backend(backend), *self._unusable()),
            )
        if not fitting:
            raise self._missing(RuntimeType, name, sorted({r.record.name for r in self.all(RuntimeType)}), RecipeError)
        newest = max(fitting, key=lambda item: item.record.number)
        if pinned is None or pinned.partition("/")[0] != newest.record.title:
            return newest
        return self.pinned_runtime(pinned)

    def pinned_runtime(self, semantics: str) -> Registered[RuntimeType]:
        """Return the runtime with that title and number.

        Raises:
            UnavailableError: It is not installed.
        """
        for item in self.all(RuntimeType):
            if item.record.semantics == semantics:
                return item
        have = ", ".join(sorted(item.record.semantics for item in self.all(RuntimeType)))
        raise UnavailableError(
            f"the lock pins runtime {semantics}, but {have} is installed",
            hints=("install the lftool or plugin that the lock was made with", "or update it: lftool lock --upgrade"),
        )

    def quantizer(self, produces: str, name: str | None = None) -> Registered[QuantizerType]:
        """Return the quantizer that makes file type `produces`: the one called `name`, or the preferred one.

        Raises:
            RecipeError: None makes it, or several are equally preferred and the recipe names none.
        """
        found = self.all(QuantizerType)
        if name is not None:
            found = (self.get(QuantizerType, name),)
        able = [item for item in found if produces in item.record.produces]
        best = max((item.record.preference for item in able), default=0)
        able = [item for item in able if item.record.preference == best]
        if len(able) == 1:
            return able[0]
        if able:
            names = ", ".join(repr(item.record.name) for item in able)
            raise RecipeError(
                f"several quantizers make {produces}: {names}",
                hints=('name one of them: `quantizer = "…"` in the target',),
            )
        if not found:
            failed = tuple(f"{p.origin} could not be used: {p.reason}" for p in self.plugins if p.reason)
            raise UnavailableError(
                "no quantizer is installed", hints=("install one: pip install 'lftool[quantize]'", *failed)
            )
        valid = sorted({file_type for item in found for file_type in item.record.produces})
        close = difflib.get_close_matches(produces.upper(), valid, n=1, cutoff=0.3)
        meant = f"; did you mean {close[0]!r}?" if close else f"; valid: {', '.join(valid)}"
        raise RecipeError(f"unknown quantisation {produces!r}{meant}", hints=self._unusable())

    def converter(self, consumes: str, produces: str, makes: str = "model") -> Registered[ConverterType] | None:
        """Return the converter from a format to a GGUF with that type of weights; None if none is installed.

        Raises:
            PluginError: Several converters can do it.
        """
        able = [
            item
            for item in self.all(ConverterType)
            if consumes in item.record.consumes and produces in item.record.produces and item.record.makes == makes
        ]
        if len(able) > 1:
            raise PluginError(
                f"two plugins convert {consumes} to {produces}: {able[0].origin} and {able[1].origin}",
                hints=("uninstall one of them, or name the plugins to load in LFTOOL_PLUGINS",),
            )
        return able[0] if able else None

    def digest(self, origin: Origin) -> Digest:
        """Return the digest of the distribution that `origin` belongs to."""
        for plugin in self.plugins:
            if plugin.origin == origin and plugin.distribution is not None:
                return distribution_digest(plugin.distribution, origin.module)
        raise PluginError(f"{origin}: not installed as a distribution, so it cannot be pinned")

    def is_editable(self, origin: Origin) -> bool:
        """Return whether the distribution that `origin` belongs to is an editable install."""
        return any(
            plugin.distribution is not None and is_editable(plugin.distribution)
            for plugin in self.plugins
            if plugin.origin == origin
        )

    def observers(self) -> tuple[Registered[ObserverType], ...]:
        """Return all observers."""
        return self.all(ObserverType)


_NOUNS: dict[type[Record], str] = {
    SourceType: "source scheme",
    RemoteStoreType: "remote store scheme",
    DestinationType: "destination scheme",
    ConverterType: "converter",
    QuantizerType: "quantizer",
    BackendType: "backend",
    LayoutType: "layout",
    RuntimeType: "runtime",
    SignerType: "key scheme",
    VerifierType: "signature scheme",
    ObserverType: "observer",
    CheckType: "kind of check",
    ExporterType: "exporter",
    CommandType: "command",
    Example: "example",
}


def is_installed(record: BackendType) -> bool:
    """Return whether the module of a backend's engine can be found."""
    return not record.module or importlib.util.find_spec(record.module) is not None


def _noun(kind: type[Record]) -> str:
    return _NOUNS[kind]
