"""Snapshots of lists of ids, and the cursors that point into them."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

#: The oldest cursor is dropped for a new one.
_MAX_CURSORS: Final = 1_000


class Page(NamedTuple):
    """One page of a snapshot.

    :param next_cursor: None on the last page.
    :param expires: when ``next_cursor`` does, seconds since the epoch.
    """

    ids: Sequence[str]
    total: int
    next_cursor: str | None
    expires: float


class _Place(NamedTuple):
    owner: int
    ids: Sequence[str]
    start: int
    expires: float


class Cursors:
    """All cursors that can be used, safe to use from many threads.

    :param seconds: how long a snapshot lasts.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._lock = threading.Lock()
        self._seconds = seconds
        self._clock = clock
        self._places: dict[str, _Place] = {}

    def first(self, owner: int, ids: Sequence[str], count: int) -> Page:
        """Start on a new snapshot.

        :param owner: the index's number.
        :param count: how many ids make a page.
        """
        return self._page(_Place(owner, ids, 0, self._clock() + self._seconds), count)

    def next(self, owner: int, cursor: str, count: int) -> Page | None:
        """Go on; None if the cursor is unknown, expired or another index's. A cursor can be used again."""
        with self._lock:
            place = self._places.get(cursor)
        if place is None or place.owner != owner or place.expires <= self._clock():
            return None
        return self._page(place, count)

    def _page(self, place: _Place, count: int) -> Page:
        end = place.start + count
        cursor = None
        if end < len(place.ids):
            cursor = secrets.token_urlsafe(48)
            with self._lock:
                self._places[cursor] = place._replace(start=end)
                while len(self._places) > _MAX_CURSORS:
                    del self._places[next(iter(self._places))]
        return Page(place.ids[place.start : end], len(place.ids), cursor, place.expires)
