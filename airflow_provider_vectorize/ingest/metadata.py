"""The metadata of a record: what Vectorize takes, written as compact JSON. Pure.

What comes from JSON is plain, but may have lost something on the way: the parser makes a float of an integer beyond
64 bits, and of a key that comes twice it keeps the last. What comes from Python may be of any type.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson

from airflow_provider_vectorize.client.errors import printable
from airflow_provider_vectorize.client.limits import MAX_METADATA_BYTES
from airflow_provider_vectorize.ingest import diagnosis
from airflow_provider_vectorize.ingest.diagnosis import short
from airflow_provider_vectorize.ingest.flaws import FlawError

_DUMP = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
#: Made once: each record asks for them.
_TEXT_OR_BOOLEAN = (str, bool, np.bool_)
_INTEGER: tuple[type[Any], ...] = (int, np.integer)
_FLOAT: tuple[type[Any], ...] = (float, np.floating)
#: Parts of a line from this length on hold nothing but numbers between their brackets, or one long string.
_LONG = 256


def settled(metadata: Mapping[Any, Any], line: bytes | None, *, drop_nulls: bool) -> tuple[bytes, bool]:
    """Check metadata and write it.

    :param metadata: not None.
    :param line: the line that it comes from, if it does.
    :param drop_nulls: leave nulls out, in lists too; otherwise they are refused.
    :returns: compact JSON, and whether nulls were left out.
    :raises FlawError: it breaks a limit.
    """
    text = _written(metadata)
    nulls = [key for key, value in _members(metadata) if value is None]
    if nulls and not drop_nulls:
        raise FlawError(
            "invalid_metadata_value",
            f"metadata {short(nulls[0])} is null, which Vectorize does not take: leave it out, or let drop_nulls=True "
            "do so",
        )
    if line is not None and _has_big_integer(metadata, line):
        raise _big_integer()
    if nulls:
        text = orjson.dumps(_without_nulls(orjson.loads(text)))
    if len(text) > MAX_METADATA_BYTES:
        raise FlawError(
            "metadata_too_large",
            f"the metadata takes {len(text)} bytes as compact JSON, at most {MAX_METADATA_BYTES} are allowed",
        )
    return text, bool(nulls)


def repeats_a_key(line: bytes, record: Mapping[str, Any]) -> bool:
    """Tell whether an object in a line has a key twice: which of them counts is not for others to decide.

    :param line: of NDJSON.
    :param record: what was read of it.
    """
    known, objects = 0, [record]
    while objects:
        each = objects.pop()
        known += len(each)
        objects += [value for value in each.values() if isinstance(value, dict)]
    if line.count(b":") <= known:
        return False  # as many colons as different keys
    # The numbers are left out: it is done for every line with a colon in a text.
    parts = [part if len(part) < _LONG else _without_numbers(part) for part in line.split(b'"')]
    try:
        json.loads(b'"'.join(parts), object_pairs_hook=_distinct, parse_int=len, strict=False)
    except (ValueError, RecursionError):
        return True  # written anew, it has none
    return False


def _without_numbers(part: bytes) -> bytes:
    begin, end = part.find(b"["), part.rfind(b"]")
    return part[: begin + 1] + part[end:] if 0 <= begin < end else part


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key comes twice")


def _written(metadata: Mapping[Any, Any]) -> bytes:
    try:
        return orjson.dumps(metadata, option=_DUMP, default=plain)
    except TypeError as error:
        cause = error
    try:
        for _ in _members(metadata):  # names what it stumbles over
            pass
    except FlawError as flaw:
        raise FlawError("invalid_metadata", flaw.reason) from None
    raise FlawError("invalid_metadata", f"metadata cannot be written as JSON: {printable(str(cause))}")


def _members(metadata: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Give keys and values that are no objects, at every depth; refuse the first that Vectorize does not take."""
    objects = [metadata]
    left = MAX_METADATA_BYTES  # each takes a byte at least, unless it contains itself
    while objects:  # not by recursion: JSON nests deeper than Python calls
        left -= 1
        if left < 0:
            raise FlawError(
                "metadata_too_large", "the metadata holds more objects than fit in its limit of bytes"
            )
        for key, value in objects.pop().items():
            if not isinstance(key, str):
                raise FlawError("invalid_metadata", f"a metadata key must be a string, got {short(key)}")
            if not key or "." in key or '"' in key or key.startswith("$"):
                raise FlawError("invalid_metadata_key", diagnosis.of_key(key))
            if value is None or isinstance(value, _TEXT_OR_BOOLEAN) or _is_json_number(value):
                yield key, value
            elif isinstance(value, Mapping):
                objects.append(value)
            elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
                if not all(item is None or isinstance(item, str) for item in value):
                    raise _bad_member(key, value)
                yield from ((key, item) for item in value)
            elif isinstance(value, _INTEGER):
                raise _big_integer()
            else:
                raise _bad_member(key, value)


def _bad_member(key: str, value: object) -> FlawError:
    return FlawError(
        "invalid_metadata_value",
        f"metadata {short(key)} must be a string, number, boolean, list of strings or object, got {short(value)}",
    )


def _big_integer() -> FlawError:
    return FlawError(
        "invalid_metadata",
        "metadata has an integer of more than 64 bits, of which the last digits would be lost: write it as a string",
    )


def _is_json_number(value: object) -> bool:
    if isinstance(value, _INTEGER):
        return not isinstance(value, np.timedelta64) and -(2**63) <= int(value) < 2**64
    return isinstance(value, _FLOAT) and math.isfinite(float(value))


def _has_big_integer(metadata: Mapping[str, Any], line: bytes) -> bool:
    """Tell whether the parser has made a float of an integer in a line: it does beyond 64 bits."""
    if not any(isinstance(value, float) and abs(value) >= 2**63 for _, value in _members(metadata)):
        return False
    exact = json.loads(line, parse_int=lambda digits: int(digits[:30]))
    return any(
        isinstance(value, int) and not _is_json_number(value) for value in _leaves(exact.get("metadata"))
    )


def _leaves(value: Any) -> Iterator[Any]:
    rest = [value]
    while rest:
        each = rest.pop()
        if isinstance(each, dict):
            rest += each.values()
        else:
            yield each


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [each for each in value if each is not None] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """Give arrays, numpy's numbers and mappings as types that every JSON writer knows.

    :raises TypeError: it is something else.
    """
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} has no JSON")
