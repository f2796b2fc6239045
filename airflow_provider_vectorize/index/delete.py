"""Delete vectors by their ids: all of them checked and counted before the first is deleted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Literal

from airflow_provider_vectorize.client.errors import (
    EmptySourceError,
    InvalidArgumentError,
    TooManyRejectsError,
)
from airflow_provider_vectorize.client.limits import MAX_DELETE_IDS, MAX_ID_BYTES
from airflow_provider_vectorize.index.pace import Pace, minutes
from airflow_provider_vectorize.ingest.checkpoint import Checkpoint
from airflow_provider_vectorize.ingest.engine import ingest
from airflow_provider_vectorize.ingest.ids import IdChecker
from airflow_provider_vectorize.ingest.operations import Client
from airflow_provider_vectorize.ingest.options import DEFAULT_MAX_DELETES, IngestOptions
from airflow_provider_vectorize.ingest.records import FlawError
from airflow_provider_vectorize.ingest.rejects import MAX_NAMED, Reject, RejectsFolder, listing
from airflow_provider_vectorize.ingest.report import Report
from airflow_provider_vectorize.ingest.sources import START, Source

log = logging.getLogger(__name__)

#: A load that deletes.
DELETES = IngestOptions(
    operation="delete",
    max_batch_vectors=MAX_DELETE_IDS,
    # As JSON a byte of an id takes six at most; and what was refused may be large.
    max_batch_bytes=MAX_DELETE_IDS * MAX_ID_BYTES * 8,
)


def delete(
    client: Client,
    index_name: str,
    ids: Source,
    pace: Pace,
    *,
    max_deletes: int = DEFAULT_MAX_DELETES,
    on_invalid: Literal["fail", "reject"] = "fail",
    max_rejects: int = 0,
    max_in_flight: int = IngestOptions().max_in_flight,
    rejects: RejectsFolder | None = None,
    checkpoint: Checkpoint | None = None,
    stop: threading.Event | None = None,
    tried_before: bool = False,
    progress: Callable[[Report], None] | None = None,
) -> Report:
    """Delete vectors, 100 ids a request: a load like any other, of ids.

    :param client: the client.
    :param index_name: the index.
    :param ids: they are read twice: first to check and count all of them, then to delete them.
    :param pace: called before every request; it may raise.
    :param max_deletes: with more ids nothing is deleted at all.
    :param on_invalid: what to do with what is no id: ``fail``, or ``reject`` it and go on.
    :param max_rejects: with more rejects nothing is deleted at all.
    :param max_in_flight: requests under way at a time.
    :param rejects: folder that takes them.
    :param checkpoint: where to note how far it came, and to go on.
    :param stop: ends it when set.
    :param tried_before: an earlier try may have deleted something.
    :param progress: called with the report so far whenever more was settled.
    :raises InvalidArgumentError: there are more ids than ``max_deletes``.
    :raises InvalidRecordError: something is no id.
    :raises TooManyRejectsError: more was refused than ``max_rejects``.
    :raises EmptySourceError: there is not one id.
    :raises VectorizeError: what a load raises.
    """
    options = replace(DELETES, on_invalid=on_invalid, max_rejects=max_rejects, max_in_flight=max_in_flight)
    number = _count(ids, options)
    if number > max_deletes:
        raise InvalidArgumentError(
            f"{number} ids of index {index_name!r} would be deleted, and max_deletes is {max_deletes}: nothing was. "
            "Look whether that is what is meant, and set max_deletes"
        )
    requests = -(-number // MAX_DELETE_IDS)
    log.info(
        "Deleting %d ids of index %r: %d requests, %s at this pace; the API allows 240 requests a minute, 24,000 ids",
        number, index_name, requests, minutes(requests, pace.limit),
    )  # fmt: skip
    return ingest(
        client,
        index_name,
        ids,
        options=options,
        rejects=rejects,
        checkpoint=checkpoint,
        stop=stop,
        tried_before=tried_before,
        pace=pace,
        progress=progress,
    )


def _count(ids: Source, options: IngestOptions) -> int:
    """Check all ids, and count the good ones."""
    checker, number, refused = IdChecker(), 0, 0
    named: list[Reject] = []
    with closing(ids.read(START, lambda: None)) as items:
        for item in items:
            try:
                checker.check(item.data)
            except FlawError as flaw:
                reject = Reject(
                    ids.names[item.end.source], item.end.line, flaw.record_id, flaw.code, flaw.reason
                )
                if options.on_invalid == "fail":
                    raise reject.error() from None
                refused += 1
                named += [reject][: MAX_NAMED - len(named)]
            else:
                number += 1
    if refused > options.max_rejects:
        raise TooManyRejectsError(
            f"{refused} of the ids were refused, and max_rejects is {options.max_rejects}: nothing was deleted\n"
            + listing(named, refused)
        )
    if not number:
        raise EmptySourceError("There is nothing to delete: not one id")
    return number
