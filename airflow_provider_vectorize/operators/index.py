"""Operators that create and delete an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from airflow.providers.common.compat.sdk import Context

from airflow_provider_vectorize.base import TaskOnIndex
from airflow_provider_vectorize.client.types import MetadataIndexType, Metric
from airflow_provider_vectorize.index.declaration import Declaration
from airflow_provider_vectorize.links import push_links
from airflow_provider_vectorize.operators.common import fail_fast, naming, one_of, seconds


class VectorizeCreateIndexOperator(TaskOnIndex):
    """Create an index with its metadata indexes, or see that the one that is there is as declared.

    It may be repeated: with ``if_exists="skip"`` an index that is there is compared. Another dimension, metric or type
    of a metadata index is red, naming both; missing metadata indexes are created, and waited for until they are
    listed, so that whatever is loaded afterwards is in them; what is there beyond the declaration is a warning. Tasks
    that run at the same time make one index.

    Returns the index as a dict: ``name``, ``dimensions``, ``metric``, ``description``, ``created_on``,
    ``modified_on``, ``metadata_indexes``.

    :param index_name: the index. Templated.
    :param dimensions: length of the vectors, 32 to 1,536; with ``metric``, instead of ``preset``.
    :param metric: ``cosine``, ``euclidean`` or ``dot-product``.
    :param preset: name of an embedding model that the API knows, such as ``@cf/baai/bge-base-en-v1.5``.
    :param description: free text. Templated.
    :param metadata_indexes: properties that queries can filter by, each with its type, such as
        ``{"lang": "string", "year": "number", "draft": "boolean"}``; at most 10 (limits page).
    :param if_exists: ``skip`` compares an index that is there; ``fail`` refuses it.
    :param on_late_metadata_index: what to do when a declared metadata index is missing on an index that holds vectors:
        they will not be in it until they are loaded again. ``fail``, or ``create`` it all the same.
    :param conn_id: a connection of type ``vectorize``. Templated.
    :param completion_timeout: seconds after which it gives up.
    """

    template_fields: Sequence[str] = ("index_name", "description", "conn_id")

    def __init__(
        self,
        *,
        index_name: str | None = None,
        dimensions: int | None = None,
        metric: Metric | None = None,
        preset: str | None = None,
        description: str = "",
        metadata_indexes: Mapping[str, MetadataIndexType] | None = None,
        if_exists: Literal["skip", "fail"] = "skip",
        on_late_metadata_index: Literal["fail", "create"] = "fail",
        conn_id: str = "vectorize_default",
        completion_timeout: float | timedelta = 600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.index_name = index_name
        self.dimensions = dimensions
        self.metric = metric
        self.preset = preset
        self.description = description
        self.metadata_indexes = metadata_indexes
        self.if_exists = if_exists
        self.on_late_metadata_index = on_late_metadata_index
        self.conn_id = conn_id
        self.completion_timeout = seconds(self.task_id, "completion_timeout", completion_timeout)
        one_of(self.task_id, "if_exists", if_exists, "skip", "fail")
        one_of(self.task_id, "on_late_metadata_index", on_late_metadata_index, "fail", "create")
        with naming(self.task_id):
            Declaration(dimensions, metric, preset, metadata_indexes=metadata_indexes or {})

    def execute(self, context: Context) -> dict[str, Any]:
        """Create the index, or compare it."""
        run = self.begin(context)
        push_links(self, context, self.index_name)
        with fail_fast():
            return self.hook.create_index(
                self.index_name,
                self.dimensions,
                self.metric,
                self.preset,
                self.description,
                self.metadata_indexes,
                if_exists=self.if_exists,
                on_late_metadata_index=self.on_late_metadata_index,
                completion_timeout=self.completion_timeout,
                stop=run.stop,
            )


class VectorizeDeleteIndexOperator(TaskOnIndex):
    """Delete an index with all its vectors. It may be repeated, and used as a teardown.

    Returns whether there was an index to delete.

    :param index_name: the index; the connection's default is not taken. Templated.
    :param if_missing: when there is none of that name: ``skip``, or ``fail``.
    :param conn_id: a connection of type ``vectorize``. Templated.
    """

    template_fields: Sequence[str] = ("index_name", "conn_id")

    def __init__(
        self,
        *,
        index_name: str,
        if_missing: Literal["skip", "fail"] = "skip",
        conn_id: str = "vectorize_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.index_name = index_name
        self.if_missing = if_missing
        self.conn_id = conn_id
        one_of(self.task_id, "if_missing", if_missing, "skip", "fail")

    def execute(self, context: Context) -> bool:
        """Delete the index."""
        self.begin(context)
        push_links(self, context, self.index_name)
        with fail_fast():
            return self.hook.delete_index(self.index_name, self.if_missing)
