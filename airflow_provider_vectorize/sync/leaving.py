"""What a sync deletes: the ids that its source has no more, taken down before they leave."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from airflow_provider_vectorize.client.limits import MAX_DELETE_IDS
from airflow_provider_vectorize.ingest.chunks import Chunk
from airflow_provider_vectorize.ingest.outcomes import Outcome
from airflow_provider_vectorize.ingest.records import Record
from airflow_provider_vectorize.ingest.sources import Interrupt, Item, Items, Position
from airflow_provider_vectorize.sync.following import Notes
from airflow_provider_vectorize.sync.pages import pages

#: Ids that are taken down at once: 50 requests.
NOTED_IDS = 50 * MAX_DELETE_IDS


class Leaving:
    """The ids that go: the source of a delete, and the one who follows it.

    :param ids: each once; they are read while they go.
    :param notes: where it is taken down that they go, and that they are gone.
    """

    names = ("the ids that the source has no more",)
    extent = names[0]
    partial = False

    def __init__(self, ids: Iterable[str], notes: Notes) -> None:
        self._ids = ids
        self._notes = notes
        self._sent: dict[int, list[str]] = {}
        #: They are read while others are settled.
        self._lock = threading.Lock()

    def read(self, start: Position, interrupt: Interrupt) -> Items:
        """See :class:`~airflow_provider_vectorize.ingest.sources.Source`; they are read once."""
        number = start.line
        rest = pages(self._ids, NOTED_IDS)
        while page := self._next(rest):
            interrupt()
            for each in page:
                yield Item(each, Position(0, number), Position(0, number + 1))
                number += 1

    def _next(self, rest: Iterator[list[str]]) -> list[str]:
        with self._lock:
            page = next(rest, [])
            if page:
                self._notes.intend(page)
            return page

    def identity(self) -> None:
        """Unknown: they can be read but once."""

    def mark(self, record: Mapping[str, Any]) -> bytes:  # noqa: ARG002
        """An id has no mark."""
        return b""

    def wants(self, record: Record) -> bool:  # noqa: ARG002
        """All go."""
        return True

    def sending(self, chunk: Chunk) -> None:
        """Make sure that they may still go; they were taken down when they were read."""
        self._notes.check()
        self._sent[chunk.number] = list(chunk.entries)

    def settled(self, outcome: Outcome) -> None:
        """Take down that they are gone. Of a chunk that failed nothing is: its ids stay unknown."""
        ids = self._sent.pop(outcome.number, [])
        if outcome.error is None:
            with self._lock:
                self._notes.settle((each, None) for each in ids)
