"""Files: where they are, what their storage says of them, and what they hold, from the first line to the last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_vectorize.client.errors import SourceError, VectorizeError, printable
from airflow_provider_vectorize.ingest import globs
from airflow_provider_vectorize.ingest.lines import Interrupt, Items, Position, read_lines
from airflow_provider_vectorize.ingest.unpacking import DAMAGES, Unpacked

#: Bytes that are asked of an object store at a time.
FETCH_BYTES = 8 * 1024 * 1024

#: What filesystems call the mark that changes with the contents, the surest first.
_MARKS = (
    *("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "sha", "hex", "CRC"),
    *("LastModified", "last_modified", "Last-Modified", "updated", "mtime", "modify", "modificationTime"),
    *("last_write_time", "modified"),
)
#: What they call the coding in which an object is stored and from which it is decoded on its way here.
_ENCODINGS = ("contentEncoding", "content_encoding", "ContentEncoding", "Content-Encoding")
#: Folders that are looked into for a file that shows how the files of a folder are called.
_DEPTH = 4


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of NDJSON, plain or ``.gz``, or of Parquet.

    :param fs: an fsspec filesystem; ``ObjectStoragePath.fs``.
    :param path: path for that filesystem; ``ObjectStoragePath.path``.
    :param name: URI to show in messages.
    :param known: what the filesystem has said of it; None: it is asked when that is needed.
    :param opened: the file, opened to ask for that, where opening does not cost more; it is read first.
    :param span: of Parquet: only the row groups that begin at one of these bytes; None: all of them.
    """

    fs: Any
    path: str
    name: str
    known: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    opened: Any = field(default=None, compare=False, repr=False)
    span: range | None = None

    @property
    def compressed(self) -> bool:
        """Whether it is read through gzip."""
        return self.path.lower().endswith(".gz")

    def info(self) -> Mapping[str, Any]:
        """Give size, etag and the like.

        :raises SourceError: it is missing, cannot be read, or is no file of which every byte can be read.
        """
        if self.known is not None:
            return self.known
        with asking(self.name):
            info = dict(self.fs.info(self.path))
        _check_type(self.fs, self.path, self.name, info)
        return info

    def looked_up(self) -> SourceFile | None:
        """Ask the filesystem about it, with one request; None if it does not exist.

        :raises SourceError: as :meth:`info`.
        """
        opened = None
        with asking(self.name):
            try:
                opened, info = _open_and_look(self.fs, self.path)
            except FileNotFoundError:
                return None
        _check_type(self.fs, self.path, self.name, info)
        return replace(self, known=info, opened=opened)

    def mark(self) -> tuple[Any, str] | None:
        """Give size, and etag or time of change; None if the filesystem tells neither."""
        info = self.info()
        changed = next((info[mark] for mark in _MARKS if info.get(mark)), None)
        return None if changed is None else (info.get("size"), str(changed))


def expand(fs: Any, path: str, name: str) -> list[SourceFile]:
    """Find the files that a path or a glob names, sorted by path.

    A path that exists as it stands is that file, whatever characters are in it; else see :mod:`.globs`.

    :param fs: an fsspec filesystem.
    :param path: path or glob (``*``, ``?``, ``[...]``, ``**``) for that filesystem.
    :param name: what messages call the glob. A file is always called by its own URI.
    :returns: the file of a path, any number of a glob; none if there is nothing of that name.
    :raises SourceError: the filesystem cannot say, or there is something else than files.
    """
    if "*" not in path:  # with it, the listing will show whether a file is called exactly so
        file = SourceFile(fs, path, uri(fs, path)).looked_up()
        if file is not None or not globs.is_glob(path):
            return [] if file is None else [file]
    found = globs.find(fs, path, lambda place: asking(f"{uri(fs, place)} (of {name})"))
    files = [SourceFile(fs, each, uri(fs, each), info) for each, info in found.items()]
    for file in files:
        _check_type(fs, file.path, file.name, file.info())
    return files


def uri(fs: Any, path: str) -> str:
    """Name a file: by its URI, without the connection, in characters that can be shown."""
    return printable(fs.unstrip_protocol(path))


