"""The operator that deletes vectors by their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseOperator, Context, XComArg, conf

from airflow_provider_vectorize.client.errors import EmptySourceError, InvalidArgumentError
from airflow_provider_vectorize.index.pace import DEFAULT_REQUESTS_PER_MINUTE, check_pace
from airflow_provider_vectorize.operators.common import (
    fail_fast,
    interval,
    one_of,
    refuse_without_effect,
    seconds,
)

if TYPE_CHECKING:
    from airflow_provider_vectorize.runtime.storage import Source
    from airflow_provider_vectorize.runtime.task import TaskRun

DEFAULT_DEFERRABLE = conf.getboolean("operators", "default_deferrable", fallback=False)
DEFAULT_MAX_DELETES = 100_000


class VectorizeDeleteOperator(BaseOperator):
    """Delete vectors by their ids, 100 a request. All ids are checked and counted before the first is deleted.

    Returns the mutation id, which is the fence of all deletes, and pushes a ``report``. On Airflow 3.3 and later a
    retry goes on where the last try stopped; elsewhere it deletes all of them again, which changes nothing.

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
    :param rejects_path: folder that takes them. Templated.
    :param requests_per_minute: of the 240 a minute that a token has for all that it does.
    :param wait_for_completion: end only once the deletes can be seen.
    :param sentinel: see :class:`~airflow_provider_vectorize.operators.vectorize.VectorizeUpload`.
    :param poll_interval: seconds between two looks, with ``wait_for_completion``.
    :param completion_timeout: seconds after which the wait fails, with ``wait_for_completion``.
    :param deferrable: wait in the triggerer, with ``wait_for_completion``.
    :param conn_id: a connection of type ``vectorize``. Templated.
    """

    template_fields: Sequence[str] = ("index_name", "source", "rejects_path", "conn_id")

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
        rejects_path: str | PathLike[str] | None = None,
        requests_per_minute: int = DEFAULT_REQUESTS_PER_MINUTE,
        wait_for_completion: bool = False,
        sentinel: bool = False,
        poll_interval: float | timedelta = 10.0,
        completion_timeout: float | timedelta = 600.0,
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
        self.on_empty = on_empty
        self.on_invalid = on_invalid
        self.max_rejects = max_rejects
        self.rejects_path = rejects_path
        self.requests_per_minute = requests_per_minute
        self.wait_for_completion = wait_for_completion
        self.sentinel = sentinel
        self.poll_interval = interval(self.task_id, "poll_interval", poll_interval)
        self.completion_timeout = seconds(self.task_id, "completion_timeout", completion_timeout)
        self.deferrable = deferrable
        self.conn_id = conn_id
        self._run: TaskRun | None = None
        if (ids is None) == (source is None):
            raise InvalidArgumentError(f"task {self.task_id!r}: exactly one of ids and source must be given")
        one_of(self.task_id, "on_empty", on_empty, "fail", "skip")
        one_of(self.task_id, "on_invalid", on_invalid, "fail", "reject")
        one_of(self.task_id, "format", format, "auto", "ndjson", "parquet")
        if source is None:
            refuse_without_effect(
                self.task_id, "it needs source", columns=columns is not None, format=format != "auto"
            )
        if on_invalid != "reject":
            refuse_without_effect(
                self.task_id,
                'it needs on_invalid="reject"',
                max_rejects=max_rejects != 0,
                rejects_path=rejects_path is not None,
            )
        try:
            check_pace(requests_per_minute)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"task {self.task_id!r}: {error}") from None
        if isinstance(ids, XComArg):
            XComArg.apply_upstream_relationship(self, ids)

    def execute(self, context: Context) -> str:
        """Delete the vectors."""
        from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
        from airflow_provider_vectorize.runtime.task import TaskRun

        self._run = run = TaskRun(context)
        hook = VectorizeHook(self.conn_id)
        ids: Any = self.ids.resolve(context) if isinstance(self.ids, XComArg) else self.ids
        checkpoint = run.checkpoint("delete", self.conn_id, self.index_name, self.source)
        with fail_fast():
            try:
                report = hook.delete(
                    self.index_name,
                    ids,
                    source=self.source,
                    columns=self.columns,
                    format=self.format,
                    max_deletes=self.max_deletes,
                    on_invalid=self.on_invalid,
                    max_rejects=self.max_rejects,
                    rejects_path=self.rejects_path,
                    requests_per_minute=self.requests_per_minute,
                    checkpoint=checkpoint,
                    stop=run.stop,
                ).to_dict()
            except EmptySourceError as error:
                if self.on_empty == "skip":
                    raise AirflowSkipException(str(error)) from error
                raise
            if self.do_xcom_push:
                context["ti"].xcom_push(key="report", value=report)
            if self.wait_for_completion:
                self._wait(run, report)
        if checkpoint is not None:
            checkpoint.clear()
        return str(report["mutation_id"])

    def execute_complete(self, context: Context, event: Any) -> str:
        """Go on after the wait in the triggerer."""
        from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
        from airflow_provider_vectorize.runtime.task import TaskRun
        from airflow_provider_vectorize.triggers.vectorize import check_event, raise_for_status
        from airflow_provider_vectorize.visibility import Target

        run, hook = TaskRun(context), VectorizeHook(self.conn_id)
        event = check_event(event)
        [mutation_id] = event["mutation_ids"]
        wait = hook.begin_wait(event["index_name"], [Target(mutation_id)], sentinel=self.sentinel, run=run)
        try:
            with fail_fast():
                raise_for_status(event)
        finally:
            hook.delete_sentinel(wait)
        if (checkpoint := run.checkpoint("delete", self.conn_id, self.index_name, self.source)) is not None:
            checkpoint.clear()
        return str(mutation_id)

    def _wait(self, run: TaskRun, report: Mapping[str, Any]) -> None:
        from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
        from airflow_provider_vectorize.triggers.vectorize import deferral
        from airflow_provider_vectorize.visibility import Target

        hook = VectorizeHook(self.conn_id)
        target = Target(str(report["mutation_id"]))
        wait = hook.begin_wait(report["index_name"], [target], sentinel=self.sentinel, run=run)
        if not self.deferrable:
            hook.finish_wait(
                wait, poll_interval=self.poll_interval, timeout=self.completion_timeout, stop=run.stop
            )
        elif not wait.look(hook.polling_client()):
            self.defer(**deferral(self.conn_id, wait, self.poll_interval, self.completion_timeout))
        else:
            hook.delete_sentinel(wait)

    def on_kill(self) -> None:
        """Begin no request any more; the next try goes on."""
        if self._run is not None:
            self._run.stop.set()
