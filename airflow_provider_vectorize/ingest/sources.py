"""Where records come from, as a stream of items, each with its place: files, NDJSON in memory, any iterable.

Nothing here holds more than a block and a line. A source that cannot be read to its end raises :class:`SourceError`
and names the last good line: an input that breaks off must never look like a shorter one.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, cast

import orjson

from airflow_provider_vectorize.client.errors import SourceError, VectorizeError, printable
from airflow_provider_vectorize.ingest import diagnosis
from airflow_provider_vectorize.ingest.files import SourceFile, expand, read_file
from airflow_provider_vectorize.ingest.lines import (
    START,
    Interrupt,
    Item,
    Items,
    Position,
    is_whole,
    read_lines,
    refuse_format,
    tidied,
)
from airflow_provider_vectorize.ingest.records import MAX_LINE_BYTES, TooLong

__all__ = [
    "START",
    "Files",
    "Interrupt",
    "Item",
    "Items",
    "Position",
    "Records",
    "Source",
    "SourceFile",
    "Stream",
    "Text",
    "as_source",
    "expand",
]


class Source(Protocol):
    """An input as a whole."""

    @property
    def names(self) -> Sequence[str]:
        """Names of its parts, as shown in messages; ``Position.source`` counts them."""
        ...

    @property
    def extent(self) -> str:
        """In words, what there is to read, as far as that is known before."""
        ...

    def read(self, start: Position, interrupt: Interrupt) -> Items:
        """Give the items behind a place, in order.

        :param interrupt: called before every read; it may raise.
        :raises SourceError: it is missing, breaks off, or cannot be read.
        """
        ...

    def identity(self) -> list[list[Any]] | None:
        """Tell its contents from others without reading them; None if that cannot be done."""
        ...


class Files:
    """A list of files, one after the other.

    :param files: in the order in which they are read.
    """

    def __init__(self, files: Sequence[SourceFile]) -> None:
        self.files = files
        self._opened = {number: file.opened for number, file in enumerate(files)}
        self.names = [file.name for file in files]

    @property
    def extent(self) -> str:
        """Their number, and their bytes as they are stored."""
        size = sum(file.info().get("size") or 0 for file in self.files)
        return f"{len(self.files)} file{'s' if len(self.files) > 1 else ''}, {size / 1e6:.1f} MB"

    def read(self, start: Position, interrupt: Interrupt) -> Items:
        """As :meth:`Source.read`; plain files seek to the start, compressed ones are read up to it."""
        for number in range(start.source, len(self.files)):
            yield from self.read_one(number, start if number == start.source else Position(number), interrupt)

    def read_one(self, number: int, start: Position, interrupt: Interrupt) -> Items:
        """Give the items of one of the files behind a place."""
        yield from read_file(self.files[number], start, interrupt, self._opened.pop(number, None))

    def identity(self) -> list[list[Any]] | None:
        """Name, size, and etag or time of change of every file; None if that is unknown of one of them."""
        marks = [file.mark() for file in self.files]
        if None in marks:
            return None
        return [[file.name, *mark] for file, mark in zip(self.files, marks, strict=True) if mark is not None]


class Text:
    """NDJSON in memory.

    :param text: as bytes or str.
    """

    names = ("vectors",)

    def __init__(self, text: str | bytes) -> None:
        # A lone surrogate makes one bad record, not a bad input.
        self._text = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        self.extent = f"text, {len(self._text) / 1e6:.1f} MB"

    def read(self, start: Position, interrupt: Interrupt) -> Items:
        """As :meth:`Source.read`."""
        yield from read_lines(io.BytesIO(self._text), start, interrupt, "vectors")

    def identity(self) -> None:
        """Unknown: it is not worth hashing."""


class Stream:
    """An open binary file; it is read once, from where it stands, and left open.

    :param raw: anything with ``readinto``.
    """

    names = ("vectors",)
    extent = "vectors"

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def read(self, start: Position, interrupt: Interrupt) -> Items:
        """As :meth:`Source.read`, from where the file stands."""
        position = start
        try:
            for item in read_lines(self._raw, start, interrupt, "vectors"):
                position = item.end
                yield item
        except VectorizeError:
            raise
        except Exception as error:
            raise _broken_off(position, error) from error

    def identity(self) -> None:
        """Unknown: it can be read but once."""


class Records:
    """An iterable of mappings, or of lines as bytes or str; a generator too; it is read once.

    :param records: any iterable.
    """

    names = ("vectors",)
    extent = "vectors"

    def __init__(self, records: Iterable[object]) -> None:
        self._records = records

    def read(self, start: Position, interrupt: Interrupt) -> Items:
        """As :meth:`Source.read`, from the beginning: an iterable cannot be entered in the middle."""
        before = start
        # Lines that come with their newlines are those of a file, and the last of these may have broken off.
        lines_of_a_file, whole = hasattr(self._records, "readline"), True
        try:
            records = iter(self._records)
            while True:
                interrupt()
                data = next(records)
                after = Position(0, before.line + 1)
                whole = True
                if isinstance(data, str | bytes):
                    text = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
                    if before == START:
                        refuse_format(text, "vectors")
                    ended = text.endswith(b"\n")
                    lines_of_a_file = lines_of_a_file or ended
                    whole = ended or not lines_of_a_file or is_whole(text)
                    if (line := _as_line(text, first=before == START)) is not None:
                        yield Item(line, before, after)
                else:
                    yield Item(data, before, after)
                before = after
        except StopIteration:
            pass
        except VectorizeError:
            raise
        except Exception as error:
            raise _broken_off(before, error) from error
        if not whole:
            raise SourceError(
                f"vectors breaks off after record {before.line - 1}: it ends in the middle of a line, without a "
                "newline and without the end of a JSON value"
            )

    def identity(self) -> None:
        """Unknown: it can be read but once."""


def as_source(records: object) -> Source:
    """Choose how an input is read.

    :param records: a source, NDJSON as str or bytes, a sequence of :class:`SourceFile`, an open binary file, or an
        iterable of mappings or lines.
    :raises SourceError: it is none of them.
    """
    if hasattr(records, "identity") and hasattr(records, "names"):
        return cast(Source, records)
    if (advice := diagnosis.of_input(records)) is not None:
        raise SourceError(advice, permanent=True)
    if isinstance(records, str | bytes | bytearray | memoryview):
        return Text(records if isinstance(records, str | bytes) else bytes(records))
    if isinstance(records, Sequence) and records and all(isinstance(each, SourceFile) for each in records):
        return Files(records)
    if hasattr(records, "readinto"):
        return Stream(records)
    if isinstance(records, Iterable):
        return Records(records)
    raise SourceError(
        f"vectors must be NDJSON text, an iterable of mappings or a list of files, got {type(records).__name__}",
        permanent=True,
    )


def _as_line(text: bytes, *, first: bool) -> bytes | TooLong | None:
    line = tidied(text.rstrip(b"\r\n"), first=first)
    if line is None:
        return None
    if len(line) > MAX_LINE_BYTES + 1:
        return TooLong(len(line) - 1)
    # JSON has newlines between its tokens only: such a record is one line all the same. Within a string they are an
    # error, which has to stay one.
    if b"\n" in line[:-1]:
        try:
            orjson.loads(line)
        except orjson.JSONDecodeError:
            return line
        return line[:-1].replace(b"\n", b" ") + b"\n"
    return line


def _broken_off(position: Position, error: Exception) -> SourceError:
    broken = SourceError(f"vectors broke off after record {position.line}: {printable(repr(error))}")
    broken.from_caller = True
    return broken
