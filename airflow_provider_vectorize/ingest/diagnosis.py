"""What was given instead of a record: looked at once, when it is refused, and said in words that name the cause.

Nothing here decides; the checks do. Pure functions from what was refused to a sentence about it.
"""

from __future__ import annotations

import ast
import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from airflow_provider_vectorize.client.errors import printable

#: Fields of a record that are named in a message.
_MAX_FIELDS = 12
#: What others call it.
_SYNONYMS = {
    "values": ("vector", "vectors", "embedding", "embeddings", "value", "dense", "features"),
    "id": ("_id", "ID", "Id", "uuid", "key", "_key", "pk", "custom_id", "doc_id", "name"),
}
_MAGIC = (
    (b"\x1f\x8b", "gzip", "give the file a name that ends in .gz"),
    (b"\x28\xb5\x2f\xfd", "zstd", "decompress it, or compress it as .gz"),
    (b"BZh", "bzip2", "decompress it, or compress it as .gz"),
    (b"\xfd7zXZ\0", "xz", "decompress it, or compress it as .gz"),
    (b"PK\x03\x04", "a zip archive", "unpack it, or compress the file in it as .gz"),
    (b"PAR1", "Parquet", 'give the file a name that ends in .parquet, or format="parquet"'),
    (b"ARROW1", "an Arrow file", "write its rows as NDJSON, one object a line"),
    (b"Obj\x01", "Avro", "write its records as NDJSON, one object a line"),
    (b"\x89HDF", "HDF5", "write its rows as NDJSON, one object a line"),
    (b"\x93NUMPY", "a numpy file", "write its rows as NDJSON, one object a line"),
    (b"\xff\xfe\0\0", "UTF-32", "write it as UTF-8"),
    (b"\0\0\xfe\xff", "UTF-32", "write it as UTF-8"),
    (b"\xff\xfe", "UTF-16", "write it as UTF-8"),
    (b"\xfe\xff", "UTF-16", "write it as UTF-8"),
    (b"{\0\0\0", "UTF-32", "write it as UTF-8"),
    (b"{\0", "UTF-16", "write it as UTF-8"),
    (b"\0{", "UTF-16", "write it as UTF-8"),
    (b"[\0", "UTF-16", "write it as UTF-8"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "fetch it: git lfs pull"),
)
#: How a table is turned into records.
_TABLES = {
    ("pandas", "DataFrame"): 'df.to_dict("records")',
    ("polars", "DataFrame"): "df.iter_rows(named=True)",
    ("polars", "LazyFrame"): "df.collect().iter_rows(named=True)",
    ("pyarrow", "Table"): "table.to_pylist()",
    ("pyarrow", "RecordBatch"): "batch.to_pylist()",
    ("pyspark", "DataFrame"): "(row.asDict() for row in df.toLocalIterator())",
    ("datasets", "DatasetDict"): 'one of its splits, such as dataset["train"]',
}


def format_of(head: bytes) -> str | None:
    """Recognise what is no NDJSON at all by its first bytes.

    :returns: what it is and what to do, or None.
    """
    for magic, what, remedy in _MAGIC:
        if head.startswith(magic):
            return f"it is {what}, and not NDJSON in UTF-8: {remedy}"
    return None


def of_input(records: object) -> str | None:
    """Say how to make records of an input that holds some in another form; None if it does not."""
    kind = type(records)
    package, name = kind.__module__.partition(".")[0], kind.__name__
    if (advice := _TABLES.get((package, name))) is not None:
        return f"vectors is a {package} {name}: pass vectors={advice}, with the fields id and values"
    if isinstance(records, Mapping):
        return "vectors is one mapping, and not a list of them: pass vectors=[record]"
    if isinstance(records, np.ndarray):
        return (
            f"vectors is a numpy array of shape {records.shape}: each vector needs an id, so pass "
            'vectors=[{"id": id, "values": row} for id, row in zip(ids, array)]'
        )
    return None


def of_text(text: bytes, message: str, place: int) -> tuple[str, str | None]:
    """Say why a line is not one JSON object.

    :param text: the line.
    :param message: what the parser says, without a place.
    :param place: where it says so, in characters from 0.
    :returns: the reason, and the id of the record, if that can be read.
    """
    line = text.decode(errors="replace").strip().removeprefix("\ufeff")
    if (found := _not_finite(line)) is not None:
        return found
    if line.startswith("["):
        return f"it begins a JSON array, {_INSTEAD}: {_JQ_ARRAY}", None
    objects, rest = _values(line)
    if objects and rest == "":
        return (
            f"there are {len(objects)} JSON values without a newline between them, {_INSTEAD}: {_JQ}",
            None,
        )
    if (objects and rest == ",") or line in ("]", "],"):
        return f"it is part of a JSON array, {_INSTEAD}: {_JQ_ARRAY}", None
    if line in ("{", "}", "},") or _goes_on(line):
        return (
            f"the JSON value does not end where its line ends: it is indented JSON, {_INSTEAD}: {_JQ}",
            None,
        )
    if _is_python(line):
        return "it is Python's way to write a dict, not JSON: write it with json.dumps", None
    if line.startswith("<"):
        return "it is HTML or XML, and not JSON: an error page, maybe", None
    if not line.startswith("{") and ("://" in line or line.startswith(("/", "~/"))):
        return (
            "it looks like a path, and not like JSON: what is to be read from a path goes into source=",
            None,
        )
    return f"the line is not JSON: {printable(message)} at character {place + 1}", None


