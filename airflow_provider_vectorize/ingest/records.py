"""Check one record against the limits of the API, and write it as the line that is sent. Pure.

Values are packed as float32, which is what Vectorize stores: ``struct`` refuses everything that is no number and
everything beyond float32, in a tenth of the time that parsing takes. In the compact form they are written as the
shortest text that gives the same float32.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import orjson

from airflow_provider_vectorize.client.limits import (
    MAX_ID_BYTES,
    MAX_METADATA_BYTES,
    MAX_NAMESPACE_BYTES,
)
from airflow_provider_vectorize.ingest.glance import glance

#: Longest line of NDJSON that is read.
MAX_LINE_BYTES = 1024 * 1024

#: The only float32 (with its negative) whose shortest text, read as a double and rounded again, is another float32;
#: found by trying all of them.
_ROUNDS_TWICE = np.uint32(0x15AE43FD)
_SIGN = np.uint32(0x7FFFFFFF)

#: Undocumented fields after which no more are looked for.
MAX_NAMED_FIELDS = 10

_FIELDS = {"id", "values", "namespace", "metadata"}
_DUMP = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE

Json = dict[str, Any]


class FlawError(Exception):
    """What is wrong with a record.

    :param code: short name of the rule.
    :param reason: the rule and the value that breaks it.
    :param record_id: the record's id, as far as it is known.
    """

    def __init__(self, code: str, reason: str, record_id: str | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.record_id = record_id


class TooLong(NamedTuple):
    """Stands for a line over :data:`MAX_LINE_BYTES`, which is not kept.

    :param size: its length in bytes.
    """

    size: int


class Record(NamedTuple):
    """A record that may be sent.

    :param id: its id.
    :param line: the NDJSON line, with its newline.
    :param mark: as the checker's ``mark`` made it.
    """

    id: str
    line: bytes
    mark: bytes | None = None


class Checker:
    """Check records for one index.

    :param dimensions: length that every vector must have.
    :param namespace: for records that have none; a record with another one is invalid.
    :param compact: write the values as the shortest text of the same float32. Otherwise lines pass as they are.
    :param max_bytes: longest line that fits a request.
    :param mark: marks each good record, given with its ``values`` as float32.
    """

    def __init__(
        self,
        dimensions: int,
        *,
        namespace: str | None,
        compact: bool,
        max_bytes: int,
        mark: Callable[[Json], bytes] | None = None,
    ) -> None:
        self._dimensions = dimensions
        self._pack = struct.Struct(f"<{dimensions}f").pack
        self._namespace = namespace
        self._compact = compact
        self._as_they_are = not compact and namespace is None and mark is None
        self._mark = mark
        self._max_bytes = max_bytes
        #: Fields of records that the API does not document; they are sent as they are.
        self.undocumented: set[str] = set()

    def check(self, data: object) -> Record:
        """Check a record.

        :param data: a line of NDJSON as bytes, with its newline, a mapping, or :class:`TooLong`. A line of a rejects
            folder stands for the record in it.
        :raises FlawError: it breaks a limit, or is no record.
        """
        line = data if isinstance(data, bytes) else None
        seen = glance(line, self._dimensions) if line is not None and self._as_they_are else None
        record = parse(data) if seen is None else seen
        if "record" in record and "values" not in record:
            line, record = None, _unwrap(record["record"])
        if not record.keys() <= _FIELDS and len(self.undocumented) < MAX_NAMED_FIELDS:
            self.undocumented |= {str(field)[:60] for field in record.keys() - _FIELDS}
        record_id = _check_id(record)
        try:
            line = self._line(record, line, values_are_good=seen is not None)
            return Record(record_id, line, None if self._mark is None else self._mark(record))
        except FlawError as flaw:
            flaw.record_id = record_id
            raise

    def _line(self, record: Json, line: bytes | None, *, values_are_good: bool) -> bytes:
        if not values_are_good:
            floats = self._check_values(record)
            if self._compact:
                record["values"] = floats
            elif isinstance(record["values"], np.ndarray):
                record["values"] = record["values"].tolist()
        changed = self._settle_namespace(record) | _check_metadata(record)
        line = _dump(record) if line is None or changed or self._compact else line
        if len(line) > self._max_bytes:
            raise FlawError(
                "record_too_large",
                f"the record takes {len(line)} bytes, and max_batch_bytes is {self._max_bytes}",
            )
        return line

    def _check_values(self, record: Json) -> np.ndarray[Any, Any] | list[float]:
        values = record.get("values")
        if isinstance(values, np.ndarray):
            if values.ndim != 1 or values.dtype.kind not in "fiu":
                raise FlawError(
                    "invalid_values",
                    f"values must be a flat array of numbers, got shape {values.shape} of {values.dtype}",
                )
        elif not isinstance(values, list | tuple):
            raise FlawError("invalid_values", f"values must be a list of numbers, got {_short(values)}")
        if len(values) != self._dimensions:
            raise FlawError(
                "wrong_dimensions", f"the index has {self._dimensions} dimensions, the vector {len(values)}"
            )
        floats = self._floats(values)
        if not np.isfinite(floats).all():
            position = int(np.flatnonzero(~np.isfinite(floats))[0])
            raise FlawError(
                "not_finite", f"values[{position}] is {_short(values[position])}, not a finite float32"
            )
        return _safe_text(floats)

    def _floats(self, values: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        if isinstance(values, np.ndarray):
            with np.errstate(over="ignore"):
                return values.astype("<f4")
        try:
            floats = np.frombuffer(self._pack(*values), dtype="<f4")
        except (struct.error, OverflowError, TypeError, ValueError):
            raise _bad_number(values) from None
        # The one thing that packs without being a number is a boolean, and it packs as 0 or 1.
        if ((floats == 0) | (floats == 1)).any() and not all(map(_is_number, values)):
            raise _bad_number(values)
        return floats

    def _settle_namespace(self, record: Json) -> bool:
        given = record.get("namespace")
        if given is not None and not isinstance(given, str):
            raise FlawError("invalid_namespace", f"namespace must be a string, got {_short(given)}")
        if given and (size := len(_utf8("namespace", given))) > MAX_NAMESPACE_BYTES:
            raise FlawError(
                "namespace_too_long",
                f"the namespace takes {size} bytes, at most {MAX_NAMESPACE_BYTES} are allowed",
            )
        if given and self._namespace and given != self._namespace:
            raise FlawError(
                "namespace_conflict",
                f"the record has namespace {_short(given)}, and namespace={self._namespace!r} was asked for",
            )
        if self._namespace and not given:
            record["namespace"] = self._namespace
            return True
        return _drop_null(record, "namespace")


def parse(data: object) -> Json:
    """Read a record as a dict of its own, without checking it.

    :param data: a line of NDJSON as bytes, or a mapping. Of a key that a line has twice the last one counts.
    :raises FlawError: it is neither.
    """
    if isinstance(data, Mapping):
        return dict(data)
    if isinstance(data, TooLong):
        raise FlawError(
            "line_too_long", f"the line takes {data.size} bytes, at most {MAX_LINE_BYTES} are read"
        )
    if not isinstance(data, bytes):
        raise FlawError("not_an_object", f"a record is an object with id and values, got {_short(data)}")
    try:
        record = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        try:
            data.decode()
        except UnicodeDecodeError as undecodable:
            raise FlawError("not_utf8", f"the line is not UTF-8: byte {undecodable.start} is wrong") from None
        raise FlawError("not_json", f"the line is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise FlawError("not_an_object", f"a record is an object with id and values, got {_short(record)}")
    return record


def _unwrap(inner: object) -> Json:
    # A line of a rejects folder: the record, or the text of a line that could not be read.
    return parse(inner.encode("utf-8", "surrogatepass") if isinstance(inner, str) else inner)


def _check_id(record: Json) -> str:
    record_id = record.get("id")
    if not isinstance(record_id, str):
        raise FlawError("invalid_id", f"id must be a string, got {_short(record_id)}")
    if not record_id:
        raise FlawError("invalid_id", "id must not be empty")
    if (size := len(_utf8("id", record_id))) > MAX_ID_BYTES:
        raise FlawError(
            "id_too_long", f"the id takes {size} bytes, at most {MAX_ID_BYTES} are allowed", record_id
        )
    return record_id


def _check_metadata(record: Json) -> bool:
    metadata = record.get("metadata")
    if metadata is None:
        return _drop_null(record, "metadata")
    if not isinstance(metadata, dict):
        raise FlawError("invalid_metadata", f"metadata must be an object, got {_short(metadata)}")
    try:
        size = len(orjson.dumps(metadata, option=orjson.OPT_SERIALIZE_NUMPY))
    except TypeError as error:
        raise FlawError("invalid_metadata", f"metadata cannot be written as JSON: {error}") from None
    if size > MAX_METADATA_BYTES:
        raise FlawError(
            "metadata_too_large",
            f"the metadata takes {size} bytes as compact JSON, at most {MAX_METADATA_BYTES} are allowed",
        )
    objects = [metadata]
    while objects:  # not by recursion: JSON nests deeper than Python calls
        for key, value in objects.pop().items():
            if not key or "." in key or '"' in key or key.startswith("$"):
                raise FlawError(
                    "invalid_metadata_key",
                    f"metadata key {_short(key)} is empty, has a '.' or '\"' in it, or starts with '$'",
                )
            if isinstance(value, dict):
                objects.append(value)
            elif not _is_metadata_value(value):
                raise FlawError(
                    "invalid_metadata_value",
                    f"metadata {_short(key)} must be a string, number, boolean, list of strings or object, "
                    f"got {_short(value)}",
                )
    return False


def _is_metadata_value(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, str | bool) or (_is_number(value) and math.isfinite(value))


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, float | int | np.floating | np.integer) and not isinstance(value, bool)


def _bad_number(values: Sequence[Any]) -> FlawError:
    for position, value in enumerate(values):
        if not _is_number(value):
            return FlawError("invalid_values", f"values[{position}] must be a number, got {_short(value)}")
    position = next(position for position, value in enumerate(values) if not _is_float32(value))
    return FlawError("not_finite", f"values[{position}] is {_short(values[position])}, not a finite float32")


def _is_float32(value: float) -> bool:
    try:
        struct.pack("<f", value)
    except (struct.error, OverflowError):
        return False
    return True


def _safe_text(floats: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, Any] | list[float]:
    # As a list the values are written with all the digits of a double.
    twice = (floats.view("<u4") & _SIGN) == _ROUNDS_TWICE
    return floats.tolist() if twice.any() else floats


def _dump(record: Json) -> bytes:
    try:
        return orjson.dumps(record, option=_DUMP)
    except TypeError as error:
        raise FlawError("not_json", f"the record cannot be written as JSON: {error}") from None


def _drop_null(record: Json, field: str) -> bool:
    # Whether the API takes null for "none" is not documented.
    if field in record and record[field] is None:
        del record[field]
        return True
    return False


def _utf8(what: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise FlawError("not_utf8", f"the {what} has a lone surrogate, which UTF-8 cannot hold") from None


def _short(value: object) -> str:
    try:
        text = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} that nests too deep"
    return text if len(text) <= 80 else f"{text[:60]}... ({type(value).__name__})"
