"""The load: source -> record -> chunk -> window -> outcome -> account, checkpoint, progress -> report."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress

from airflow_provider_vectorize.client.errors import (
    IngestAbortedError,
    RejectsError,
    TransportError,
    VectorizeError,
)
from airflow_provider_vectorize.client.types import Mutation
from airflow_provider_vectorize.ending import Ending, State
from airflow_provider_vectorize.ingest.account import Account
from airflow_provider_vectorize.ingest.checkpoint import Checkpoint, Journal, fingerprint
from airflow_provider_vectorize.ingest.chunks import Chunk, Chunker, Entry
from airflow_provider_vectorize.ingest.flushing import Flusher
from airflow_provider_vectorize.ingest.following import Follower
from airflow_provider_vectorize.ingest.operations import Checks, Client, operation_on
from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.ingest.outcomes import Outcome
from airflow_provider_vectorize.ingest.probes import SentIds
from airflow_provider_vectorize.ingest.records import FlawError
from airflow_provider_vectorize.ingest.refusals import Delivery
from airflow_provider_vectorize.ingest.rejects import Reject, RejectsFolder
from airflow_provider_vectorize.ingest.report import Report
from airflow_provider_vectorize.ingest.sending import Window
from airflow_provider_vectorize.ingest.sources import START, Source, as_source
from airflow_provider_vectorize.ingest.verdict import explain, judge, remark, warn
from airflow_provider_vectorize.visibility import Probe

log = logging.getLogger(__name__)

_TOLD_TO_STOP = "The load was told to stop"

#: Seconds between two lines of progress in the log, at least.
PROGRESS_SECONDS = 5.0


def ingest(
    client: Client,
    index_name: str,
    records: object,
    *,
    options: IngestOptions = IngestOptions(),  # noqa: B008  # immutable
    rejects: RejectsFolder | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[Report], None] | None = None,
    stop: threading.Event | None = None,
    tried_before: bool = False,
    follower: Follower | None = None,
    connection: str | None = None,
    pace: Callable[[], None] | None = None,
) -> Report:
    """Load records into an index. When it returns, the API has accepted every record that was not refused.

    Whatever it raises of this package once the index is known names what was accepted and from where on nothing was,
    and has the report of that as ``error.report``. However it ends, no thread of it is alive then, but for
    one that hangs in a read of a compressed source, and no request of it leaves any more.

    With ``operation="delete"`` the records are ids, and are deleted.

    :param client: the client; its retries are the only ones.
    :param index_name: the index, which must exist.
    :param records: NDJSON as str or bytes, an iterable of mappings or lines (read once, a generator too), or a list of
        :class:`~airflow_provider_vectorize.ingest.sources.SourceFile`.
    :param options: see :class:`IngestOptions`.
    :param rejects: folder for the refused records; None keeps none of them.
    :param checkpoint: where to remember how far the load has come. A load from files goes on there; any other starts
        again.
    :param progress: called with the report so far whenever more was settled; while the source is waited for, that is
        in a thread of the load, and so are the checkpoint, the follower and ``pace``. Never two of them at a time.
    :param stop: ends the load when set, from any thread: nothing is begun and no wait goes on, requests under way are
        given 1.5 seconds (reads none) and then cut, the checkpoint is stored. A read of the source that hangs is not
        interrupted.
    :param tried_before: an earlier try may have sent something of this load: then no record can be known to differ
        from what the index will show.
    :param follower: may leave records out, and is told of all that is sent.
    :param connection: what the client was made of, for the log.
    :param pace: called before the first request of every chunk; it may wait, and raise.
    :raises InvalidRecordError: a record is invalid, and ``on_invalid`` is ``fail``.
    :raises TooManyRejectsError: more records were refused than ``max_rejects``, or all of them.
    :raises SourceError: the input is missing, breaks off or cannot be read.
    :raises EmptySourceError: there was not one record.
    :raises RejectsError: the refused records could not be written.
    :raises IngestAbortedError: ``stop`` was set.
    :raises VectorizeError: what the client raised.
    """
    begun = time.monotonic()
    ending = Ending(stop=stop)
    client = client.within(ending)
    source = as_source(records)
    try:
        with ending.cutting_reads():
            index = client.get_index(index_name)
    except TransportError:
        if ending.state >= State.STOPPING:
            raise IngestAbortedError(_TOLD_TO_STOP) from None
        raise
    if options.operation != "delete":  # which has counted its ids, and said so
        by = "" if connection is None else f", by connection {connection!r}"
        log.info("Loading %s into index %r, %d dimensions%s", source.extent, index_name, index.dimensions, by)
    mark = fingerprint(
        index=[client.account_id, index_name, index.created_on],
        options=options.identity(),
        sources=source.identity(),
    )
    journal = Journal(checkpoint, mark)
    known, found = journal.open()
    account = known or Account()
    resumed_from = None if account.position == START else account.position.within(source.names)
    if account.complete:
        log.info("An earlier try has loaded all of it, so nothing is sent")
    elif resumed_from:
        log.info("Going on at %s, line %d: %d records are settled", *resumed_from, account.records)

    def report(*, failed: bool = False) -> Report:
        return Report.of(
            account,
            index_name,
            options,
            source.names,
            seconds=time.monotonic() - begun,
            resumed_from=resumed_from,
            folder=None if rejects is None else rejects.name,
            failed=failed,
        )

    checker, send, choose = operation_on(client, index, options, follower)
    load = Load(
        source,
        checker,
        send,
        options,
        account,
        ending,
        save=lambda: journal.save(account, time.monotonic() - begun),
        settled=None if progress is None else lambda: progress(report()),
        rejects=rejects,
        # A retry writes the same names again; loads that cannot be told apart never do.
        run=uuid.uuid4().hex[:16] if None in mark.values() else str(fingerprint(run=mark)["run"]),
    )
    load.follower = follower
    load.pace = pace
    # What an earlier try has sent, and which ids, nobody knows: any record may be in the index before long.
    if known.sent_to == START if known is not None else not (found or tried_before):
        load.choose_probes = choose
    try:
        if not account.complete:
            load.run()
            remark(index_name, account, options, load.checker)
        judge(account, options, partial=follower is not None and follower.partial)
    except VectorizeError as error:
        error.report = report(failed=True)
        blind = tried_before and known is None
        error.args = (explain(error, account, rejects, error.report, blind=blind), *error.args[1:])
        raise
    warn(index_name, account, rejects)
    return report()


class Load:
    """The way of the records of one load, in the thread of the caller, or in that of a flush while the caller's waits
    for the source, never in two at a time. Requests have threads of their own.

    :param source: what to read.
    :param checker: makes a record of what was read.
    :param send: makes one request.
    :param options: how.
    :param account: where to begin; everything is entered there.
    :param ending: ends the load.
    :param save: stores the account.
    :param settled: told whenever more is settled.
    :param rejects: folder for the refused records.
    :param run: tells the files in that folder from those of other loads.
    """

    #: Chooses probes of the last chunk; None: no record is known to differ from what the index will show.
    choose_probes: Callable[[Chunk, SentIds], list[Probe]] | None = None
    #: May leave records out, and is told of what is sent.
    follower: Follower | None = None
    #: Waits until the next request may begin.
    pace: Callable[[], None] | None = None

    def __init__(
        self,
        source: Source,
        checker: Checks,
        send: Callable[[Chunk, Sequence[Entry]], Mutation],
        options: IngestOptions,
        account: Account,
        ending: Ending,
        *,
        save: Callable[[], None],
        settled: Callable[[], None] | None,
        rejects: RejectsFolder | None,
        run: str,
    ) -> None:
        self.checker = checker
        self._source = source
        self._options = options
        self._account = account
        self._ending = ending
        self._save = save
        self._tell = settled
        self._rejects = rejects
        self._run_name = run
        self._sent = SentIds()
        self._last_line: bytes | None = None
        self._progress = _Progress(account, "ids deleted" if options.operation == "delete" else "vectors")
        self._chunker = Chunker(
            max_vectors=options.max_batch_vectors,
            max_bytes=options.max_batch_bytes,
            max_seconds=options.flush_seconds,
            keep="last" if options.operation == "upsert" else "first",
            start=account.position,
            number=account.chunks,
        )
        self._delivery = Delivery(send, source.names, options, rejects is not None, ending)
        self._delivery.count_rejects(account.rejected)
        self._window = Window(self._delivery.deliver, options.max_in_flight, ending)
        self._flusher = Flusher(self._chunker.due_in, self._flush)

    def run(self) -> None:
        """Load all that is left."""
        chunks = self._full_chunks()
        try:
            self._flusher.start()
            for chunk in chunks:
                self._send(chunk)
            self._flusher.close()
            self._settle_all()
            self._finish(self._chunker.flush())
        except BaseException as error:
            # What is under way still counts, whatever the reason.
            self._ending.come_to(State.FAILING if isinstance(error, Exception) else State.STOPPING)
            self._flusher.close()
            for outcome in self._window.drain():
                with suppress(Exception):
                    self._settle(outcome)
            if isinstance(error, Exception):
                self._interrupt()  # what the stop has caused is not the reason
            raise
        finally:
            self._window.close()
            self._save()
            chunks.close()  # last, since the source may be slow to end

    def _full_chunks(self) -> Generator[Chunk, None, None]:
        with closing(self._source.read(self._account.position, self._interrupt)) as items:
            for item in self._flusher.give_way(items):
                try:
                    record = self.checker.check(item.data)
                except FlawError as flaw:
                    name = self._source.names[item.end.source]
                    reject = Reject(name, item.end.line, flaw.record_id, flaw.code, flaw.reason)
                    if self._options.on_invalid == "fail":
                        raise reject.error() from None
                    self._delivery.count_rejects(1)
                    kept = None if self._rejects is None else reject.with_record(item.data)
                    full = self._chunker.reject(reject, kept, item)
                else:
                    if self.follower is not None and not self.follower.wants(record):
                        continue
                    full = self._chunker.add(record, item)
                if full is not None:
                    yield full

    def _send(self, chunk: Chunk) -> None:
        for outcome in self._window.make_room(chunk):
            self._settle(outcome)
        self._interrupt()
        if self.pace is not None:
            self.pace()
        self._account.sending_to(chunk.end)
        self._save()
        if self.follower is not None:
            self.follower.sending(chunk)
        self._window.send(chunk)
        self._sent.add(chunk.entries)
        self._chunker.be_young()  # a way that is slow makes no small requests

    def _flush(self) -> None:
        """Send the chunk that is due, or settle what has arrived; while the source is waited for."""
        if (chunk := self._chunker.due()) is not None:
            self._send(chunk)
        for outcome in self._window.arrived():
            self._settle(outcome)

    def _settle_all(self) -> None:
        for outcome in self._window.drain():
            self._settle(outcome)
        self._interrupt()

    def _settle(self, outcome: Outcome) -> None:
        if outcome.kept.count and self._rejects is not None:
            try:
                place = f"{outcome.start.source + 1}-{outcome.start.line + 1:09}"
                self._rejects.write(f"{self._run_name}-{place}", outcome.kept)
            except RejectsError as error:
                outcome.error = outcome.error or error
        outcome.kept.close()
        if outcome.last_accepted is not None:
            self._last_line = outcome.last_accepted[0]
        self._account.add(outcome)
        if self.follower is not None:
            self.follower.settled(outcome)
        self._progress.log()
        if self._tell is not None:
            self._tell()
        if outcome.error is not None:
            raise outcome.error

    def _finish(self, last: Chunk | None) -> None:
        """Send the last chunk, alone: its mutation is the fence of the whole load."""
        fence: Outcome | None = None
        probes: list[Probe] = []
        if last is not None:
            if self.choose_probes is not None:
                with self._ending.cutting_reads():
                    probes = self.choose_probes(last, self._sent)
            fence = self._send_alone(last)
        if fence is None or not fence.mutations:
            # Nothing of it was accepted, so the fence is the last record that was, once more.
            self._repeat_last_accepted()
        else:
            # Of a chunk that was taken apart, earlier pieces can be seen before the fence can.
            refused = {reject.id for reject in fence.rejects}
            self._account.probes = [
                each for each in probes if each.id in fence.last_ids and each.id not in refused
            ]
        self._account.complete = True

    def _send_alone(self, chunk: Chunk) -> Outcome:
        self._send(chunk)
        [outcome] = self._window.drain()
        self._settle(outcome)
        return outcome

    def _repeat_last_accepted(self) -> None:
        line, place = self._last_line, self._account.last_accepted
        if line is None and place is not None:  # accepted by an earlier try
            with closing(self._source.read(place, self._interrupt)) as items:
                line = self.checker.check(next(items).data).line
        if line is not None:
            end = self._account.position
            entry = Entry("", 0, len(line), end)
            chunk = Chunk(self._account.chunks, end, end, memoryview(line), {entry.id: entry})
            self._send_alone(chunk)
            self._account.accepted -= 1  # once more

    def _interrupt(self) -> None:
        if self._ending.state >= State.STOPPING:
            raise IngestAbortedError(_TOLD_TO_STOP)


class _Progress:
    """Lines of progress in the log, not too many."""

    def __init__(self, account: Account, what: str) -> None:
        self._account = account
        self._what = what
        self._sent_before = account.bytes_sent
        self._begun = self._logged = time.monotonic()

    def log(self) -> None:
        now = time.monotonic()
        if now - self._logged >= PROGRESS_SECONDS:
            self._logged = now
            account = self._account
            log.info(
                "%d %s, %.0f MB sent, %.1f MB/s",
                account.accepted,
                self._what,
                account.bytes_sent / 1e6,
                (account.bytes_sent - self._sent_before) / 1e6 / (now - self._begun),
            )
