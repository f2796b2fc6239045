"""The hook's loads: the ingest, with Airflow's object storage, log, metrics, lineage and checkpoint."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict, Unpack

from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector
from airflow.providers.common.compat.sdk import Stats

from airflow_provider_vectorize.assets import asset_uri, index_uri
from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.client.types import UnparsableBehavior
from airflow_provider_vectorize.hooks.base import ConnectedHook
from airflow_provider_vectorize.ingest import Checkpoint, IngestOptions, RejectsFolder, Report, ingest
from airflow_provider_vectorize.ingest.pieces import PIECE_MARK
from airflow_provider_vectorize.ingest.tables import Format, mapped
from airflow_provider_vectorize.runtime.storage import (
    Path,
    Source,
    check_rejects_apart,
    rejects_folder,
    source_files,
    split_source,
)
from airflow_provider_vectorize.runtime.task import TaskRun
from airflow_provider_vectorize.runtime.templates import refuse_leftovers
from airflow_provider_vectorize.sync.expected import Expected, Witness

Operation = Literal["upsert", "insert"]
#: NDJSON text, or an iterable of mappings or of lines, such as an open file.
Vectors = str | bytes | Iterable[Mapping[str, Any] | bytes | str]


class LoadOptions(TypedDict, total=False):
    """How a load is done: the fields of :class:`~airflow_provider_vectorize.ingest.IngestOptions`, and some more.

    :param columns: which column is which field, see :class:`~airflow_provider_vectorize.ingest.columns.Columns`.
    :param format: of files: ``auto`` goes by the ending, or ``ndjson`` or ``parquet``.
    :param rejects_path: folder that takes the refused records, outside of what ``source`` finds.
    """

    columns: Mapping[str, Any] | None
    format: Format
    namespace: str | None
    on_invalid: Literal["fail", "reject"]
    rejects_path: Path | None
    max_rejects: int
    drop_nulls: bool
    compact: bool
    max_batch_vectors: int
    max_batch_bytes: int
    max_in_flight: int
    flush_seconds: float
    unparsable_behavior: UnparsableBehavior


class LoadMethods(ConnectedHook):
    """Load vectors."""

    def split(self, source: Source, parts: int = 32) -> list[dict[str, Any]]:
        """Cut big files into pieces for many workers; needs no connection to Vectorize.

        Each piece is a source of its own: ``Upsert.partial(...).expand(source=pieces)``, with the pieces as a task
        returned them. A line belongs to the piece that it begins in, and so does a row group of Parquet. A compressed
        file cannot be cut, and is one piece.
        Pieces are loaded in no order: of an id that is in two of them, either vector may stay.

        :param source: a path or glob, or a list of them.
        :param parts: how many, from 1; more where there are more files, fewer where there are fewer lines
            or row groups.
        :returns: for each its ``path``, ``first_byte`` and ``last_byte`` (from 0, both inclusive), and the ``version``
            of the file, which must be the same when it is loaded.
        :raises InvalidArgumentError: ``parts`` is no such number.
        :raises SourceError: a file is missing, or cannot be read.
        :raises EmptySourceError: a glob finds nothing.
        """
        return [piece.to_dict() for piece in split_source(source, parts)]

    def load(
        self,
        operation: Operation,
        index_name: str | None = None,
        *,
        source: Source | None = None,
        vectors: Vectors | None = None,
        checkpoint: Checkpoint | None = None,
        stop: threading.Event | None = None,
        tried_before: bool = False,
        expected: Expected | None = None,
        **options: Unpack[LoadOptions],
    ) -> Report:
        """Run a load; the operators' way in. See :meth:`upsert` for what is not named here.

        :param checkpoint: where to go on, and where to note how far the load got; the caller clears it.
        :param stop: ends the load once it is set.
        :param tried_before: an earlier try may have sent something.
        :param expected: takes note of the records that this try reads, for a verification.
        """
        records, load, rejects = self._prepared(operation, source, vectors, options)
        name = self.resolve_index_name(index_name)
        if checkpoint is None and tried_before:
            self.log.warning(
                "An earlier try cannot be continued, so the load starts again: %s",
                "vectors cannot be entered in the middle"
                if source is None
                else "this Airflow keeps no state",
            )
        report = ingest(
            self.conn,
            name,
            records,
            options=load,
            rejects=rejects,
            checkpoint=checkpoint,
            stop=stop,
            tried_before=tried_before,
            follower=None if expected is None else Witness(expected),
            connection=self.conn_id,
            progress=TaskRun.current().progress,
        )
        self._announce(report)
        return report

    def _prepared(
        self, operation: Operation, source: Any, vectors: Any, options: LoadOptions
    ) -> tuple[Any, IngestOptions, RejectsFolder | None]:
        """Check what a task was given, for all that reads a source, and find its files.

        :returns: the records, or a function that makes them where ``vectors`` is one; the options; the rejects folder.
        """
        if (source is None) == (vectors is None):
            raise InvalidArgumentError("exactly one of source and vectors must be given")
        if unknown := options.keys() - LoadOptions.__annotations__.keys():
            raise InvalidArgumentError(
                f"unknown option {', '.join(sorted(unknown))}; known are {', '.join(LoadOptions.__annotations__)}"
            )
        refuse_leftovers(
            source=source, namespace=options.get("namespace"), rejects_path=options.get("rejects_path")
        )
        fields: dict[str, Any] = {**options}
        rejects_path = fields.pop("rejects_path", None)
        columns, form = fields.pop("columns", None), fields.pop("format", "auto")
        load = IngestOptions(operation=operation, **fields)
        rejects = None if rejects_path is None else rejects_folder(rejects_path)
        if rejects is not None and source is not None:
            check_rejects_apart(source, rejects)
        if callable(vectors):
            return (lambda known: mapped(vectors(known), columns, form)), load, rejects
        return mapped(source_files(source) if source is not None else vectors, columns, form), load, rejects

    def _announce(self, report: Report) -> None:
        self.log.info(
            "Loaded into index %r: %s accepted, %d rejected, %d superseded; %d requests, %.1f MB sent in %.1f s",
            report.index_name,
            "(unknown)" if report.accepted is None else report.accepted,
            report.rejected,
            report.superseded,
            report.batches,
            report.bytes_sent / 1e6,
            report.seconds,
        )
        if report.mutation_id is not None:
            self.log.info("All of it can be seen once the index has come to mutation %s", report.mutation_id)
        self._tell(report)

    def _tell(self, report: Report) -> None:
        """Tell of a load in metrics and lineage."""
        for tell in (self._count, self._trace):
            try:
                tell(report)
            except Exception as error:  # noqa: BLE001  # foreign code, and the load is done
                self.log.warning(
                    "Index %r: metrics or lineage could not be told: %r", report.index_name, error
                )

    def _count(self, report: Report) -> None:
        tags = {"index_name": report.index_name, "operation": report.operation}
        Stats.incr("vectorize.accepted_vectors", report.accepted or 0, tags=tags)
        Stats.incr("vectorize.rejected_vectors", report.rejected, tags=tags)
        Stats.incr("vectorize.bytes_sent", report.bytes_sent, tags=tags)

    def _trace(self, report: Report) -> None:
        collector = get_hook_lineage_collector()
        files = dict.fromkeys(name.partition(PIECE_MARK)[0] for name in report.sources)
        for uri in filter(None, map(asset_uri, files)):
            collector.add_input_asset(context=self, uri=uri)
        collector.add_output_asset(context=self, uri=index_uri(self.settings.account_id, report.index_name))
