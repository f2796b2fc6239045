"""The hook's deletes, by ids."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.hooks.base import ConnectedHook
from airflow_provider_vectorize.index.delete import delete
from airflow_provider_vectorize.index.pace import DEFAULT_REQUESTS_PER_MINUTE, Pace
from airflow_provider_vectorize.ingest import Checkpoint, IngestOptions, Report
from airflow_provider_vectorize.ingest.ids import Ids, id_columns
from airflow_provider_vectorize.ingest.options import DEFAULT_MAX_DELETES
from airflow_provider_vectorize.ingest.tables import Format, mapped
from airflow_provider_vectorize.runtime.storage import (
    Path,
    Source,
    check_rejects_apart,
    rejects_folder,
    source_files,
)
from airflow_provider_vectorize.runtime.task import TaskRun
from airflow_provider_vectorize.runtime.templates import refuse_leftovers

DEFAULTS = IngestOptions()


class DeleteMethods(ConnectedHook):
    """Delete vectors."""

    def delete(
        self,
        index_name: str | None = None,
        ids: Iterable[str] | None = None,
        *,
        source: Source | None = None,
        columns: Mapping[str, Any] | None = None,
        format: Format = "auto",  # noqa: A002  # the usual name
        max_deletes: int = DEFAULT_MAX_DELETES,
        on_invalid: Literal["fail", "reject"] = "fail",
        max_rejects: int = 0,
        rejects_path: Path | None = None,
        max_in_flight: int = DEFAULTS.max_in_flight,
        requests_per_minute: int = DEFAULT_REQUESTS_PER_MINUTE,
        checkpoint: Checkpoint | None = None,
        stop: threading.Event | None = None,
        tried_before: bool = False,
    ) -> Report:
        """Delete vectors by their ids, 100 a request. All ids are checked and counted before the first is deleted.

        :param index_name: the index; None: the connection's.
        :param ids: the ids; or
        :param source: a path or glob, or a list of them: an id a line, as text or as JSON with an ``id``; or Parquet.
        :param columns: which column is the ``id``.
        :param format: of the files: ``auto`` goes by the ending, or ``ndjson`` or ``parquet``.
        :param max_deletes: with more ids nothing is deleted at all.
        :param on_invalid: what to do with what is no id: ``fail``, or ``reject`` it and go on.
        :param max_rejects: with more rejects nothing is deleted at all.
        :param rejects_path: folder that takes them.
        :param max_in_flight: requests under way at a time.
        :param requests_per_minute: of the 240 a minute that a token has for all that it does.
        :param checkpoint: where to note how far it came, and to go on; the caller clears it.
        :param stop: ends it when set.
        :param tried_before: an earlier try may have deleted something.
        :returns: what was done; its ``mutation_id`` is the fence of all of it.
        :raises InvalidArgumentError: there are more ids than ``max_deletes``.
        """
        if (ids is None) == (source is None):
            raise InvalidArgumentError("exactly one of ids and source must be given")
        refuse_leftovers(source=source, rejects_path=rejects_path)
        rejects = None if rejects_path is None else rejects_folder(rejects_path)
        if rejects is not None and source is not None:
            check_rejects_apart(source, rejects)
        report = delete(
            self.conn,
            self.resolve_index_name(index_name),
            mapped(source_files(source), id_columns(columns), format)
            if source is not None
            else Ids(ids or ()),
            Pace(requests_per_minute, stop or threading.Event()),
            max_deletes=max_deletes,
            on_invalid=on_invalid,
            max_rejects=max_rejects,
            max_in_flight=max_in_flight,
            rejects=rejects,
            checkpoint=checkpoint,
            stop=stop,
            tried_before=tried_before,
            progress=TaskRun.current().progress,
        )
        self.log.info(
            "Deleted %s ids of index %r (%d refused, %d there twice) in %d requests and %.1f s; mutation %s",
            report.accepted, report.index_name, report.rejected, report.superseded, report.batches,
            report.seconds, report.mutation_id,
        )  # fmt: skip
        return report
