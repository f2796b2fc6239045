"""Who follows a load: leaves out what need not be sent, and knows what goes out and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from airflow_provider_vectorize.ingest.chunks import Chunk
from airflow_provider_vectorize.ingest.outcomes import Outcome
from airflow_provider_vectorize.ingest.records import Record


class Follower(Protocol):
    """Told by one thread at a time, in this order for every chunk. What it raises ends the load."""

    #: It may leave records out, so that there may be nothing to load.
    partial: bool

    def mark(self, record: Mapping[str, Any]) -> bytes:
        """Mark a checked record; the mark stays with it, as ``Record.mark`` and ``Entry.mark``.

        :param record: with ``values`` as float32, the namespace settled.
        :raises FlawError: the record is invalid.
        """
        ...

    def wants(self, record: Record) -> bool:
        """Tell whether a checked record is to be sent. One that is not counts for nothing."""
        ...

    def sending(self, chunk: Chunk) -> None:
        """Take note of a chunk before its first request leaves."""
        ...

    def settled(self, outcome: Outcome) -> None:
        """Take note of what became of a chunk; of one that is not told of, nothing is known."""
        ...
