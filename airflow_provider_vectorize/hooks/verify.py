"""The hook's verification: an index read back, and compared with its source."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Unpack

from airflow_provider_vectorize.client.errors import SourceError
from airflow_provider_vectorize.hooks.loads import LoadMethods, LoadOptions, Operation, Vectors
from airflow_provider_vectorize.hooks.waits import WaitMethods
from airflow_provider_vectorize.index.pace import DEFAULT_REQUESTS_PER_MINUTE
from airflow_provider_vectorize.ingest.checkpoint import fingerprint
from airflow_provider_vectorize.ingest.sources import Files
from airflow_provider_vectorize.runtime.storage import Source, source_files
from airflow_provider_vectorize.runtime.templates import refuse_leftovers
from airflow_provider_vectorize.sync.expected import Expected
from airflow_provider_vectorize.sync.options import (
    RECORD,
    SyncOptions,
    Verify,
    changed_by_property,
    check_verify,
)
from airflow_provider_vectorize.sync.verify import VerifyReport, expecting, read
from airflow_provider_vectorize.sync.verify import verify as run_verify


class VerifyMethods(LoadMethods, WaitMethods):
    """Find out whether an index holds what its source says."""

    def verify(
        self,
        index_name: str | None = None,
        *,
        source: Source | None = None,
        vectors: Vectors | None = None,
        verify: Literal["sample", "all"] = "sample",
        verify_sample: int = 1000,
        changed_by: str = RECORD,
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
        :param changed_by: of the sync that keeps the index, as for :meth:`sync`: where a field decides, only that field
            is compared.
        :param ids: compare the sets of ids too, which lists the index: what the source has not is red.
        :param id_prefix: with ``ids``: look only at ids that begin so.
        :param requests_per_minute: pace, 1 to 12,000; the API allows 240 to all that one token does.
        :param stop: ends it once it is set.
        :param options: of the load.
        :raises VerificationError: naming ids and what differs.
        """
        refuse_leftovers(id_prefix=id_prefix)
        changed_by = SyncOptions(
            changed_by=changed_by_property(changed_by, options.get("columns"))
        ).changed_by
        records, load, _ = self._prepared("upsert", source, vectors, options)
        name = self.resolve_index_name(index_name)
        with expecting(verify, verify_sample, ids=ids) as expected, self._conn_until(stop) as client:
            dimensions = client.get_index(name).dimensions
            read(records, expected, dimensions=dimensions, options=load, changed_by=changed_by)
            return run_verify(
                client,
                name,
                expected,
                changed_by=changed_by,
                ids=ids,
                id_prefix=id_prefix,
                requests_per_minute=requests_per_minute,
                stop=stop,
            )

    def verify_load(
        self,
        report: Mapping[str, Any],
        expected: Expected | None,
        *,
        operation: Operation,
        verify: Verify,
        verify_sample: int,
        source: Source | None = None,
        source_mark: str | None = None,
        changed_by: str = RECORD,
        stop: threading.Event | None = None,
        **options: Unpack[LoadOptions],
    ) -> VerifyReport:
        """Verify a load that can be seen; the operators' way in.

        :param report: of the load: its ``index_name``, ``rejected`` and ``resumed_from``.
        :param expected: what has taken note of the records; unless that is all of them, the source is read again.
        :param source_mark: what :meth:`mark_of` said of the source before the load.
        :param changed_by: see :func:`airflow_provider_vectorize.sync.verify.verify`.
        :raises SourceError: the source is no longer what was loaded.
        :raises VerificationError: naming ids and what differs.
        """
        name = report["index_name"]
        with self._conn_until(stop) as client:
            if expected is not None and report["resumed_from"] is None:
                return run_verify(client, name, expected, changed_by=changed_by, stop=stop)
            if source_mark is not None and source is not None and source_mark != self.mark_of(source):
                raise SourceError(
                    f"the source was written again since it was loaded, so that index {name!r} cannot be compared with "
                    "it. The load itself was accepted, and can be seen",
                    permanent=True,
                )
            self.log.info("Reading the source again, to verify index %r", name)
            records, load, _ = self._prepared(operation, source, None, options)
            with expecting(verify, verify_sample, operation=operation) as again:
                dimensions = client.get_index(name).dimensions
                invalid = read(records, again, dimensions=dimensions, options=load, changed_by=changed_by)
                refused = max(0, report["rejected"] - invalid)
                return run_verify(client, name, again, changed_by=changed_by, refused=refused, stop=stop)

    def mark_of(self, source: Source) -> str | None:
        """Tell the contents of files from others without reading them; None if that cannot be done."""
        return fingerprint(files=Files(source_files(source)).identity())["files"]


def witness(
    verify: Verify, verify_sample: int, operation: Operation
) -> AbstractContextManager[Expected | None]:
    """Make what takes note of the records of a load, if it is to be verified.

    :raises InvalidArgumentError: naming what is wrong.
    """
    check_verify(verify, verify_sample, "none", "sample", "all")
    return nullcontext() if verify == "none" else expecting(verify, verify_sample, operation=operation)
