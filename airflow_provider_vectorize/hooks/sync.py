"""The hook's sync and plan: with Airflow's object storage, and the name of the task for whoever finds it at work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, Unpack

from airflow_provider_vectorize.client.errors import VectorizeError, VerificationError
from airflow_provider_vectorize.hooks.loads import LoadOptions, Vectors
from airflow_provider_vectorize.hooks.verify import VerifyMethods, witness
from airflow_provider_vectorize.runtime.storage import Path, Source, manifest_place
from airflow_provider_vectorize.runtime.task import TaskRun
from airflow_provider_vectorize.runtime.templates import refuse_leftovers
from airflow_provider_vectorize.sync.engine import doubt, sync
from airflow_provider_vectorize.sync.expected import Expected
from airflow_provider_vectorize.sync.folder import Folder
from airflow_provider_vectorize.sync.following import Changes
from airflow_provider_vectorize.sync.manifest import Manifest
from airflow_provider_vectorize.sync.options import SyncOptions, Verify, changed_by_property
from airflow_provider_vectorize.sync.plan import Plan, plan
from airflow_provider_vectorize.sync.report import SyncReport
from airflow_provider_vectorize.sync.verify import VerifyReport

#: Makes the vectors, and is given what the index is known to hold: it need not make what is ``unchanged``.
Maker: TypeAlias = Callable[[Changes], Iterable[Mapping[str, Any] | bytes]]


class SyncMethods(VerifyMethods):
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
        verify: Verify = "none",
        verify_sample: int = 1000,
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
        :param verify: ``sample`` or ``all``: wait until the sync can be seen, as :meth:`wait_for_mutation` does by
            default, then read so many of the source's records back and compare them; of those that were not made since
            they are unchanged, what ``changed_by`` names.
        :param verify_sample: records of the sample.
        :param options: of the load, :class:`~airflow_provider_vectorize.hooks.loads.LoadOptions`.
        :raises SyncGuardError: it would have deleted on doubtful word; nothing was deleted.
        :raises ManifestError: another run has the manifest, it is damaged, or its folder cannot be used.
        :raises VerificationError: naming ids and what differs.
        :raises VectorizeError: what the load raises.
        """
        how = SyncOptions(
            changed_by=changed_by_property(changed_by, options.get("columns")),
            id_prefix=id_prefix,
            max_delete_fraction=max_delete_fraction,
            min_records=min_records,
            force=force,
            reconcile=reconcile,
            dry_run=dry_run,
        )
        with witness(verify, verify_sample, "upsert") as expected:
            report = self.run_sync(
                index_name, manifest, how, source=source, vectors=vectors, expected=expected, **options
            )
            if expected is not None and not dry_run:
                if report.mutation_id is not None:
                    self.wait_for_mutation(report.index_name, report.target())
                self.verify_sync(
                    report.to_dict(), expected, manifest, how, verify=verify, verify_sample=verify_sample
                )
        return report

    def run_sync(
        self,
        index_name: str | None,
        manifest: Path,
        how: SyncOptions,
        *,
        source: Source | None = None,
        vectors: Vectors | Maker | None = None,
        expected: Expected | None = None,
        stop: threading.Event | None = None,
        **options: Unpack[LoadOptions],
    ) -> SyncReport:
        """Run a sync; the operators' way in. See :meth:`sync` for what is not named here.

        :param expected: takes note of the records of the source, for a verification.
        :param stop: ends the sync once it is set.
        """
        refuse_leftovers(id_prefix=how.id_prefix)
        records, load, rejects = self._prepared("upsert", source, vectors, options)
        place = manifest_place(manifest)
        task = TaskRun.current()
        report = sync(
            self.conn,
            self.resolve_index_name(index_name),
            records,
            Manifest(Folder(place.fs, place.path, place.name)),
            options=load,
            how=how,
            rejects=rejects,
            run=task.name,
            witness=expected,
            stop=stop or task.stop,
            progress=task.progress,
        )
        if not how.dry_run:
            self._tell(report.load)
        return report

    def verify_sync(
        self,
        report: Mapping[str, Any],
        expected: Expected | None,
        manifest: Path,
        how: SyncOptions,
        *,
        verify: Verify,
        verify_sample: int,
        **load: Any,
    ) -> VerifyReport:
        """Verify a sync that can be seen. What differs is taken down in the manifest: the next sync sends it again.

        The parameters are those of :meth:`run_sync` and :meth:`verify_load`.
        """
        try:
            return self.verify_load(
                report,
                expected,
                operation="upsert",
                verify=verify,
                verify_sample=verify_sample,
                changed_by=how.changed_by,
                **load,
            )
        except VerificationError as error:
            place = manifest_place(manifest)
            folder = Manifest(Folder(place.fs, place.path, place.name))
            try:
                doubt(
                    self.conn,
                    report["index_name"],
                    error.ids,
                    folder,
                    how=how,
                    run=TaskRun.current().name,
                )
            except VectorizeError as failure:
                self.log.warning("What differs could not be taken down in the manifest: %s", failure)
            else:
                note = f"{len(error.ids)} ids are taken down as unknown in {place.name}: the next sync sends them again"
                error.args = (f"{error}\n{note}",)
            raise

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
