"""From the paths that a user writes to the files that the ingest reads, through Airflow's object storage."""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Sequence
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
from airflow_provider_vectorize.ingest.rejects import RejectsFolder

if TYPE_CHECKING:
    from upath import UPath

#: A path or glob: ``/data/*.ndjson.gz``, ``s3://connection@bucket/key``, ``ObjectStoragePath("gs://bucket/key")``.
Path: TypeAlias = "str | PathLike[str] | ObjectStoragePath | UPath"
#: A path or glob, or a list of them.
Source: TypeAlias = "Path | Sequence[Path]"

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
    files = []
    for place in _places(source):
        found = expand(*place)
        if not found and not is_glob(place.path):
            raise SourceError(f"{place.name} does not exist")
        if not found:
            raise EmptySourceError(f"There is nothing to load: no file matches {place.name}")
        files += found
    if not files:
        raise EmptySourceError("There is nothing to load: source is an empty list")
    return files


def source_exists(source: Source) -> bool:
    """Tell whether every path is there, and every glob finds something.

    :raises SourceError: the storage cannot say.
    """
    return all(expand(*place) for place in _places(source))


def described(source: Any) -> str:
    """Name a source in a message, as far as it is one."""
    paths = [source] if _is_path(source) else _listed(source)
    names = [printable(_url(path)[0]) if _is_path(path) else repr(path) for path in paths]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def rejects_folder(path: Path) -> RejectsFolder:
    """Name the folder that takes the refused records."""
    return RejectsFolder(*_locate("rejects_path", path))


def check_rejects_apart(source: Source, rejects: RejectsFolder) -> None:
    """Refuse a folder for refused records whose files the source would find the next time.

    :raises InvalidArgumentError: naming both.
    """
    for place in _places(source):
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


def _places(source: Any) -> list[Place]:
    places = [_locate("source", path) for path in ([source] if _is_path(source) else _listed(source))]
    # What some filesystems have listed before they would not ask for again: what arrives later would never be seen.
    for fs in {id(place.fs): place.fs for place in places}.values():
        fs.invalidate_cache()
    return places


def _listed(source: Any) -> list[Any]:
    if not isinstance(source, Iterable) or isinstance(source, bytes):
        raise InvalidArgumentError(f"source must be a path or a list of paths, got {source!r}")
    return list(source)


def _is_path(path: object) -> bool:
    # Since universal-pathlib 0.3 its paths, Airflow's among them, are no PathLike.
    return isinstance(path, str | PathLike) or (hasattr(path, "fs") and hasattr(path, "path"))


def _locate(argument: str, path: Any) -> Place:
    if not _is_path(path) or not str(path).strip():
        raise InvalidArgumentError(f"{argument} must be a path or a list of paths, got {path!r}")
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


def _without_provider(argument: str, url: str, error: Exception) -> SourceError:
    scheme = url.partition("://")[0]
    if scheme in _PROVIDERS:
        advice = f"install {_PROVIDERS[scheme]}"
    else:
        known = ", ".join(f"{provider} for {scheme}" for provider, scheme in _first_schemes().items())
        advice = f"no provider for {printable(scheme)}:// is known here; there are {known}"
    refused = SourceError(f"{argument} {printable(url)}: {printable(str(error))}: {advice}")
    refused.permanent = True
    return refused


def _first_schemes() -> dict[str, str]:
    return {provider: scheme for scheme, provider in reversed(_PROVIDERS.items())}


def _true_path(fs: Any, path: str) -> str:
    if not getattr(fs, "local_file", False):
        return path
    root, rest = split(path)
    return "/".join([os.path.realpath(root), *rest])
