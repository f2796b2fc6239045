"""Write a file that is there as a whole or not at all."""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
