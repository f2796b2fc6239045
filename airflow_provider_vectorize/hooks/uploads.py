"""The hook's uploads: a load with the checkpoint of the task that calls it, and a verification if that is asked for."""

from __future__ import annotations

from typing import Any, Unpack

from airflow_provider_vectorize.client.errors import VerificationError
from airflow_provider_vectorize.hooks.loads import LoadOptions, Operation, Vectors
from airflow_provider_vectorize.hooks.verify import VerifyMethods, witness
from airflow_provider_vectorize.ingest import Report
from airflow_provider_vectorize.runtime.storage import Source
from airflow_provider_vectorize.runtime.task import TaskRun
from airflow_provider_vectorize.sync.options import Verify


class UploadMethods(VerifyMethods):
    """Upload vectors."""

    def upsert(
        self,
        index_name: str | None = None,
        *,
        source: Source | None = None,
        vectors: Vectors | None = None,
        verify: Verify = "none",
        verify_sample: int = 1000,
        **options: Unpack[LoadOptions],
    ) -> Report:
        """Load vectors, replacing those whose id exists.

        In a task on Airflow 3.3 and later, a load from ``source`` that is tried again goes on where it stopped.

        :param index_name: default: the connection's.
        :param source: a path or glob, a piece as :meth:`split` gives it, or a list of these, plain or ``.gz``: NDJSON,
            one vector a line.
        :param vectors: instead of ``source``: NDJSON text, or mappings with ``id``, ``values`` and, if need be,
            ``namespace`` and ``metadata``, or lines as bytes or str; a generator or an open file is read as it goes.
        :param verify: ``sample`` or ``all``: wait until the load can be seen, as :meth:`wait_for_mutation` does by
            default, then read so many of its records back and compare them.
        :param verify_sample: records of the sample.
        :param options: :class:`~airflow_provider_vectorize.hooks.loads.LoadOptions`.
        :raises InvalidArgumentError: naming an option that is wrong, or unknown.
        :raises VerificationError: naming ids and what differs.
        :raises VectorizeError: see :mod:`airflow_provider_vectorize.client.errors`.
        """
        return self._upload("upsert", index_name, source, vectors, verify, verify_sample, options)

    def insert(
        self,
        index_name: str | None = None,
        *,
        source: Source | None = None,
        vectors: Vectors | None = None,
        verify: Verify = "none",
        verify_sample: int = 1000,
        **options: Unpack[LoadOptions],
    ) -> Report:
        """Load vectors, leaving those whose id exists as they are; otherwise as :meth:`upsert`.

        With ``verify`` an id that was there before with another vector differs.
        """
        return self._upload("insert", index_name, source, vectors, verify, verify_sample, options)

    def _upload(
        self,
        operation: Operation,
        index_name: str | None,
        source: Any,
        vectors: Any,
        verify: Verify,
        verify_sample: int,
        options: LoadOptions,
    ) -> Report:
        run = TaskRun.current()
        checkpoint = run.checkpoint(operation, self.conn_id, index_name, source)
        with witness(verify, verify_sample, operation) as expected:
            report = self.load(
                operation,
                index_name,
                source=source,
                vectors=vectors,
                checkpoint=checkpoint,
                stop=run.stop,
                tried_before=run.tried_before,
                expected=expected,
                **options,
            )
            if verify != "none":
                self.wait_for_mutation(report.index_name, report)
                try:
                    self.verify_load(
                        report.to_dict(),
                        expected,
                        operation=operation,
                        verify=verify,
                        verify_sample=verify_sample,
                        source=source,
                        stop=run.stop,
                        **options,
                    )
                except VerificationError:
                    if checkpoint is not None:
                        checkpoint.clear()  # a retry loads all of it again
                    raise
        if checkpoint is not None:
            checkpoint.clear()
        return report
