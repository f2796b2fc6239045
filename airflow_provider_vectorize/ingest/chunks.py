"""Cut a stream of checked records into chunks: a state machine without I/O.

A chunk is what one request sends. It closes on count or bytes, and never holds an id twice: which of two records
with one id wins within a request is not documented, so it is settled here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from airflow_provider_vectorize.ingest.records import Record
from airflow_provider_vectorize.ingest.rejects import Reject
from airflow_provider_vectorize.ingest.sources import START, Item, Position


class Entry(NamedTuple):
    """A record in a chunk.

    :param id: its id.
    :param begin: where its NDJSON line begins in the text of the chunk.
    :param end: where it ends, after the newline.
    :param start: its place in the source: right before it.
    """

    id: str
    begin: int
    end: int
    start: Position


@dataclass(slots=True)
class Chunk:
    """What goes out in one request, and what of the source it settles.

    :param number: counted from 0 over the whole load, earlier tries too.
    :param start: place in the source where it begins.
    :param end: place up to which it settles the source.
    :param text: the lines of its records, and of those that are superseded.
    :param entries: its records by id, in the order of sending.
    :param superseded: records left out, since another one of this chunk has their id.
    :param rejects: records left out, since they are invalid.
    :param bytes_read: bytes of all these in the source, after decompression.
    """

    number: int
    start: Position
    end: Position
    text: memoryview = field(default_factory=lambda: memoryview(b""))
    entries: dict[str, Entry] = field(default_factory=dict)
    superseded: list[Entry] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    bytes_read: int = 0

    def line(self, entry: Entry) -> bytes:
        """Give the line of one of its records, with the newline."""
        return bytes(self.text[entry.begin : entry.end])


class Lines:
    """Lines of some records of a chunk as the body of a request, without a copy of them.

    :param text: the text of the chunk.
    :param entries: what to send of it, in this order.
    """

    def __init__(self, text: memoryview, entries: Sequence[Entry]) -> None:
        self._text = text
        self._entries = entries
        self._size = sum(entry.end - entry.begin for entry in entries)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[memoryview]:
        begin = end = 0
        for entry in self._entries:
            if entry.begin != end:
                if begin != end:
                    yield self._text[begin:end]
                begin = entry.begin
            end = entry.end
        if begin != end:
            yield self._text[begin:end]


class Chunker:
    """Collect records until a chunk is full.

    :param max_vectors: records in a chunk; as many may be superseded, and as many rejected.
    :param max_bytes: bytes of its text, and of its rejects.
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
        self._used = 0
        self._open(number, start)

    def add(self, record: Record, item: Item) -> Chunk | None:
        """Take a record; returns the chunk before it when the record does not fit any more."""
        full = None
        if self._is_full(record):
            full = self._close()
        self._read(item)
        chunk = self._chunk
        entry = Entry(record.id, self._used, self._used + len(record.line), item.start)
        if not self._used:
            chunk.text = self._room()
        chunk.text[entry.begin : entry.end] = record.line
        self._used = entry.end
        if self._keep == "first" and record.id in chunk.entries:
            chunk.superseded.append(entry)
            return full
        if record.id in chunk.entries:
            chunk.superseded.append(chunk.entries.pop(record.id))
        chunk.entries[record.id] = entry
        return full

    def reject(self, reject: Reject, item: Item) -> Chunk | None:
        """Take note of an invalid record; returns the chunk before it when the notes are full."""
        full = None
        rejects = self._chunk.rejects
        too_many_bytes = self._rejected_bytes + len(reject.kept) > self._max_bytes
        if len(rejects) >= self._max_vectors or (rejects and too_many_bytes):
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

    def _room(self) -> memoryview:
        # Filling fresh memory costs several times as much as copying does, unless it comes in huge pages: numpy asks
        # for these. What is not filled takes no memory.
        return np.empty(self._max_bytes, np.uint8).data

    def _is_full(self, record: Record) -> bool:
        entries = self._chunk.entries
        return (
            len(entries) + (record.id not in entries) > self._max_vectors
            or len(self._chunk.superseded) >= self._max_vectors
            or self._used + len(record.line) > self._max_bytes
        )

    def _open(self, number: int, start: Position) -> None:
        self._chunk = Chunk(number, start, start)
        self._used = 0
        self._rejected_bytes = 0

    def _close(self) -> Chunk:
        chunk = self._chunk
        self._open(chunk.number + 1, chunk.end)
        return chunk
