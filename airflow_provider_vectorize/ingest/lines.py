r"""Lines of NDJSON, and their places: one set of rules, wherever the lines come from.

A BOM at the very beginning and blank lines are left out; a line ends in ``\n`` or ``\r\n``. An input that ends
without a newline, and not with a whole JSON value, has broken off.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

from airflow_provider_vectorize.client.errors import SourceError
from airflow_provider_vectorize.ingest import diagnosis
from airflow_provider_vectorize.ingest.records import MAX_LINE_BYTES, TooLong

#: Bytes of one read. Also how often the senders get at the interpreter while records are checked: a read lets it go.
BLOCK_BYTES = 256 * 1024
#: Bytes of one step to the place where a load goes on: a compressed file has to be read up to it.
STEP_BYTES = 4 * 1024 * 1024
#: Longest piece of a line that is read at once: with its end.
_LIMIT = MAX_LINE_BYTES + 2

BOM = b"\xef\xbb\xbf"

Interrupt = Callable[[], None]


class Position(NamedTuple):
    """A place between two records.

    :param source: number of the source, from 0.
    :param line: lines (of an iterable: records) of that source that are behind this place.
    :param offset: bytes of it that are behind, after decompression; 0 for an iterable.
    """

    source: int = 0
    line: int = 0
    offset: int = 0

    def within(self, names: Sequence[str]) -> tuple[str, int]:
        """As a name and the line behind this place, counted from 1."""
        return names[self.source], self.line + 1


START = Position()


class Item(NamedTuple):
    """What may be a record.

    :param data: a line with one newline at its end, or whatever an iterable gave.
    :param start: the place before it.
    :param end: the place after it; ``end.line`` is its line, or position in the iterable, counted from 1.
    """

    data: object
    start: Position
    end: Position


#: What may be records, in their order. Whoever reads no further closes it, since a thread may read ahead.
Items = Generator[Item, None, None]


def read_lines(raw: Any, start: Position, interrupt: Interrupt, name: str) -> Items:
    """Cut a stream into lines that are not blank, each with one newline at its end.

    :param raw: a binary stream with ``readinto``, which every kind of file has; it is left open.
    :param start: where to begin; the stream seeks there, or is read up to it.
    :param interrupt: called before every read; it may raise.
    :param name: of the input, for messages.
    :raises SourceError: it ends in the middle of a line.
    """
    number, line, offset = start
    # It reads through readinto, and finds the lines in C, which few streams do themselves.
    stream = io.BufferedReader(raw, BLOCK_BYTES)
    try:
        _enter(stream, offset, interrupt)
        while text := stream.readline(_LIMIT):
            interrupt()
            before = Position(number, line, offset)
            size, tail = len(text), text[-2:]
            while size >= _LIMIT and not tail.endswith(b"\n") and (rest := stream.readline(_LIMIT)):
                interrupt()  # too long: the rest is not kept
                size += len(rest)
                tail = (tail + rest)[-2:]
            line += 1
            offset += size
            after = Position(number, line, offset)
            if line == 1:
                refuse_format(text, name)
            if size > MAX_LINE_BYTES and (size := size - _end_length(tail)) > MAX_LINE_BYTES:
                yield Item(TooLong(size), before, after)
            elif (tidy := tidied(text, first=line == 1)) is not None:
                if not text.endswith(b"\n") and not is_whole(text):
                    raise SourceError(
                        f"{name} breaks off after line {before.line}: it ends in the middle of line {line}, without a "
                        "newline and without the end of a JSON value"
                    )
                yield Item(tidy, before, after)
    finally:
        stream.detach()  # the stream is closed by who opened it


def _enter(stream: io.BufferedReader, offset: int, interrupt: Interrupt) -> None:
    """Go to a place in a stream that is at its beginning: seek there, or read up to it."""
    here = 0
    while here < offset:
        interrupt()
        if stream.seekable():
            stream.seek(offset)
            return
        if not (step := len(stream.read(min(offset - here, STEP_BYTES)))):
            raise OSError(f"it ends before byte {offset}, where an earlier try had come")
        here += step


def refuse_format(head: bytes, name: str) -> None:
    """Refuse an input whose first bytes show that it is no NDJSON at all.

    :raises SourceError: saying what it is, and what to do.
    """
    if (what := diagnosis.format_of(head)) is not None:
        raise SourceError(f"{name}, line 1: {what}", permanent=True)


def tidied(text: bytes, *, first: bool) -> bytes | None:
    """Give a line with one newline at its end; None when it is blank.

    :param text: with whatever end it has.
    :param first: whether it is the first of its input, where a BOM may stand.
    """
    if first:
        text = text.removeprefix(BOM)
    if not text or text.isspace():
        return None
    if text.endswith(b"\r\n"):
        return text[:-2] + b"\n"
    return text if text.endswith(b"\n") else text + b"\n"


def is_whole(text: bytes) -> bool:
    """Tell whether a line consists of whole JSON values. Python's parser is asked, which takes NaN for one.

    What does not begin as JSON, such as an id as plain text, is left to the checks.
    """
    rest = text.removeprefix(BOM).decode(errors="replace").strip()
    if not rest.startswith(("{", "[", '"')):
        return True
    try:
        while rest:
            _, end = _decode(rest)
            rest = rest[end:].lstrip()
    except json.JSONDecodeError:
        return False
    except (ValueError, RecursionError):  # too many digits, too deep: it is for the checks to say so
        return True
    return True


_decode = json.JSONDecoder(strict=False).raw_decode


def _end_length(text: bytes) -> int:
    return 2 if text.endswith(b"\r\n") else int(text.endswith(b"\n"))
