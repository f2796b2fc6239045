"""One big file on many workers: cut it at line starts, or between row groups, and read each piece as a file of its own.

A piece is an object of JSON, so that it travels through XCom and ``expand``: the path, its first and last byte, and the
version of the file that was cut. Reading it from another version is refused: lines would be lost between two pieces.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_vectorize.client.errors import InvalidArgumentError, SourceError
from airflow_provider_vectorize.ingest.files import SourceFile
from airflow_provider_vectorize.ingest.lines import BOM
from airflow_provider_vectorize.ingest.tables import group_begins, is_parquet

#: Bytes of one look for the end of a line.
LOOK_BYTES = 64 * 1024
#: Between the name of a file and the bytes of a piece of it.
PIECE_MARK = "#bytes="
_BLANK = b" \t\r\n"
_FIELDS = {"path": str, "first_byte": int, "last_byte": int, "version": str}


@dataclass(frozen=True, slots=True)
class Piece:
    """Some whole lines of a file; of a Parquet file, the row groups that begin in it.

    :param path: the file, as a source names it.
    :param first_byte: where its first line begins, from 0.
    :param last_byte: where its last line ends, inclusive.
    :param version: size and mark of the file that was cut.
    """

    path: str
    first_byte: int
    last_byte: int
    version: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {name: getattr(self, name) for name in _FIELDS}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Piece:
        """Read what :meth:`to_dict` wrote.

        :raises InvalidArgumentError: it is something else.
        """
        good = value.keys() == _FIELDS.keys() and all(type(value[name]) is _FIELDS[name] for name in _FIELDS)
        if not good or not 0 <= value["first_byte"] <= value["last_byte"] + 1:
            raise InvalidArgumentError(
                f"a mapping as source must be a piece as VectorizeHook().split() gives it, with {', '.join(_FIELDS)}; "
                f"got one with {', '.join(map(str, value)) or 'nothing'}"
            )
        return cls(**value)

    def of(self, file: SourceFile) -> SourceFile:
        """Make a file of these lines alone.

        :param file: the whole file.
        :raises SourceError: it is not the file that was cut.
        """
        if (version := _version(file)) != self.version:
            raise SourceError(
                f"{file.name} is not the file that was split: it was {self.version}, and is {version} now. Clear the "
                "task that split it, with those downstream"
            )
        if file.compressed:
            return file
        size = self.last_byte - self.first_byte + 1
        name = f"{file.name}{PIECE_MARK}{self.first_byte}-{self.last_byte}"
        info = {**file.info(), "size": size}
        if is_parquet(file, "auto"):
            return SourceFile(file.fs, file.path, name, info, span=range(self.first_byte, self.last_byte + 1))
        return SourceFile(_Range(file.fs, self.first_byte, size), file.path, name, info)


def split_files(files: Sequence[tuple[str, SourceFile]], parts: int) -> list[Piece]:
    """Cut files into pieces of about the same size, at least one a file; a compressed one cannot be cut.

    :param files: each with the path that names it in the pieces.
    :param parts: how many pieces in all, from 1; fewer where there are fewer lines, more where there are more files.
    :raises InvalidArgumentError: ``parts`` is no such number.
    :raises SourceError: a file cannot be read.
    """
    if type(parts) is not int or parts < 1:
        raise InvalidArgumentError(f"parts must be an integer of at least 1, got {parts!r}")
    sizes = [int(file.info()["size"]) for _, file in files]
    pieces = []
    for (path, file), size, places in zip(files, sizes, begins(sizes, parts), strict=True):
        starts = [0] if file.compressed or len(places) == 1 else _starts(file, places)
        ends = [*starts[1:], size]
        pieces += [
            Piece(path, start, end - 1, _version(file)) for start, end in zip(starts, ends, strict=True)
        ]
    return pieces


def begins(sizes: Sequence[int], parts: int) -> list[list[int]]:
    """Share out parts among files by their size, and say where those of each file begin; at least one each."""
    total = sum(sizes) or 1
    shares = [max(1, min(size, round(parts * size / total))) for size in sizes]
    return [
        [size * number // share for number in range(share)] for size, share in zip(sizes, shares, strict=True)
    ]


def _starts(file: SourceFile, places: Sequence[int]) -> list[int]:
    if not is_parquet(file, "auto"):
        return line_starts(file, places)
    groups = group_begins(file)
    cuts = {len(groups) * number // len(places) for number in range(len(places))}
    return [0, *(groups[cut] for cut in sorted(cuts - {0}))]


def line_starts(file: SourceFile, places: Sequence[int]) -> list[int]:
    """Give 0, and the start of the first line that is not blank at or after each place: each once, in order.

    Every piece between two of them has a line in it.
    """
    with file.fs.open(file.path, "rb", block_size=LOOK_BYTES) as raw:
        first = _line_start(raw, 0)
        found = {start for place in places if (start := _line_start(raw, place)) is not None}
    return sorted({0, *found} - {first} | {0})


def _line_start(raw: Any, place: int) -> int | None:
    """Give the start of the first line that is not blank at or after a place; None behind the last."""
    raw.seek(0)
    ended = place == 0
    place = len(BOM) if ended and raw.read(len(BOM)) == BOM else max(0, place - 1)
    raw.seek(place)
    for block in iter(lambda: raw.read(LOOK_BYTES), b""):
        skipped = 0
        if not ended:
            newline = block.find(b"\n")
            ended, skipped = newline >= 0, newline + 1
        if ended and (rest := block[skipped:].lstrip(_BLANK)):
            return place + len(block) - len(rest)
        place += len(block)
    return None


def _version(file: SourceFile) -> str:
    return "{} bytes, {}".format(*(file.mark() or (file.info().get("size"), "of unknown age")))


class _Range:
    """The part of a filesystem that reading needs, for some bytes of one file.

    :param fs: the whole filesystem.
    :param first: the first byte.
    :param size: how many.
    """

    def __init__(self, fs: Any, first: int, size: int) -> None:
        self._fs = fs
        self._first = first
        self._size = size

    def open(self, path: str, mode: str, **options: Any) -> _Window:
        """Open those bytes as a file."""
        return _Window(self._fs.open(path, mode, **options), self._first, self._size)


class _Window(io.RawIOBase):
    """Some bytes of an open file, as a file."""

    def __init__(self, raw: Any, first: int, size: int) -> None:
        self._raw = raw
        self._first = first
        self._size = size
        self.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._raw.tell()) - self._first

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._size}[whence]
        self._raw.seek(self._first + min(max(0, start + offset), self._size))
        return self.tell()

    def readinto(self, buffer: Any) -> int:
        left = self._size - self.tell()
        return self._raw.readinto(memoryview(buffer)[:left]) or 0 if left > 0 else 0

    def close(self) -> None:
        self._raw.close()
        super().close()
