"""The hook's export of an index."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Literal

from airflow_provider_vectorize.hooks.base import ConnectedHook
from airflow_provider_vectorize.index.export import ExportReport, Owner, export
from airflow_provider_vectorize.index.files import Folder
from airflow_provider_vectorize.index.pace import DEFAULT_REQUESTS_PER_MINUTE, Pace
from airflow_provider_vectorize.ingest.ids import checked_ids
from airflow_provider_vectorize.runtime.storage import Path, output_place
from airflow_provider_vectorize.runtime.task import TaskRun
from airflow_provider_vectorize.runtime.templates import refuse_leftovers


class ExportMethods(ConnectedHook):
    """Save an index."""

    def export(
        self,
        index_name: str | None,
        output_path: Path,
        *,
        id_prefix: str | None = None,
        ids: Sequence[str] | None = None,
        format: Literal["ndjson", "parquet"] = "ndjson",  # noqa: A002  # the name that the uploads use
        requests_per_minute: int = DEFAULT_REQUESTS_PER_MINUTE,
        stop: threading.Event | None = None,
    ) -> ExportReport:
        """Save an index in parts of 5,000 vectors that the uploads load as they are.

        Killed and called again, it goes on where it stopped; in a task that was cleared it begins again. It reads 20
        vectors a request, so a million takes 3.5 hours of all that a token may do, and twice as long at this pace.

        :param index_name: the index; None: the connection's.
        :param output_path: the folder, anywhere that Airflow's object storage reaches; empty, or with what an earlier
            try has left. It gets ``part-000001.ndjson.gz`` (or ``.parquet``) and so on.
        :param id_prefix: only vectors whose id begins so.
        :param ids: only these: a list of ids.
        :param format: ``ndjson``, compressed, or ``parquet`` (extra ``[parquet]``).
        :param requests_per_minute: of the 240 a minute that a token has for all that it does.
        :param stop: ends it when set.
        :returns: what was saved; ``source`` is the glob of the parts.
        :raises OutputError: the folder holds something else, or cannot be written.
        """
        refuse_leftovers(id_prefix=id_prefix)
        run = TaskRun.current()
        with self._conn_until(stop) as client:
            return export(
                client,
                self.resolve_index_name(index_name),
                Folder(*output_place(output_path)),
                Pace(requests_per_minute, stop or run.stop),
                id_prefix=id_prefix,
                ids=None if ids is None else checked_ids(ids),
                format=format,
                owner=Owner(run.name or "", run.life),
            )
