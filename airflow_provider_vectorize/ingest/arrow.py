"""Arrow's columns as Python's objects: values as arrays, no Python number is made of them; all else as plain types.

pyarrow is asked for only when there is a table; it comes with the extra ``[parquet]``.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.ingest.records import rounds_twice

#: Bytes of values that are held at a time.
BATCH_BYTES = 8 * 1024 * 1024


def small(batch: Any) -> Iterator[Any]:
    """Cut a batch by what its rows may be as Python's objects, which share nothing."""
    longest = sum(map(_longest, batch.columns))
    size = max(1, BATCH_BYTES // max(1, longest))
    for begin in range(0, len(batch), size):
        yield batch.slice(begin, size)


def _longest(column: Any) -> int:
    """Give the bytes of text in the longest row, at most."""
    import pyarrow.compute as compute

    types, kind = pyarrow().types, column.type
    if types.is_dictionary(kind) and str(kind.value_type).removeprefix("large_") in ("string", "binary"):
        return compute.max(compute.binary_length(column.dictionary)).as_py() or 0
    if types.is_struct(kind):
        return sum(map(_longest, column.flatten()))
    if types.is_list(kind) or types.is_large_list(kind):
        if types.is_floating(kind.value_type):
            return 0  # they stay an array
        return (compute.max(compute.list_value_length(column)).as_py() or 0) * _longest(column.flatten())
    return 0


def rows(batch: Any) -> list[dict[str, Any]]:
    """Give each row of a record batch as a dict."""
    names = batch.schema.names
    if not names:
        return [{} for _ in range(len(batch))]
    return [dict(zip(names, row, strict=True)) for row in zip(*map(_objects, batch.columns), strict=True)]


def _objects(column: Any) -> list[Any]:
    # As to_pylist(), which makes an object of Arrow's for each text first, in five times the time.
    types, kind = pyarrow().types, column.type
    if types.is_struct(kind) and kind.num_fields and not column.null_count:
        names = [kind.field(number).name for number in range(kind.num_fields)]
        return [
            dict(zip(names, row, strict=True)) for row in zip(*map(_objects, column.flatten()), strict=True)
        ]
    if types.is_dictionary(kind) and types.is_string(kind.value_type):
        column = column.dictionary_decode()
    if not types.is_string(column.type) or column.null_count:
        objects: list[Any] = column.to_pylist()
        return objects
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1].tolist()
    text = memoryview(data or b"")[ends[0] : ends[-1]].tobytes()
    return [text[begin - ends[0] : end - ends[0]].decode() for begin, end in pairwise(ends)]


def arrays(column: Any) -> tuple[list[Any], Container[int]]:
    """Give an array of numbers for each row, without making Python numbers; None where there is null.

    :returns: the arrays, and in which of them something may be wrong, which has to be looked at one by one.
    """
    types = pyarrow().types
    kind = column.type
    if types.is_fixed_size_list(kind) and _is_float(kind.value_type):
        ends = np.arange(len(column) + 1) * kind.list_size
        flat = _numbers(column.values.slice(column.offset * kind.list_size, ends[-1]))
    elif (types.is_list(kind) or types.is_large_list(kind)) and _is_float(kind.value_type):
        offsets = _numbers(column.offsets)
        ends = offsets - offsets[0]
        flat = _numbers(column.values.slice(offsets[0], ends[-1]))
    else:
        return column.to_pylist(), range(len(column))
    found: list[Any] = [flat[begin:end] for begin, end in pairwise(ends.tolist())]
    doubtful = set(np.searchsorted(ends[1:], _wrong(flat), side="right").tolist())
    if column.null_count:
        for number in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
            found[number] = None
            doubtful.add(number)
    return found, doubtful


def _wrong(flat: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Give the positions of what is no finite float32, or is another one when its shortest text is read again."""
    with np.errstate(over="ignore"):
        floats = flat.astype("<f4", copy=False)
    return np.flatnonzero(~np.isfinite(floats) | rounds_twice(floats))


def _is_float(kind: Any) -> bool:
    return bool(pyarrow().types.is_floating(kind))


def _numbers(flat: Any) -> np.ndarray[Any, Any]:
    # Where it can be avoided, not by to_numpy(), which imports pandas: 50 MB, and as long as some thousand rows take.
    array: np.ndarray[Any, Any] = (
        flat.to_numpy(zero_copy_only=False) if flat.null_count else np.from_dlpack(flat)
    )
    return array


def pyarrow() -> Any:
    """Import pyarrow.

    :raises InvalidArgumentError: it is not there; naming the extra.
    """
    try:
        import pyarrow
    except ImportError:
        raise InvalidArgumentError(
            "Parquet files, tables and frames need pyarrow: pip install 'airflow-provider-vectorize[parquet]'"
        ) from None
    return pyarrow
