"""What became of a chunk."""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass, field

from airflow_provider_vectorize.client.types import Mutation
from airflow_provider_vectorize.ingest.chunks import Chunk
from airflow_provider_vectorize.ingest.rejects import Reject, Spool
from airflow_provider_vectorize.ingest.sources import Position


@dataclass(slots=True)
class Outcome:
    """What became of a chunk.

    :param number: number of the chunk.
    :param start: place in the source where it begins.
    :param end: place up to which it settles the source.
    :param superseded: its records that gave way to another one with their id.
    :param rejects: its records that were refused, here or by the API.
    :param kept: these as lines of the rejects folder, as far as they are kept.
    :param bytes_read: bytes of all its records in the source, after decompression.
    :param accepted: its records that the API accepted.
    :param bytes_sent: bytes of the bodies that the API accepted.
    :param mutations: the API's answers, in the order of sending; several after a refusal.
    :param last_accepted: line of its last accepted record, and the place before that record.
    :param last_ids: ids that its last mutation wrote.
    :param error: why it was not delivered as a whole.
    :param unsettled: after an error, places before the records that were neither accepted nor refused.
    """

    number: int
    start: Position
    end: Position
    superseded: int = 0
    rejects: list[Reject] = field(default_factory=list)
    kept: Spool = field(default_factory=Spool)
    bytes_read: int = 0
    accepted: int = 0
    bytes_sent: int = 0
    mutations: list[Mutation] = field(default_factory=list)
    last_accepted: tuple[bytes, Position] | None = None
    last_ids: Collection[str] = ()
    error: BaseException | None = None
    unsettled: Sequence[Position] = ()

    @classmethod
    def of(cls, chunk: Chunk) -> Outcome:
        """Begin with what is known before sending."""
        return cls(
            chunk.number,
            chunk.start,
            chunk.end,
            len(chunk.superseded),
            list(chunk.rejects),
            chunk.kept,
            chunk.bytes_read,
        )

    def fail(self, chunk: Chunk, error: BaseException, settled: Container[str] = ()) -> None:
        """Note that the chunk was not delivered as a whole.

        :param chunk: the chunk.
        :param error: why.
        :param settled: ids of its records that were accepted or refused.
        """
        lost = {each for each in chunk.entries if each not in settled}
        # A record that gave way to one of these is not settled either.
        self.unsettled = [
            entry.start for entry in (*chunk.entries.values(), *chunk.superseded) if entry.id in lost
        ]
        self.superseded = sum(entry.id not in lost for entry in chunk.superseded)
        self.error = error
