"""Operators that keep an index true to its source, and that find out whether it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import Context

from airflow_provider_vectorize.base import TaskOnIndex
from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.index.pace import DEFAULT_REQUESTS_PER_MINUTE, check_pace
from airflow_provider_vectorize.ingest.columns import Columns
from airflow_provider_vectorize.links import push_links
from airflow_provider_vectorize.operators.common import fail_fast, naming, one_of, refuse_without_effect
from airflow_provider_vectorize.operators.resolving import draw_dependencies, resolve_vectors
from airflow_provider_vectorize.operators.vectorize import VectorizeUpload, Vectors
from airflow_provider_vectorize.sync.options import SyncOptions, changed_by_property, check_verify

if TYPE_CHECKING:
    from airflow_provider_vectorize.runtime.storage import Source
    from airflow_provider_vectorize.runtime.task import TaskCheckpoint, TaskRun
    from airflow_provider_vectorize.sync.expected import Expected
    from airflow_provider_vectorize.sync.report import SyncReport
    from airflow_provider_vectorize.sync.verify import VerifyReport

DEFAULTS = SyncOptions()


class VectorizeSyncOperator(VectorizeUpload):
    """Make an index hold, of the ids that a manifest manages, exactly the records of a source.

    What was added or changed is loaded, then what went away is deleted. A run that was killed at any moment is mended
    by the next. Nothing to do is green and changes nothing.

    Returns the mutation id, once which can be seen all of the sync can; None when there was nothing to send, and what
    was sent before can be seen. Pushes a ``report`` with ``added``, ``changed``, ``unchanged``, ``deleted`` and all of
    an upload's.

    The other parameters are those of :class:`~airflow_provider_vectorize.operators.vectorize.VectorizeUpload`.

    :param manifest: folder for what the index is known to hold, in anything that Airflow's object storage reaches; of
        this source and this index alone. Templated.
    :param changed_by: ``record``: a record has changed when its float32 values, namespace or metadata have;
        ``metadata.FIELD``, or a column that ``columns`` puts into the metadata: when that field has, whatever else has.
    :param id_prefix: every id of the source must begin so. Templated.
    :param max_delete_fraction: of the managed ids, so many may go at once, 0 to 1; more is red, and nothing is deleted.
    :param min_records: a source of fewer records is taken for partial: red, and nothing is deleted.
    :param force: send every record, whether it has changed or not.
    :param reconcile: list the index first: send what it lacks, and delete what begins with ``id_prefix`` and is not in
        the source, whoever wrote it.
    :param dry_run: only report: send nothing, and leave the manifest as it is.
    """

    template_fields: Sequence[str] = (*VectorizeUpload.template_fields, "manifest", "id_prefix")
    operation = "upsert"

    def __init__(
        self,
        *,
        manifest: str | PathLike[str],
        changed_by: str = DEFAULTS.changed_by,
        id_prefix: str | None = None,
        max_delete_fraction: float = DEFAULTS.max_delete_fraction,
        min_records: int = DEFAULTS.min_records,
        force: bool = False,
        reconcile: bool = False,
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.manifest = manifest
        self.changed_by = changed_by
        self.id_prefix = id_prefix
        self.max_delete_fraction = max_delete_fraction
        self.min_records = min_records
        self.force = force
        self.reconcile = reconcile
        self.only_report = dry_run  # Airflow has a method of the other name
        with naming(self.task_id):
            self._how(id_prefix=None)  # refuses what can never work; that one is templated
        if self.unparsable_behavior != "error":
            raise InvalidArgumentError(
                f"task {self.task_id!r}: a sync has to know what was accepted, which unparsable_behavior="
                f"{self.unparsable_behavior!r} hides"
            )
        if dry_run:
            refuse_without_effect(self.task_id, "a dry_run sends nothing", verify=self.verify != "none")

    def execute(self, context: Context) -> str | None:  # type: ignore[override]  # there may be nothing to send
        """Sync, and return the mutation id."""
        return self.write(context, self.begin(context))

    def _checkpoint(self, run: TaskRun) -> None:
        """None: the manifest tells what is there."""

    def _send(
        self, vectors: Any, run: TaskRun, checkpoint: TaskCheckpoint | None, expected: Expected | None
    ) -> SyncReport:
        del checkpoint
        return self.hook.run_sync(
            self.index_name,
            self.manifest,
            self._how(),
            source=self.source,
            vectors=vectors,
            expected=expected,
            stop=run.stop,
            **self._options(),
        )

    def _nothing_written(self) -> SyncReport:
        from airflow_provider_vectorize.ingest import Report
        from airflow_provider_vectorize.sync.report import SyncReport

        return SyncReport(Report.empty(self.hook.resolve_index_name(self.index_name), self.operation))

    def _compare(
        self, run: TaskRun, report: Mapping[str, Any], expected: Expected | None, source_mark: str | None
    ) -> VerifyReport:
        return self.hook.verify_sync(
            report,
            expected,
            self.manifest,
            self._how(),
            verify=self.verify,
            verify_sample=self.verify_sample,
            source=self.source,
            source_mark=source_mark,
            stop=run.stop,
            **self._options(),
        )

    def _how(self, **instead: Any) -> SyncOptions:
        given = {
            "changed_by": changed_by_property(self.changed_by, self.columns),
            "id_prefix": self.id_prefix,
            "max_delete_fraction": self.max_delete_fraction,
            "min_records": self.min_records,
            "force": self.force,
            "reconcile": self.reconcile,
            "dry_run": self.only_report,
        }
        return SyncOptions(**given | instead)


class VectorizeVerifyOperator(TaskOnIndex):
    """Read an index back and compare it with a source: float32 values, namespace and metadata.

    Place it behind whatever waits until the load can be seen. Red names ids and what differs; what differs is read
    again three times, over 17 s, before it counts. Returns a dict with ``checked``, ``different``, ``extra`` and
    ``found_from``: the share of damage that would have been found with 99 % certainty.

    :param index_name: the index; None: the connection's. Templated.
    :param source: what the index should hold: a path or glob, or a list of them. Templated.
    :param vectors: instead of ``source``, as for the uploads. Never templated.
    :param verify: ``sample``, or ``all`` records, 20 a request.
    :param verify_sample: records of the sample.
    :param changed_by: of the sync that keeps the index: where a field or column decides, only that is compared, since
        a record in which it has not changed was not sent.
    :param ids: compare the sets of ids too, which lists the index: what the source has not is red.
    :param id_prefix: with ``ids``: look only at ids that begin so. Templated.
    :param requests_per_minute: pace, 1 to 12,000; the API allows 240 to all that one token does.
    :param columns: which column is which field, as for the uploads.
    :param format: of the files, as for the uploads.
    :param drop_nulls: leave nulls in metadata out, as for the uploads.
    :param namespace: of records that have none. Templated.
    :param conn_id: a connection of type ``vectorize``. Templated.
    """

    template_fields: Sequence[str] = ("index_name", "source", "id_prefix", "namespace", "conn_id")

    def __init__(
        self,
        *,
        index_name: str | None = None,
        source: Source | None = None,
        vectors: Vectors | None = None,
        verify: Literal["sample", "all"] = "sample",
        verify_sample: int = 1000,
        changed_by: str = DEFAULTS.changed_by,
        ids: bool = False,
        id_prefix: str | None = None,
        requests_per_minute: int = DEFAULT_REQUESTS_PER_MINUTE,
        columns: Mapping[str, Any] | None = None,
        format: Literal["auto", "ndjson", "parquet"] = "auto",  # noqa: A002  # the usual name
        drop_nulls: bool = False,
        namespace: str | None = None,
        conn_id: str = "vectorize_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.index_name = index_name
        self.source = source
        self.vectors = vectors
        self.verify = verify
        self.verify_sample = verify_sample
        self.changed_by = changed_by
        self.ids = ids
        self.id_prefix = id_prefix
        self.requests_per_minute = requests_per_minute
        self.columns = columns
        self.format = format
        self.drop_nulls = drop_nulls
        self.namespace = namespace
        self.conn_id = conn_id
        if (source is None) == (vectors is None):
            raise InvalidArgumentError(
                f"task {self.task_id!r}: exactly one of source and vectors must be given"
            )
        one_of(self.task_id, "format", format, "auto", "ndjson", "parquet")
        with naming(self.task_id):
            check_verify(verify, verify_sample, "sample", "all")
            if columns is not None:
                Columns(columns)
            SyncOptions(changed_by=changed_by_property(changed_by, columns))
            check_pace(requests_per_minute)
        if not ids:
            refuse_without_effect(self.task_id, "it needs ids=True", id_prefix=id_prefix is not None)
        draw_dependencies(self, vectors)

    def execute(self, context: Context) -> dict[str, Any]:
        """Verify."""
        run = self.begin(context)
        push_links(self, context, self.index_name)
        with fail_fast():
            report = self.hook.verify(
                self.index_name,
                source=self.source,
                vectors=resolve_vectors(self.vectors, context),
                verify=self.verify,
                verify_sample=self.verify_sample,
                changed_by=self.changed_by,
                ids=self.ids,
                id_prefix=self.id_prefix,
                requests_per_minute=self.requests_per_minute,
                stop=run.stop,
                columns=self.columns,
                format=self.format,
                drop_nulls=self.drop_nulls,
                namespace=self.namespace,
            )
        return report.to_dict()
