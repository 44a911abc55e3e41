"""Files of a project and of the user's named roots: the only way to open a file that a recipe or a lock names.

A recipe writes `file:PATH`, relative to itself, or `file://NAME/PATH` for a root in the user's configuration. Only a
regular file below that folder is opened, wherever links point. The same descriptor is hashed and read.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from lftool.errors import RecipeError, StorageError
from lftool.models.globs import parse_glob
from lftool.store.contained import Contained, NotRegularError, OutsideError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import BufferedReader

# The Hugging Face cache keeps a model's files below blobs/, and links to them below snapshots/.
_SNAPSHOT = re.compile(r"(?P<model>.*/(?:models|datasets)--[^/]+)/(?P<below>snapshots/[^/]+(?:/.*)?)\Z")
_MAGIC = re.compile(r"[*?\[]")
_CONFIGURATION = "$XDG_CONFIG_HOME/lftool/config.toml (~/.config/lftool/config.toml)"


@frozen(kw_only=True)
class Place:
    """A path below a folder that may be read."""

    contained: Contained
    path: str
    title: str

    @property
    def shown(self) -> Path:
        """Where it is, for messages."""
        return self.contained.folder / self.path


def _root_folder(path: Path) -> Contained:
    """Return the folder of a root; for a snapshot in the Hugging Face cache, with the blobs that its links lead to."""
    match = _SNAPSHOT.match(str(path))
    return Contained(path) if match is None else Contained(Path(match["model"]), match["below"])


def _absolute(path: str, what: str) -> RecipeError:
    folder, _, last = path.rstrip("/").rpartition("/")
    hint = (
        f"name the folder once, in {_CONFIGURATION}:\n    [roots]\n"
        f'    models = "{folder or "/"}"\n  and write file://models/{last}'
    )
    return RecipeError(f"{what}: file: paths are relative to the recipe", hints=(hint,))


@frozen(kw_only=True)
class ProjectFiles:
    """Opens files.

    Attributes:
        project: Folder of the recipe.
        roots: Name to folder, from the user's configuration.
    """

    project: Path
    roots: Mapping[str, Path] = field(factory=dict)

    def place(self, reference: str, what: str) -> Place:
        """Return where a reference leads.

        Args:
            reference: `PATH`, relative to the recipe, or `//ROOT/PATH`.
            what: What names it, for messages, such as `source 'file:x'`.

        Raises:
            RecipeError: It is absolute, contains `..`, or names a root that the user's configuration does not have.
        """
        if reference.startswith("//"):
            name, _, path = reference[2:].partition("/")
            if not name:
                raise _absolute(f"/{path}", what)
            if name not in self.roots:
                have = f"it has {', '.join(sorted(self.roots))}" if self.roots else "it has none"
                raise RecipeError(
                    f"{what}: the root {name!r} is not in your configuration; {have}",
                    hints=(f'add to {_CONFIGURATION}:\n    [roots]\n    {name or "NAME"} = "/ABSOLUTE/FOLDER"',),
                )
            contained, title = _root_folder(self.roots[name].expanduser()), f"the root {name}"
        else:
            contained, path, title = Contained(self.project), reference, "the recipe's folder"
        if path.startswith("/") or (not path and not reference.startswith("//")):
            raise _absolute(path, what)
        if ".." in path.split("/"):
            raise RecipeError(f"{what} points outside {title}")
        clean = "/".join(part for part in path.split("/") if part not in {"", "."})
        return Place(contained=contained, path=clean, title=title)

    def open_file(self, reference: str, what: str) -> BufferedReader:
        """Return a regular file, open for reading.

        Args:
            reference: As for `place`.
            what: What names it, for messages.

        Raises:
            RecipeError: The reference leads out of its folder.
            StorageError: The file does not exist, is not a regular file, or cannot be read.
        """
        place = self.place(reference, what)
        with errors_of(place, what):
            return place.contained.open_file(place.path)

    def read(self, reference: str, what: str, most: int) -> bytes:
        """Return the bytes of a file.

        Args:
            reference: As for `place`.
            what: What names it, for messages.
            most: Maximum size in bytes.

        Raises:
            RecipeError: The reference leads out of its folder.
            StorageError: The file does not exist, is not a regular file, is larger, or cannot be read.
        """
        place = self.place(reference, what)
        with errors_of(place, what):
            return place.contained.read(place.path, most)


class errors_of:  # noqa: N801 - a context manager, used like a function
    """Turn errors from opening a place into errors that a user can read."""

    def __init__(self, place: Place, what: str) -> None:
        self._place = place
        self._what = what

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise RecipeError or StorageError in place of OSError."""
        if not isinstance(error, OSError):
            return
        named = error.filename if isinstance(error.filename, str) and error.filename else self._place.path
        if isinstance(error, OutsideError):
            outside = f"is a link that points outside {self._place.title}"
            why = "is a link to a folder" if error.errno == errno.ELOOP else outside
            raise RecipeError(f"{self._what}: {named} {why}") from None
        if isinstance(error, NotRegularError):
            raise StorageError(f"{self._what}: {self._place.shown} is not a regular file") from None
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise StorageError(f"{self._what}: there is no {self._place.shown}") from None
        raise StorageError(f"{self._what}: cannot read {self._place.shown}: {error.strerror}") from None


