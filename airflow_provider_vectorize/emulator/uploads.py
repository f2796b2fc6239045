"""Upload bodies: NDJSON or multipart in, checked vectors out. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, Final, NamedTuple

import orjson

from airflow_provider_vectorize.emulator.errors import ApiError
from airflow_provider_vectorize.emulator.models import Vector
from airflow_provider_vectorize.emulator.settings import (
    MAX_ID_BYTES,
    MAX_METADATA_BYTES,
    MAX_NAMESPACE_BYTES,
    MAX_UPLOAD_VECTORS,
)

_NDJSON: Final = "application/x-ndjson"
_MULTIPART: Final = "multipart/form-data"
#: The part that holds the file, and the one that the API reference's curl command sends instead.
_PART: Final = b"vectors"
_PART_OF_REFERENCE: Final = b"body"

Pack = Callable[..., bytes]


class _UnparsableError(Exception):
    """A line that is not a vector at all; ``unparsable-behavior=discard`` skips it."""


class Upload(NamedTuple):
    """How to read an upload.

    :param operation: ``insert`` or ``upsert``, which messages name.
    :param dimensions: the index's.
    :param discard: skip lines that cannot be parsed, instead of refusing the body.
    :param ndjson_boundary: see :class:`.settings.Settings`.
    :param null_metadata: see there.
    """

    operation: str
    dimensions: int
    discard: bool
    ndjson_boundary: bool
    null_metadata: bool


def read(body: bytes, content_type: str, upload: Upload) -> list[Vector]:
    """Read and check all vectors of a body: one bad vector refuses the whole.

    :param body: as it came, at most 100 MB.
    :param content_type: the header's value.
    :returns: at most 5,000 vectors (limits page), in the order of the body, ids not made unique.
    """
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind == _MULTIPART:
        body = _file_of(body, content_type, upload, (_PART,))
    elif kind == _NDJSON and upload.ndjson_boundary and "boundary=" in parameters:
        body = _file_of(body, content_type, upload, (_PART, _PART_OF_REFERENCE))
    elif kind != _NDJSON:
        raise ApiError("unknown_content_type")
    return _vectors(body, upload)


def _vectors(body: bytes, upload: Upload) -> list[Vector]:
    pack = struct.Struct(f"<{upload.dimensions}f").pack
    vectors: list[Vector] = []
    lines = 0
    for number, line in enumerate(BytesIO(body)):  # line by line: all at once would not fit the caches
        if line.isspace():
            continue
        lines += 1
        try:
            vectors.append(_vector(line, upload, pack))
        except _UnparsableError:
            if not upload.discard:
                raise ApiError("unparsable_line", operation=upload.operation, line=number) from None
    if not lines:
        raise ApiError("unparsable_line", operation=upload.operation, line=0)
    if lines > MAX_UPLOAD_VECTORS:
        raise ApiError("too_many_vectors", limit=MAX_UPLOAD_VECTORS, got=lines)
    return vectors


def _vector(line: bytes, upload: Upload, pack: Pack) -> Vector:
    try:
        record = orjson.loads(line)
        name, numbers = record["id"], record["values"]
        namespace, metadata = record.get("namespace"), record.get("metadata")
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError):
        raise _UnparsableError from None
    if not (
        isinstance(name, str)
        and name
        and isinstance(numbers, list)
        and isinstance(namespace, (str, type(None)))
        and isinstance(metadata, (dict, type(None)))
    ):
        raise _UnparsableError
    _check_size("id_too_long", name, MAX_ID_BYTES)
    if namespace is not None:
        _check_size("namespace_too_long", namespace, MAX_NAMESPACE_BYTES)
    if not {float, int}.issuperset(map(type, numbers)):  # struct would take True for 1.0
        raise _UnparsableError
    if len(numbers) != upload.dimensions:
        raise ApiError("vector_dimensions", id=name, want=upload.dimensions, got=len(numbers))
    try:
        values = pack(*numbers)
    except (struct.error, OverflowError):  # not a number; too large for a float32
        raise _UnparsableError from None
    text = None if metadata is None else _metadata(metadata, name, nulls=upload.null_metadata)
    return Vector(name, values, namespace, text)


def _check_size(kind: str, text: str, limit: int) -> None:
    # A character is at least one byte, and four at most.
    if len(text) * 4 > limit and (got := len(text.encode())) > limit:
        raise ApiError(kind, limit=limit, got=got)


def _metadata(metadata: dict[str, Any], name: str, *, nulls: bool) -> bytes:
    objects = [metadata]
    while objects:  # A loop, since the nesting is the sender's choice and Python's stack is not.
        for key, value in objects.pop().items():
            if not key or key.startswith("$") or "." in key or '"' in key:
                raise ApiError("metadata_key", key=key[:80], id=name)
            if isinstance(value, dict):
                objects.append(value)
            elif isinstance(value, list):
                if not all(isinstance(item, str) for item in value):
                    raise _UnparsableError
            elif value is None and not nulls:
                raise _UnparsableError
    try:
        text = orjson.dumps(metadata)
    except orjson.JSONEncodeError:  # nested deeper than orjson writes (254)
        raise _UnparsableError from None
    if len(text) > MAX_METADATA_BYTES:
        raise ApiError("metadata_too_large", id=name, limit=MAX_METADATA_BYTES, got=len(text))
    return text


def _file_of(body: bytes, content_type: str, upload: Upload, names: Sequence[bytes]) -> bytes:
    """Give the first of these parts that a multipart body has."""
    try:
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import File, FormParser, parse_options_header
    except ImportError:
        raise ApiError("no_multipart") from None

    parts: dict[bytes | None, bytes] = {}

    def keep_file(file: File) -> None:
        file.file_object.seek(0)
        parts[file.field_name] = file.file_object.read()

    _, options = parse_options_header(content_type)
    try:
        parser = FormParser(
            _MULTIPART,
            on_field=None,
            on_file=keep_file,
            boundary=options.get(b"boundary", b""),
            config={"MAX_MEMORY_FILE_SIZE": len(body)},
        )
        parser.write(body)
        parser.finalize()
    except FormParserError:  # Broken in the middle: nothing of it counts.
        raise ApiError("unparsable_line", operation=upload.operation, line=0) from None
    for name in names:
        if name in parts:
            return parts[name]
    raise ApiError("no_vectors_part", operation=upload.operation)
