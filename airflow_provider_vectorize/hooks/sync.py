"""The hook's sync and plan: with Airflow's object storage, and the name of the task for whoever finds it at work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, Unpack

from airflow_provider_vectorize.hooks.loads import LoadMethods, LoadOptions, Vectors
from airflow_provider_vectorize.index.pace import DEFAULT_REQUESTS_PER_MINUTE
from airflow_provider_vectorize.runtime.storage import Path, Source, manifest_place
from airflow_provider_vectorize.runtime.task import TaskRun
from airflow_provider_vectorize.runtime.templates import refuse_leftovers
from airflow_provider_vectorize.sync.engine import sync
from airflow_provider_vectorize.sync.expected import Expected
from airflow_provider_vectorize.sync.folder import Folder
from airflow_provider_vectorize.sync.following import Changes
from airflow_provider_vectorize.sync.manifest import Manifest
from airflow_provider_vectorize.sync.options import SyncOptions
from airflow_provider_vectorize.sync.plan import Plan, plan
from airflow_provider_vectorize.sync.report import SyncReport
from airflow_provider_vectorize.sync.verify import VerifyReport, expecting, read
from airflow_provider_vectorize.sync.verify import verify as run_verify

#: Makes the vectors, and is given what the index is known to hold: it need not make what is ``unchanged``.
Maker: TypeAlias = Callable[[Changes], Iterable[Mapping[str, Any] | bytes]]


class SyncMethods(LoadMethods):
    """Keep an index true to its source."""

    def sync(
        self,
        index_name: str | None = None,
        *,
        source: Source | None = None,
        vectors: Vectors | Maker | None = None,
        manifest: Path,
        changed_by: str = "record",
        id_prefix: str | None = None,
        max_delete_fraction: float = 0.2,
        min_records: int = 1,
        force: bool = False,
        reconcile: bool = False,
        dry_run: bool = False,
        expected: Expected | None = None,
        stop: threading.Event | None = None,
        **options: Unpack[LoadOptions],
    ) -> SyncReport:
        """Make an index hold, of the ids that a manifest manages, exactly the records of a source.

        What was added or changed is loaded, then what went away is deleted. A run that was killed at any moment is
        mended by the next.

        :param index_name: the index; None: the connection's.
        :param source: as for :meth:`upsert`.
        :param vectors: as for :meth:`upsert`; or a function that gives them, and may ask its argument
            ``unchanged(id, value)`` whether a record need not be made.
        :param manifest: folder for what the index is known to hold, in anything that Airflow's object storage
            reaches; of this source and this index alone.
        :param changed_by: ``record``: a record has changed when its float32 values, namespace or metadata have;
            ``metadata.FIELD``: when that field has, whatever else has.
        :param id_prefix: every id of the source must begin so.
        :param max_delete_fraction: of the managed ids, so many may go at once, 0 to 1.
        :param min_records: a source of fewer records is taken for partial.
        :param force: send every record, whether it has changed or not.
        :param reconcile: list the index first: send what it lacks, and delete what begins with ``id_prefix`` and is not
            in the source, whoever wrote it.
        :param dry_run: only report: send nothing, and leave the manifest as it is.
        :param expected: takes note of the records of the source, for a verification.
        :param stop: ends the sync once it is set.
        :param options: of the load, :class:`~airflow_provider_vectorize.hooks.loads.LoadOptions`.
        :raises SyncGuardError: it would have deleted on doubtful word; nothing was deleted.
        :raises ManifestError: another run has the manifest, it is damaged, or its folder cannot be used.
        :raises VectorizeError: what the load raises.
        """
        refuse_leftovers(id_prefix=id_prefix)
        records, load, rejects = self._prepared("upsert", source, vectors, options)
        place = manifest_place(manifest)
        task = TaskRun.current()
        report = sync(
            self.conn,
            self.resolve_index_name(index_name),
            records,
            Manifest(Folder(place.fs, place.path, place.name)),
            options=load,
            how=SyncOptions(
                changed_by=changed_by,
                id_prefix=id_prefix,
                max_delete_fraction=max_delete_fraction,
                min_records=min_records,
                force=force,
                reconcile=reconcile,
                dry_run=dry_run,
            ),
            rejects=rejects,
            run=task.name,
            witness=expected,
            stop=stop or task.stop,
        )
        if not dry_run:
            self._announce(report.load)
        return report

    def verify(
        self,
        index_name: str | None = None,
        *,
        source: Source | None = None,
        vectors: Vectors | None = None,
        verify: Literal["sample", "all"] = "sample",
        verify_sample: int = 1000,
        ids: bool = False,
        id_prefix: str | None = None,
        requests_per_minute: int = DEFAULT_REQUESTS_PER_MINUTE,
        stop: threading.Event | None = None,
        **options: Unpack[LoadOptions],
    ) -> VerifyReport:
        """Read an index back and compare it with a source: float32 values, namespace and metadata.

        It should be done once the load can be seen. What differs is read again before it counts.

        :param index_name: the index; None: the connection's.
        :param source: as for :meth:`upsert`.
        :param vectors: as for :meth:`upsert`; it is used up.
        :param verify: ``sample``, or ``all`` records, 20 a request.
        :param verify_sample: records of the sample.
        :param ids: compare the sets of ids too, which lists the index: what the source has not is red.
        :param id_prefix: with ``ids``: look only at ids that begin so.
        :param requests_per_minute: pace, 1 to 12,000; the API allows 240 to all that one token does.
        :param stop: ends it once it is set.
        :param options: of the load.
        :raises VerificationError: naming ids and what differs.
        """
        refuse_leftovers(id_prefix=id_prefix)
        records, load, _ = self._prepared("upsert", source, vectors, options)
        name = self.resolve_index_name(index_name)
        with expecting(verify, verify_sample, ids=ids) as expected:
            read(
                records,
                expected,
                dimensions=self.conn.get_index(name).dimensions,
                options=load,
            )
            return run_verify(
                self.conn,
                name,
                expected,
                ids=ids,
                id_prefix=id_prefix,
                requests_per_minute=requests_per_minute,
                stop=stop,
            )

    def plan(
        self,
        index_name: str | None = None,
        *,
        source: Source | None = None,
        vectors: Vectors | None = None,
        dimensions: int | None = None,
        **options: Unpack[LoadOptions],
    ) -> Plan:
        """Read a source as a load would, and tell what the load will take and what the index will cost.

        With ``dimensions`` neither an account nor an index is needed. A generator is used up.

        :param index_name: the index whose dimensions count; None: the connection's.
        :param source: as for :meth:`upsert`.
        :param vectors: as for :meth:`upsert`.
        :param dimensions: of the index that there will be, 32 to 1,536; instead of asking for those of the index.
        :param options: of the load.
        :raises SourceError: the source is missing, breaks off or cannot be read.
        """
        records, load, _ = self._prepared("upsert", source, vectors, options)
        if dimensions is None:
            dimensions = self.conn.get_index(self.resolve_index_name(index_name)).dimensions
        return plan(records, dimensions=dimensions, options=load)
