"""Cut a stream of checked records into chunks: a state machine without I/O.

A chunk is the body of one request. It closes on count or bytes, and never holds an id twice: which of two records
with one id wins within a request is not documented, so it is settled here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from airflow_provider_vectorize.ingest.records import Record
from airflow_provider_vectorize.ingest.rejects import Reject
from airflow_provider_vectorize.ingest.sources import START, Item, Position


class Entry(NamedTuple):
    """A record in a chunk.

    :param id: its id.
    :param size: bytes of its line, with the newline.
    :param start: its place in the source: right before it.
    """

    id: str
    size: int
    start: Position


@dataclass(slots=True)
class Chunk:
    """What goes out in one request, and what of the source it settles.

    :param number: counted from 0 over the whole load, earlier tries too.
    :param start: place in the source where it begins.
    :param end: place up to which it settles the source.
    :param entries: its records, in the order of the body.
    :param body: their lines.
    :param superseded: records left out, since another one of this chunk has their id.
    :param rejects: records left out, since they are invalid.
    :param bytes_read: bytes of all these in the source, after decompression.
    """

    number: int
    start: Position
    end: Position
    entries: list[Entry] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    superseded: list[Entry] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    bytes_read: int = 0


class Chunker:
    """Collect records until a chunk is full.

    :param max_vectors: records in a chunk.
    :param max_bytes: bytes of its body, and of its rejects.
    :param keep: which of several records of one chunk with the same id is sent.
    :param start: place in the source where the first chunk begins.
    :param number: number of the first chunk.
    """

    def __init__(
        self,
        *,
        max_vectors: int,
        max_bytes: int,
        keep: Literal["first", "last"],
        start: Position = START,
        number: int = 0,
    ) -> None:
        self._max_vectors = max_vectors
        self._max_bytes = max_bytes
        self._keep = keep
        self._open(number, start)

    def add(self, record: Record, item: Item) -> Chunk | None:
        """Take a record; returns the chunk before it when the record does not fit any more."""
        full = None
        if self._is_full(record):
            full = self._close()
        self._read(item)
        entry = Entry(record.id, len(record.line), item.start)
        known = self._places.get(record.id)
        if known is not None and self._keep == "first":
            self._chunk.superseded.append(entry)
            return full
        if known is not None:
            self._chunk.superseded.append(self._chunk.entries[known])
            self._dead.add(known)
        self._places[record.id] = len(self._chunk.entries)
        self._chunk.entries.append(entry)
        self._chunk.body += record.line
        return full

    def reject(self, reject: Reject, item: Item) -> Chunk | None:
        """Take note of an invalid record; returns the chunk before it when the notes are full."""
        full = None
        if self._rejected_bytes + len(reject.kept) > self._max_bytes and self._chunk.rejects:
            full = self._close()
        self._read(item)
        self._chunk.rejects.append(reject)
        self._rejected_bytes += len(reject.kept)
        return full

    def flush(self) -> Chunk | None:
        """Close the last chunk; None if there is nothing in it."""
        return self._close() if self._chunk.entries or self._chunk.rejects else None

    def _read(self, item: Item) -> None:
        self._chunk.end = item.end
        self._chunk.bytes_read += item.end.offset - item.start.offset

    def _is_full(self, record: Record) -> bool:
        return (
            len(self._places) + (record.id not in self._places) > self._max_vectors
            or len(self._chunk.superseded) >= self._max_vectors
            or len(self._chunk.body) + len(record.line) > self._max_bytes
        )

    def _open(self, number: int, start: Position) -> None:
        self._chunk = Chunk(number, start, start)
        self._places: dict[str, int] = {}
        self._dead: set[int] = set()
        self._rejected_bytes = 0

    def _close(self) -> Chunk:
        chunk = self._chunk
        if self._dead:
            _drop(chunk, self._dead)
        self._open(chunk.number + 1, chunk.end)
        return chunk


def _drop(chunk: Chunk, dead: set[int]) -> None:
    living, body, at = [], bytearray(), 0
    with memoryview(chunk.body) as view:
        for place, entry in enumerate(chunk.entries):
            if place not in dead:
                living.append(entry)
                body += view[at : at + entry.size]
            at += entry.size
    chunk.entries, chunk.body = living, body
