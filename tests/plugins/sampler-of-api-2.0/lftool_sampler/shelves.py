"""The remote store `shelf://localhost/FOLDER`: a folder that several machines see."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lftool.api import FetchError, StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lftool.api import RemoteStoreContext

_PIECE = 1 << 20


class Shelf:
    """Keys are paths; the encoding is the end of a name."""

    def __init__(self, context: RemoteStoreContext) -> None:
        self._folder = Path(urlsplit(context.url).path)

    def find(self, key: str) -> StoredObject | None:
        """Return what is there."""
        for suffix, encoding in (("", None), (".zst", "zstd")):
            path = self._folder / (key + suffix)
            if path.is_file():
                return StoredObject(size=path.stat().st_size, encoding=encoding)
        return None

    @contextlib.contextmanager
    def open(self, key: str, offset: int, size: int | None) -> Iterator[Iterator[bytes]]:
        """Yield bytes as they are stored."""
        found = next((path for suffix in ("", ".zst") if (path := self._folder / (key + suffix)).is_file()), None)
        if found is None:
            raise FetchError(f"{self._folder} has no {key}")
        with found.open("rb") as file:
            file.seek(offset)
            left = [size]

            def piece() -> bytes:
                data = file.read(_PIECE if left[0] is None else min(_PIECE, left[0]))
                if left[0] is not None:
                    left[0] -= len(data)
                return data

            yield iter(piece, b"")

    def put(self, key: str, content: Iterator[bytes], size: int, encoding: str | None) -> None:
        """Store an object: others see all of it, or nothing."""
        del size
        path = self._folder / (key + (".zst" if encoding == "zstd" else ""))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{secrets.token_hex(8)}")
            with temporary.open("wb") as file:
                file.writelines(content)
            temporary.replace(path)
        except OSError as error:
            raise FetchError(f"cannot store {key} in {self._folder}: {error.strerror}") from error
