"""Make what is known of an index agree with what it lists, so that an ordinary sync mends the rest."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Protocol

from airflow_provider_vectorize.client.limits import MAX_LIST_PAGE
from airflow_provider_vectorize.client.types import IndexInfo
from airflow_provider_vectorize.index.pace import Pace, minutes
from airflow_provider_vectorize.sync.known import Known
from airflow_provider_vectorize.sync.pages import Lister, listed, pages
from airflow_provider_vectorize.sync.segments import UNKNOWN

log = logging.getLogger(__name__)


class Client(Lister, Protocol):
    """What this needs of :class:`~airflow_provider_vectorize.client.VectorizeClient`."""

    def index_info(self, index_name: str) -> IndexInfo:
        """Get the number of vectors."""
        ...


def reconcile(
    client: Client,
    index_name: str,
    known: Known,
    *,
    id_prefix: str | None,
    requests_per_minute: int,
    stop: threading.Event,
) -> None:
    """List an index, and make *unknown* what it lacks, and what nobody manages under a prefix.

    :param client: the client.
    :param index_name: the index.
    :param known: what it is known to hold; changed.
    :param id_prefix: ids that begin so are managed from now on, whoever wrote them; None: no others are.
    :param requests_per_minute: pace.
    :param stop: ends it when set.
    """
    count = client.index_info(index_name).vector_count
    requests = count // MAX_LIST_PAGE + 1
    log.info(
        "Listing index %r: %d vectors, %d requests, %s at %d a minute",
        index_name,
        count,
        requests,
        minutes(requests, requests_per_minute),
        requests_per_minute,
    )
    with Known() as there:
        for page in listed(client, index_name, Pace(requests_per_minute, stop)):
            there.apply((each, UNKNOWN) for each in page)
        missing = _make_unknown(known, _missing(known, there))
        adopted = 0 if id_prefix is None else _make_unknown(known, _strangers(known, there, id_prefix))
    log.info(
        "Index %r lacks %d ids that the manifest says are there, and has %d under id_prefix that nobody manages",
        index_name,
        missing,
        adopted,
    )


def _missing(known: Known, there: Known) -> Iterator[str]:
    return (each for each, state, _ in known.rows() if state != UNKNOWN and there.get(each)[0] is None)


def _strangers(known: Known, there: Known, id_prefix: str) -> Iterator[str]:
    return (each for each, _, _ in there.rows() if each.startswith(id_prefix) and known.get(each)[0] is None)


def _make_unknown(known: Known, ids: Iterator[str]) -> int:
    count = 0
    for page in pages(ids, MAX_LIST_PAGE):
        known.apply((each, UNKNOWN) for each in page)
        count += len(page)
    return count
