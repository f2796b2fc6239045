"""The sync: what is new or changed is loaded, then what went away is deleted, and all of it is taken down before.

The order is what makes it safe to kill: ids are unknown before they are written, deletes come after everything else
was accepted, and the manifest claims something only after the API has accepted it.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from airflow_provider_vectorize.client.errors import (
    EmptySourceError,
    InvalidArgumentError,
    ManifestError,
    VectorizeError,
)
from airflow_provider_vectorize.client.types import Index
from airflow_provider_vectorize.ending import Ending, State
from airflow_provider_vectorize.index.delete import DELETES
from airflow_provider_vectorize.index.pace import DEFAULT_REQUESTS_PER_MINUTE
from airflow_provider_vectorize.ingest import Client as IngestClient
from airflow_provider_vectorize.ingest import ingest
from airflow_provider_vectorize.ingest.following import Follower
from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.ingest.rejects import RejectsFolder
from airflow_provider_vectorize.ingest.report import Report
from airflow_provider_vectorize.sync.difference import Change
from airflow_provider_vectorize.sync.expected import Expected
from airflow_provider_vectorize.sync.following import Changes
from airflow_provider_vectorize.sync.leaving import NOTED_IDS, Leaving
from airflow_provider_vectorize.sync.manifest import Identity, Manifest, Session
from airflow_provider_vectorize.sync.options import SyncOptions
from airflow_provider_vectorize.sync.pages import pages
from airflow_provider_vectorize.sync.reconcile import Client as ListingClient
from airflow_provider_vectorize.sync.reconcile import reconcile
from airflow_provider_vectorize.sync.rehearsal import rehearse
from airflow_provider_vectorize.sync.report import SyncReport
from airflow_provider_vectorize.visibility import Target
from airflow_provider_vectorize.waiting import FENCE_ID, Claim, look

log = logging.getLogger(__name__)


class Client(IngestClient, ListingClient, Protocol):
    """What a sync needs of :class:`~airflow_provider_vectorize.client.VectorizeClient`."""


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
    progress: Callable[[Report], None] | None = None,
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
    :param progress: called with the report so far of the load, then of the deletes, whenever more was settled.
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
    ending = Ending(stop=stop)
    client = client.within(ending)
    index = client.get_index(index_name)
    identity = identity_of(client.account_id, index, how)
    agree = partial(
        reconcile,
        client,
        index_name,
        id_prefix=how.id_prefix,
        requests_per_minute=requests_per_minute,
        stop=stop,
    )
    if how.dry_run:
        with manifest.look(identity) as known:
            if how.reconcile:
                agree(known)
            return rehearse(index, known, records, manifest.folder.name, options, how)
    with manifest.open(identity, run or _some_run(), lambda: ending.come_to(State.OVER)) as session:
        work = _Sync(client, index, session, options, how, stop, progress)
        if how.reconcile:
            agree(session.known)
        else:
            work.compare_counts()
        try:
            work.run(records, rejects, witness)
            fence = work.fence()
            extent = session.commit(fence)
            work.look_for(fence)
        except VectorizeError as error:
            error.report = work.report(path=manifest.folder.name) if work.done else None
            raise
    result = work.report(path=manifest.folder.name, **extent)
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
    identity = identity_of(client.account_id, client.get_index(index_name), how)
    with manifest.open(identity, run or _some_run()) as session:
        managed = [each for each in ids if session.known.get(each)[0] is not None]
        for page in pages(managed, NOTED_IDS):
            session.intend(page)


class _Sync:
    """One run: what it was given, and what it has done so far."""

    def __init__(
        self,
        client: Client,
        index: Index,
        session: Session,
        options: IngestOptions,
        how: SyncOptions,
        stop: threading.Event,
        progress: Callable[[Report], None] | None,
    ) -> None:
        self._client = client
        self._index = index
        self._session = session
        self._options = options
        self._how = how
        self._stop = stop
        self._progress = progress
        self._known = session.known
        #: An earlier run may have written what is not visible yet: nothing can be recognised by it.
        self._tried_before = session.forgotten or session.known.sure() < len(session.known)
        self._counts = dict.fromkeys(Change, 0)
        self._unchanged = 0
        self._messages: list[str] = []
        #: The load; then the deletes, if there were any.
        self.done: list[Report] = []
        self._unseen: Target | None = None
        if session.forgotten:
            self._messages.append("the manifest spoke of something else, so everything was loaded again")
        if session.lease.took_over is not None:
            self._messages.append(f"the manifest was taken over from {session.lease.took_over}")

    def compare_counts(self) -> None:
        """Say so if the index seems to have lost what the manifest says it holds."""
        if not (managed := self._known.sure()):
            return
        count = self._client.index_info(self._index.name).vector_count
        if count < managed:
            message = (
                f"index {self._index.name!r} counts {count} vectors, and the manifest says that {managed} are there: "
                "if that does not pass (counts lag), reconcile=True finds and sends what is missing"
            )
            log.warning("%s", message)
            self._messages.append(message)

    def run(self, records: object, rejects: RejectsFolder | None, witness: Expected | None) -> None:
        """Load what was added or changed, then delete what went away."""
        changes = Changes(self._session, self._how, witness)
        given = records(changes) if callable(records) else records
        try:
            self._ingest(given, self._options, changes, rejects)
        finally:
            self._counts, self._unchanged = changes.counts, changes.unsent()
        if not self._known.seen and self._how.min_records > 0:
            raise EmptySourceError(
                "There was nothing to load: not one record in the source. Nothing was deleted; if it is meant, set "
                "min_records=0"
            )
        if count := changes.guard():
            self._confirm_index()
            log.info("Deleting %d ids of index %r that the source has no more", count, self._index.name)
            leaving = Leaving(changes.gone(), self._session)
            self._ingest(leaving, replace(DELETES, max_in_flight=self._options.max_in_flight), leaving)
        self._confirm_index()

    def fence(self) -> Target | None:
        """Give what was sent last, by this run or an earlier one; None: nothing ever was."""
        if self._sent:
            return self._sent[-1]
        if self._session.has_loose_ends:
            # Of a run that did not come to its end nobody knows what it sent last; this comes after it.
            [mutation] = self._client.delete_by_ids(self._index.name, [FENCE_ID])
            return Target(mutation.id)
        return self._session.fence

    def look_for(self, fence: Target | None) -> None:
        """Look whether what an earlier run has sent can be seen; what this one has, whoever waits will look for."""
        if self._sent or fence is None:
            return
        if fence not in look(self._client, self._index.name, [Claim([fence])]).visible[0]:
            self._unseen = fence

    @property
    def _sent(self) -> list[Target]:
        return [each.target() for each in self.done if each.mutation_id is not None]

    def report(self, **manifest: Any) -> SyncReport:
        """Tell what was done so far."""
        load, *deletes = self.done
        return SyncReport(
            load,
            deletes[0] if deletes else None,
            added=self._counts[Change.ADDED],
            changed=self._counts[Change.CHANGED],
            unchanged=self._unchanged,
            manifest=manifest,
            unseen=self._unseen,
            messages=tuple(self._messages),
        )

    def _ingest(
        self,
        records: object,
        options: IngestOptions,
        follower: Follower,
        rejects: RejectsFolder | None = None,
    ) -> None:
        report: Report | None = None
        try:
            report = ingest(
                self._client,
                self._index.name,
                records,
                options=options,
                rejects=rejects,
                stop=self._stop,
                tried_before=self._tried_before,
                follower=follower,
                progress=self._progress,
            )
        except VectorizeError as error:
            report = error.report
            self._session.check()  # raises if a lease that was lost is the reason
            raise
        finally:
            if report is not None:
                self.done.append(report)

    def _confirm_index(self) -> None:
        now = self._client.get_index(self._index.name)
        if now.created_on != self._index.created_on:
            raise ManifestError(
                f"index {self._index.name!r} was deleted and made anew while it was synced: run it again"
            )


def _some_run() -> str:
    return f"process {uuid.uuid4().hex[:8]}"


def identity_of(account_id: str, index: Index, how: SyncOptions) -> Identity:
    """Tell what a manifest must speak of."""
    return {
        "account": account_id,
        "index": index.name,
        "created_on": index.created_on,
        "dimensions": index.dimensions,
        "metric": index.metric,
        "changed_by": how.changed_by,
    }


def _announce(report: SyncReport) -> None:
    log.info(
        "Index %r: %d added, %d changed, %d deleted, %d checked and unchanged; %d requests, %.1f MB sent; "
        "the manifest has %s ids in %.1f MB; %s",
        report.index_name,
        report.added,
        report.changed,
        report.deleted,
        report.unchanged,
        report.requests,
        report.bytes_sent / 1e6,
        report.manifest["ids"],
        report.manifest["bytes"] / 1e6,
        "nothing to do"
        if report.mutation_id is None
        else f"mutation {report.mutation_id}{', of an earlier run' if report.unseen else ''}",
    )
