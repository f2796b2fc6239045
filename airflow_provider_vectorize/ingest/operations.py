"""What a load does with a record: how it is checked, sent, and recognised in the index; for each operation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from typing import NamedTuple, Protocol, Self

import orjson

from airflow_provider_vectorize.client.types import Body, Index, Mutation, UnparsableBehavior, Vector
from airflow_provider_vectorize.ending import Ending
from airflow_provider_vectorize.ingest.chunks import Chunk, Entry
from airflow_provider_vectorize.ingest.following import Follower
from airflow_provider_vectorize.ingest.ids import IdChecker
from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.ingest.probes import SentIds, choose
from airflow_provider_vectorize.ingest.records import Checker, Record
from airflow_provider_vectorize.visibility import Probe

#: Seconds that a load waits to choose the records by which it can be recognised: it can do without.
PROBE_SECONDS = 10.0


class Client(Protocol):
    """What a load needs of :class:`~airflow_provider_vectorize.client.VectorizeClient`; safe to use from threads."""

    account_id: str

    def within(
        self, ending: Ending | None = None, *, seconds: float | None = None, max_attempts: int | None = None
    ) -> Self:
        """Give the same client for a piece of work with bounds."""
        ...

    def get_index(self, index_name: str) -> Index:
        """Get an index and its configuration."""
        ...

    def get_by_ids(self, index_name: str, ids: list[str]) -> Sequence[Vector]:
        """Get vectors; ids that are not in the index are left out."""
        ...

    def upsert(
        self, index_name: str, body: Body, unparsable_behavior: UnparsableBehavior = "error"
    ) -> Mutation:
        """Send one body of NDJSON: vectors whose id exists are replaced."""
        ...

    def insert(
        self, index_name: str, body: Body, unparsable_behavior: UnparsableBehavior = "error"
    ) -> Mutation:
        """Send one body of NDJSON: vectors whose id exists are left as they are."""
        ...

    def delete_by_ids(self, index_name: str, ids: Iterable[str]) -> list[Mutation]:
        """Delete vectors; ids that do not exist are no error. One mutation for every 100."""
        ...


class Checks(Protocol):
    """Makes a record of what was read."""

    @property
    def undocumented(self) -> Set[str]:
        """Fields that were seen and are not known, a few of them."""
        ...

    def check(self, data: object) -> Record:
        """Check what was read.

        :raises FlawError: it is no record.
        """
        ...


class Operation(NamedTuple):
    """What a load does with its records.

    :param checker: makes a record of what was read.
    :param send: makes one request of some records of a chunk.
    :param choose: looks at some records of the last chunk, to know it by.
    """

    checker: Checks
    send: Callable[[Chunk, Sequence[Entry]], Mutation]
    choose: Callable[[Chunk, SentIds], list[Probe]]


def operation_on(
    client: Client, index: Index, options: IngestOptions, follower: Follower | None = None
) -> Operation:
    """Give what a load of these options does.

    :param client: the client.
    :param index: the index.
    :param options: of the load.
    :param follower: of the load; it marks the records.
    """

    def look(ids: list[str]) -> Sequence[Vector]:
        return client.within(seconds=PROBE_SECONDS, max_attempts=1).get_by_ids(index.name, ids)

    def upload(chunk: Chunk, entries: Sequence[Entry]) -> Mutation:
        call = client.upsert if options.operation == "upsert" else client.insert
        return call(index.name, chunk.body(entries), options.unparsable_behavior)

    def delete(chunk: Chunk, entries: Sequence[Entry]) -> Mutation:
        [mutation] = client.delete_by_ids(index.name, [orjson.loads(chunk.line(entry)) for entry in entries])
        return mutation

    def known_by(chunk: Chunk, sent: SentIds) -> list[Probe]:
        return choose(look, chunk, sent, only_absent=options.operation == "insert")

    send = delete if options.operation == "delete" else upload
    return Operation(checker_of(options, index.dimensions, follower), send, known_by)


def checker_of(options: IngestOptions, dimensions: int, follower: Follower | None = None) -> Checks:
    """Give what makes a record of what a load of these options reads.

    :param options: of the load.
    :param dimensions: of the index.
    :param follower: of the load; it marks the records.
    """
    if options.operation == "delete":
        return IdChecker()
    return Checker.of(options, dimensions, None if follower is None else follower.mark)
