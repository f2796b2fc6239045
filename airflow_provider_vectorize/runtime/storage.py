"""From the paths that a user writes to the files that the ingest reads, through Airflow's object storage."""

from __future__ import annotations

import os.path
import time
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from airflow.providers.common.compat.sdk import AirflowNotFoundException, ObjectStoragePath

from airflow_provider_vectorize.client.errors import (
    EmptySourceError,
    InvalidArgumentError,
    SourceError,
    printable,
)
from airflow_provider_vectorize.ingest.files import SourceFile, expand, uri
from airflow_provider_vectorize.ingest.globs import is_glob, matches, split
from airflow_provider_vectorize.ingest.pieces import Piece, split_files
from airflow_provider_vectorize.ingest.rejects import RejectsFolder
from airflow_provider_vectorize.runtime.templates import refuse_leftovers

if TYPE_CHECKING:
    from upath import UPath

#: A path or glob: ``/data/*.ndjson.gz``, ``s3://connection@bucket/key``, ``ObjectStoragePath("gs://bucket/key")``.
Path: TypeAlias = "str | PathLike[str] | ObjectStoragePath | UPath"
#: A path or glob, a piece of a file as :func:`split_source` gives it, or a list of these.
Source: TypeAlias = "Path | Mapping[str, Any] | Sequence[Path | Mapping[str, Any]]"

#: What gives Airflow the filesystem of a scheme.
_PROVIDERS = {
    **dict.fromkeys(("s3", "s3a", "s3n"), "apache-airflow-providers-amazon[s3fs]"),
    **dict.fromkeys(("gs", "gcs"), "apache-airflow-providers-google"),
    **dict.fromkeys(("abfs", "abfss", "adl"), "apache-airflow-providers-microsoft-azure"),
}


class Place(NamedTuple):
    """Where a path leads.

    :param fs: the filesystem.
    :param path: for that filesystem.
    :param name: for messages: without the connection, which belongs to the request.
    """

    fs: Any
    path: str
    name: str


def source_files(source: Source) -> list[SourceFile]:
    """Find the files that a source names: globs expanded and sorted, in the order of the list.

    :raises SourceError: naming a path that is missing, or whose storage is not installed or cannot be asked.
    :raises EmptySourceError: naming a glob that finds nothing.
    """
    items = _items(source)
    files = []
    for item, place in zip(items, _places(items), strict=True):
        if isinstance(item, Piece):
            files.append(item.of(_looked_up(place)))
            continue
        found = expand(*place)
        if not found and not is_glob(place.path):
            raise _absent(place)
        if not found:
            raise EmptySourceError(f"There is nothing to load: no file matches {place.name}")
        files += found
    if not files:
        raise EmptySourceError("There is nothing to load: source is an empty list")
    return files


def split_source(source: Source, parts: int) -> list[Piece]:
    """Cut the files that a source names into pieces, each a source of its own; see :mod:`..ingest.pieces`.

    :raises VectorizeError: as :func:`source_files`.
    """
    items = _items(source)
    if any(isinstance(item, Piece) for item in items):
        raise InvalidArgumentError("a piece cannot be split again")
    return split_files([(_url_of(file, item), file) for item in items for file in source_files(item)], parts)


def places_of(source: Source) -> list[Place]:
    """Find out where a source leads, without looking whether it is there."""
    return _places(_items(source))


def snapshot(places: Sequence[Place]) -> tuple[Any, ...] | None:
    """Give every file that is there with size and mark; None unless every path is there and every glob finds something.

    :raises SourceError: the storage cannot say.
    """
    for fs in {id(place.fs): place.fs for place in places}.values():
        fs.invalidate_cache()
    found = [expand(*place) for place in places]
    if not all(found):
        return None
    return tuple((file.name, file.info().get("size"), file.mark()) for files in found for file in files)


