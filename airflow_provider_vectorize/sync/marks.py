"""By what a record is known to have changed: 16 bytes for each version of it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from airflow_provider_vectorize.client.types import Vector
from airflow_provider_vectorize.ingest.records import FlawError
from airflow_provider_vectorize.sync.options import RECORD
from airflow_provider_vectorize.sync.segments import DIGEST_BYTES
from airflow_provider_vectorize.visibility import digest, plain

Json = Mapping[str, Any]
#: From a checked record to its 16 bytes.
Marker = Callable[[Json], bytes]


def marker(changed_by: str) -> Marker:
    """Choose what tells a record from an earlier version of it.

    :param changed_by: ``record`` (float32 values, namespace and metadata), or ``metadata.FIELD``, where a ``.``
        nests: then only that field.
    """
    if changed_by == RECORD:
        return record_mark
    path = changed_by.split(".")[1:]

    def field_mark(record: Json) -> bytes:
        value: Any = record.get("metadata")
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is None:
            raise FlawError("no_mark", f"changed_by is {changed_by!r}, and the record has no such field")
        return value_mark(value)

    return field_mark


def record_mark(record: Json) -> bytes:
    """Mark a record by all that Vectorize stores of it."""
    return bytes.fromhex(digest(record["values"], record.get("namespace"), record.get("metadata")))


def value_mark(value: object) -> bytes:
    """Mark one JSON value; ``1`` and ``1.0`` are the same."""
    text = orjson.dumps(plain(value), option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()


def stored(vector: Vector) -> dict[str, Any]:
    """Give what was read back in the form of a record."""
    return {
        "id": vector.id,
        "values": vector.values,
        "namespace": vector.namespace,
        "metadata": vector.metadata,
    }
