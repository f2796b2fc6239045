"""Files that are there as a whole or not at all, alone and in a folder."""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import IO, Any

from airflow_provider_vectorize.client.errors import OutputError, VectorizeError

_BLOCK_BYTES = 8 * 1024 * 1024


@contextmanager
def writing(fs: Any, path: str, name: str) -> Iterator[IO[bytes]]:
    """Open a file to write; it has its name once all of it is written, and then replaces one that is there.

    :param fs: an fsspec filesystem.
    :param path: path for that filesystem; ``.gz`` at its end compresses.
    :param name: URI to show in messages.
    :raises OutputError: naming the file, when the filesystem refuses it.
    """
    folder, _, last = path.rpartition("/")
    # The leading underscore keeps it out of globs.
    unfinished = f"{folder}/_{last}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with suppress(FileExistsError):
            fs.makedirs(folder, exist_ok=True)
        with fs.open(unfinished, "wb", block_size=_BLOCK_BYTES) as raw:
            if path.endswith(".gz"):
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=1, mtime=0) as packed:
                    yield packed  # type: ignore[misc]  # an IO[bytes] in all but name
            else:
                yield raw
        fs.mv(unfinished, path)
    except BaseException as error:
        with suppress(Exception):
            fs.rm(unfinished)
        if isinstance(error, Exception) and not isinstance(error, VectorizeError):
            raise OutputError(f"{name} cannot be written: {type(error).__name__}: {error}") from error
        raise


class Folder:
    """A folder and its files.

    :param fs: an fsspec filesystem.
    :param path: path for that filesystem.
    :param name: URI to show in messages.
    """

    def __init__(self, fs: Any, path: str, name: str) -> None:
        self._fs = fs
        self.path = path.rstrip("/")
        self.name = name.rstrip("/")

    def writing(self, file: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file to write, which is there once it is whole."""
        return writing(self._fs, f"{self.path}/{file}", f"{self.name}/{file}")

    def write(self, file: str, chunks: Iterable[bytes]) -> None:
        """Write a file, whole."""
        with self.writing(file) as out:
            for chunk in chunks:
                out.write(chunk)

    def read(self, file: str) -> bytes | None:
        """Read a file; None if it is not there."""
        try:
            with self._fs.open(f"{self.path}/{file}", "rb") as raw:
                text: bytes = raw.read()
            return gzip.decompress(text) if file.endswith(".gz") else text
        except FileNotFoundError:
            return None
        except Exception as error:
            raise OutputError(
                f"{self.name}/{file} cannot be read: {type(error).__name__}: {error}"
            ) from error

    def names(self) -> list[str]:
        """Give the names of what is in it."""
        self._fs.invalidate_cache()
        try:
            return [str(each).rstrip("/").rpartition("/")[2] for each in self._fs.ls(self.path, detail=False)]
        except FileNotFoundError:
            return []
        except Exception as error:
            raise OutputError(f"{self.name} cannot be listed: {type(error).__name__}: {error}") from error

    def size(self, file: str) -> int | None:
        """Give the bytes of a file; None where the storage does not tell."""
        try:
            size: int | None = self._fs.size(f"{self.path}/{file}")
        except Exception:  # noqa: BLE001  # foreign code, and nothing depends on it
            return None
        return size

    def remove(self, names: Iterable[str]) -> None:
        """Remove files and folders."""
        for name in names:
            with suppress(FileNotFoundError):
                self._fs.rm(f"{self.path}/{name}", recursive=True)
