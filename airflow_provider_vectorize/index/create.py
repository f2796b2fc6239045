"""Make an index what it is declared to be, whoever else does the same at the same time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Literal

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import (
    IndexDriftError,
    IndexExistsError,
    IndexNotFoundError,
    IngestAbortedError,
    MetadataIndexExistsError,
    MutationTimeoutError,
)
from airflow_provider_vectorize.client.limits import MAX_UPLOAD_VECTORS
from airflow_provider_vectorize.client.types import Index, MetadataIndex, MetadataIndexType
from airflow_provider_vectorize.index.declaration import Declaration, compare

log = logging.getLogger(__name__)

#: Seconds between two looks at an index that is not yet what it shall be.
LOOK_SECONDS = 2.0

IfExists = Literal["skip", "fail"]
OnLate = Literal["fail", "create"]


def create(
    client: VectorizeClient,
    index_name: str,
    declared: Declaration,
    *,
    if_exists: IfExists = "skip",
    on_late_metadata_index: OnLate = "fail",
    timeout: float = 600.0,
    look_seconds: float = LOOK_SECONDS,
    stop: threading.Event | None = None,
) -> tuple[Index, list[MetadataIndex]]:
    """Create an index with its metadata indexes; or, if it is there, see that it is what is declared.

    It may be repeated, and run in several places at once. When it returns, every declared metadata index is listed,
    so whatever is written from then on is in it.

    :param client: the client.
    :param index_name: the index.
    :param declared: what it shall be.
    :param if_exists: ``skip`` compares an index that is there; ``fail`` refuses it.
    :param on_late_metadata_index: what to do when a declared metadata index is missing on an index that holds
        vectors, which will not be in it: ``fail``, or ``create`` it all the same.
    :param timeout: seconds after which it gives up.
    :param look_seconds: seconds between two looks.
    :param stop: ends the waiting when set.
    :returns: the index, and its metadata indexes.
    :raises IndexDriftError: the index is there and is another.
    :raises IndexExistsError: the index is there, and ``if_exists`` is ``fail``.
    :raises MutationTimeoutError: the metadata indexes were not listed in time.
    """
    clock = _Clock(timeout, look_seconds, stop or threading.Event())
    index = _create_or_find(client, index_name, declared, if_exists, clock)
    # Asked before the metadata indexes: another one that creates them and loads cannot come in between.
    vectors = client.index_info(index_name).vector_count
    listed = client.list_metadata_indexes(index_name)
    drift = compare(declared, index, listed)
    for remark in drift.remarks:
        log.warning("Index %r is not quite as declared: %s", index_name, remark)
    if drift.conflicts:
        raise IndexDriftError(
            f"Index {index_name!r} exists and is not as declared: {'; '.join(drift.conflicts)}. An index "
            "never changes in this: correct the declaration, or make another index as declared and load that"
        )
    if drift.missing and vectors and on_late_metadata_index == "fail":
        raise IndexDriftError(_too_late(index_name, drift.missing, vectors))
    if drift.missing:
        for name, kind in drift.missing.items():
            _create_metadata_index(client, index_name, name, kind)
        listed = _wait_until_listed(client, index, declared, clock)
        if vectors := vectors or client.index_info(index_name).vector_count:
            log.warning(
                "Index %r holds %d vectors: a filter on a new metadata index will not find those that were written "
                "before it, until they are loaded again",
                index_name, vectors,
            )  # fmt: skip
    return index, listed


class _Clock:
    """Waits between two looks, until a deadline."""

    def __init__(self, timeout: float, look_seconds: float, stop: threading.Event) -> None:
        self._timeout = timeout
        self._look_seconds = look_seconds
        self._stop = stop
        self._deadline = time.monotonic() + timeout

    def wait(self, what: str) -> None:
        """Wait for the next look; ``what`` has not happened yet."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise MutationTimeoutError(f"{what} after {self._timeout:g} s")
        if self._stop.wait(min(self._look_seconds, left)):
            raise IngestAbortedError(f"{what}, and the task was told to stop")


def _create_or_find(
    client: VectorizeClient, index_name: str, declared: Declaration, if_exists: IfExists, clock: _Clock
) -> Index:
    while True:
        if if_exists == "skip":
            try:
                index = client.get_index(index_name)
            except IndexNotFoundError:
                pass
            else:
                log.info("Index %r exists: %d dimensions, %s", index_name, index.dimensions, index.metric)
                return index
        try:
            index = client.create_index(
                index_name,
                dimensions=declared.dimensions,
                metric=declared.metric,
                preset=declared.preset,
                description=declared.description,
            )
        except IndexExistsError:
            if if_exists == "fail":
                raise
            what = f"Index {index_name!r} exists for creating it, and not yet for reading it"
        except IndexNotFoundError as error:  # the name of an index that was deleted a moment ago
            what = f"The name {index_name!r} cannot be used yet ({error})"
        else:
            log.info("Created index %r: %d dimensions, %s", index_name, index.dimensions, index.metric)
            return index
        clock.wait(what)


def _wait_until_listed(
    client: VectorizeClient, index: Index, declared: Declaration, clock: _Clock
) -> list[MetadataIndex]:
    while True:
        listed = client.list_metadata_indexes(index.name)
        drift = compare(declared, index, listed)
        if drift.conflicts:  # somebody else was faster, with another declaration
            raise IndexDriftError(f"Index {index.name!r} is not as declared: {'; '.join(drift.conflicts)}")
        if not drift.missing:
            return listed
        names = ", ".join(drift.missing)
        clock.wait(f"Index {index.name!r}: the metadata indexes {names} are accepted, and not listed yet")


def _create_metadata_index(
    client: VectorizeClient, index_name: str, name: str, kind: MetadataIndexType
) -> None:
    try:
        client.create_metadata_index(index_name, name, kind)
    except MetadataIndexExistsError:
        pass  # somebody else was faster, with whatever type
    else:
        log.info("Index %r: created the metadata index %r (%s)", index_name, name, kind)


def _too_late(index_name: str, missing: Iterable[str], vectors: int) -> str:
    names = ", ".join(map(repr, missing))
    return (
        f"Index {index_name!r} holds {vectors} vectors and lacks the declared metadata indexes {names}. A metadata "
        "index holds only what is written after it: a filter on it would not find those vectors until they are "
        f"loaded again ({-(-vectors // MAX_UPLOAD_VECTORS)} uploads at least, of the 1,200 requests that a token has "
        "in 5 minutes). Either make a new index as declared, load it and switch to it, or set "
        'on_late_metadata_index="create" and load this one again'
    )
