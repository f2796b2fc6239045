"""Operators that load vectors into an index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import Context, XComArg

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.client.types import UnparsableBehavior
from airflow_provider_vectorize.ingest import IngestOptions
from airflow_provider_vectorize.ingest.columns import Columns
from airflow_provider_vectorize.operators.common import DEFAULT_DEFERRABLE, naming, nothing_returned, one_of
from airflow_provider_vectorize.operators.resolving import draw_dependencies, resolve_vectors
from airflow_provider_vectorize.operators.verifying import VERIFY_SAMPLE, VerifiesUpload
from airflow_provider_vectorize.operators.writing import COMPLETION_TIMEOUT

# The rest is loaded when a task runs: a DAG file pays for what it imports at every parse.
if TYPE_CHECKING:
    from airflow_provider_vectorize.hooks.loads import LoadOptions
    from airflow_provider_vectorize.ingest import Report
    from airflow_provider_vectorize.runtime.storage import Path, Source
    from airflow_provider_vectorize.runtime.task import TaskCheckpoint, TaskRun
    from airflow_provider_vectorize.sync.expected import Expected
    from airflow_provider_vectorize.sync.report import SyncReport

#: What ``vectors`` takes: NDJSON text, mappings, what resolves to these, alone or in a list, or a callable that returns
#: them.
Vectors = str | bytes | Iterable[Mapping[str, Any] | XComArg] | XComArg | Callable[..., Any]

DEFAULTS = IngestOptions()


class VectorizeUpload(VerifiesUpload):
    """What the tasks that upload vectors have in common. Use one of its subclasses.

    :param index_name: the index; None: the connection's. Templated.
    :param source: a path or glob, or a list of them, plain or ``.gz``, in anything that Airflow's object storage
        reaches: NDJSON, one vector a line. Read line by line. Templated.
    :param vectors: instead of ``source``: NDJSON text, or a list of mappings with ``id``, ``values`` and, if need
        be, ``namespace`` and ``metadata``; what resolves to these, such as the ``.output`` of a task, alone or in a
        list; or a callable that returns them, or a generator of them, and takes what it names of the context. Of
        a mapped upstream one instance is read at a time, and lists are flattened by one level. Never templated.
    :param columns: which column is which field, for any kind of input: ``{"id": "doc_id", "values": "embedding",
        "namespace": "tenant", "metadata": ["title", "lang"]}``. ``metadata`` may be ``"*"``, all that are left, or a
        mapping from the property to the column; ``id`` a list of columns, joined by ``:``, or ``{"hash": [columns]}``.
    :param format: of the files of ``source``: ``auto`` goes by the ending (``.parquet`` needs the extra
        ``[parquet]``), or ``ndjson`` or ``parquet``.
    :param conn_id: a connection of type ``vectorize``. Templated.
    :param namespace: for records that have none; a record with another one is invalid. At most 64 bytes. Templated.
    :param on_invalid: what to do with a record that breaks a limit of the API: ``fail`` stops at the first and
        names it; ``reject`` goes on, and fails at the end when there were more than ``max_rejects``.
    :param rejects_path: folder that takes the refused records with source, line, id, code and reason, in a form
        that can be mended and loaded again. Templated.
    :param max_rejects: refused records that are still green, with ``on_invalid="reject"``.
    :param on_empty: when there is nothing at all to load: ``fail``, or ``skip`` the task.
    :param drop_nulls: leave nulls in metadata out, which Vectorize does not take; otherwise such a record is invalid.
    :param compact: send the values as the shortest text that gives the same float32, which is what Vectorize
        stores. False: lines pass as they are.
    :param max_batch_vectors: vectors a request, at most 5,000 (limits page).
    :param max_batch_bytes: bytes a request, at most 100 MB (limits page); default 32 MiB.
    :param max_in_flight: requests under way at once.
    :param flush_seconds: a request goes out, however small, so long after its first record was read, even while
        the next one is waited for: what a slow generator has made is soon in the index.
    :param unparsable_behavior: ``error``, or ``discard``: the API then drops what it cannot parse without telling
        how many, so the report cannot count what was accepted.
    :param verify: once the load can be seen, read ``sample`` or ``all`` of its records back (20 a request) and compare
        float32 values, namespace and metadata; red names what differs. Needs ``wait_for_completion=True``. After a
        deferral ``source`` is read once more; ``vectors`` are not, and are waited for in the worker.
    :param verify_sample: records of the sample; default 1000.
    :param wait_for_completion: end only once the load can be seen.
    :param sentinel: of that wait: write one vector of a reserved id in the namespace ``airflow-fence``, read it back
        and delete it: a sure proof on an index that others write to all the time.
    :param poll_interval: seconds between two looks, with ``wait_for_completion``.
    :param completion_timeout: seconds after which the wait fails, with ``wait_for_completion``; default 600.
    :param deferrable: wait in the triggerer, with ``wait_for_completion``; default: Airflow's
        ``[operators] default_deferrable``.
    """

    template_fields: Sequence[str] = ("index_name", "source", "conn_id", "namespace", "rejects_path")
    operation: ClassVar[Literal["upsert", "insert"]]

    def __init__(
        self,
        *,
        index_name: str | None = None,
        source: Source | None = None,
        vectors: Vectors | None = None,
        columns: Mapping[str, Any] | None = None,
        format: Literal["auto", "ndjson", "parquet"] = "auto",  # noqa: A002  # the usual name
        conn_id: str = "vectorize_default",
        namespace: str | None = None,
        on_invalid: Literal["fail", "reject"] = "fail",
        rejects_path: Path | None = None,
        max_rejects: int = 0,
        on_empty: Literal["fail", "skip"] = "fail",
        drop_nulls: bool = False,
        compact: bool = True,
        max_batch_vectors: int = DEFAULTS.max_batch_vectors,
        max_batch_bytes: int = DEFAULTS.max_batch_bytes,
        max_in_flight: int = DEFAULTS.max_in_flight,
        flush_seconds: float = DEFAULTS.flush_seconds,
        unparsable_behavior: UnparsableBehavior = "error",
        verify: Literal["none", "sample", "all"] = "none",
        verify_sample: int = VERIFY_SAMPLE,
        wait_for_completion: bool = False,
        sentinel: bool = False,
        poll_interval: float | timedelta = 10.0,
        completion_timeout: float | timedelta = COMPLETION_TIMEOUT,
        deferrable: bool = DEFAULT_DEFERRABLE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.index_name = index_name
        self.source = source
        self.vectors = vectors
        self.columns = columns
        self.format = format
        self.conn_id = conn_id
        self.namespace = namespace
        self.rejects_path = rejects_path
        self.drop_nulls = drop_nulls
        self.compact = compact
        self.max_batch_vectors = max_batch_vectors
        self.max_batch_bytes = max_batch_bytes
        self.max_in_flight = max_in_flight
        self.flush_seconds = flush_seconds
        self.unparsable_behavior = unparsable_behavior
        self.verify = verify
        self.verify_sample = verify_sample
        self.set_waiting(
            kwargs,
            wait_for_completion=wait_for_completion,
            sentinel=sentinel,
            poll_interval=poll_interval,
            completion_timeout=completion_timeout,
            deferrable=deferrable,
        )
        self.set_rejecting(
            kwargs,
            on_invalid=on_invalid,
            max_rejects=max_rejects,
            rejects_path=rejects_path,
            on_empty=on_empty,
        )
        self._check_verify(kwargs)
        if self.waits_for_source and vectors is not None:
            raise InvalidArgumentError(
                f"task {self.task_id!r}: the sensor waits for a source; for vectors use the operator"
            )
        if (source is None) == (vectors is None):
            raise InvalidArgumentError(
                f"task {self.task_id!r}: exactly one of source and vectors must be given"
            )
        # Refuses what can never work; what is templated is not known yet.
        checked: dict[str, Any] = {**self._options()}
        del checked["namespace"], checked["rejects_path"], checked["columns"], checked["format"]
        one_of(self.task_id, "format", format, "auto", "ndjson", "parquet")
        with naming(self.task_id):
            IngestOptions(operation=self.operation, **checked)
            if columns is not None:
                Columns(columns)
        if isinstance(vectors, str) and vectors.lstrip().startswith("{{"):
            raise InvalidArgumentError(
                f"task {self.task_id!r}: vectors is not templated, since rendering would copy all of them into the "
                "metadata database: pass the upstream task's .output instead"
            )
        draw_dependencies(self, vectors)

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Start mapping the operator; ``vectors`` belongs into ``expand``."""
        if "vectors" in kwargs:
            raise InvalidArgumentError(
                f"task {kwargs.get('task_id')!r}: vectors cannot be given to partial(), which draws no dependency on "
                "the task that makes them and would write literal vectors into the serialized DAG: use "
                "expand(vectors=...) or source="
            )
        return super().partial(**kwargs)

    def given_vectors(self, context: Context) -> Any:
        """Give what ``vectors`` stands for at run time."""
        return resolve_vectors(self.vectors, context)

    def _options(self) -> LoadOptions:
        return {
            "columns": self.columns,
            "format": self.format,
            "namespace": self.namespace,
            "on_invalid": self.on_invalid,
            "rejects_path": self.rejects_path,
            "max_rejects": self.max_rejects,
            "drop_nulls": self.drop_nulls,
            "compact": self.compact,
            "max_batch_vectors": self.max_batch_vectors,
            "max_batch_bytes": self.max_batch_bytes,
            "max_in_flight": self.max_in_flight,
            "flush_seconds": self.flush_seconds,
            "unparsable_behavior": self.unparsable_behavior,
        }

    def _load(
        self, context: Context, run: TaskRun, checkpoint: TaskCheckpoint | None, expected: Expected | None
    ) -> Report | SyncReport:
        if self.source is None and self.vectors is None:
            raise nothing_returned("source" if context["ti"].map_index in (None, -1) else "source or vectors")
        return self._send(self.given_vectors(context), run, checkpoint, expected)

    def _send(
        self, vectors: Any, run: TaskRun, checkpoint: TaskCheckpoint | None, expected: Expected | None
    ) -> Report | SyncReport:
        return self.hook.load(
            self.operation,
            self.index_name,
            source=self.source,
            vectors=vectors,
            checkpoint=checkpoint,
            stop=run.stop,
            tried_before=run.tried_before,
            expected=expected,
            **self._options(),
        )


class VectorizeUpsertOperator(VectorizeUpload):
    """Load vectors into an index, replacing those whose id exists. Green means that every record was accepted.

    Returns the mutation id: once that write can be seen, all of this load can. Hand it to
    :class:`~airflow_provider_vectorize.sensors.vectorize.VectorizeMutationSensor` by ``mutation_id=upsert.output``,
    or wait in the same task by ``wait_for_completion=True``.

    The parameters are those of :class:`VectorizeUpload`.
    """

    operation = "upsert"


class VectorizeInsertOperator(VectorizeUpload):
    """Load vectors into an index, leaving those whose id exists **as they are**; the API does not say which.

    Use it to add what is new without touching what is there. To bring an index up to date use
    :class:`VectorizeUpsertOperator`. Otherwise the same, with the same parameters.
    """

    operation = "insert"
