"""A quick look at a line that is to pass as it is: good beyond doubt, or to be checked in full.

Parsing 1,536 numbers into Python objects only to look at them takes more time than all else. So the grammar of the
line is checked by ``msgspec``, which leaves the values as text, and of the text it is shown that every number in it
is a finite float32. Whatever is unusual is left to :class:`~.records.Checker`, which alone decides what is invalid.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import orjson

_COMMA, _MINUS, _E = b",-e"

#: Three words of eight digits: a number needs 39 digits in a row to leave the range of float32.
_WORD_BITS = np.uint64(0xF0F0F0F0F0F0F0F0)
_DIGITS = np.uint64(0x3030303030303030)


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    values: msgspec.Raw
    namespace: str = ""
    metadata: msgspec.Raw = msgspec.Raw(b"{}")


_decode = msgspec.json.Decoder(_Line).decode


def glance(line: bytes, dimensions: int) -> dict[str, Any] | None:
    """Read a line whose values are as many finite float32 numbers as the index has dimensions.

    :param line: a line of NDJSON.
    :param dimensions: of the index.
    :returns: the record without its values, or None when it takes more than a glance to tell.
    """
    try:
        if not line.isascii():
            line.decode()  # msgspec does not look at the encoding of what it leaves as text
        seen = _decode(line)
        metadata = orjson.loads(bytes(seen.metadata))
    except (msgspec.DecodeError, orjson.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return None
    if metadata is None or not _are_float32(bytes(seen.values), dimensions):
        return None
    return {"id": seen.id, "namespace": seen.namespace, "metadata": metadata}


def _are_float32(values: bytes, dimensions: int) -> bool:
    characters = np.frombuffer(values, np.uint8)
    # The grammar is known to be right. What is no number begins with a quote, with a second "[", or beyond "e".
    if b'"' in values or values.find(b"[", 1) >= 0 or characters.max() > _E:
        return False
    if np.count_nonzero(characters == _COMMA) != dimensions - 1:
        return False
    # A number without a positive exponent and without 24 digits in a row is far from the limit.
    [exponents] = (characters == _E).nonzero()
    if b"E" in values or (characters[exponents + 1] != _MINUS).any():
        return False
    words = np.frombuffer(values, np.uint64, len(values) // 8)
    digits = (words & _WORD_BITS) == _DIGITS
    return not (digits[:-2] & digits[1:-1] & digits[2:]).any()