def of_value(value: object) -> str:
    """Say what stands where a record was meant."""
    if value is None:
        return "a record is an object with id and values, and this is null"
    if isinstance(value, list | tuple):
        holds = "objects" if value and isinstance(value[0], Mapping) else "values"
        return f"it is one JSON array (of {len(value)} {holds}), {_INSTEAD}: {_JQ_ARRAY}"
    return f"a record is an object with id and values, got {short(value)}"


def of_fields(field: str, record: Mapping[Any, Any]) -> str:
    """Say that a record lacks a field, what it has, and which of that is probably meant."""
    names = [printable(str(name))[:60] for name in list(record)[:_MAX_FIELDS]]
    more = ", ..." if len(record) > _MAX_FIELDS else ""
    text = (
        f"there is no {field}; the record has: {', '.join(names)}{more}" if names else f"there is no {field}"
    )
    if {"custom_id", "response"} <= record.keys():
        return (
            f"{text}. It looks like the output of OpenAI's batch API: id is its custom_id, values are its "
            "response.body.data[0].embedding"
        )
    nearest = next((name for name in _SYNONYMS[field] if name in record), None) or next(
        iter(difflib.get_close_matches(field, [name for name in names if name not in _SYNONYMS], 1)), None
    )
    return text if nearest is None else f"{text}. Is {nearest} meant? Then call it {field}"


def of_values(values: object) -> str:
    """Say what is wrong with values that are no list of numbers as a whole."""
    if isinstance(values, np.ma.MaskedArray):
        masked = int(np.sum(np.ma.getmaskarray(values)))
        return f"values is a masked array, {masked} of {values.size} masked: fill it, or leave the record out"
    if isinstance(values, np.ndarray):
        if values.ndim == 1:
            return f"values must be a flat array of real numbers, got shape {values.shape} of {values.dtype}"
        return f"values is nested, of shape {values.shape}, and must be a flat array of numbers"
    if isinstance(values, list | tuple):
        return f"values is nested, of shape {_shape(values)}, and must be a flat list of numbers"
    if hasattr(values, "tolist"):
        return f"values must be a list of numbers, got a {type(values).__name__}: give its .tolist()"
    return f"values must be a list of numbers, got {short(values)}"


def of_key(key: str) -> str:
    """Say which of the rules a metadata key breaks."""
    if not key:
        return "a metadata key is empty"
    if key.startswith("$"):
        return f"metadata key {short(key)} starts with '$', which filters keep for their operators"
    character = "." if "." in key else '"'
    return f"metadata key {short(key)} has a {character!r} in it, which is not allowed"


def short(value: object) -> str:
    """Show a value, if it can be shown."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # too many digits, too deep, or somebody's own __repr__
        return f"a {type(value).__name__} that cannot be shown"
    return printable(text) if len(text) <= 80 else f"{printable(text[:60])}... ({type(value).__name__})"


_INSTEAD = "and not one object a line"
_JQ = "jq -c . FILE > FILE.ndjson makes NDJSON of it"
_JQ_ARRAY = "jq -c '.[]' FILE > FILE.ndjson makes NDJSON of it"


def _not_finite(line: str) -> tuple[str, str | None] | None:
    try:
        record = json.loads(line, strict=False)  # Python takes NaN and Infinity, and writes them, too
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    record_id = record.get("id")
    for name, value in _leaves(record):
        if isinstance(value, float) and not math.isfinite(value):
            shown = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
            if shown.lstrip("-") in line:
                return f"{name} is {shown}, which is not JSON", record_id if isinstance(
                    record_id, str
                ) else None
    return None


def _leaves(record: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
    rest: list[tuple[str, Any]] = list(record.items())
    while rest:
        name, value = rest.pop(0)
        if isinstance(value, dict):
            rest += [(f"{name} {short(key)}", each) for key, each in value.items()]
        elif isinstance(value, list):
            yield from ((f"{name}[{number}]", each) for number, each in enumerate(value))
        else:
            yield name, value


def _values(line: str) -> tuple[list[Any], str]:
    """Read JSON values from the beginning of a line, as many as there are; give the rest."""
    found, rest = [], line
    try:
        while rest and rest != ",":
            value, end = _decode(rest)
            found.append(value)
            rest = rest[end:].lstrip()
    except (ValueError, RecursionError):
        pass
    return found, rest


def _goes_on(line: str) -> bool:
    try:
        _decode(line)
    except json.JSONDecodeError as error:
        return line[:1] in '{"' and error.pos >= len(line)
    except (ValueError, RecursionError):
        return False
    return False


def _is_python(line: str) -> bool:
    try:
        return line.startswith("{") and isinstance(ast.literal_eval(line), dict)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def _shape(values: Sequence[Any]) -> tuple[int, ...]:
    shape: list[int] = []
    level: Any = values
    while isinstance(level, list | tuple | np.ndarray) and len(shape) < 8:
        shape.append(len(level))
        level = level[0] if len(level) else None
    return tuple(shape)


_decode = json.JSONDecoder(strict=False).raw_decode
