"""The files of an export: vectors in the forms that the uploads read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import IO, Any, Literal, Protocol

import numpy as np
import orjson

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.client.types import Vector

Format = Literal["ndjson", "parquet"]

#: Vectors in a row group of Parquet.
_GROUP = 250


class PartWriter(Protocol):
    """Writes a part."""

    ending: str

    def write(self, file: IO[bytes], vectors: Iterable[Vector]) -> None:
        """Write vectors as they come."""
        ...


def part_writer(format: Format, dimensions: int) -> PartWriter:  # noqa: A002  # the name that the uploads use
    """Choose how parts are written.

    :param format: ``ndjson`` or ``parquet``.
    :param dimensions: of the index.
    :raises InvalidArgumentError: for ``parquet`` without pyarrow.
    """
    return _Ndjson() if format == "ndjson" else _Parquet(dimensions)


class _Ndjson:
    ending = ".ndjson.gz"

    def write(self, file: IO[bytes], vectors: Iterable[Vector]) -> None:
        for vector in vectors:
            record: dict[str, Any] = {"id": vector.id, "values": _exact(vector)}
            if vector.namespace is not None:
                record["namespace"] = vector.namespace
            if vector.metadata:
                record["metadata"] = vector.metadata
            file.write(orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))


class _Parquet:
    ending = ".parquet"

    def __init__(self, dimensions: int) -> None:
        try:
            import pyarrow
        except ImportError:
            raise InvalidArgumentError(
                "format='parquet' needs pyarrow: pip install 'airflow-provider-vectorize[parquet]'"
            ) from None
        self._dimensions = dimensions
        self._schema = pyarrow.schema(
            [
                pyarrow.field("id", pyarrow.string(), nullable=False),
                pyarrow.field("values", pyarrow.list_(pyarrow.float32(), dimensions), nullable=False),
                ("namespace", pyarrow.string()),
                # As JSON: the types of a property may differ from vector to vector.
                ("metadata", pyarrow.string()),
            ]
        )

    def write(self, file: IO[bytes], vectors: Iterable[Vector]) -> None:
        import pyarrow
        from pyarrow import parquet

        with parquet.ParquetWriter(file, self._schema) as writer:
            for group in _groups(vectors):
                floats = np.array([vector.values for vector in group], np.float32).reshape(-1)
                values = pyarrow.FixedSizeListArray.from_arrays(
                    pyarrow.array(floats), type=self._schema.field("values").type
                )
                columns = [
                    pyarrow.array([vector.id for vector in group], pyarrow.string()),
                    values,
                    pyarrow.array([vector.namespace for vector in group], pyarrow.string()),
                    pyarrow.array(
                        [orjson.dumps(v.metadata).decode() if v.metadata else None for v in group],
                        pyarrow.string(),
                    ),
                ]
                writer.write_table(pyarrow.Table.from_arrays(columns, schema=self._schema))


def _groups(vectors: Iterable[Vector]) -> Iterator[list[Vector]]:
    rest = iter(vectors)
    while group := list(islice(rest, _GROUP)):
        yield group


def _exact(vector: Vector) -> Any:
    # The shortest text of a float32, unless it reads as another one by way of a double.
    floats = np.array(vector.values, np.float32)
    text = orjson.dumps(floats, option=orjson.OPT_SERIALIZE_NUMPY)
    return floats if (np.array(orjson.loads(text), np.float32) == floats).all() else floats.tolist()
