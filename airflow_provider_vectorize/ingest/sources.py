"""Where records come from, as a stream of items, each with its place: files, NDJSON in memory, any iterable.

Nothing here holds more than a block and a line. A source that cannot be read to its end raises :class:`SourceError`
and names the last good line: an input that breaks off must never look like a shorter one.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from airflow_provider_vectorize.client.errors import SourceError, VectorizeError
from airflow_provider_vectorize.ingest.records import MAX_LINE_BYTES, TooLong

#: Longest piece of a line that is read at once: with its end.
_LIMIT = MAX_LINE_BYTES + 2
#: Bytes that are asked of an object store at a time.
FETCH_BYTES = 8 * 1024 * 1024
#: Bytes of one read. Also how often the senders get at the interpreter while records are checked: a read lets it go.
BLOCK_BYTES = 256 * 1024

#: Bytes of one step to the place where a load goes on: a compressed file has to be read up to it.
SEEK_BYTES = 16 * 1024 * 1024

Interrupt = Callable[[], None]

#: What filesystems call the mark that changes with the contents, the surest first.
_MARKS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime")

_BOM = b"\xef\xbb\xbf"
_WILDCARDS = frozenset("*?[")


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


class Source(Protocol):
    """An input as a whole."""

    @property
    def names(self) -> Sequence[str]:
        """Names of its parts, as shown in messages; ``Position.source`` counts them."""
        ...

    def read(self, start: Position, interrupt: Interrupt) -> Iterator[Item]:
        """Give the items behind a place, in order.

        :param interrupt: called before every read; it may raise.
        :raises SourceError: it is missing, breaks off, or cannot be read.
        """
        ...

    def identity(self) -> list[list[Any]] | None:
        """Tell its contents from others without reading them; None if that cannot be done."""
        ...


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of NDJSON, plain or ``.gz``.

    :param fs: an fsspec filesystem; ``ObjectStoragePath.fs``.
    :param path: path for that filesystem; ``ObjectStoragePath.path``.
    :param name: URI to show in messages.
    """

    fs: Any
    path: str
    name: str

    @property
    def compressed(self) -> bool:
        """Whether it is read through gzip."""
        return self.path.endswith(".gz")

    def info(self) -> dict[str, Any]:
        """Ask the filesystem for size, etag and the like.

        :raises SourceError: it is missing or cannot be read.
        """
        with _reading(self.name):
            info = dict(self.fs.info(self.path))
        if info.get("type") == "directory":
            raise SourceError(
                f"{self.name} is a folder; give its files as a glob, such as {self.name}/*.ndjson"
            )
        return info


def expand(fs: Any, path: str, name: str) -> list[SourceFile]:
    """Find the files that a path or a glob names, sorted by path.

    :param fs: an fsspec filesystem.
    :param path: path or glob (``*``, ``?``, ``[...]``, ``**``) for that filesystem.
    :param name: URI to show in messages.
    :returns: one file for a path, which may be missing; any number for a glob.
    :raises SourceError: the filesystem cannot be asked.
    """
    if _WILDCARDS.isdisjoint(path):
        return [SourceFile(fs, path, name)]
    with _reading(name):
        found = fs.glob(path, detail=True)
    return [
        SourceFile(fs, str(each), fs.unstrip_protocol(each))
        for each in sorted(found)
        if found[each].get("type") != "directory"
    ]


class Files:
    """A list of files, one after the other.

    :param files: in the order in which they are read.
    """

    def __init__(self, files: Sequence[SourceFile]) -> None:
        self._files = files
        self.names = [file.name for file in files]

    def read(self, start: Position, interrupt: Interrupt) -> Iterator[Item]:
        """As :meth:`Source.read`; plain files seek to the start, compressed ones are read up to it."""
        for number in range(start.source, len(self._files)):
            begin = start if number == start.source else Position(number)
            yield from _read_file(self._files[number], begin, interrupt)

    def identity(self) -> list[list[Any]]:
        """Name, size, and etag or time of change of every file."""
        marks = []
        for file in self._files:
            info = file.info()
            changed = next((info[mark] for mark in _MARKS if mark in info), None)
            marks.append([file.name, info.get("size"), str(changed)])
        return marks


