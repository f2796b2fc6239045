"""How what is known of ids is written: a header, rows, and a seal that tells a whole file from a piece of one. Pure.

A row says of an id that it is in the index as a digest tells, that it may be there in any state (*unknown*), or that
it was deleted. Files are written once and never changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

from airflow_provider_vectorize.client.errors import ManifestError

#: What is known of an id: 16 bytes that tell its record, :data:`UNKNOWN`, or None: not managed, or deleted.
State = bytes | None
Row = tuple[str, State]

#: Written, or about to be, so that the index may hold any of its versions or none.
UNKNOWN: Final = b""
DIGEST_BYTES: Final = 16

_MAGIC: Final = b"vectorize-manifest 1\n"
_MAX_HEADER: Final = 1024 * 1024
_IS_UNKNOWN, _IS_DIGEST, _IS_DELETED, _END = 1, 2, 3, 0xFF
#: The kind, the length of the id, its 64 bytes, the digest.
_MAX_ROW: Final = 2 + 255 + DIGEST_BYTES
_SEAL_BYTES: Final = 1 + 8 + 16
_BLOCK_ROWS: Final = 4096


def encode(header: dict[str, Any], rows: Iterable[Row]) -> Iterator[bytes]:
    """Write a file, piece by piece.

    :param header: JSON-ready.
    :param rows: ids of at most 64 bytes, each with what is known of it.
    """
    seal = hashlib.blake2b(digest_size=16)
    count = 0
    pieces = [_MAGIC, orjson.dumps(header), b"\n"]
    for record_id, state in rows:
        name = record_id.encode()
        if state is None:
            pieces += (bytes((_IS_DELETED, len(name))), name)
        elif state == UNKNOWN:
            pieces += (bytes((_IS_UNKNOWN, len(name))), name)
        else:
            pieces += (bytes((_IS_DIGEST, len(name))), name, state)
        count += 1
        if count % _BLOCK_ROWS == 0:
            block = b"".join(pieces)
            seal.update(block)
            yield block
            pieces = []
    pieces.append(bytes((_END,)) + count.to_bytes(8, "big"))
    block = b"".join(pieces)
    seal.update(block)
    yield block + seal.digest()


def decode(blocks: Iterable[bytes], name: str) -> Iterator[dict[str, Any] | Row]:
    """Read a file: first its header, then its rows. Only when the last was given is it known to be whole.

    :param blocks: its bytes, in pieces of any size.
    :param name: for messages.
    :raises ManifestError: it is damaged, or no such file.
    """
    seal = hashlib.blake2b(digest_size=16)
    source = iter(blocks)
    buffer = b""
    while buffer.count(b"\n") < 2:
        block = next(source, None)
        if block is None or len(buffer) > _MAX_HEADER:
            raise damaged(name, "it does not begin as a file of a manifest does")
        buffer += block
    if not buffer.startswith(_MAGIC):
        raise damaged(name, "it is no file of a manifest, or one of another version of this package")
    at = buffer.index(b"\n", len(_MAGIC)) + 1
    try:
        yield _header(buffer[len(_MAGIC) : at])
    except orjson.JSONDecodeError as error:
        raise damaged(name, f"its header is not JSON ({error})") from None
    seal.update(buffer[:at])
    buffer = buffer[at:]
    at = count = 0
    final = False
    while True:
        # Rows are read without a look at the end, as far as any row would fit.
        limit = len(buffer) - (0 if final else _MAX_ROW)
        while at < limit and (kind := buffer[at]) != _END:
            if len(buffer) - at < 2 or not _IS_UNKNOWN <= kind <= _IS_DELETED:
                raise damaged(name, f"row {count + 1} is none")
            begin = at + 2
            end = begin + buffer[at + 1]
            at = end + DIGEST_BYTES if kind == _IS_DIGEST else end
            if at > len(buffer):
                raise damaged(name, f"it ends within row {count + 1}")
            state = buffer[end:at] if kind == _IS_DIGEST else UNKNOWN if kind == _IS_UNKNOWN else None
            try:
                yield str(buffer[begin:end], "utf-8"), state
            except UnicodeDecodeError:
                raise damaged(name, f"the id of row {count + 1} is not UTF-8") from None
            count += 1
        seal.update(buffer[:at])
        buffer = buffer[at:]
        at = 0
        if final or buffer[:1] == bytes((_END,)):
            break
        block = next(source, None)
        final = block is None
        buffer += block or b""
    while len(buffer) <= _SEAL_BYTES and (block := next(source, None)) is not None:
        buffer += block
    seal.update(buffer[:9])
    if (
        len(buffer) != _SEAL_BYTES
        or buffer[9:] != seal.digest()
        or int.from_bytes(buffer[1:9], "big") != count
    ):
        raise damaged(name, "it is not whole, or was changed: its seal does not fit")


def damaged(name: str, why: str) -> ManifestError:
    """Make the error of a file that cannot be trusted."""
    return ManifestError(
        f"{name} is damaged: {why}. What the index holds cannot be told from it, so nothing was sent or deleted: "
        "remove the folder of the manifest to load all again"
    )


def _header(text: bytes) -> dict[str, Any]:
    header = orjson.loads(text)
    return header if isinstance(header, dict) else {}
