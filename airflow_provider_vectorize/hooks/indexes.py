"""The hook's indexes: declared, and deleted."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from airflow_provider_vectorize.client.errors import IndexNotFoundError
from airflow_provider_vectorize.client.types import MetadataIndexType, Metric
from airflow_provider_vectorize.hooks.base import ConnectedHook
from airflow_provider_vectorize.index.create import IfExists, OnLate, create
from airflow_provider_vectorize.index.declaration import Declaration


class IndexMethods(ConnectedHook):
    """Declare an index, and delete it."""

    def create_index(
        self,
        index_name: str | None = None,
        dimensions: int | None = None,
        metric: Metric | None = None,
        preset: str | None = None,
        description: str = "",
        metadata_indexes: Mapping[str, MetadataIndexType] | None = None,
        *,
        if_exists: IfExists = "skip",
        on_late_metadata_index: OnLate = "fail",
        completion_timeout: float = 600.0,
        stop: threading.Event | None = None,
    ) -> dict[str, Any]:
        """Create an index with its metadata indexes, or see that the one that is there is as declared.

        It may be repeated, and run in several tasks at once. What is written after it is in the metadata indexes.

        :param index_name: the index; None: the connection's.
        :param dimensions: length of the vectors, 32 to 1,536; with ``metric``, instead of ``preset``.
        :param metric: ``cosine``, ``euclidean`` or ``dot-product``.
        :param preset: name of an embedding model that the API knows, such as ``@cf/baai/bge-base-en-v1.5``.
        :param description: free text.
        :param metadata_indexes: properties that queries can filter by, each with its type, such as
            ``{"lang": "string", "year": "number", "draft": "boolean"}``; at most 10.
        :param if_exists: ``skip`` compares an index that is there with what is declared; ``fail`` refuses it.
        :param on_late_metadata_index: what to do when a declared metadata index is missing on an index that holds
            vectors, which will not be in it: ``fail``, or ``create`` it all the same.
        :param completion_timeout: seconds after which it gives up.
        :param stop: ends it when set.
        :returns: ``name``, ``dimensions``, ``metric``, ``description``, ``created_on``, ``modified_on`` and
            ``metadata_indexes``, as declared.
        :raises IndexDriftError: the index is there, and is not as declared.
        :raises IndexExistsError: the index is there, and ``if_exists`` is ``fail``.
        :raises MutationTimeoutError: the metadata indexes were not listed in time.
        """
        declared = Declaration(dimensions, metric, preset, description, metadata_indexes or {})
        with self._conn_until(stop) as client:
            index, listed = create(
                client,
                self.resolve_index_name(index_name),
                declared,
                if_exists=if_exists,
                on_late_metadata_index=on_late_metadata_index,
                timeout=completion_timeout,
                stop=stop,
            )
        types = {each.property_name: each.index_type for each in listed}
        return {**asdict(index), "metadata_indexes": types}

    def delete_index(self, index_name: str, if_missing: str = "skip") -> bool:
        """Delete an index with all its vectors.

        :param index_name: the index; it has to be named, the connection's is not taken.
        :param if_missing: when there is none of that name: ``skip``, or ``fail``.
        :returns: whether there was one to delete.
        :raises IndexNotFoundError: there is none, and ``if_missing`` is ``fail``.
        """
        try:
            with self._conn_until() as client:
                client.delete_index(index_name)
        except IndexNotFoundError:
            if if_missing != "skip":
                raise
            self.log.info("There is no index %r to delete", index_name)
            return False
        self.log.info("Deleted index %r with all its vectors", index_name)
        return True
