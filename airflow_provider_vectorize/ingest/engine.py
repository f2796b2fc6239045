"""The load: source -> record -> chunk -> request -> mutation -> report."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import closing

from airflow_provider_vectorize.client.errors import (
    EmptySourceError,
    InvalidRecordError,
    RejectsError,
    TooManyRejectsError,
    VectorizeError,
)
from airflow_provider_vectorize.ingest.checkpoint import Checkpoint, Journal, fingerprint
from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.ingest.outcomes import Outcome
from airflow_provider_vectorize.ingest.pipeline import Client, Pipeline
from airflow_provider_vectorize.ingest.rejects import MAX_NAMED, RejectsFolder, listing
from airflow_provider_vectorize.ingest.report import Account, Report
from airflow_provider_vectorize.ingest.sources import START, as_source

log = logging.getLogger(__name__)

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
) -> Report:
    """Load records into an index. When it returns, the API has accepted every record that was not refused.

    Whatever it raises names what was accepted and from where on nothing was, and has the report of that as
    ``error.report``.

    :param client: the client; its retries are the only ones.
    :param index_name: the index, which must exist.
    :param records: NDJSON as str or bytes, an iterable of mappings or lines (read once, a generator too), or a list of
        :class:`~airflow_provider_vectorize.ingest.sources.SourceFile`.
    :param options: see :class:`IngestOptions`.
    :param rejects: folder for the refused records; None keeps none of them.
    :param checkpoint: where to remember how far the load has come. A load from files goes on there; any other starts
        again.
    :param progress: called with the report so far whenever more was settled.
    :param stop: ends the load when set, from any thread: no chunk is begun any more, those under way are given 1.5
        seconds, the checkpoint is stored. Requests that take longer go on until ``client.abort()`` cuts them. A read
        of the source that hangs is not interrupted.
    :param tried_before: an earlier try may have sent something of this load: no record can then be known to differ
        from what the index will show.
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
    # A retry writes the same names again; loads that cannot be told apart never do.
    run = uuid.uuid4().hex[:16] if None in mark.values() else fingerprint(run=mark)["run"]
    account, continued = journal.open()
    resumed_from = None if account.position == START else account.position.within(source.names)
    if account.complete:
        log.info("An earlier try has loaded all of it, so nothing is sent")
    elif resumed_from:
        log.info("Going on at %s, line %d: %d records are settled", *resumed_from, account.records)

    def report(*, failed: bool = False) -> Report:
        return account.report(
            index_name,
            options,
            source.names,
            seconds=time.monotonic() - started,
            resumed_from=resumed_from,
            failed=failed,
        )

    pipeline = Pipeline(
        client,
        index_name,
        source,
        options,
        dimensions=index.dimensions,
        account=account,
        keep_rejects=rejects is not None,
        probing=not (tried_before or continued),
        stop=stop or threading.Event(),
    )
    pace = _Pace(started)
    try:
        if not account.complete:
            journal.save(account)
            with closing(pipeline.outcomes()) as outcomes:
                for outcome in outcomes:
                    _keep_rejects(outcome, rejects, run)
                    if account.add(outcome):
                        journal.save(account)
                    pace.log(account)
                    if progress is not None:
                        progress(report())
        account.remark(*pipeline.remarks())
        _judge(account, options)
    except VectorizeError as error:
        error.report = report(failed=True)
        error.args = (_explain(error, account, rejects, error.report), *error.args[1:])
        raise
    return report()


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
                "%d vectors, %.0f MB sent, %.1f MB/s",
                account.accepted,
                megabytes,
                megabytes / (now - self._started),
            )


def _keep_rejects(outcome: Outcome, folder: RejectsFolder | None, run: str | None) -> None:
    if outcome.rejects and folder is not None:
        try:
            folder.write(f"rejects-{run}-{outcome.number:06}.ndjson", outcome.rejects)
        except RejectsError as error:
            outcome.error = outcome.error or error


def _judge(account: Account, options: IngestOptions) -> None:
    if account.records == 0:
        raise EmptySourceError("There was nothing to load: not one record in the source")
    if account.rejected > options.max_rejects:
        raise TooManyRejectsError(
            f"{account.rejected} records were refused, and max_rejects is {options.max_rejects}"
        )
    if not account.mutation_ids:
        raise TooManyRejectsError(f"All {account.rejected} records were refused: nothing was loaded")


def _explain(error: VectorizeError, account: Account, folder: RejectsFolder | None, report: Report) -> str:
    lines = [str(error)]
    if account.rejected and not isinstance(error, InvalidRecordError):
        where = "" if folder is None else f", all of them in {folder.name}"
        lines += [f"Refused records ({account.rejected}{where}):", listing(account.named, account.rejected)]
    records = "" if report.accepted is None else f"{report.accepted} records in "
    lines.append(f"Accepted: {records}{report.batches} requests.")
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
