"""A folder in any storage, and the two ways to put a file there that a manifest rests on: made only once, and whole.

On a local disk both are made from a hard link and a rename; object stores make an object at once and whole, and those
with conditional writes (S3, R2, GCS, Azure) make it only if it is not there.
"""

from __future__ import annotations

import inspect
import os
import posixpath
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from airflow_provider_vectorize.client.errors import ManifestError, VectorizeError

#: Bytes that are asked of a store, or given to it, at a time.
_BLOCK_BYTES = 8 * 1024 * 1024


class Folder:
    """A folder.

    :param fs: an fsspec filesystem; ``ObjectStoragePath.fs``.
    :param path: path for that filesystem; ``ObjectStoragePath.path``.
    :param name: URI to show in messages.
    """

    def __init__(self, fs: Any, path: str, name: str) -> None:
        self._fs = fs
        self._path = path.rstrip("/")
        self.name = name
        protocol = fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)
        self._local = "file" in protocol
        self._conditional = "mode" in inspect.signature(fs.pipe_file).parameters

    def __repr__(self) -> str:
        return f"<Folder {self.name}>"

    def name_of(self, file: str) -> str:
        """Name a file of it, for messages."""
        return f"{self.name.rstrip('/')}/{file}"

    def files(self) -> dict[str, int]:
        """Give the names and sizes of the files in it; none when it is not there."""
        with self._using():
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._path, detail=True)
            except FileNotFoundError:
                return {}
            return {
                posixpath.basename(each["name"]): int(each.get("size") or 0)
                for each in found
                if each.get("type") != "directory"
            }

    def read(self, file: str) -> bytes:
        """Read a small file.

        :raises FileNotFoundError: it is not there.
        """
        with self._using():
            return bytes(self._fs.cat_file(self._at(file)))

    def blocks(self, file: str) -> Iterator[bytes]:
        """Read a large file, block by block."""
        with self._using(), self._fs.open(self._at(file), "rb", block_size=_BLOCK_BYTES) as stream:
            while block := stream.read(_BLOCK_BYTES):
                yield bytes(block)

    def create(self, file: str, content: bytes) -> None:
        """Make a file that is not there, whole, at once.

        :raises FileExistsError: it is there, with other contents.
        """
        try:
            self._create(file, content)
        except FileExistsError:
            # When an answer is lost, the store's client repeats the request, and finds what it has made itself.
            if self.read(file) != content:
                raise

    def _create(self, file: str, content: bytes) -> None:
        with self._using():
            if self._local:
                temporary = self._temporary(content)
                try:
                    os.link(temporary, self._at(file))
                finally:
                    temporary.unlink()
            elif self._conditional:
                self._fs.pipe_file(self._at(file), content, mode="create")
            else:  # a store, or an fsspec, without conditional writes: two that come at the same moment both succeed
                if self._fs.exists(self._at(file)):
                    raise FileExistsError(self.name_of(file))
                self._fs.pipe_file(self._at(file), content)

    def replace(self, file: str, content: bytes) -> None:
        """Make a file, or replace it, whole, at once."""
        with self._using():
            if self._local:
                self._temporary(content).replace(self._at(file))
            else:
                self._fs.pipe_file(self._at(file), content)

    def write(self, file: str, blocks: Iterable[bytes]) -> int:
        """Write a large file; only when this returns it is there, or whole.

        :returns: its bytes.
        """
        size = 0
        with self._using():
            if self._local:
                Path(self._path).mkdir(parents=True, exist_ok=True)
            with self._fs.open(self._at(file), "wb", block_size=_BLOCK_BYTES) as stream:
                for block in blocks:
                    stream.write(block)
                    size += len(block)
        return size

    def delete(self, files: Iterable[str]) -> None:
        """Delete files; one that is not there, or cannot be deleted, is left."""
        for file in files:
            with suppress(Exception):
                self._fs.rm_file(self._at(file))

    def _at(self, file: str) -> str:
        return f"{self._path}/{file}"

    def _temporary(self, content: bytes) -> Path:
        folder = Path(self._path)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f".{uuid.uuid4().hex}.tmp"
        with path.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        return path

    @contextmanager
    def _using(self) -> Iterator[None]:
        # Stores raise what they like: botocore's errors are no OSError.
        try:
            yield
        except (FileExistsError, FileNotFoundError, VectorizeError, GeneratorExit):
            raise
        except Exception as error:
            raise ManifestError(
                f"the manifest in {self.name} cannot be used: {type(error).__name__}: {error}"
            ) from error
