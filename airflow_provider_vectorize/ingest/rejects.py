"""Records that were refused, kept so that they can be mended and loaded again."""

from __future__ import annotations

import itertools
import json
import posixpath
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, time
from numbers import Number
from pathlib import PurePath
from typing import IO, Any, NamedTuple
from uuid import UUID

import orjson

from airflow_provider_vectorize.client.errors import InvalidRecordError, RejectsError, printable
from airflow_provider_vectorize.ingest.metadata import plain
from airflow_provider_vectorize.ingest.records import FlawError, TooLong, is_reject, parse

#: Refused records that an error names; all of them are in the rejects folder.
MAX_NAMED = 20
_BLOCK_BYTES = 1024 * 1024

_DUMP = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class Reject(NamedTuple):
    """A note of a refused record.

    :param source: name of its source.
    :param line: its line there, or its position in an iterable, counted from 1.
    :param id: its id, as far as it is known.
    :param code: short name of the rule; for what the API refused, the API's code.
    :param reason: the rule and the value that breaks it.
    """

    source: str
    line: int
    id: str | None
    code: str
    reason: str

    def __str__(self) -> str:
        which = "" if self.id is None else f" (id {self.id!r})"
        return f"{self.source}, line {self.line}{which}: {self.reason} [{self.code}]"

    def error(self) -> InvalidRecordError:
        """As an error, for a load that stops at it."""
        return InvalidRecordError(
            self.reason, source=self.source, line=self.line, record_id=self.id, code=self.code
        )

    def with_record(self, data: object) -> bytes:
        """Give it with the record, as a line of the rejects folder.

        :param data: a line as bytes, a mapping, or anything that was refused for not being one.
        """
        note = self._asdict()
        return _dump(note | {"record": _whole(data)}) or _dump(note | {"record": None}) or b""


class Spool:
    """Lines on their way to the rejects folder, in a temporary file without a name."""

    def __init__(self) -> None:
        #: How many lines there are, and how many bytes.
        self.count = self.size = 0
        self._file: IO[bytes] | None = None  # most chunks have nothing to keep
        self._lock = threading.Lock()  # of a chunk that was given up, a sender may still refuse records

    def add(self, line: bytes) -> None:
        """Take one more line, from any thread.

        :raises RejectsError: the disk of temporary files does not take it.
        """
        try:
            with self._lock:
                if self._file is None:
                    self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by who has written it
                    weakref.finalize(self, self._file.close)
                self._file.seek(self.size)
                self._file.write(line)
                self.count += 1
                self.size += len(line)
        except OSError as error:
            raise RejectsError(
                f"a refused record cannot be kept in {tempfile.gettempdir()}, where it waits to be written to the "
                f"rejects folder: {printable(str(error))}. Make room there, or set TMPDIR"
            ) from error

    def __iter__(self) -> Iterator[bytes]:
        """Give all of it, in blocks."""
        place = 0
        while self._file is not None and place < self.size:
            with self._lock:
                self._file.seek(place)
                block = self._file.read(_BLOCK_BYTES)
            place += len(block)
            yield block

    def close(self) -> None:
        """Forget all of it."""
        if self._file is not None:
            self._file.close()


@dataclass(frozen=True, slots=True)
class RejectsFolder:
    """A folder for refused records: NDJSON files with source, line, id, code, reason and record.

    Mended, they can be loaded as they are: of such a line ``record`` is read. It is the text of the line when that
    could not be parsed, and null when it was too long, or cannot be written as JSON.

    :param fs: an fsspec filesystem.
    :param path: folder for that filesystem; it is made when the first record is refused.
    :param name: URI to show in messages.
    """

    fs: Any
    path: str
    name: str

    def write(self, load: str, lines: Spool) -> None:
        """Write one file, whole: it is closed when this returns.

        A file that is there already is left alone, since somebody may have mended it: a try that refuses the very same
        records again has nothing to add, and others go to a file of their own.

        :param load: names the load, and the place in its source where the chunk of these records begins.
        :raises RejectsError: it cannot be written.
        """
        try:
            self.fs.makedirs(self.path, exist_ok=True)
            for number in itertools.count(1):
                name = f"rejects-{load}{f'-{number}' if number > 1 else ''}.ndjson"
                path = posixpath.join(self.path, name)
                try:
                    with self.fs.open(path, "rb") as there:
                        if all(there.read(len(block)) == block for block in lines) and not there.read(1):
                            return
                except FileNotFoundError:
                    break
            with self.fs.open(path, "wb") as stream:
                for block in lines:
                    stream.write(block)
        except Exception as error:
            raise RejectsError(
                f"{lines.count} refused records cannot be written to {self.name}/rejects-{load}: "
                f"{printable(str(error))}"
            ) from error


def listing(rejects: Sequence[Reject], count: int) -> str:
    """Name refused records in an error, one a line.

    :param rejects: the first of them.
    :param count: how many there are in all.
    """
    lines = [str(reject) for reject in rejects[:MAX_NAMED]]
    if count > len(lines):
        lines.append(f"... and {count - len(lines)} more")
    return "\n".join(lines)


def _whole(data: object) -> object:
    """Give a record as it was: a line letter by letter, since parsing may round what is in it."""
    if isinstance(data, TooLong):
        return None
    if not isinstance(data, bytes):
        return data
    try:
        record = parse(data)
    except FlawError:
        return data.decode(errors="replace").rstrip("\n")
    if is_reject(record):  # of a line that comes from a rejects folder itself, what it is about
        inner = json.loads(data)["record"]
        return inner if isinstance(inner, str) else orjson.Fragment(json.dumps(inner))
    return orjson.Fragment(data.strip())


def _dump(note: dict[str, object]) -> bytes | None:
    # Integers of more than 64 bits and lone surrogates only Python's own writer takes. Mappings are foreign code.
    with suppress(Exception):
        return orjson.dumps(note, option=_DUMP, default=_as_json)
    with suppress(Exception):
        return json.dumps(note, default=_as_json).encode() + b"\n"
    return None


def _as_json(value: Any) -> Any:
    """Write what JSON has no type for, without losing any of it."""
    with suppress(TypeError):
        return plain(value)
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="backslashreplace")
    if isinstance(value, Set | Sequence):
        return list(value)
    if isinstance(value, Number | date | time | UUID | PurePath):
        return str(value)
    return f"<{type(value).__name__} object, which JSON cannot hold>"
