"""The sync: what is new or changed is loaded, then what went away is deleted, and all of it is taken down before.

The order is what makes it safe to kill: ids are unknown before they are written, deletes come after everything else
was accepted, and the manifest claims something only after the API has accepted it.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from airflow_provider_vectorize.client.errors import (
    EmptySourceError,
    IngestAbortedError,
    InvalidArgumentError,
    ManifestError,
    SyncGuardError,
    VectorizeError,
)
from airflow_provider_vectorize.client.limits import MAX_DELETE_IDS, MAX_GET_IDS, MAX_LIST_PAGE
from airflow_provider_vectorize.client.types import Index, IndexInfo, Mutation
from airflow_provider_vectorize.ending import Ending
from airflow_provider_vectorize.index.pace import DEFAULT_REQUESTS_PER_MINUTE, Pace, minutes
from airflow_provider_vectorize.ingest import Client as IngestClient
from airflow_provider_vectorize.ingest import ingest
from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.ingest.rejects import RejectsFolder
from airflow_provider_vectorize.ingest.report import Report
from airflow_provider_vectorize.sync.difference import MAX_NAMED, Change, gone, guard
from airflow_provider_vectorize.sync.expected import Expected
from airflow_provider_vectorize.sync.following import Changes
from airflow_provider_vectorize.sync.known import Known
from airflow_provider_vectorize.sync.manifest import Identity, Manifest, Session
from airflow_provider_vectorize.sync.options import SyncOptions
from airflow_provider_vectorize.sync.plan import plan
from airflow_provider_vectorize.sync.report import SyncReport
from airflow_provider_vectorize.sync.segments import UNKNOWN, Row
from airflow_provider_vectorize.visibility import MAX_PROBES, Probe

log = logging.getLogger(__name__)

#: Ids of deletes that are taken down at once: 50 requests.
_INTENT_IDS = 50 * MAX_DELETE_IDS
_MAX_MUTATIONS = 1_000


class Client(IngestClient, Protocol):
    """What a sync needs of :class:`~airflow_provider_vectorize.client.VectorizeClient`."""

    def index_info(self, index_name: str) -> IndexInfo:
        """Get the number of vectors."""
        ...

    def delete_by_ids(self, index_name: str, ids: Iterable[str]) -> list[Mutation]:
        """Delete vectors."""
        ...

    def list_vectors(self, index_name: str) -> Iterator[str]:
        """List the ids of all vectors."""
        ...


def sync(
    client: Client,
    index_name: str,
    records: object,
    manifest: Manifest,
    *,
    options: IngestOptions = IngestOptions(),  # noqa: B008  # immutable
    how: SyncOptions = SyncOptions(),  # noqa: B008
    rejects: RejectsFolder | None = None,
    run: str | None = None,
    stop: threading.Event | None = None,
    requests_per_minute: int = DEFAULT_REQUESTS_PER_MINUTE,
    witness: Expected | None = None,
) -> SyncReport:
    """Make an index hold, of the ids that a manifest manages, exactly the records of a source.

    :param client: the client.
    :param index_name: the index, which must exist.
    :param records: as :func:`~airflow_provider_vectorize.ingest.ingest` takes them; or a function that gives them and
        is given :class:`.following.Changes`, to ask it whether a record is ``unchanged(id, value)``.
    :param manifest: what the index is known to hold; ids that it does not know are never deleted.
    :param options: how the load is done.
    :param how: how the sync is done.
    :param rejects: folder for the refused records.
    :param run: name of the run, for whoever finds the manifest in use.
    :param stop: ends the sync when set.
    :param requests_per_minute: pace of listing the index, with ``reconcile``.
    :param witness: told of every good record of the source, or of its mark where it was not made.
    :raises SyncGuardError: it would have deleted on doubtful word.
    :raises ManifestError: the manifest is in use, damaged or out of reach.
    :raises EmptySourceError: there was not one record, and ``min_records`` is above 0.
    :raises VectorizeError: what the load raises.
    """
    if options.operation != "upsert" or options.unparsable_behavior != "error":
        raise InvalidArgumentError(
            'a sync upserts, and has to know what was accepted: unparsable_behavior="discard" hides that'
        )
    stop = stop or threading.Event()
    client = client.within(Ending(stop=stop))
    index = client.get_index(index_name)
    identity = _identity(client.account_id, index, how)
    if how.dry_run:
        with manifest.look(identity) as known:
            return _rehearse(index, known, records, manifest.folder.name, options, how)
    with manifest.open(identity, run or _some_run()) as session:
        work = _Sync(client, index, session, options, how, stop, Changes(session, how, witness))
        if how.reconcile:
            work.reconcile(requests_per_minute)
        elif session.known:
            work.compare_counts()
        report = work.run(records, rejects)
        extent = session.commit()
    result = work.report(report, {"path": manifest.folder.name, **extent})
    _announce(result)
    return result


def doubt(
    client: Client,
    index_name: str,
    ids: Iterable[str],
    manifest: Manifest,
    *,
    how: SyncOptions,
    run: str | None = None,
) -> None:
    """Take down that an index does not hold of some ids what the manifest says, so that the next sync sends them again.

    :param ids: those that the manifest does not know are left out.
    :raises ManifestError: the manifest is in use, damaged or out of reach.
    """
    identity = _identity(client.account_id, client.get_index(index_name), how)
    with manifest.open(identity, run or _some_run()) as session:
        managed = [each for each in ids if session.known.get(each)[0] is not None]
        for page in _pages(iter(managed), _INTENT_IDS):
            session.intend(page)


class _Sync:
    def __init__(
        self,
        client: Client,
        index: Index,
        session: Session,
        options: IngestOptions,
        how: SyncOptions,
        stop: threading.Event,
        changes: Changes,
    ) -> None:
        self._client = client
        self._index = index
        self._session = session
        self._options = options
        self._how = how
        self._stop = stop
        self._changes = changes
        self._known = session.known
        self._deletes: list[str] = []
        self._deleted = 0
        self._probes: list[Probe] = []
        self._messages: list[str] = []
        if session.forgotten:
            self._messages.append("the manifest spoke of something else, so everything was loaded again")
        if session.lease.took_over is not None:
            self._messages.append(f"the manifest was taken over from {session.lease.took_over}")

    def run(self, records: object, rejects: RejectsFolder | None) -> Report:
        managed = len(self._known)
        given = records(self._changes) if callable(records) else records
        report = ingest(
            self._client,
            self._index.name,
            given,
            options=self._options,
            rejects=rejects,
            stop=self._stop,
            follower=self._changes,
        )
        seen = len(self._known.seen)
        if seen == 0 and self._how.min_records > 0:
            raise EmptySourceError(
                "There was nothing to load: not one record in the source. Nothing was deleted; if it is meant, set "
                "min_records=0"
            )
        going = len(self._known) - seen
        guard(
            managed=managed,
            records=seen,
            going=going,
            first=list(islice(self._gone(), MAX_NAMED)) if going else [],
            nameless=self._changes.nameless,
            min_records=self._how.min_records,
            max_delete_fraction=self._how.max_delete_fraction,
        )
        if going:
            self._confirm_index()
            self._delete(going)
        self._confirm_index()
        return report

    def reconcile(self, requests_per_minute: int) -> None:
        """Make what is known agree with what the index lists: the rest is the ordinary course."""
        count = self._client.index_info(self._index.name).vector_count
        pages = count // MAX_LIST_PAGE + 1
        log.info(
            "Listing index %r: %d vectors, %d requests, %s at %d a minute",
            self._index.name,
            count,
            pages,
            minutes(pages, requests_per_minute),
            requests_per_minute,
        )
        pace = Pace(requests_per_minute, self._stop)
        prefix = self._how.id_prefix
        with Known() as listed:
            ids = self._client.list_vectors(self._index.name)
            pace()
            while page := list(islice(ids, MAX_LIST_PAGE)):
                listed.apply((each, UNKNOWN) for each in page)
                pace()
            missing = adopted = 0
            batch: list[tuple[str, bytes]] = []
            for record_id, state, _ in self._known.rows():
                if state != UNKNOWN and listed.get(record_id)[0] is None:
                    missing += 1
                    batch.append((record_id, UNKNOWN))
                if len(batch) >= MAX_LIST_PAGE:
                    self._known.apply(batch)
                    batch.clear()
            self._known.apply(batch)
            if prefix is not None:
                for page in _pages(
                    (each for each, _, _ in listed.rows() if each.startswith(prefix)), MAX_LIST_PAGE
                ):
                    strangers = [each for each in page if self._known.get(each)[0] is None]
                    adopted += len(strangers)
                    self._known.apply((each, UNKNOWN) for each in strangers)
        log.info(
            "Index %r lacks %d ids that the manifest says are there, and has %d under id_prefix that nobody manages",
            self._index.name,
            missing,
            adopted,
        )

    def compare_counts(self) -> None:
        """Say so if the index seems to have lost what the manifest says it holds."""
        count = self._client.index_info(self._index.name).vector_count
        managed = self._known.sure()
        if count < managed:
            message = (
                f"index {self._index.name!r} counts {count} vectors, and the manifest says that {managed} are there: "
                "if that does not pass (counts lag), reconcile=True finds and sends what is missing"
            )
            log.warning("%s", message)
            self._messages.append(message)

    def report(self, load: Report, manifest: dict[str, Any]) -> SyncReport:
        counts = self._changes.counts
        return SyncReport(
            load,
            added=counts[Change.ADDED],
            changed=counts[Change.CHANGED],
            unchanged=self._changes.unsent(),
            deleted=self._deleted,
            delete_mutations=tuple(self._deletes),
            delete_probes=tuple(self._probes),
            manifest=manifest,
            messages=tuple(self._messages),
        )

    def _gone(self) -> Iterator[str]:
        return gone(self._known.rows(), self._known.seen)

    def _confirm_index(self) -> None:
        now = self._client.get_index(self._index.name)
        if now.created_on != self._index.created_on:
            raise ManifestError(
                f"index {self._index.name!r} was deleted and made anew while it was synced: run it again"
            )

    def _delete(self, count: int) -> None:
        log.info(
            "Deleting %d ids that the source has no more from index %r: %d requests",
            count,
            self._index.name,
            -(-count // MAX_DELETE_IDS),
        )
        for ids in _pages(self._gone(), _INTENT_IDS):
            self._session.intend(ids)
            for part in _pages(iter(ids), MAX_DELETE_IDS):
                if self._stop.is_set():
                    raise IngestAbortedError("The sync was told to stop")
                self._session.lease.check()
                probes = self._choose(part) if self._deleted + len(part) >= count else []
                [mutation] = self._client.delete_by_ids(self._index.name, part)
                self._session.settle((each, None) for each in part)
                self._deleted += len(part)
                self._deletes = [*self._deletes, mutation.id][-_MAX_MUTATIONS:]
                self._probes = probes

    def _choose(self, ids: list[str]) -> list[Probe]:
        """Find some of the last ids that are there before they are deleted, to recognise the delete by."""
        try:
            found = self._client.get_by_ids(self._index.name, ids[-MAX_GET_IDS:])
        except VectorizeError as error:
            log.warning("No id could be chosen to recognise the deletes by: %s", error)
            return []
        return [Probe(vector.id, None) for vector in found][:MAX_PROBES]


def _some_run() -> str:
    return f"process {uuid.uuid4().hex[:8]}"


def _identity(account_id: str, index: Index, how: SyncOptions) -> Identity:
    return {
        "account": account_id,
        "index": index.name,
        "created_on": index.created_on,
        "dimensions": index.dimensions,
        "metric": index.metric,
        "changed_by": how.changed_by,
    }


def _rehearse(
    index: Index, known: Known, records: object, path: str, options: IngestOptions, how: SyncOptions
) -> SyncReport:
    """Do everything but send."""
    managed = len(known)
    changes = Changes(_Unwritten(known), how)
    given = records(changes) if callable(records) else records
    planned = plan(given, dimensions=index.dimensions, options=options, follower=changes)
    seen = len(known.seen)
    going = len(known) - seen
    messages = []
    try:
        guard(
            managed=managed,
            records=seen,
            going=going,
            first=list(islice(gone(known.rows(), known.seen), MAX_NAMED)) if going else [],
            nameless=changes.nameless,
            min_records=how.min_records,
            max_delete_fraction=how.max_delete_fraction,
        )
    except SyncGuardError as error:
        messages.append(f"it would be refused: {error}")
    report = SyncReport(
        Report(
            index_name=index.name,
            operation=options.operation,
            mutation_id=None,
            mutation_ids=(),
            batches=planned.requests,
            accepted=changes.counts[Change.ADDED] + changes.counts[Change.CHANGED],
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
        ),
        added=changes.counts[Change.ADDED],
        changed=changes.counts[Change.CHANGED],
        unchanged=changes.unsent(),
        deleted=going,
        manifest={"path": path, "ids": managed},
        dry_run=True,
        messages=tuple(messages),
    )
    log.info(
        "Dry run, nothing was sent to index %r: %d would be added, %d changed, %d deleted, %d unchanged; %d requests, "
        "%.1f MB%s",
        index.name,
        report.added,
        report.changed,
        going,
        report.unchanged,
        planned.requests + -(-going // MAX_DELETE_IDS),
        planned.bytes_sent / 1e6,
        "".join(f"; {message}" for message in messages),
    )
    return report


class _Unwritten:
    """Notes that nobody keeps."""

    def __init__(self, known: Known) -> None:
        self.known = known

    def intend(self, ids: Sequence[str]) -> None:
        self.known.apply((each, UNKNOWN) for each in ids)

    def settle(self, rows: Iterable[Row]) -> None:
        self.known.apply(rows)


def _pages(items: Iterator[str], size: int) -> Iterator[list[str]]:
    while page := list(islice(items, size)):
        yield page


def _announce(report: SyncReport) -> None:
    log.info(
        "Index %r: %d added, %d changed, %d deleted, %d checked and unchanged; %d requests, %.1f MB sent; "
        "the manifest has %s ids in %.1f MB; %s",
        report.index_name,
        report.added,
        report.changed,
        report.deleted,
        report.unchanged,
        report.load.batches + len(report.delete_mutations),
        report.load.bytes_sent / 1e6,
        report.manifest["ids"],
        report.manifest["bytes"] / 1e6,
        "nothing to do" if report.mutation_id is None else f"mutation {report.mutation_id}",
    )
