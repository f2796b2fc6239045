"""Check one record against the limits of the API, and write it as the line that is sent. Pure.

Values are packed as float32, which is what Vectorize stores: ``struct`` refuses everything that is no number and
everything beyond float32, in a tenth of the time that parsing takes. In the compact form they are written as the
shortest text that gives the same float32.
"""

from __future__ import annotations

import array
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import orjson

from airflow_provider_vectorize.client.errors import printable
from airflow_provider_vectorize.client.limits import (
    MAX_ID_BYTES,
    MAX_NAMESPACE_BYTES,
)
from airflow_provider_vectorize.ingest import diagnosis
from airflow_provider_vectorize.ingest.diagnosis import short
from airflow_provider_vectorize.ingest.flaws import FlawError as FlawError
from airflow_provider_vectorize.ingest.metadata import repeats_a_key, settled
from airflow_provider_vectorize.ingest.options import IngestOptions

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

#: What struct packs as a number, and is none.
_NO_NUMBERS = (bool, np.bool_, np.complexfloating, np.timedelta64, np.ndarray, str)

Json = dict[str, Any]


class Row(dict[str, Any]):
    """A record of a table, whose values were checked with those of many rows at once, see :mod:`.tables`.

    They are an array of numbers, which are all finite float32s that their shortest text gives again.
    """


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
    :param drop_nulls: leave nulls in metadata out; otherwise they are refused.
    """

    def __init__(
        self,
        dimensions: int,
        *,
        namespace: str | None,
        compact: bool,
        max_bytes: int,
        mark: Callable[[Json], bytes] | None = None,
        drop_nulls: bool = False,
    ) -> None:
        self._dimensions = dimensions
        self._pack = struct.Struct(f"<{dimensions}f").pack
        self._namespace = namespace
        self._compact = compact
        self._mark = mark
        self._max_bytes = max_bytes
        self._drop_nulls = drop_nulls
        #: Fields of records that the API does not document; they are sent as they are.
        self.undocumented: set[str] = set()

    @classmethod
    def of(cls, options: IngestOptions, dimensions: int, mark: Callable[[Json], bytes] | None = None) -> Self:
        """Make the checker of a load, so that whoever reads its source takes for a record what it does."""
        return cls(
            dimensions,
            namespace=options.namespace,
            compact=options.compact,
            max_bytes=options.max_batch_bytes,
            mark=mark,
            drop_nulls=options.drop_nulls,
        )

    def check(self, data: object) -> Record:
        """Check a record.

        :param data: a line of NDJSON as bytes, with its newline, a mapping, or :class:`TooLong`. A line of a rejects
            folder stands for the record in it.
        :raises FlawError: it breaks a limit, or is no record.
        """
        try:
            return self._check(data)
        except FlawError:
            raise
        except Exception as error:
            # Mappings are foreign code, and a line may nest as deep, or count as far, as no parser goes.
            raise FlawError(
                "unreadable",
                f"the record cannot be read: {type(error).__name__}: {printable(str(error))[:200]}",
            ) from error

    def _check(self, data: object) -> Record:
        line = data if isinstance(data, bytes) else None
        record = parse(data)
        if is_reject(record):
            line, record = _unwrap(data, record)
        if not record.keys() <= _FIELDS and len(self.undocumented) < MAX_NAMED_FIELDS:
            self.undocumented |= {printable(str(field))[:60] for field in record.keys() - _FIELDS}
        record_id = _check_id(record)
        try:
            line = self._line(record, line)
            return Record(record_id, line, None if self._mark is None else self._mark(record))
        except FlawError as flaw:
            flaw.record_id = record_id
            raise

    def _line(self, record: Json, line: bytes | None) -> bytes:
        floats = self._check_values(record, from_line=line is not None)
        if self._compact:
            record["values"] = floats if isinstance(record, Row) else _safe_text(floats)
        elif line is None:
            record["values"] = _as_doubles(record["values"])
        changed = self._settle_namespace(record) | self._settle_metadata(record, line)
        if line is not None and not self._compact:
            changed = changed or repeats_a_key(line, record)
        line = _dump(record) if line is None or changed or self._compact else line
        if len(line) > self._max_bytes:
            raise FlawError(
                "record_too_large",
                f"the record takes {len(line)} bytes, and max_batch_bytes is {self._max_bytes}",
            )
        return line

    def _check_values(self, record: Json, *, from_line: bool) -> np.ndarray[Any, np.dtype[np.float32]]:
        values: Any = record.get("values")
        if "values" not in record:
            raise FlawError("invalid_values", diagnosis.of_fields("values", record))
        if isinstance(values, np.ndarray) and values.dtype.kind == "O":
            values = values.tolist()
        elif isinstance(values, array.array):
            values = list(values)
        if not isinstance(record, Row) and not _is_flat(values):
            raise FlawError("invalid_values", diagnosis.of_values(values))
        if len(values) != self._dimensions:
            raise FlawError(
                "wrong_dimensions", f"the index has {self._dimensions} dimensions, the vector {len(values)}"
            )
        if isinstance(record, Row):
            checked: np.ndarray[Any, Any] = values.astype("<f4", copy=False)
            return checked
        floats = self._floats(values, from_line=from_line)
        if np.count_nonzero(np.isfinite(floats)) < len(floats):
            position = int(np.flatnonzero(~np.isfinite(floats))[0])
            raise FlawError(
                "not_finite", f"values[{position}] is {short(values[position])}, not a finite float32"
            )
        return floats

    def _floats(self, values: Any, *, from_line: bool) -> np.ndarray[Any, np.dtype[np.float32]]:
        if isinstance(values, np.ndarray):
            with np.errstate(over="ignore"):
                return values.astype("<f4")
        try:
            floats = np.frombuffer(self._pack(*values), dtype="<f4")
        except (struct.error, ArithmeticError, TypeError, ValueError):
            raise _bad_number(values) from None
        # In a line, the one thing that packs without being a number is a boolean, and it packs as 0 or 1.
        # Counting takes half the time of any() and all(), for each of thousands of records a second.
        suspicious = (
            not from_line or np.count_nonzero(floats) < len(floats) or np.count_nonzero(floats == 1) > 0
        )
        if suspicious and any(issubclass(kind, _NO_NUMBERS) for kind in set(map(type, values))):
            raise _bad_number(values)
        return floats

    def _settle_namespace(self, record: Json) -> bool:
        given = record.get("namespace")
        if given is not None and not isinstance(given, str):
            raise FlawError("invalid_namespace", f"namespace must be a string, got {short(given)}")
        if given and (size := len(_utf8("namespace", given))) > MAX_NAMESPACE_BYTES:
            raise FlawError(
                "namespace_too_long",
                f"the namespace takes {size} bytes, at most {MAX_NAMESPACE_BYTES} are allowed",
            )
        if given and self._namespace and given != self._namespace:
            raise FlawError(
                "namespace_conflict",
                f"the record has namespace {short(given)}, and namespace={self._namespace!r} was asked for",
            )
        if self._namespace and not given:
            record["namespace"] = self._namespace
            return True
        return _drop_null(record, "namespace")

    def _settle_metadata(self, record: Json, line: bytes | None) -> bool:
        metadata = record.get("metadata")
        if metadata is None:
            return _drop_null(record, "metadata")
        if not isinstance(metadata, Mapping):
            raise FlawError("invalid_metadata", f"metadata must be an object, got {short(metadata)}")
        text, has_nulls = settled(metadata, line, drop_nulls=self._drop_nulls)
        if line is None or has_nulls:
            record["metadata"] = orjson.loads(text)
        return has_nulls


def parse(data: object) -> Json:
    """Read a record as a dict of its own, without checking it.

    :param data: a line of NDJSON as bytes, or a mapping. Of a key that a line has twice the last one counts.
    :raises FlawError: it is neither.
    """
    if isinstance(data, Mapping):
        return Row(data) if isinstance(data, Row) else dict(data)
    if isinstance(data, TooLong):
        raise FlawError(
            "line_too_long", f"the line takes {data.size} bytes, at most {MAX_LINE_BYTES} are read"
        )
    if not isinstance(data, bytes):
        raise FlawError("not_an_object", diagnosis.of_value(data))
    try:
        record = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        try:
            data.decode()
        except UnicodeDecodeError as undecodable:
            raise FlawError("not_utf8", f"the line is not UTF-8: byte {undecodable.start} is wrong") from None
        reason, record_id = diagnosis.of_text(data, error.msg, error.pos)
        raise FlawError("not_json", reason, record_id) from None
    if not isinstance(record, dict):
        raise FlawError("not_an_object", diagnosis.of_value(record))
    return record


def is_reject(record: Mapping[str, Any]) -> bool:
    """Tell whether it is a line of a rejects folder, which stands for the record in it."""
    return "record" in record and "values" not in record and "reason" in record


def _unwrap(data: object, reject: Json) -> tuple[bytes | None, Json]:
    # Read again by a parser that keeps integers of any size: the checks are to see them.
    inner = (json.loads(data) if isinstance(data, bytes) else reject)["record"]
    if inner is None:
        raise FlawError(
            "not_an_object", "the record could not be kept in the rejects folder: load it from its source"
        )
    if isinstance(inner, str):  # the text of a line that could not be read, mended
        line = inner.encode("utf-8", "surrogatepass")
        return line.replace(b"\n", b" ") + b"\n", parse(line)
    return None, parse(inner)


def _check_id(record: Json) -> str:
    record_id = record.get("id")
    if "id" not in record:
        raise FlawError("invalid_id", diagnosis.of_fields("id", record))
    if not isinstance(record_id, str):
        raise FlawError("invalid_id", f"id must be a string, got {short(record_id)}")
    if not record_id:
        raise FlawError("invalid_id", "id must not be empty")
    if (size := len(_utf8("id", record_id))) > MAX_ID_BYTES:
        raise FlawError(
            "id_too_long", f"the id takes {size} bytes, at most {MAX_ID_BYTES} are allowed", record_id
        )
    return record_id


def _is_flat(values: object) -> bool:
    if isinstance(values, np.ndarray):
        return values.ndim == 1 and values.dtype.kind in "fiu" and not isinstance(values, np.ma.MaskedArray)
    if not isinstance(values, list | tuple):
        return False
    first = values[0] if values else None
    return not isinstance(first, list | tuple) and not (isinstance(first, np.ndarray) and first.ndim)


def _as_doubles(values: Any) -> list[Any]:
    if isinstance(values, np.ndarray):
        values = values.tolist()
    return [value if type(value) in (float, int) else float(value) for value in values]


def _bad_number(values: Sequence[Any]) -> FlawError:
    for position, value in enumerate(values):
        try:
            if isinstance(value, _NO_NUMBERS):
                raise TypeError  # noqa: TRY301  # as what float() says of the others
            finite = math.isfinite(struct.unpack("<f", struct.pack("<f", float(value)))[0])
        except OverflowError:
            finite = False
        except (TypeError, ValueError):
            return FlawError("invalid_values", f"values[{position}] must be a number, got {short(value)}")
        if not finite:
            return FlawError("not_finite", f"values[{position}] is {short(value)}, not a finite float32")
    return FlawError("invalid_values", diagnosis.of_values(values))


def _safe_text(floats: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, Any] | list[float]:
    # As a list the values are written with all the digits of a double.
    return floats.tolist() if np.count_nonzero(rounds_twice(floats)) else floats


def rounds_twice(floats: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell which of some float32s their shortest text does not give again."""
    found: np.ndarray[Any, np.dtype[np.bool_]] = (floats.view("<u4") & _SIGN) == _ROUNDS_TWICE
    return found


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