class Settling:
    """Tell whether what is there has been the same for some time.

    :param seconds: for how long.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last: tuple[Any, ...] | None = None
        self._since = 0.0

    def is_settled(self, seen: tuple[Any, ...] | None) -> bool:
        """Take in a :func:`snapshot`."""
        now = time.monotonic()
        if seen != self._last:
            self._last, self._since = seen, now
        return seen is not None and now - self._since >= self._seconds


def described(source: Any) -> str:
    """Name a source in a message, as far as it is one."""
    items = listed(source)
    paths = [item.get("path") if isinstance(item, Mapping) else item for item in items]
    names = [printable(_url(path)[0]) if is_path(path) else repr(path) for path in paths]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def rejects_folder(path: Path) -> RejectsFolder:
    """Name the folder that takes the refused records."""
    return RejectsFolder(*_locate("rejects_path", path))


def check_rejects_apart(source: Source, rejects: RejectsFolder) -> None:
    """Refuse a folder for refused records whose files the source would find the next time.

    :raises InvalidArgumentError: naming both.
    """
    for place in _places(_items(source)):
        file = _true_path(rejects.fs, f"{rejects.path.rstrip('/')}/rejects.ndjson")
        if place.fs.protocol == rejects.fs.protocol and matches(_true_path(place.fs, place.path), file):
            raise InvalidArgumentError(
                f"rejects_path {rejects.name} is inside of source {place.name}, which would load the refused records "
                "again the next time: give another folder"
            )


def output_place(path: Path) -> Place:
    """Name a file or folder that is to be written.

    :raises SourceError: naming the path whose storage is not installed.
    """
    return _locate("output_path", path)


def manifest_place(path: Path) -> Place:
    """Name the folder of a manifest.

    :raises SourceError: naming the path whose storage is not installed.
    """
    return _locate("manifest", path)


def _items(source: Any) -> list[Any]:
    """List the paths of a source, and its pieces."""
    return [Piece.from_dict(item) if isinstance(item, Mapping) else item for item in listed(source)]


def _places(items: Sequence[Any]) -> list[Place]:
    places = [_locate("source", item.path if isinstance(item, Piece) else item) for item in items]
    # What some filesystems have listed before they would not ask for again: what arrives later would never be seen.
    for fs in {id(place.fs): place.fs for place in places}.values():
        fs.invalidate_cache()
    return places


def listed(source: Any) -> list[Any]:
    """Give the paths of a source, and its pieces, as they were given.

    :raises InvalidArgumentError: it is neither a path nor a list.
    """
    if is_path(source) or isinstance(source, Mapping):
        return [source]
    if not isinstance(source, Iterable) or isinstance(source, bytes):
        raise InvalidArgumentError(f"source must be a path or a list of paths, got {source!r}")
    return list(source)


def _looked_up(place: Place) -> SourceFile:
    if (file := SourceFile(*place).looked_up()) is None:
        raise _absent(place)
    return file


def _absent(place: Place) -> SourceError:
    return SourceError(f"{place.name} does not exist")


def is_path(path: object) -> bool:
    """Tell whether something names a file."""
    # Since universal-pathlib 0.3 its paths, Airflow's among them, are no PathLike.
    return isinstance(path, str | PathLike) or (hasattr(path, "fs") and hasattr(path, "path"))


def _locate(argument: str, path: Any) -> Place:
    if not is_path(path) or not str(path).strip():
        raise InvalidArgumentError(f"{argument} must be a path or a list of paths, got {path!r}")
    refuse_leftovers(**{argument: path})
    url, where = _url(path)
    try:
        fs = path.fs if hasattr(path, "fs") else ObjectStoragePath(where).fs
    except (ValueError, ImportError) as error:
        raise _without_provider(argument, url, error) from error
    except AirflowNotFoundException as error:
        raise InvalidArgumentError(f"{argument} {printable(url)}: {error}") from error
    except Exception as error:
        raise SourceError(
            f"{argument} {printable(url)} cannot be reached: {printable(str(error))}"
        ) from error
    place = fs._strip_protocol(url)  # noqa: SLF001  # what fsspec's own methods begin with
    return Place(fs, place, uri(fs, place))


def _url(path: Any) -> tuple[str, str]:
    """Give a path without its connection, and what of it leads to the filesystem.

    Airflow is not asked to read a path: to it, ``?`` and ``#`` begin something else, and ``a:b`` has a scheme.
    """
    if hasattr(path, "fs"):
        return f"{path.protocol or 'file'}://{path.path}", ""
    text = os.fspath(path)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text, "file:///"
    connection, at, _ = rest.partition("/")[0].rpartition("@")
    return f"{scheme}://{rest.removeprefix(connection + at)}", f"{scheme}://{rest.partition('/')[0]}/"


def _url_of(file: SourceFile, source: Any) -> str:
    """Name a file as a source does, with the connection of the path or glob that found it."""
    scheme, _, rest = str(file.fs.unstrip_protocol(file.path)).partition("://")
    if hasattr(source, "fs"):
        connection = getattr(source, "conn_id", None) or source.storage_options.get("conn_id")
    else:
        connection = os.fspath(source).partition("://")[2].partition("/")[0].rpartition("@")[0]
    return f"{scheme}://{connection}@{rest}" if connection else f"{scheme}://{rest}"


def _without_provider(argument: str, url: str, error: Exception) -> SourceError:
    scheme = url.partition("://")[0]
    if scheme in _PROVIDERS:
        advice = f"install {_PROVIDERS[scheme]}"
    else:
        known = ", ".join(f"{provider} for {scheme}" for provider, scheme in _first_schemes().items())
        advice = f"no provider for {printable(scheme)}:// is known here; there are {known}"
    return SourceError(f"{argument} {printable(url)}: {printable(str(error))}: {advice}", permanent=True)


def _first_schemes() -> dict[str, str]:
    return {provider: scheme for scheme, provider in reversed(_PROVIDERS.items())}


def _true_path(fs: Any, path: str) -> str:
    if not getattr(fs, "local_file", False):
        return path
    root, rest = split(path)
    return "/".join([os.path.realpath(root), *rest])
