"""Everything between a source and the outcomes of its chunks: read, check, cut, send, the last chunk alone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Protocol

from airflow_provider_vectorize.client.errors import IngestAbortedError, VectorizeError
from airflow_provider_vectorize.client.types import Index, Mutation, UnparsableBehavior, Vector
from airflow_provider_vectorize.ingest.chunks import Chunk, Chunker, Entry, Lines
from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.ingest.outcomes import Outcome
from airflow_provider_vectorize.ingest.probes import SentIds, choose
from airflow_provider_vectorize.ingest.records import Checker, FlawError
from airflow_provider_vectorize.ingest.refusals import Delivery
from airflow_provider_vectorize.ingest.rejects import Reject
from airflow_provider_vectorize.ingest.report import Account
from airflow_provider_vectorize.ingest.sending import Window
from airflow_provider_vectorize.ingest.sources import Item, Source

log = logging.getLogger(__name__)


class Client(Protocol):
    """What a load needs of :class:`~airflow_provider_vectorize.client.VectorizeClient`; safe to use from threads."""

    account_id: str

    def get_index(self, index_name: str) -> Index:
        """Get an index and its configuration."""
        ...

    def get_by_ids(self, index_name: str, ids: list[str]) -> Sequence[Vector]:
        """Get vectors; ids that are not in the index are left out."""
        ...

    def upsert(
        self, index_name: str, body: Lines, unparsable_behavior: UnparsableBehavior = "error"
    ) -> Mutation:
        """Send one body of NDJSON: vectors whose id exists are replaced."""
        ...

    def insert(
        self, index_name: str, body: Lines, unparsable_behavior: UnparsableBehavior = "error"
    ) -> Mutation:
        """Send one body of NDJSON: vectors whose id exists are left as they are."""
        ...


class Pipeline:
    """Everything between a source and the outcomes of its chunks.

    :param client: the client.
    :param index_name: the index.
    :param source: what to read.
    :param options: how.
    :param dimensions: of the index.
    :param account: where to begin; it is not changed.
    :param keep_rejects: whether refused records are kept whole.
    :param probing: whether records to recognise the load by may be chosen.
    :param stop: ends the load when set.
    """

    def __init__(
        self,
        client: Client,
        index_name: str,
        source: Source,
        options: IngestOptions,
        *,
        dimensions: int,
        account: Account,
        keep_rejects: bool,
        probing: bool,
        stop: threading.Event,
    ) -> None:
        self._client = client
        self._index_name = index_name
        self._source = source
        self._options = options
        self._keep_rejects = keep_rejects
        self._probing = probing
        self._stop = stop
        self._start = account.position
        self._last_place = account.last_accepted
        self._last_line: bytes | None = None
        self._failure: Exception | None = None
        self._sent = SentIds()
        self._checker = Checker(
            dimensions,
            namespace=options.namespace,
            compact=options.compact,
            max_bytes=options.max_batch_bytes,
        )
        self._chunker = Chunker(
            max_vectors=options.max_batch_vectors,
            max_bytes=options.max_batch_bytes,
            keep="last" if options.operation == "upsert" else "first",
            start=account.position,
            number=account.chunks,
        )
        self._delivery = Delivery(
            self._request, source.names, options, keep_rejects, halted=lambda: self._window.over
        )
        self._delivery.count_rejects(account.rejected)
        self._window = Window(self._delivery.deliver, options.max_in_flight, self._stop)

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Run, and give what became of each chunk, in order; then raise what went wrong.

        The consumer has dealt with an outcome when it asks for the next: no chunk goes out before ``max_in_flight``
        chunks earlier everything is dealt with. When it has entered an error in the outcome, the load ends with that.
        """
        failure: Exception | None = None
        try:
            try:
                for chunk in self._full_chunks():
                    self._sent.add(chunk.entries)
                    yield from self._noted(self._window.put(chunk))
                    if self._window.closed:
                        break
            except VectorizeError as error:
                failure = error  # what is under way still counts
            yield from self._noted(self._window.drain())
            self._go_on_or_raise(failure)
            if (last := self._chunker.flush()) is not None:
                yield from self._noted([self._deliver_last(last)])
                self._go_on_or_raise(None)
        finally:
            self._window.close()

    def remarks(self) -> list[str]:
        """What the user should know of a load that went well."""
        remarks = []
        if self._checker.undocumented:
            fields = ", ".join(sorted(self._checker.undocumented))
            remarks.append(f"sent as they are, though the API does not document them: the fields {fields}")
        if self._options.unparsable_behavior == "discard":
            remarks.append(
                'with unparsable_behavior="discard" the API does not tell how many records it dropped'
            )
        for remark in remarks:
            log.warning("Load into %s: %s", self._index_name, remark)
        return remarks

    def _full_chunks(self) -> Iterator[Chunk]:
        for item in self._source.read(self._start, self._interrupt):
            chunk = self._take(item)
            if chunk is not None:
                yield chunk

    def _take(self, item: Item) -> Chunk | None:
        try:
            record = self._checker.check(item.data)
        except FlawError as flaw:
            name = self._source.names[item.end.source]
            reject = Reject(name, item.end.line, flaw.record_id, flaw.code, flaw.reason)
            if self._options.on_invalid == "fail":
                raise reject.error() from None
            self._delivery.count_rejects(1)
            return self._chunker.reject(reject.with_record(item.data) if self._keep_rejects else reject, item)
        return self._chunker.add(record, item)

    def _deliver_last(self, chunk: Chunk) -> Outcome:
        """Send the last chunk, alone: its mutation is the fence of the whole load."""
        probes = []
        if self._probing:
            probes = choose(
                lambda ids: self._client.get_by_ids(self._index_name, ids),
                chunk,
                self._sent,
                only_absent=self._options.operation == "insert",
            )
        outcome = self._alone(chunk)
        if outcome.error is None and not outcome.mutations:
            # Nothing of it was accepted, so the fence is the last record that was, once more.
            line = self._last_accepted_line()
            if line is not None:
                entry = Entry("", 0, len(line), chunk.end)
                again = Chunk(chunk.number, chunk.end, chunk.end, memoryview(line), {entry.id: entry})
                fence = self._alone(again)
                outcome.mutations, outcome.error = fence.mutations, fence.error
                outcome.bytes_sent += fence.bytes_sent
        # Of a chunk that was taken apart, earlier pieces can be seen before the fence can.
        refused = {reject.id for reject in outcome.rejects}
        outcome.probes = [each for each in probes if each.id in outcome.last_ids and each.id not in refused]
        outcome.is_last = outcome.error is None
        return outcome

    def _alone(self, chunk: Chunk) -> Outcome:
        outcomes = [*self._noted(self._window.put(chunk)), *self._noted(self._window.drain())]
        if not outcomes:
            self._interrupt()  # the only reason not to send it
        return outcomes[0]

    def _last_accepted_line(self) -> bytes | None:
        if self._last_line is None and self._last_place is not None:  # accepted by an earlier try
            item = next(self._source.read(self._last_place, self._interrupt))
            self._last_line = self._checker.check(item.data).line
        return self._last_line

    def _noted(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        for outcome in outcomes:
            if outcome.last_accepted is not None:
                self._last_line = outcome.last_accepted[0]
            yield outcome
            if outcome.error is not None:
                self._failure = self._failure or outcome.error
                self._window.fail()

    def _request(self, body: Lines) -> Mutation:
        operation = self._client.upsert if self._options.operation == "upsert" else self._client.insert
        return operation(self._index_name, body, self._options.unparsable_behavior)

    def _interrupt(self) -> None:
        if self._stop.is_set():
            raise IngestAbortedError("The load was told to stop")

    def _go_on_or_raise(self, failure: Exception | None) -> None:
        self._interrupt()  # what the stop has caused is not the reason
        if failure := failure or self._failure:
            raise failure
