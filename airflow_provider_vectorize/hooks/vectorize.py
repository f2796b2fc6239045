"""The hook: the client, the ingest and the wait, with Airflow's connection, log, lineage and checkpoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from os import PathLike
from typing import Any, Literal

from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector
from airflow.providers.common.compat.sdk import AirflowFailException, BaseHook, Stats

from airflow_provider_vectorize import get_provider_info
from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import (
    IngestAbortedError,
    InvalidArgumentError,
    TransportError,
    VectorizeError,
)
from airflow_provider_vectorize.client.types import Mutation
from airflow_provider_vectorize.connection import ConnectionSettings
from airflow_provider_vectorize.hooks.checkpoint import TaskCheckpoint, current_context, is_first_try
from airflow_provider_vectorize.hooks.storage import Source, rejects_folder, source_files
from airflow_provider_vectorize.ingest import Checkpoint, IngestOptions, Report, ingest
from airflow_provider_vectorize.visibility import Target
from airflow_provider_vectorize.waiting import Wait, refuse_to_sleep, sleep_briefly, write_sentinel

Operation = Literal["upsert", "insert"]
#: NDJSON text, or an iterable of mappings or of lines, such as an open binary file.
Vectors = str | bytes | Iterable[Mapping[str, Any] | bytes]
Waitable = Report | Target | Mutation | Mapping[str, Any] | str | Iterable[Any]


class VectorizeHook(BaseHook):
    """Talk to Cloudflare Vectorize.

    :param conn_id: a connection of type ``vectorize``: login is the account ID, password the API token.
    """

    conn_name_attr = "conn_id"
    default_conn_name = "vectorize_default"
    conn_type = "vectorize"
    hook_name = "Cloudflare Vectorize"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.conn_id = conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Give the behaviour of the connection form, for Airflow before 3.2."""
        behaviour = _connection_type()["ui-field-behaviour"]
        return {key.replace("-", "_"): value for key, value in behaviour.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Give the fields of the connection form, for Airflow before 3.2."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from wtforms import IntegerField, StringField
        from wtforms.validators import Optional

        # Airflow 3.1 stands in for Flask's fields, and knows no others than these. What is text is read as a number
        # later on.
        return {
            name: (IntegerField if "integer" in field["schema"]["type"] else StringField)(
                field["label"],
                validators=[Optional()],
                description=field["description"],
                widget=BS3TextFieldWidget(),
            )
            for name, field in _connection_type()["conn-fields"].items()
        }

    @cached_property
    def settings(self) -> ConnectionSettings:
        """What the connection says.

        :raises InvalidArgumentError: naming the field that is wrong.
        """
        return ConnectionSettings.from_connection(self.get_connection(self.conn_id))

    @cached_property
    def conn(self) -> VectorizeClient:
        """The client."""
        return self.settings.client()

    def get_conn(self) -> VectorizeClient:
        """Return the client."""
        return self.conn

    def resolve_index_name(self, index_name: str | None) -> str:
        """Give the name of the index: the one asked for, or else the connection's.

        :raises InvalidArgumentError: when neither names one.
        """
        name = index_name or self.settings.index_name
        if name is None:
            raise InvalidArgumentError(
                f"no index: neither the argument index_name nor the extra index_name of connection "
                f"{self.conn_id!r} names one"
            )
        return name

    def test_connection(self) -> tuple[bool, str]:
        """Try the connection by listing the indexes of the account."""
        try:
            settings = self.settings
            names = [index.name for index in settings.client(max_attempts=1).list_indexes()]
        except TransportError as error:
            return (
                False,
                f"{error}. Check the fields host, port and schema, and the way from here to that address.",
            )
        except VectorizeError as error:
            return False, str(error)
        message = (
            f"Account {settings.account_id} answers at {settings.base_url}; it has {len(names)} indexes."
        )
        if settings.index_name is not None and settings.index_name not in names:
            message += f" The default index {settings.index_name!r} is not among them."
        return True, message

    def upsert(
        self,
        index_name: str | None = None,
        *,
        source: Source | None = None,
        vectors: Vectors | None = None,
        **options: Any,
    ) -> Report:
        """Load vectors, replacing those whose id exists.

        In a task on Airflow 3.3 and later, a load from ``source`` that is tried again goes on where it stopped.

        :param index_name: default: the connection's.
        :param source: a path or glob, or a list of them, plain or ``.gz``: NDJSON, one vector a line.
        :param vectors: instead of ``source``: NDJSON text, or mappings with ``id``, ``values`` and, if need be,
            ``namespace`` and ``metadata``, or lines as bytes; a generator or an open binary file is read as it goes.
        :param options: ``rejects_path``, and the fields of
            :class:`~airflow_provider_vectorize.ingest.IngestOptions`.
        :raises VectorizeError: see :mod:`airflow_provider_vectorize.client.errors`.
        """
        return self._load_in_task("upsert", index_name, source, vectors, options)

    def insert(
        self,
        index_name: str | None = None,
        *,
        source: Source | None = None,
        vectors: Vectors | None = None,
        **options: Any,
    ) -> Report:
        """Load vectors, leaving those whose id exists as they are; otherwise as :meth:`upsert`."""
        return self._load_in_task("insert", index_name, source, vectors, options)

    def load(
        self,
        operation: Operation,
        index_name: str | None = None,
        *,
        source: Source | None = None,
        vectors: Vectors | None = None,
        rejects_path: str | PathLike[str] | None = None,
        checkpoint: Checkpoint | None = None,
        stop: threading.Event | None = None,
        tried_before: bool = False,
        sentinel: bool = False,
        **options: Any,
    ) -> Report:
        """Run a load; the operators' way in. See :meth:`upsert` for what is not named here.

        :param rejects_path: folder that takes the refused records.
        :param checkpoint: where to go on, and where to note how far the load got; the caller clears it.
        :param stop: ends the load once it is set.
        :param tried_before: an earlier try may have sent something.
        :param sentinel: write a vector to recognise the load by, see
            :func:`~airflow_provider_vectorize.waiting.write_sentinel`.
        """
        if (source is None) == (vectors is None):
            raise InvalidArgumentError("exactly one of source and vectors must be given")
        name = self.resolve_index_name(index_name)
        if checkpoint is None and tried_before:
            why = (
                "vectors cannot be entered in the middle" if source is None else "this Airflow keeps no state"
            )
            self.log.warning("An earlier try cannot be continued, so the load starts again: %s", why)
        rejects = None if rejects_path is None else rejects_folder(rejects_path)
        try:
            report = ingest(
                self.conn,
                name,
                source_files(source) if source is not None else vectors,
                options=IngestOptions(operation=operation, **options),
                rejects=rejects,
                checkpoint=checkpoint,
                stop=stop,
                tried_before=tried_before,
            )
            if sentinel:
                report = report.marked(write_sentinel(self.conn, name, report.target().mutation_id))
        except BaseException as error:
            if isinstance(error, IngestAbortedError) or not isinstance(error, Exception):
                # Told to stop: nothing may go on in the background.
                self.conn.abort()
                del self.conn
            raise
        self._announce(report)
        return report

    def _announce(self, report: Report) -> None:
        self.log.info(
            "Loaded into index %r: %s accepted, %d rejected, %d superseded; %d requests, %.1f MB sent in %.1f s; "
            "mutation %s",
            report.index_name,
            "(unknown)" if report.accepted is None else report.accepted,
            report.rejected,
            report.superseded,
            report.batches,
            report.bytes_sent / 1e6,
            report.seconds,
            report.mutation_id,
        )
        tags = {"index_name": report.index_name, "operation": report.operation}
        Stats.incr("vectorize.accepted_vectors", report.accepted or 0, tags=tags)
        Stats.incr("vectorize.rejected_vectors", report.rejected, tags=tags)
        Stats.incr("vectorize.bytes_sent", report.bytes_sent, tags=tags)
        collector = get_hook_lineage_collector()
        for source in report.sources:
            if "/" in source:  # a file, and not the name of an argument
                uri = source if "://" in source else f"file://{source}"
                collector.add_input_asset(context=self, uri=uri)
        collector.add_output_asset(
            context=self, uri=f"vectorize://{self.settings.account_id}/{report.index_name}"
        )

    def wait_for_mutation(
        self,
        index_name: str | None,
        mutation: Waitable,
        *,
        poll_interval: float = 10.0,
        timeout: float = 600.0,
    ) -> None:
        """Wait until writes can be seen.

        :param index_name: None: the connection's.
        :param mutation: a report, its dict, a mutation as the client returns it, its id, or a list of these. A report
            is better than an id: it brings records to recognise the write by when others write to the index as well.
            For a delete, a :class:`~airflow_provider_vectorize.visibility.Target` can name ids that were there.
        :param poll_interval: seconds between two looks; each costs one request, with a read-back up to three, of
            the 1,200 that a token has in 5 minutes.
        :param timeout: seconds after which the wait fails.
        :raises MutationTimeoutError: saying what was last seen.
        """
        wait = Wait(self.resolve_index_name(index_name), targets_of(mutation))
        client = self.polling_client()
        deadline = time.monotonic() + timeout
        while not wait.look(client):
            left = deadline - time.monotonic()
            if left <= 0:
                raise wait.timed_out(timeout)
            time.sleep(min(poll_interval, left))
        self.delete_sentinels(wait)

    def delete_sentinels(self, wait: Wait) -> None:
        """Delete the vectors that were written only to recognise a write by, once all of them have been seen.

        Whatever goes wrong here is logged only, and soon: the writes are proved.
        """
        ids = [target.sentinel for target in wait.targets if target.sentinel is not None]
        if not ids:
            return
        try:
            self.settings.client(max_attempts=2, sleep=sleep_briefly).delete_by_ids(wait.index_name, ids)
        except Exception as error:  # noqa: BLE001  # the connection may be gone, too
            self.log.warning(
                "Index %r: the sentinels %s could not be deleted: %s", wait.index_name, ids, error
            )

    def polling_client(self) -> VectorizeClient:
        """Make a client for polling: one attempt a call, no sleep; the next look is the next attempt."""
        return self.settings.client(max_attempts=1, sleep=refuse_to_sleep)

    def _load_in_task(
        self,
        operation: Operation,
        index_name: str | None,
        source: Any,
        vectors: Any,
        options: Mapping[str, Any],
    ) -> Report:
        context = current_context()
        checkpoint = None if source is None else TaskCheckpoint.of(context)
        report = self.load(
            operation,
            index_name,
            source=source,
            vectors=vectors,
            checkpoint=checkpoint,
            tried_before=not is_first_try(context),
            **options,
        )
        if checkpoint is not None:
            checkpoint.clear()
        return report


@contextmanager
def fail_fast() -> Iterator[None]:
    """Turn errors that no retry can help into Airflow's, so that no retry is spent on them.

    :raises AirflowFailException: with the text of the error.
    """
    try:
        yield
    except VectorizeError as error:
        if error.permanent:
            raise AirflowFailException(str(error)) from error
        raise


def targets_of(mutation: Waitable) -> list[Target]:
    """Read what to wait for: a report, its dict, a mutation, its id, a target, or a list of these.

    :raises InvalidArgumentError: for anything else.
    """
    if isinstance(mutation, Report):
        return [mutation.target()]
    if isinstance(mutation, Target):
        return [mutation]
    if isinstance(mutation, Mutation):
        return [Target(mutation.id)]
    if isinstance(mutation, Mapping):
        return [Target.from_dict(mutation)]
    if isinstance(mutation, str):
        return [Target(mutation)]
    if isinstance(mutation, Iterable):
        return [target for item in mutation for target in targets_of(item)]
    raise InvalidArgumentError(
        f"a mutation is a report, its dict, a mutation, its id, a target or a list of these, got {mutation!r}"
    )


def _connection_type() -> dict[str, Any]:
    [connection_type] = get_provider_info()["connection-types"]
    return dict(connection_type)
