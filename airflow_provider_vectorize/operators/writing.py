"""What the operators that write to an index have in common: the write, its report, the wait until it can be seen."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import AirflowSkipException, Context

from airflow_provider_vectorize.client.errors import EmptySourceError, VectorizeError
from airflow_provider_vectorize.lineage import TellsLineage
from airflow_provider_vectorize.links import VectorizeIndexLink, VectorizeRejectsLink, push_links
from airflow_provider_vectorize.operators.common import (
    DEFAULT_DEFERRABLE,
    fail_fast,
    given,
    interval,
    one_of,
    refuse_without_effect,
    seconds,
)

if TYPE_CHECKING:
    from airflow_provider_vectorize.ingest import Report
    from airflow_provider_vectorize.runtime.storage import Path, Source
    from airflow_provider_vectorize.runtime.task import TaskCheckpoint, TaskRun
    from airflow_provider_vectorize.sync.expected import Expected
    from airflow_provider_vectorize.sync.report import SyncReport

COMPLETION_TIMEOUT = 600.0


class VectorizeWrite(TellsLineage):
    """What the tasks that write to an index have in common. Use one of its subclasses."""

    operator_extra_links = (VectorizeIndexLink(), VectorizeRejectsLink())
    operation: ClassVar[Literal["upsert", "insert", "delete"]]
    #: What it waits for by itself, so that `deferrable` has an effect even without `wait_for_completion`.
    waits_for_source: ClassVar[bool] = False

    index_name: str | None
    source: Source | None
    rejects_path: Path | None

    def set_waiting(
        self,
        kwargs: dict[str, Any],
        *,
        wait_for_completion: bool,
        sentinel: bool,
        poll_interval: float | timedelta,
        completion_timeout: float | timedelta,
        deferrable: bool,
    ) -> None:
        """Check and keep what the wait is to be like.

        :param kwargs: what the constructor has passed on.
        """
        self.wait_for_completion = wait_for_completion
        self.sentinel = sentinel
        self.poll_interval = interval(self.task_id, "poll_interval", poll_interval)
        self.completion_timeout = seconds(self.task_id, "completion_timeout", completion_timeout)
        self.deferrable = deferrable
        if not wait_for_completion:
            refuse_without_effect(
                self.task_id,
                "it needs wait_for_completion=True",
                sentinel=given(kwargs, "sentinel", sentinel, False),
                deferrable=not self.waits_for_source
                and given(kwargs, "deferrable", deferrable, DEFAULT_DEFERRABLE),
                completion_timeout=given(
                    kwargs, "completion_timeout", completion_timeout, COMPLETION_TIMEOUT
                ),
            )

    def set_rejecting(
        self,
        kwargs: dict[str, Any],
        *,
        on_invalid: Literal["fail", "reject"],
        max_rejects: int,
        rejects_path: Path | None,
        on_empty: Literal["fail", "skip"],
    ) -> None:
        """Check and keep what is done with what cannot be written, and with nothing at all.

        The constructor itself keeps ``rejects_path``, as Airflow wants it of what is templated.

        :param kwargs: what the constructor has passed on.
        """
        self.on_invalid = on_invalid
        self.max_rejects = max_rejects
        self.on_empty = on_empty
        if on_invalid != "reject":
            refuse_without_effect(
                self.task_id,
                'it needs on_invalid="reject"',
                max_rejects=given(kwargs, "max_rejects", max_rejects, 0),
                rejects_path=given(kwargs, "rejects_path", rejects_path, None),
            )
        one_of(self.task_id, "on_empty", on_empty, "fail", "skip")

    def execute(self, context: Context) -> str:
        """Write, and return the mutation id."""
        return self.write(context, self.begin(context))

    def write(self, context: Context, run: TaskRun) -> str:
        """Write everything, push the ``report``, wait and verify if asked to, and return the mutation id."""
        push_links(self, context, self.index_name, self.rejects_path)
        checkpoint = self._checkpoint(run)
        with fail_fast(), self._witness() as expected:
            loaded = self._loaded()
            report = None if checkpoint is None else checkpoint.report()
            if report is None:
                report = self._written(context, run, checkpoint, expected).to_dict()
            else:
                self.log.info("An earlier try has done all of it, so nothing is sent")
            self.push_report(context, report)
            if self.wait_for_completion and report["mutation_id"] is not None:
                if checkpoint is not None and self.source is None and expected is None:
                    # Files tell by themselves whether they are the same; vectors are not loaded again for a wait.
                    checkpoint.keep_report(report)
                self._wait(run, report, loaded)
            self._verify(context, run, checkpoint, report, expected)
        if checkpoint is not None:
            checkpoint.clear()
        return report["mutation_id"]  # type: ignore[no-any-return]  # None of a sync that has nothing to do

    def execute_complete(self, context: Context, event: Any, loaded: Mapping[str, Any] | None = None) -> str:
        """Go on after the wait in the triggerer.

        :param loaded: what a verification has to know of the load.
        """
        from airflow_provider_vectorize.triggers.vectorize import check_event, raise_for_status
        from airflow_provider_vectorize.visibility import Target

        self.recall_report(context)
        run = self.begin(context)
        checkpoint = self._checkpoint(run)
        event = check_event(event)
        [mutation_id] = event["mutation_ids"]
        wait = self.hook.begin_wait(
            event["index_name"], [Target(mutation_id)], sentinel=self.sentinel, run=run
        )
        try:
            with fail_fast():
                raise_for_status(event)
        finally:
            self.hook.delete_sentinel(wait)
        with fail_fast():
            # What a deferral carries may be lost on the way, so nothing of it decides whether to verify.
            told = {**(self._report or {}), **(loaded or {})}
            load = {"index_name": event["index_name"], "rejected": told.get("rejected", 0)}
            self._verify(context, run, checkpoint, load, source_mark=told.get("source_mark"))
        if checkpoint is not None:
            checkpoint.clear()
        return str(mutation_id)

    def _checkpoint(self, run: TaskRun) -> TaskCheckpoint | None:
        return run.checkpoint(self.operation, self.conn_id, self.index_name, self.source)

    def _witness(self) -> AbstractContextManager[Expected | None]:
        """Make what takes note of the records, if they are to be verified."""
        return nullcontext()

    def _loaded(self) -> dict[str, Any]:
        """Give what a verification after a deferral has to know, before the write begins."""
        return {}

    def _verify(
        self,
        context: Context,
        run: TaskRun,
        checkpoint: TaskCheckpoint | None,
        report: Mapping[str, Any],
        expected: Expected | None = None,
        source_mark: str | None = None,
    ) -> None:
        """Verify a write that can be seen, if that is asked for."""

    def _load(
        self, context: Context, run: TaskRun, checkpoint: TaskCheckpoint | None, expected: Expected | None
    ) -> Report | SyncReport:
        """Do the write itself, by the hook."""
        raise NotImplementedError

    def _written(
        self, context: Context, run: TaskRun, checkpoint: TaskCheckpoint | None, expected: Expected | None
    ) -> Report | SyncReport:
        try:
            return self._load(context, run, checkpoint, expected)
        except VectorizeError as error:
            sent = error.report is not None and error.report.mutation_id is not None
            if isinstance(error, EmptySourceError) and self.on_empty == "skip" and not sent:
                self.push_report(context, self._nothing_written().to_dict())
                raise AirflowSkipException(str(error)) from error
            if error.report is not None:
                self.push_report(context, error.report.to_dict())
            raise

    def _nothing_written(self) -> Report | SyncReport:
        from airflow_provider_vectorize.ingest import Report

        return Report.empty(self.hook.resolve_index_name(self.index_name), self.operation)

    def _wait(self, run: TaskRun, report: Mapping[str, Any], loaded: Mapping[str, Any]) -> None:
        from airflow_provider_vectorize.triggers.vectorize import deferral
        from airflow_provider_vectorize.visibility import Target

        target = Target.from_dict(report)
        wait = self.hook.begin_wait(report["index_name"], [target], sentinel=self.sentinel, run=run)
        if not self.deferrable:
            self.hook.finish_wait(
                wait, poll_interval=self.poll_interval, timeout=self.completion_timeout, stop=run.stop
            )
        elif not self.hook.first_look(wait, timeout=self.completion_timeout, stop=run.stop):
            arguments = deferral(self.conn_id, wait, self.poll_interval, self.completion_timeout)
            if loaded:
                arguments["kwargs"] = {"loaded": {**loaded, "rejected": report["rejected"]}}
            self.defer(**arguments)
        else:
            self.hook.delete_sentinel(wait)
