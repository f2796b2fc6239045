"""Operators on the vectors of an index beside loading them: ask, save, delete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import Context, XComArg

from airflow_provider_vectorize.base import TaskOnIndex
from airflow_provider_vectorize.client.errors import InvalidArgumentError, VectorizeError
from airflow_provider_vectorize.client.types import ReturnMetadata
from airflow_provider_vectorize.index.pace import DEFAULT_REQUESTS_PER_MINUTE, check_pace
from airflow_provider_vectorize.ingest import IngestOptions
from airflow_provider_vectorize.ingest.columns import Columns
from airflow_provider_vectorize.ingest.options import DEFAULT_MAX_DELETES
from airflow_provider_vectorize.lineage import TellsLineage
from airflow_provider_vectorize.links import push_links
from airflow_provider_vectorize.operators.common import (
    DEFAULT_DEFERRABLE,
    fail_fast,
    given,
    naming,
    nothing_returned,
    one_of,
    refuse_without_effect,
)
from airflow_provider_vectorize.operators.resolving import draw_dependencies, is_resolvable, resolved
from airflow_provider_vectorize.operators.writing import COMPLETION_TIMEOUT, VectorizeWrite

if TYPE_CHECKING:
    from airflow_provider_vectorize.ingest import Report
    from airflow_provider_vectorize.runtime.storage import Path, Source
    from airflow_provider_vectorize.runtime.task import TaskCheckpoint, TaskRun
    from airflow_provider_vectorize.sync.expected import Expected

DEFAULTS = IngestOptions()


class VectorizeDeleteOperator(VectorizeWrite):
    """Delete vectors by their ids, 100 a request. All ids are checked and counted before the first is deleted.

    Returns the mutation id, which is the fence of all deletes, and pushes a ``report`` as the uploads do. On Airflow
    3.3 and later a retry goes on where the last try stopped; elsewhere it deletes all of them again, which changes
    nothing.

    :param index_name: the index; None: the connection's. Templated.
    :param ids: a list of ids, or the ``.output`` of a task that returns it; or
    :param source: a path or glob, or a list of them, plain or ``.gz``: an id a line, as text or as JSON with an ``id``;
        or Parquet. Templated.
    :param columns: which column is the ``id``: a name, a list, or ``{"hash": [columns]}``, as for uploads.
    :param format: of the files: ``auto`` goes by the ending, or ``ndjson`` or ``parquet``.
    :param max_deletes: with more ids nothing is deleted at all, and the task is red.
    :param on_empty: when there is not one id: ``fail``, or ``skip`` the task.
    :param on_invalid: what to do with what is no id (not a text, empty, over 64 bytes): ``fail``, or ``reject`` it.
    :param max_rejects: with ``reject``: with more than these nothing is deleted at all.
    :param rejects_path: folder that takes them, in a form that can be mended and given again. Templated.
    :param max_in_flight: requests under way at once.
    :param requests_per_minute: of the 240 a minute that a token has for all that it does.
    :param wait_for_completion: end only once the deletes can be seen.
    :param sentinel: see :class:`~airflow_provider_vectorize.operators.vectorize.VectorizeUpload`.
    :param poll_interval: seconds between two looks, with ``wait_for_completion``.
    :param completion_timeout: seconds after which the wait fails, with ``wait_for_completion``; default 600.
    :param deferrable: wait in the triggerer, with ``wait_for_completion``.
    :param conn_id: a connection of type ``vectorize``. Templated.
    """

    template_fields: Sequence[str] = ("index_name", "source", "rejects_path", "conn_id")
    operation = "delete"

    def __init__(
        self,
        *,
        index_name: str | None = None,
        ids: Sequence[str] | XComArg | None = None,
        source: Source | None = None,
        columns: Mapping[str, Any] | None = None,
        format: Literal["auto", "ndjson", "parquet"] = "auto",  # noqa: A002  # the usual name
        max_deletes: int = DEFAULT_MAX_DELETES,
        on_empty: Literal["fail", "skip"] = "fail",
        on_invalid: Literal["fail", "reject"] = "fail",
        max_rejects: int = 0,
        rejects_path: Path | None = None,
        max_in_flight: int = DEFAULTS.max_in_flight,
        requests_per_minute: int = DEFAULT_REQUESTS_PER_MINUTE,
        wait_for_completion: bool = False,
        sentinel: bool = False,
        poll_interval: float | timedelta = 10.0,
        completion_timeout: float | timedelta = COMPLETION_TIMEOUT,
        deferrable: bool = DEFAULT_DEFERRABLE,
        conn_id: str = "vectorize_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.index_name = index_name
        self.ids = ids
        self.source = source
        self.columns = columns
        self.format = format
        self.max_deletes = max_deletes
        self.rejects_path = rejects_path
        self.max_in_flight = max_in_flight
        self.requests_per_minute = requests_per_minute
        self.conn_id = conn_id
        if (ids is None) == (source is None):
            raise InvalidArgumentError(f"task {self.task_id!r}: exactly one of ids and source must be given")
        if source is None:
            refuse_without_effect(
                self.task_id,
                "it needs source",
                columns=given(kwargs, "columns", columns, None),
                format=given(kwargs, "format", format, "auto"),
            )
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
        one_of(self.task_id, "format", format, "auto", "ndjson", "parquet")
        with naming(self.task_id):
            IngestOptions(on_invalid=on_invalid, max_rejects=max_rejects, max_in_flight=max_in_flight)
            if columns is not None:
                Columns(columns)
            check_pace(requests_per_minute)
        draw_dependencies(self, ids)

    def _load(
        self, context: Context, run: TaskRun, checkpoint: TaskCheckpoint | None, expected: Expected | None
    ) -> Report:
        del expected
        ids = resolved(self.ids, context, "ids", "delete")
        if ids is None and self.source is None:
            raise nothing_returned("source", "delete")
        return self.hook.delete(
            self.index_name,
            ids,
            source=self.source,
            columns=self.columns,
            format=self.format,
            max_deletes=self.max_deletes,
            on_invalid=self.on_invalid,
            max_rejects=self.max_rejects,
            rejects_path=self.rejects_path,
            max_in_flight=self.max_in_flight,
            requests_per_minute=self.requests_per_minute,
            checkpoint=checkpoint,
            stop=run.stop,
            tried_before=run.tried_before,
        )


class VectorizeQueryOperator(TaskOnIndex):
    """Ask an index for the vectors nearest to a vector; once, or many times.

    One answer is the XCom of the task: a list of mappings, the closest first, with ``id``, ``score`` and what was asked
    of ``values``, ``metadata``, ``namespace``. With ``queries`` the answers are written to ``output_path``, a line of
    NDJSON for each with ``query`` (from 1), ``id`` and ``matches``, and the task returns their number and the path.

    :param index_name: the index; None: the connection's. Templated.
    :param vector: what to look for, or the ``.output`` of a task that returns it. Never templated.
    :param vector_id: instead of it: the id of a stored vector to ask with. Templated.
    :param queries: instead of both: mappings whose keys are ``vector`` or ``vector_id``, and what is to differ of
        ``top_k``, ``namespace``, ``filter``, ``return_values``, ``return_metadata``, and an ``id`` of your own; or the
        ``.output`` of a task that returns such; or a path or glob, or a list of them, of vectors as they are loaded (a
        path is templated).
    :param top_k: number of matches, 1 to 100, and at most 50 with values or all metadata (limits page).
    :param namespace: look only there. Templated.
    :param filter: conditions on indexed metadata, all of which must hold, such as
        ``{"lang": "en", "year": {"$gte": 2020}}``; checked before it is sent. Templated.
    :param return_values: with the values.
    :param return_metadata: ``none``, ``indexed`` (strings cut to 64 bytes) or ``all``.
    :param output_path: with ``queries``: the file of answers, anywhere Airflow's object storage reaches; ``.gz`` at
        its end compresses. Templated.
    :param requests_per_minute: with ``queries``: how many are asked a minute, of the 240 that a token has for all that
        it does.
    :param conn_id: a connection of type ``vectorize``. Templated.
    """

    template_fields: Sequence[str] = (
        "index_name",
        "vector_id",
        "namespace",
        "filter",
        "output_path",
        "conn_id",
    )

    def __init__(
        self,
        *,
        index_name: str | None = None,
        vector: Sequence[float] | XComArg | None = None,
        vector_id: str | None = None,
        queries: Iterable[Mapping[str, Any]] | str | PathLike[str] | Sequence[str] | XComArg | None = None,
        top_k: int = 5,
        namespace: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002  # the API's own name for it
        return_values: bool = False,
        return_metadata: ReturnMetadata = "none",
        output_path: str | PathLike[str] | None = None,
        requests_per_minute: int = DEFAULT_REQUESTS_PER_MINUTE,
        conn_id: str = "vectorize_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.index_name = index_name
        self.vector = vector
        self.vector_id = vector_id
        self.queries = queries
        self.top_k = top_k
        self.namespace = namespace
        self.filter = filter
        self.return_values = return_values
        self.return_metadata = return_metadata
        self.output_path = output_path
        self.requests_per_minute = requests_per_minute
        self.conn_id = conn_id
        if sum(each is not None for each in (vector, vector_id, queries)) != 1:
            raise InvalidArgumentError(
                f"task {self.task_id!r}: exactly one of vector, vector_id and queries must be given"
            )
        one_of(self.task_id, "return_metadata", return_metadata, "none", "indexed", "all")
        if queries is None:
            refuse_without_effect(
                self.task_id,
                "it needs queries; one answer is the task's XCom",
                output_path=given(kwargs, "output_path", output_path, None),
                requests_per_minute=given(
                    kwargs, "requests_per_minute", requests_per_minute, DEFAULT_REQUESTS_PER_MINUTE
                ),
            )
        elif output_path is None:
            raise InvalidArgumentError(
                f"task {self.task_id!r}: queries need output_path, the file that takes the answers"
            )
        with naming(self.task_id):
            check_pace(requests_per_minute)
        draw_dependencies(self, [vector, queries])

    def execute(self, context: Context) -> list[dict[str, Any]] | dict[str, Any]:
        """Ask."""
        run = self.begin(context)
        push_links(self, context, self.index_name)
        shared: dict[str, Any] = {
            "top_k": self.top_k,
            "namespace": self.namespace,
            "filter": self.filter,
            "return_values": self.return_values,
            "return_metadata": self.return_metadata,
        }
        with fail_fast():
            if self.output_path is None:
                vector = resolved(self.vector, context, "vector", "ask")
                return self.hook.query(self.index_name, vector, self.vector_id, **shared)
            number = self.hook.query_many(
                self.index_name,
                self._queries(context),
                self.output_path,
                requests_per_minute=self.requests_per_minute,
                stop=run.stop,
                **shared,
            )
            return {"queries": number, "output_path": str(self.output_path)}

    def _queries(self, context: Context) -> Any:
        queries: Any = self.queries
        if is_resolvable(queries):
            return resolved(queries, context, "queries", "ask")  # what another task has made is no template
        # A path is small; vectors are never rendered.
        paths = isinstance(queries, str) or (
            isinstance(queries, list | tuple) and all(isinstance(each, str) for each in queries)
        )
        return self.render_template(queries, context) if paths else queries


class VectorizeExportOperator(TellsLineage):
    """Save an index, or a part of it, in files that the uploads load as they are.

    Its ids are listed, a snapshot of that moment, and the vectors read 20 a request: at the start the log says how long
    it will take. A retry goes on where the last try stopped, on every Airflow, without a vector twice or missing; a
    clear begins again. Returns a report as a dict, of which ``source`` is the glob of the parts.

    :param index_name: the index; None: the connection's. Templated.
    :param output_path: a folder of its own, anywhere that Airflow's object storage reaches. It gets
        ``part-000001.ndjson.gz`` (or ``.parquet``) and so on, 5,000 vectors each. Templated.
    :param id_prefix: only vectors whose id begins so. Templated.
    :param ids: only these, or the ``.output`` of a task that returns them.
    :param format: ``ndjson``, compressed, or ``parquet`` (extra ``[parquet]``).
    :param requests_per_minute: of the 240 a minute that a token has for all that it does.
    :param conn_id: a connection of type ``vectorize``. Templated.
    """

    template_fields: Sequence[str] = ("index_name", "output_path", "id_prefix", "conn_id")
    reads_index = True

    def __init__(
        self,
        *,
        output_path: str | PathLike[str],
        index_name: str | None = None,
        id_prefix: str | None = None,
        ids: Sequence[str] | XComArg | None = None,
        format: Literal["ndjson", "parquet"] = "ndjson",  # noqa: A002  # the name that the uploads use
        requests_per_minute: int = DEFAULT_REQUESTS_PER_MINUTE,
        conn_id: str = "vectorize_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_path = output_path
        self.index_name = index_name
        self.id_prefix = id_prefix
        self.ids = ids
        self.format = format
        self.requests_per_minute = requests_per_minute
        self.conn_id = conn_id
        one_of(self.task_id, "format", format, "ndjson", "parquet")
        with naming(self.task_id):
            check_pace(requests_per_minute)
        draw_dependencies(self, ids)

    def execute(self, context: Context) -> dict[str, Any]:
        """Save the index."""
        run = self.begin(context)
        push_links(self, context, self.index_name)
        with fail_fast():
            ids = resolved(self.ids, context, "ids", "export")
            try:
                report = self.hook.export(
                    self.index_name,
                    self.output_path,
                    id_prefix=self.id_prefix,
                    ids=ids,
                    format=self.format,
                    requests_per_minute=self.requests_per_minute,
                    stop=run.stop,
                )
            except VectorizeError as error:
                self.keep_report(error.report)
                raise
        self.keep_report(report)
        return report.to_dict()