# Names that systems and tools create beside files. Hidden names, such as `.git`, are left out as well.
_BOOKKEEPING = frozenset({"__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini"})


def is_bookkeeping(name: str) -> bool:
    """Tell whether a name is hidden (begins with a dot) or one that systems and tools create for themselves."""
    return name.startswith(".") or name in _BOOKKEEPING


def names_bookkeeping(glob: str) -> bool:
    """Tell whether a path or a glob names hidden or bookkeeping files."""
    return any(is_bookkeeping(part) for part in glob.split("/"))


def _parts(uri: str) -> tuple[str, str | None]:
    """Return the reference of a `file:` URI up to its glob, and the glob, or None if there is no glob.

    Raises:
        RecipeError: The glob contains `..`.
    """
    reference = uri.removeprefix("file:")
    magic = _MAGIC.search(reference)
    if magic is None:
        return reference, None
    if ".." in reference[magic.start() :].split("/"):
        raise RecipeError(f"source {uri!r} points outside the folder of its glob")
    folder, _, _ = reference[: magic.start()].rpartition("/")
    return folder or ".", reference[len(folder) :].lstrip("/")


def local_files(uri: str, files: ProjectFiles, include: Iterable[str] = ()) -> list[str]:
    """Return the paths, within the source, that a `file:` URI means: one file, a folder's files, or a glob's.

    Hidden and bookkeeping files (`.git`, `.cache`, `.DS_Store`, `__pycache__`) count only if the URI's glob or one of
    `include` names them.

    Raises:
        RecipeError: The URI leads out of the project and the user's roots.
        StorageError: Nothing is there, or it cannot be read.
    """
    what = f"source {uri!r}"
    reference, glob = _parts(uri)
    place = files.place(reference, what)
    naming = [parse_glob(each) for each in (glob, *include) if each is not None and names_bookkeeping(each)]

    def found() -> list[str]:
        walked = place.contained.walk(place.path, (lambda _: False) if naming else is_bookkeeping)
        return [path for path in walked if not names_bookkeeping(path) or any(each.matches(path) for each in naming)]

    if glob is not None:
        pattern = parse_glob(glob)
        try:
            return [path for path in found() if pattern.matches(path)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            with errors_of(place, what):
                raise error from None
    with errors_of(place, what):
        if place.contained.is_folder(place.path):
            return found()
        place.contained.open_file(place.path).close()
    return [place.path.rpartition("/")[2]]


def local_file(uri: str, path: str, files: ProjectFiles) -> BufferedReader:
    """Return a file of a `file:` source, open for reading.

    Args:
        uri: The source's address.
        path: The file's path within the source.
        files: Opens the file.

    Raises:
        RecipeError: The file is outside the project and the user's roots.
        StorageError: The file does not exist, is not a regular file, or cannot be read.
    """
    what = f"source {uri!r}"
    reference, glob = _parts(uri)
    place = files.place(reference, what)
    with errors_of(place, what):
        if glob is None and not place.contained.is_folder(place.path):
            return place.contained.open_file(place.path)
        if ".." in path.split("/"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return place.contained.open_file(f"{place.path}/{path}" if place.path else path)
