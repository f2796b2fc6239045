"""Work by the page: lists of bounded length, and an index listed at a pace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol, TypeVar

from airflow_provider_vectorize.client.limits import MAX_LIST_PAGE
from airflow_provider_vectorize.index.pace import Pace

Item = TypeVar("Item")


class Lister(Protocol):
    """What lists an index."""

    def list_vectors(self, index_name: str) -> Iterator[str]:
        """List the ids of all vectors."""
        ...


def pages(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Give items in lists of at most so many, each read when it is asked for."""
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


def listed(client: Lister, index_name: str, pace: Pace) -> Iterator[list[str]]:
    """Give all ids of an index, a page of the API at a time, each asked for when the pace allows."""
    found = client.list_vectors(index_name)
    pace()
    for page in pages(found, MAX_LIST_PAGE):
        yield page
        if len(page) == MAX_LIST_PAGE:
            pace()
