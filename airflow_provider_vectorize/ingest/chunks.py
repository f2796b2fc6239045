"""Cut a stream of checked records into chunks: a state machine without I/O.

A chunk is what one request sends. It closes on count or bytes, and never holds an id twice: which of two records with
one id wins within a request is not documented, so it is settled here. With age it is due, and closes when asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from airflow_provider_vectorize.client.types import Pieces
from airflow_provider_vectorize.ingest.records import Record
from airflow_provider_vectorize.ingest.rejects import Reject, Spool
from airflow_provider_vectorize.ingest.sources import START, Item, Position


class Entry(NamedTuple):
    """A record in a chunk.

    :param id: its id.
    :param begin: where its NDJSON line begins in the text of the chunk.
    :param end: where it ends, after the newline.
    :param start: its place in the source: right before it.
    :param mark: see :class:`~airflow_provider_vectorize.ingest.following.Follower`.
    """

    id: str
    begin: int
    end: int
    start: Position
    mark: bytes | None = None


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
    :param kept: these as lines of the rejects folder, as far as they are kept.
    :param bytes_read: bytes of all these in the source, after decompression.
    """

    number: int
    start: Position
    end: Position
    text: memoryview = field(default_factory=lambda: memoryview(b""))
    entries: dict[str, Entry] = field(default_factory=dict)
    superseded: list[Entry] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    kept: Spool = field(default_factory=Spool)
    bytes_read: int = 0

    def line(self, entry: Entry) -> bytes:
        """Give the line of one of its records, with the newline."""
        return bytes(self.text[entry.begin : entry.end])

    def body(self, entries: Iterable[Entry]) -> Pieces:
        """Give the lines of some of its records as the body of a request, without a copy of them."""
        return Pieces(self._runs(entries))

    def _runs(self, entries: Iterable[Entry]) -> Iterator[memoryview]:
        begin = end = 0
        for entry in entries:
            if entry.begin != end:
                if begin != end:
                    yield self.text[begin:end]
                begin = entry.begin
            end = entry.end
        if begin != end:
            yield self.text[begin:end]


class Chunker:
    """Collect records until a chunk is full.

    :param max_vectors: records in a chunk; as many may be superseded, and as many rejected.
    :param max_bytes: bytes of its text and of the rejects that are kept, together.
    :param max_seconds: age of its first record at which it is due.
    :param keep: which of several records of one chunk with the same id is sent.
    :param start: place in the source where the first chunk begins.
    :param number: number of the first chunk.
    :param clock: tells seconds, monotonic.
    """

    def __init__(
        self,
        *,
        max_vectors: int,
        max_bytes: int,
        keep: Literal["first", "last"],
        max_seconds: float = float("inf"),
        start: Position = START,
        number: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_vectors = max_vectors
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._keep = keep
        self._clock = clock
        self._used = 0
        self._since = 0.0
        self._chunk = Chunk(number, start, start)

    def add(self, record: Record, item: Item) -> Chunk | None:
        """Take a record; returns the chunk before it when the record does not fit any more."""
        entries = self._chunk.entries
        full = self._take(
            item,
            len(record.line),
            too_many=len(entries) + (record.id not in entries) > self._max_vectors
            or len(self._chunk.superseded) >= self._max_vectors,
        )
        chunk = self._chunk
        entry = Entry(record.id, self._used, self._used + len(record.line), item.start, record.mark)
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

    def reject(self, reject: Reject, kept: bytes | None, item: Item) -> Chunk | None:
        """Take note of an invalid record; returns the chunk before it when there is no room for it any more.

        :param kept: the record as a line of the rejects folder, if it is kept.
        """
        full = self._take(item, len(kept or b""), too_many=len(self._chunk.rejects) >= self._max_vectors)
        self._chunk.rejects.append(reject)
        if kept is not None:
            self._chunk.kept.add(kept)
        return full

    def due_in(self) -> float:
        """Tell in how many seconds the chunk may be due; safe to ask from any thread."""
        return self._max_seconds - (self._clock() - self._since if self._holds_any() else 0.0)

    def be_young(self) -> None:
        """Count its age from now on: so far it could not have gone."""
        self._since = self._clock()

    def due(self) -> Chunk | None:
        """Close the chunk if it is due."""
        return self._close() if self._holds_any() and self.due_in() <= 0 else None

    def flush(self) -> Chunk | None:
        """Close the last chunk; None if there is nothing in it."""
        return self._close() if self._holds_any() else None

    def _take(self, item: Item, size: int, *, too_many: bool) -> Chunk | None:
        full = None
        if self._holds_any() and (too_many or self._used + self._chunk.kept.size + size > self._max_bytes):
            full = self._close()
        if not self._holds_any():
            self.be_young()
        self._chunk.end = item.end
        self._chunk.bytes_read += item.end.offset - item.start.offset
        return full

    def _holds_any(self) -> bool:
        return bool(self._chunk.entries or self._chunk.rejects)

    def _room(self) -> memoryview:
        # Filling fresh memory costs several times as much as copying does, unless it comes in huge pages: numpy asks
        # for these. What is not filled takes no memory.
        return np.empty(self._max_bytes, np.uint8).data

    def _close(self) -> Chunk:
        chunk = self._chunk
        self._chunk = Chunk(chunk.number + 1, chunk.end, chunk.end)
        self._used = 0
        return chunk
