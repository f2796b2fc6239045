"""Records that were refused, kept so that they can be mended and loaded again."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from airflow_provider_vectorize.client.errors import InvalidRecordError, RejectsError
from airflow_provider_vectorize.ingest.records import FlawError, TooLong, parse

#: Refused records that an error names; all of them are in the rejects folder.
MAX_NAMED = 20

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
        try:
            return orjson.dumps(note | {"record": _plain(data)}, option=_DUMP, default=repr)
        except TypeError:
            return orjson.dumps(note | {"record": repr(data)}, option=_DUMP)


@dataclass(frozen=True, slots=True)
class RejectsFolder:
    """A folder for refused records: NDJSON files with source, line, id, code, reason and record.

    Mended, they can be loaded as they are: of such a line ``record`` is read. It is the text of the line when that
    could not be parsed, and null when the line was too long to be kept.

    :param fs: an fsspec filesystem.
    :param path: folder for that filesystem; it is made when the first record is refused.
    :param name: URI to show in messages.
    """

    fs: Any
    path: str
    name: str

    def write(self, file_name: str, lines: Sequence[bytes]) -> None:
        """Write one file, whole: it is closed when this returns. An existing one of that name is replaced.

        :raises RejectsError: it cannot be written.
        """
        try:
            self.fs.makedirs(self.path, exist_ok=True)
            with self.fs.open(posixpath.join(self.path, file_name), "wb") as stream:
                stream.writelines(lines)
        except Exception as error:
            raise RejectsError(
                f"{len(lines)} refused records cannot be written to {self.name}/{file_name}: {error}"
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


def _plain(data: object) -> object:
    if isinstance(data, TooLong):
        return None
    if not isinstance(data, bytes | Mapping):
        return data
    try:
        record = parse(data)
    except FlawError:
        return data.decode(errors="replace").rstrip("\n") if isinstance(data, bytes) else data
    # Of a line that comes from a rejects folder itself, what it is about.
    return record["record"] if "record" in record and "values" not in record else record
