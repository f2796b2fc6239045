"""The connection of a hook: its fields, its client, and trying it out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import InvalidArgumentError, TransportError, VectorizeError
from airflow_provider_vectorize.connection import ConnectionSettings
from airflow_provider_vectorize.ending import Ending
from airflow_provider_vectorize.runtime.task import TaskRun
from airflow_provider_vectorize.runtime.templates import refuse_leftovers
from airflow_provider_vectorize.waiting import refuse_to_sleep

#: Seconds that the last look of a wait may take, and then the deletion of its sentinel.
LAST_LOOK_SECONDS = 3.0


class ConnectedHook(BaseHook):
    """What the parts of :class:`~airflow_provider_vectorize.hooks.vectorize.VectorizeHook` stand on."""

    conn_name_attr = "conn_id"
    default_conn_name = "vectorize_default"
    conn_type = "vectorize"
    hook_name = "Cloudflare Vectorize"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.conn_id = conn_id

    @cached_property
    def settings(self) -> ConnectionSettings:
        """What the connection says.

        :raises InvalidArgumentError: naming the field that is wrong, or the connection if there is none.
        """
        try:
            connection = self.get_connection(self.conn_id)
        except AirflowNotFoundException as error:
            raise InvalidArgumentError(f"there is no connection {self.conn_id!r}: {error}") from error
        return ConnectionSettings.from_connection(connection)

    @cached_property
    def conn(self) -> VectorizeClient:
        """The client."""
        return self.settings.client(renew=self._read_secret)

    def get_conn(self) -> VectorizeClient:
        """Return the client."""
        return self.conn

    @contextmanager
    def _conn_until(self, stop: threading.Event | None = None) -> Iterator[VectorizeClient]:
        """Give the client for a piece of work that ends when it is told to: then it begins no request, no wait of it
        goes on, and a read is cut.

        :param stop: the order; None: that of the task that runs here.
        """
        ending = Ending(stop=stop or TaskRun.current().stop)
        with ending.cutting_reads():
            yield self.conn.within(ending)

    def resolve_index_name(self, index_name: str | None) -> str:
        """Give the name of the index: the one asked for, or else the connection's.

        :raises InvalidArgumentError: when neither names one, or it is what a template has left behind.
        """
        refuse_leftovers(index_name=index_name)
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
            # The form tests a connection under an id that nobody knows.
            return False, str(error).removeprefix(f"connection {self.conn_id!r}, ")
        message = (
            f"Account {settings.account_id} answers at {settings.base_url}; it has {len(names)} indexes."
        )
        if settings.index_name is not None and settings.index_name not in names:
            message += f" The default index {settings.index_name!r} is not among them."
        return True, message

    def polling_client(self, seconds: float) -> VectorizeClient:
        """Make a client for polling: one attempt a call, no sleep; the next look is the next attempt.

        :param seconds: length of the wait. Its last look begins then, and an answer that drips does not hold it up.
        """
        client = self.settings.client(max_attempts=1, sleep=refuse_to_sleep, renew=self._read_secret)
        return client.within(seconds=seconds + LAST_LOOK_SECONDS)

    def _read_secret(self) -> str:
        # Somebody may have replaced it since.
        return ConnectionSettings.from_connection(self.get_connection(self.conn_id)).secret
