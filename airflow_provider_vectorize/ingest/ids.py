"""Ids as records: what a delete reads, and how an id is checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.client.limits import MAX_ID_BYTES
from airflow_provider_vectorize.ingest.columns import Columns
from airflow_provider_vectorize.ingest.diagnosis import short
from airflow_provider_vectorize.ingest.lines import START, Interrupt, Item, Items, Position
from airflow_provider_vectorize.ingest.records import FlawError, Record, TooLong, is_reject


class IdChecker:
    """Check ids: a text, a line of text or of JSON, or a mapping with an ``id``."""

    def __init__(self) -> None:
        #: As of :class:`~airflow_provider_vectorize.ingest.records.Checker`; an id has no fields.
        self.undocumented: frozenset[str] = frozenset()

    def check(self, data: object) -> Record:
        """Check an id; its line is the id as JSON.

        :raises FlawError: it is none.
        """
        found = _id_of(data)
        if not isinstance(found, str) or not found:
            raise FlawError("invalid_id", f"an id is a text that is not empty, got {short(found)}")
        try:
            size = len(found.encode())
        except UnicodeEncodeError:
            raise FlawError("not_utf8", "the id has a lone surrogate, which UTF-8 cannot hold") from None
        if size > MAX_ID_BYTES:
            raise FlawError(
                "id_too_long", f"the id takes {size} bytes, at most {MAX_ID_BYTES} are allowed", found
            )
        return Record(found, orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE))


def checked_ids(ids: Iterable[Any]) -> list[str]:
    """Give ids as a list, each once.

    :raises InvalidArgumentError: naming what is no id, and its place.
    """
    checker = IdChecker()
    checked: dict[str, None] = {}
    for item in Ids(ids).read(START, lambda: None):
        try:
            checked[checker.check(item.data).id] = None
        except FlawError as flaw:
            raise InvalidArgumentError(f"ids, number {item.end.line}: {flaw}") from None
    return list(checked)


class Ids:
    """Ids in memory.

    :param ids: a list, or anything that can be iterated.
    :raises InvalidArgumentError: it is a single text, or a mapping.
    """

    names: Sequence[str] = ("ids",)

    def __init__(self, ids: Iterable[Any]) -> None:
        if isinstance(ids, str | bytes | Mapping) or not isinstance(ids, Iterable):
            raise InvalidArgumentError(f"ids must be a list of ids, got {str(ids)[:80]!r}")
        self._ids = list(ids)
        self.extent = f"{len(self._ids)} ids"

    def read(self, start: Position, interrupt: Interrupt) -> Items:
        """As :meth:`~airflow_provider_vectorize.ingest.sources.Source.read`."""
        for number in range(start.line, len(self._ids)):
            interrupt()
            yield Item(self._ids[number], Position(0, number), Position(0, number + 1))

    def identity(self) -> list[list[Any]]:
        """Tell them from others."""
        digest = hashlib.blake2b(digest_size=16)
        for each in self._ids:
            digest.update(repr(each).encode() + b"\n")
        return [["ids", len(self._ids), digest.hexdigest()]]


def id_columns(columns: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of columns, choose what an id is made of."""
    given = (columns or {}).get("id", "id")
    made_of = Columns({"id": given, "values": "-"}).needed
    # There are no values: any column that is there anyway stands for them.
    return {"id": given, "values": made_of[0], "metadata": []}


def _id_of(data: object) -> Any:
    if isinstance(data, TooLong):
        raise FlawError("id_too_long", f"the line takes {data.size} bytes, an id at most {MAX_ID_BYTES}")
    if isinstance(data, Mapping):
        return _id_of(_line_of(data["record"])) if is_reject(data) else data.get("id")
    if not isinstance(data, bytes):
        return data
    text = data.strip()
    if text[:1] in (b"{", b'"'):
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
        else:
            return _id_of(found)
    return text.decode("utf-8", "surrogateescape")


def _line_of(record: Any) -> Any:
    # A line that was refused is kept as its text.
    return record.encode("utf-8", "surrogatepass") if isinstance(record, str) else record
