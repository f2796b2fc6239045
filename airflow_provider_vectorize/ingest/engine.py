"""The load: source -> record -> chunk -> request -> mutation -> report."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Protocol

from airflow_provider_vectorize.client.errors import (
    EmptySourceError,
    IngestAbortedError,
    InvalidRecordError,
    TooManyRejectsError,
    VectorizeError,
)
from airflow_provider_vectorize.client.types import Index, Mutation, UnparsableBehavior, Vector
from airflow_provider_vectorize.ingest.checkpoint import Checkpoint, Journal, fingerprint
from airflow_provider_vectorize.ingest.chunks import Chunk, Chunker, Entry
from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.ingest.outcomes import Outcome
from airflow_provider_vectorize.ingest.probes import SentIds, choose
from airflow_provider_vectorize.ingest.records import Checker, FlawError
from airflow_provider_vectorize.ingest.refusals import Delivery
from airflow_provider_vectorize.ingest.rejects import MAX_NAMED, Reject, listing
from airflow_provider_vectorize.ingest.report import Account, Report
from airflow_provider_vectorize.ingest.sending import Window
from airflow_provider_vectorize.ingest.sources import START, Item, Position, Source, as_source

log = logging.getLogger(__name__)

#: Seconds between two lines of progress in the log, at least.
PROGRESS_SECONDS = 5.0


class Client(Protocol):
    """What a load needs of :class:`~airflow_provider_vectorize.client.VectorizeClient`; safe to use from threads."""

    account_id: str

    def get_index(self, index_name: str) -> Index: ...  # noqa: D102

    def get_by_ids(self, index_name: str, ids: list[str]) -> Sequence[Vector]: ...  # noqa: D102

    def upsert(  # noqa: D102
        self, index_name: str, body: bytes | bytearray, unparsable_behavior: UnparsableBehavior = "error"
    ) -> Mutation: ...

    def insert(  # noqa: D102
        self, index_name: str, body: bytes | bytearray, unparsable_behavior: UnparsableBehavior = "error"
    ) -> Mutation: ...


def ingest(
    client: Client,
    index_name: str,
    records: object,
    *,
    options: IngestOptions = IngestOptions(),  # noqa: B008  # immutable
    checkpoint: Checkpoint | None = None,
    progress: Callable[[Report], None] | None = None,
    stop: threading.Event | None = None,
    first_try: bool = True,
) -> Report:
    """Load records into an index. When it returns, the API has accepted every record that was not refused.

    Whatever it raises names what was accepted and from where on nothing was, and has the report of that as
    ``error.report``.

    :param client: the client; its retries are the only ones.
    :param index_name: the index, which must exist.
    :param records: NDJSON as str or bytes, an iterable of mappings (read once, a generator too), or a list of
        :class:`~airflow_provider_vectorize.ingest.sources.SourceFile`.
    :param options: see :class:`IngestOptions`.
    :param checkpoint: where to remember how far the load has come. A load from files goes on there; any other starts
        again.
    :param progress: called with the report so far whenever more was settled.
    :param stop: ends the load when set, from any thread: no request is begun any more, what is under way is given
        1.5 seconds, the checkpoint is stored. A read of the source that hangs is not interrupted.
    :param first_try: False when an earlier try without a checkpoint may have sent something: no record can then be
        known to differ from what the index will show.
    :raises InvalidRecordError: a record is invalid, and ``on_invalid`` is ``fail``.
    :raises TooManyRejectsError: more records were refused than ``max_rejects``, or all of them.
    :raises SourceError: the input is missing, breaks off or cannot be read.
    :raises EmptySourceError: there was not one record.
    :raises RejectsError: the refused records could not be written.
    :raises IngestAbortedError: ``stop`` was set.
    :raises VectorizeError: what the client raised.
    """
    source = as_source(records)
    started = time.monotonic()
    index = client.get_index(index_name)
    mark = fingerprint(
        index=[client.account_id, index_name, index.created_on],
        options=options.identity(),
        sources=source.identity(),
    )
    journal = Journal(checkpoint, mark)
    account, tried_before = journal.open()
    resumed_from = None if account.position == START else _place(source, account.position)
    if resumed_from:
        log.info("Going on at %s, line %d: %d records are settled", *resumed_from, account.records)

    def report(*, failed: bool = False) -> Report:
        return Report(
            index_name=index_name,
            operation=options.operation,
            mutation_id=account.mutation_ids[-1] if account.mutation_ids else None,
            mutation_ids=tuple(account.mutation_ids),
            batches=account.batches,
            accepted=account.accepted if options.unparsable_behavior == "error" else None,
            rejected=account.rejected,
            superseded=account.superseded,
            bytes_read=account.bytes_read,
            bytes_sent=account.bytes_sent,
            seconds=round(time.monotonic() - started, 3),
            retries=account.retries,
            resumed_from=resumed_from,
            sources=tuple(source.names),
            messages=tuple(account.messages),
            probes=tuple(account.probes),
            stopped_at=_place(source, account.furthest) if failed and not account.complete else None,
            unsettled=account.spans(source.names),
        )

    pipeline = Pipeline(
        client,
        index_name,
        source,
        options,
        dimensions=index.dimensions,
        account=account,
        probing=first_try and not tried_before,
        stop=stop or threading.Event(),
    )
    pace = _Pace(started)
    try:
        if not account.complete:
            journal.save(account)
            with closing(pipeline.outcomes()) as outcomes:
                for outcome in outcomes:
                    if outcome.rejects and options.rejects is not None:
                        name = f"rejects-{mark['options']}-{outcome.number:06}.ndjson"
                        options.rejects.write(name, outcome.rejects)
                    if account.add(outcome):
                        journal.save(account)
                    pace.log(account)
                    if progress is not None:
                        progress(report())
        account.remark(*pipeline.remarks())
        _judge(account, options)
    except VectorizeError as error:
        error.report = report(failed=True)
        error.args = (_explain(error, account, error.report), *error.args[1:])
        raise
    return report()


class Pipeline:
    """Everything between a source and the outcomes of its chunks.

    :param client: the client.
    :param index_name: the index.
    :param source: what to read.
    :param options: how.
    :param dimensions: of the index.
    :param account: where to begin; it is not changed.
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
        probing: bool,
        stop: threading.Event,
    ) -> None:
        self._client = client
        self._index_name = index_name
        self._source = source
        self._options = options
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
        self._delivery = Delivery(self._request, source.names, options, halted=lambda: self._window.closed)
        self._delivery.count_rejects(account.rejected)
        self._window = Window(self._delivery.deliver, options.max_in_flight, self._stop)

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Run, and give what became of each chunk, in order; then raise what went wrong.

        The consumer has dealt with an outcome when it asks for the next: no chunk goes out before ``max_in_flight``
        chunks earlier everything is dealt with.
        """
        failure: Exception | None = None
        try:
            try:
                for chunk in self._full_chunks():
                    self._sent.add(entry.id for entry in chunk.entries)
                    yield from self._noted(self._window.put(chunk))
                    if self._window.closed:
                        break
            except VectorizeError as error:
                failure = error  # what is under way still counts
            yield from self._noted(self._window.drain())
            self._go_on_or_raise(failure)
            if (last := self._chunker.flush()) is not None:
                yield self._deliver_last(last)
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
            return self._chunker.reject(
                reject if self._options.rejects is None else reject.with_record(item.data), item
            )
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
                again = Chunk(
                    chunk.number, chunk.end, chunk.end, [Entry("", len(line), chunk.end)], bytearray(line)
                )
                fence = self._alone(again)
                outcome.mutations, outcome.error = fence.mutations, fence.error
                outcome.bytes_sent += fence.bytes_sent
        refused = {reject.id for reject in outcome.rejects}
        outcome.probes = [probe for probe in probes if probe.id not in refused]
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

    def _noted(self, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
        for outcome in outcomes:
            self._failure = self._failure or outcome.error
            if outcome.last_accepted is not None:
                self._last_line = outcome.last_accepted[0]
            yield outcome

    def _request(self, body: bytes | bytearray) -> Mutation:
        operation = self._client.upsert if self._options.operation == "upsert" else self._client.insert
        return operation(self._index_name, body, self._options.unparsable_behavior)

    def _interrupt(self) -> None:
        if self._stop.is_set():
            raise IngestAbortedError("The load was told to stop")

    def _go_on_or_raise(self, failure: Exception | None) -> None:
        self._interrupt()  # what the stop has caused is not the reason
        if failure := failure or self._failure:
            raise failure


class _Pace:
    """Lines of progress in the log, not too many."""

    def __init__(self, now: float) -> None:
        self._started = self._logged = now

    def log(self, account: Account) -> None:
        now = time.monotonic()
        if now - self._logged >= PROGRESS_SECONDS:
            self._logged = now
            megabytes = account.bytes_sent / 1e6
            log.info(
                "%d vectors accepted, %.0f MB sent, %.1f MB/s",
                account.accepted,
                megabytes,
                megabytes / (now - self._started),
            )


def _judge(account: Account, options: IngestOptions) -> None:
    if account.records == 0:
        raise EmptySourceError("There was nothing to load: not one record in the source")
    if account.rejected > options.max_rejects:
        raise TooManyRejectsError(
            f"{account.rejected} records were refused, and max_rejects is {options.max_rejects}"
        )
    if not account.mutation_ids:
        raise TooManyRejectsError(f"All {account.rejected} records were refused: nothing was loaded")


def _place(source: Source, position: Position) -> tuple[str, int]:
    return source.names[position.source] if source.names else "", position.line + 1


def _explain(error: VectorizeError, account: Account, report: Report) -> str:
    lines = [str(error)]
    if account.named and not isinstance(error, InvalidRecordError):
        lines += [f"Refused records ({account.rejected}):", listing(account.named, account.rejected)]
    lines.append(f"Accepted: {account.accepted} records in {account.batches} requests.")
    if report.unsettled:
        lines.append(
            "Sent, or about to be, without an answer, so that some may be in the index: "
            + "; ".join(map(str, report.unsettled[:MAX_NAMED]))
            + ("; ..." if len(report.unsettled) > MAX_NAMED else "")
            + "."
        )
    if report.stopped_at is not None:
        lines.append("From {}, line {} on, nothing was accepted.".format(*report.stopped_at))
    return "\n".join(lines)