def read_file(file: SourceFile, start: Position, interrupt: Interrupt, opened: Any = None) -> Items:
    """Give the lines behind a place.

    :param file: what to read.
    :param start: where to begin; plain files seek there, compressed ones are read up to it.
    :param interrupt: called before every read; it may raise.
    :param opened: the file, when it is open already.
    :raises SourceError: it is missing, breaks off, or cannot be read.
    """
    size = file.info().get("size")
    position = start
    with (
        asking(file.name),
        opened
        if opened is not None and not opened.closed  # as it is when this was read before
        else file.fs.open(file.path, "rb", block_size=FETCH_BYTES) as raw,
    ):
        try:
            with Unpacked(raw) if file.compressed else nullcontext(raw) as text:
                for item in read_lines(text, start, interrupt, file.name):
                    position = item.end
                    yield item
        except DAMAGES as error:
            raise SourceError(
                f"{file.name} breaks off after line {position.line}: {error} (a truncated or damaged .gz)"
            ) from error
        if file.compressed and raw.tell() == 0:
            raise SourceError(f"{file.name} is empty: a .gz of 0 bytes is an upload that broke off")
        if size is not None and raw.tell() != size:
            raise SourceError(
                f"{file.name} breaks off after line {position.line}, or is still being written: {raw.tell()} bytes "
                f"could be read, and it had {size} before"
            )


@contextmanager
def asking(name: str) -> Iterator[None]:
    """Turn what a filesystem raises into a :class:`SourceError` that names the file."""
    try:
        yield
    except VectorizeError:
        raise
    except FileNotFoundError as error:
        raise SourceError(f"{name} does not exist") from error
    except Exception as error:
        raise SourceError(
            f"{name} cannot be read: {type(error).__name__}: {printable(str(error))}"
        ) from error


def _open_and_look(fs: Any, path: str) -> tuple[Any, Mapping[str, Any]]:
    # To open a file of an object store is to ask for its metadata, and no more than that.
    if getattr(fs, "async_impl", False):
        try:
            opened = fs.open(path, "rb", block_size=FETCH_BYTES)
        except FileNotFoundError:
            raise
        except Exception:  # noqa: BLE001  # a folder, maybe; if not, the error comes again
            return None, dict(fs.info(path))
        if (info := getattr(opened, "details", None)) is not None:
            return opened, dict(info)
        opened.close()
    return None, dict(fs.info(path))


def _check_type(fs: Any, path: str, name: str, info: Mapping[str, Any]) -> None:
    kind = info.get("type") or "file"
    if kind == "directory":
        found = _glob_for(fs, path)
        advice = (
            f"give its files as a glob: {name.rstrip('/')}/{found}"
            if found
            else "and there are no files in it"
        )
        raise SourceError(f"{name} is a folder, not a file; {advice}", permanent=True)
    if kind not in ("file", "link"):
        raise SourceError(f"{name} is neither a file nor a folder, and cannot be loaded", permanent=True)
    settings = info.get("content_settings")
    places = [info, settings] if isinstance(settings, Mapping) else [info]
    for encoding in (place.get(key) for place in places for key in _ENCODINGS):
        if encoding and str(encoding).lower() != "identity":
            raise SourceError(
                f"{name} is stored with Content-Encoding: {printable(str(encoding))}. Such an object is decoded on its "
                "way here, so that its size says nothing about where it ends, and part of it could be missed: store "
                "it without that header, under a name that ends in .gz",
                permanent=True,
            )


def _glob_for(fs: Any, folder: str) -> str | None:
    """Make up a glob that finds the files of a folder, or of the first one below that has some."""
    prefix = ""
    try:
        for _ in range(_DEPTH):
            entries = [
                each for each in fs.ls(folder, detail=True) if each["name"].strip("/") != folder.strip("/")
            ]
            names = [each["name"].rpartition("/")[2] for each in entries if each["type"] != "directory"]
            endings = Counter(_ending(name) for name in names if not name.startswith((".", "_")))
            if endings:
                return printable(f"{prefix}*{endings.most_common(1)[0][0]}")
            folder = next(each["name"] for each in entries if each["type"] == "directory")
            prefix = "**/"
    except StopIteration:
        return None
    except Exception:  # noqa: BLE001  # it is only for the advice
        return "*.ndjson"
    return "**/*.ndjson"


def _ending(name: str) -> str:
    stem, dot, last = name.rpartition(".")
    if dot and last.lower() in ("gz", "zst", "bz2"):
        return f"{_ending(stem)}.{last}"
    return dot + last if dot else ""
