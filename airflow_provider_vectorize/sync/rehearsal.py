"""A sync that sends nothing: what it would do."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from airflow_provider_vectorize.client.errors import SyncGuardError
from airflow_provider_vectorize.client.types import Index
from airflow_provider_vectorize.index.delete import DELETES
from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.ingest.report import Report
from airflow_provider_vectorize.sync.difference import Change
from airflow_provider_vectorize.sync.following import Changes
from airflow_provider_vectorize.sync.known import Known
from airflow_provider_vectorize.sync.leaving import Leaving
from airflow_provider_vectorize.sync.options import SyncOptions
from airflow_provider_vectorize.sync.plan import Plan, plan
from airflow_provider_vectorize.sync.report import SyncReport
from airflow_provider_vectorize.sync.segments import UNKNOWN, Row

log = logging.getLogger(__name__)


def rehearse(
    index: Index, known: Known, records: object, path: str, options: IngestOptions, how: SyncOptions
) -> SyncReport:
    """Do everything but send.

    :param index: the index.
    :param known: what it is known to hold.
    :param records: as for a sync.
    :param path: of the manifest.
    :param options: of the load.
    :param how: of the sync.
    """
    notes = _Unwritten(known)
    changes = Changes(notes, how)
    given = records(changes) if callable(records) else records
    planned = plan(given, dimensions=index.dimensions, options=options, follower=changes)
    messages = []
    try:
        changes.guard()
    except SyncGuardError as error:
        messages.append(f"it would be refused: {error}")
    going = plan(Leaving(changes.gone(), notes), dimensions=index.dimensions, options=DELETES)
    report = SyncReport(
        _foretold(index.name, planned, options),
        _foretold(index.name, going, DELETES) if going.records else None,
        added=changes.counts[Change.ADDED],
        changed=changes.counts[Change.CHANGED],
        unchanged=changes.unsent(),
        manifest={"path": path, "ids": changes.managed},
        dry_run=True,
        messages=tuple(messages),
    )
    log.info(
        "Dry run, nothing was sent to index %r: %d would be added, %d changed, %d deleted, %d unchanged; %d requests, "
        "%.1f MB%s",
        index.name,
        report.added,
        report.changed,
        report.deleted,
        report.unchanged,
        report.requests,
        report.bytes_sent / 1e6,
        "".join(f"; {message}" for message in messages),
    )
    return report


def _foretold(index_name: str, planned: Plan, options: IngestOptions) -> Report:
    return Report(
        index_name=index_name,
        operation=options.operation,
        mutation_id=None,
        mutation_ids=(),
        batches=planned.requests,
        accepted=planned.stored,
        rejected=sum(planned.invalid.values()),
        superseded=planned.duplicates,
        bytes_read=planned.bytes_read,
        bytes_sent=planned.bytes_sent,
        seconds=0.0,
        retries=0,
        resumed_from=None,
        sources=(),
        source_count=0,
        messages=(),
        probes=(),
    )


class _Unwritten:
    """Notes that nobody keeps."""

    def __init__(self, known: Known) -> None:
        self.known = known

    def intend(self, ids: Sequence[str]) -> None:
        self.known.apply((each, UNKNOWN) for each in ids)

    def settle(self, rows: Iterable[Row]) -> None:
        self.known.apply(rows)

    def check(self) -> None:
        pass
