"""What an upload has to do with ``verify``: what it refuses, what survives a deferral, and the comparison. Light."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import Context

from airflow_provider_vectorize.client.errors import EmptySourceError, VerificationError
from airflow_provider_vectorize.operators.common import (
    DEFAULT_DEFERRABLE,
    given,
    naming,
    refuse_without_effect,
)
from airflow_provider_vectorize.operators.writing import VectorizeWrite
from airflow_provider_vectorize.sync.options import Verify, check_verify

if TYPE_CHECKING:
    from airflow_provider_vectorize.hooks.loads import LoadOptions
    from airflow_provider_vectorize.runtime.task import TaskCheckpoint, TaskRun
    from airflow_provider_vectorize.sync.expected import Expected
    from airflow_provider_vectorize.sync.verify import VerifyReport

VERIFY_SAMPLE = 1000


class VerifiesUpload(VectorizeWrite):
    """An upload that can be read back.

    What it compares with, it notes while it loads. A retry that goes on in the middle, and a worker that resumes after
    a deferral, have not read all of it, and read the source once more.
    """

    operation: ClassVar[Literal["upsert", "insert"]]
    verify: Verify
    verify_sample: int

    if TYPE_CHECKING:

        def _options(self) -> LoadOptions: ...

    def _check_verify(self, kwargs: dict[str, Any]) -> None:
        """Refuse what can never work, or does nothing; wait in the worker where nothing can be read once more."""
        with naming(self.task_id):
            check_verify(self.verify, self.verify_sample, "none", "sample", "all")
        if self.verify != "sample":
            refuse_without_effect(
                self.task_id,
                'it needs verify="sample"',
                verify_sample=given(kwargs, "verify_sample", self.verify_sample, VERIFY_SAMPLE),
            )
        if self.verify == "none":
            return
        if not self.wait_for_completion:
            refuse_without_effect(self.task_id, "it needs wait_for_completion=True", verify=True)
        if self.source is None and self.deferrable:
            refuse_without_effect(
                self.task_id,
                "vectors are not made a second time to verify them, so the worker waits; use source",
                deferrable=given(kwargs, "deferrable", True, DEFAULT_DEFERRABLE),
            )
            self.deferrable = False

    def _witness(self) -> AbstractContextManager[Expected | None]:
        from airflow_provider_vectorize.hooks.verify import witness

        return witness(self.verify, self.verify_sample, self.operation)

    def _loaded(self) -> dict[str, Any]:
        """Give what a verification after a deferral has to know, before the load begins."""
        if self.verify == "none" or not self.deferrable or self.source is None:
            return {}
        try:
            return {"source_mark": self.hook.mark_of(self.source)}
        except EmptySourceError:
            return {}  # the load says so

    def _verify(
        self,
        context: Context,
        run: TaskRun,
        checkpoint: TaskCheckpoint | None,
        report: Mapping[str, Any],
        expected: Expected | None = None,
        source_mark: str | None = None,
    ) -> None:
        """Verify a load that can be seen, and push what was found as ``verified``."""
        if self.verify == "none":
            return
        found: Any = None
        try:
            found = self._compare(run, report, expected, source_mark)
        except VerificationError as error:
            found = error.report
            if checkpoint is not None:
                checkpoint.clear()  # a retry loads all of it again
            raise
        finally:
            if self.do_xcom_push and found is not None:
                context["ti"].xcom_push(key="verified", value=found.to_dict())

    def _compare(
        self, run: TaskRun, report: Mapping[str, Any], expected: Expected | None, source_mark: str | None
    ) -> VerifyReport:
        return self.hook.verify_load(
            report,
            expected,
            operation=self.operation,
            verify=self.verify,
            verify_sample=self.verify_sample,
            source=self.source,
            source_mark=source_mark,
            stop=run.stop,
            **self._options(),
        )
