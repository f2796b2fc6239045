"""From the paths that a user writes to the files that the ingest reads, through Airflow's object storage."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, TypeAlias

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_vectorize.client.errors import EmptySourceError, InvalidArgumentError, SourceError
from airflow_provider_vectorize.ingest import RejectsFolder, SourceFile, expand

#: A path or glob, or a list of them: ``/data/*.ndjson.gz``, ``s3://connection@bucket/key``, ``gs://bucket/key``.
Source: TypeAlias = "str | PathLike[str] | Sequence[str | PathLike[str]]"


def source_files(source: Source) -> list[SourceFile]:
    """Find the files that a source names: globs expanded and sorted, in the order of the list.

    :raises SourceError: naming the path whose storage is not installed or cannot be asked.
    :raises EmptySourceError: naming the globs, when none finds anything.
    """
    files = [file for path in _paths(source) for file in expand(*_locate(path))]
    if not files:
        raise EmptySourceError(f"There is nothing to load: no file matches {source}")
    return files


def source_exists(source: Source) -> bool:
    """Tell whether every path is there, and every glob finds something."""
    for path in _paths(source):
        fs, place, _ = _locate(path)
        try:
            found = bool(fs.glob(place)) if _is_glob(place) else fs.exists(place)
        except OSError as error:
            raise SourceError(f"source {path}: {type(error).__name__}: {error}") from error
        if not found:
            return False
    return True


def rejects_folder(path: str | PathLike[str]) -> RejectsFolder:
    """Name the folder that takes the refused records."""
    fs, place, name = _locate(path)
    return RejectsFolder(fs, place, name)


def _paths(source: Any) -> list[str | PathLike[str]]:
    paths = [source] if isinstance(source, str | PathLike) else list(source)
    for path in paths:
        if not isinstance(path, str | PathLike) or not str(path).strip():
            raise InvalidArgumentError(f"source must be a path or a list of paths, got {path!r}")
    return paths


def _locate(path: str | PathLike[str]) -> tuple[Any, str, str]:
    try:
        where = ObjectStoragePath(path)
        fs = where.fs
    except (ValueError, ImportError) as error:
        scheme = str(path).partition("://")[0]
        raise SourceError(
            f"source {path}: {error}. Install Airflow's provider for {scheme}://: "
            "apache-airflow-providers-amazon[s3fs] for s3, apache-airflow-providers-google for gs, "
            "apache-airflow-providers-microsoft-azure for abfs"
        ) from error
    # Some file systems keep what they have listed: what arrives later would never be seen.
    fs.invalidate_cache()
    return fs, where.path, str(path)


def _is_glob(place: str) -> bool:
    return any(character in place for character in "*?[")
