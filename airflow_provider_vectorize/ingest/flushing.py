"""Send what is due while a source keeps its reader waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from airflow_provider_vectorize.ending import LOOK_SECONDS
from airflow_provider_vectorize.ingest.sources import Item


class Flusher(threading.Thread):
    """Takes turns with the loop of a load, and has its own only while the loop waits for a record.

    :param due_in: tells in how many seconds something is due; asked at any time.
    :param flush: sends what is due.
    """

    def __init__(self, due_in: Callable[[], float], flush: Callable[[], None]) -> None:
        super().__init__(name="vectorize-flush", daemon=True)
        self._due_in = due_in
        self._flush = flush
        self._turn = threading.Lock()
        self._turn.acquire()
        self._over = threading.Event()
        self._error: BaseException | None = None

    def give_way(self, items: Iterator[Item]) -> Iterator[Item]:
        """Pass items on to the loop; while it waits for one, the turn is given away.

        :raises BaseException: what went wrong in that time.
        """
        while True:
            self._turn.release()
            item = next(items, None)  # if it raises, the load is at its end, and needs no turn
            self._turn.acquire()
            if self._error is not None:
                raise self._error
            if item is None:
                return
            yield item

    def run(self) -> None:
        """Flush whenever something is due, until the end."""
        while not self._over.wait(min(self._due_in(), threading.TIMEOUT_MAX)):
            while not self._turn.acquire(timeout=LOOK_SECONDS):
                if self._over.is_set():
                    return
            try:
                self._flush()
            except BaseException as error:  # noqa: BLE001  # raised again in the loop
                self._error = error
                return
            finally:
                self._turn.release()

    def close(self) -> None:
        """See it end."""
        self._over.set()
        if self.is_alive():
            self.join()