class Text:
    """NDJSON in memory.

    :param text: as bytes or str.
    """

    names = ("vectors",)

    def __init__(self, text: str | bytes) -> None:
        # A lone surrogate makes one bad record, not a bad input.
        self._text = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text

    def read(self, start: Position, interrupt: Interrupt) -> Iterator[Item]:
        """As :meth:`Source.read`."""
        yield from _lines(io.BytesIO(self._text), start, interrupt)

    def identity(self) -> None:
        """Unknown: it is not worth hashing."""


class Records:
    """An iterable of mappings, or of lines as bytes; a generator too; it is read once.

    :param records: any iterable.
    """

    names = ("vectors",)

    def __init__(self, records: Iterable[object]) -> None:
        self._records = records

    def read(self, start: Position, interrupt: Interrupt) -> Iterator[Item]:
        """As :meth:`Source.read`, from the beginning: an iterable cannot be entered in the middle."""
        records = iter(self._records)
        before = start
        while True:
            interrupt()
            try:
                data = next(records)
            except StopIteration:
                return
            except Exception as error:
                raise SourceError(f"vectors broke off after record {before.line}: {error!r}") from error
            after = Position(0, before.line + 1)
            if isinstance(data, bytes):
                # A line, as an open file gives it. JSON has no newline but between tokens.
                data = data.replace(b"\n", b" ") + b"\n"
            yield Item(data, before, after)
            before = after

    def identity(self) -> None:
        """Unknown: it can be read but once."""


def as_source(records: object) -> Source:
    """Choose how an input is read.

    :param records: NDJSON as str or bytes, a sequence of :class:`SourceFile`, or an iterable of mappings or lines.
    :raises SourceError: it is none of them.
    """
    if isinstance(records, str | bytes):
        return Text(records)
    if isinstance(records, Sequence) and records and all(isinstance(each, SourceFile) for each in records):
        return Files(records)
    if isinstance(records, Iterable):
        return Records(records)
    raise SourceError(
        f"vectors must be NDJSON text, an iterable of mappings or a list of files, got {type(records).__name__}"
    )


def _read_file(file: SourceFile, start: Position, interrupt: Interrupt) -> Iterator[Item]:
    size = file.info().get("size")
    position = start
    with _reading(file.name), file.fs.open(file.path, "rb", block_size=FETCH_BYTES) as raw:
        try:
            for item in _lines(gzip.GzipFile(fileobj=raw) if file.compressed else raw, start, interrupt):
                position = item.end
                yield item
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise SourceError(
                f"{file.name} breaks off after line {position.line}: {error} (a truncated or damaged .gz)"
            ) from error
        if size is not None and raw.tell() != size:
            raise SourceError(
                f"{file.name} breaks off after line {position.line}, or is still being written: {raw.tell()} bytes "
                f"could be read, and it had {size} before"
            )


def _lines(raw: Any, start: Position, interrupt: Interrupt) -> Iterator[Item]:
    """Cut a stream into lines that are not blank, each with one newline at its end."""
    number, line, offset = start
    # It reads through readinto, which every kind of file has, and finds the lines in C, which few do.
    stream = io.BufferedReader(raw, BLOCK_BYTES)
    try:
        while (here := stream.tell()) < offset:
            interrupt()
            if stream.seek(min(here + SEEK_BYTES, offset)) == here:
                raise OSError(f"it ends before byte {offset}, where an earlier try had come")
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
                text = text.removeprefix(_BOM)
            if size > MAX_LINE_BYTES and (size := size - _end_length(tail)) > MAX_LINE_BYTES:
                yield Item(TooLong(size), before, after)
            elif not text.isspace():
                yield Item(_with_newline(text), before, after)
    finally:
        stream.detach()  # the file is closed by who opened it


def _end_length(text: bytes) -> int:
    return 2 if text.endswith(b"\r\n") else int(text.endswith(b"\n"))


def _with_newline(text: bytes) -> bytes:
    if text.endswith(b"\r\n"):
        return text[:-2] + b"\n"
    return text if text.endswith(b"\n") else text + b"\n"


class _reading:  # noqa: N801  # reads as the statement it is
    """Turn what a filesystem raises into a :class:`SourceError` that names the file."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise SourceError(f"{self._name} does not exist") from error
        if isinstance(error, Exception) and not isinstance(error, VectorizeError):
            raise SourceError(f"{self._name} cannot be read: {error}") from error
