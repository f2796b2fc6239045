"""The hook. Each part of what it can do is a class of its own, in a module of its own."""

from __future__ import annotations

from airflow_provider_vectorize.hooks.deletes import DeleteMethods
from airflow_provider_vectorize.hooks.exports import ExportMethods
from airflow_provider_vectorize.hooks.indexes import IndexMethods
from airflow_provider_vectorize.hooks.loads import LoadMethods
from airflow_provider_vectorize.hooks.queries import QueryMethods
from airflow_provider_vectorize.hooks.sync import SyncMethods
from airflow_provider_vectorize.hooks.waits import WaitMethods


class VectorizeHook(
    SyncMethods, LoadMethods, WaitMethods, IndexMethods, QueryMethods, ExportMethods, DeleteMethods
):
    """Talk to Cloudflare Vectorize.

    :param conn_id: a connection of type ``vectorize``: login is the account ID, password the API token.
    """
