"""The sending window: which chunk may go when, and the threads that take it there."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from airflow_provider_vectorize.client.errors import IngestAbortedError
from airflow_provider_vectorize.ingest.chunks import Chunk
from airflow_provider_vectorize.ingest.outcomes import Outcome

#: Seconds that requests under way are given to end once the load was told to stop. Airflow kills after 5.
GRACE_SECONDS = 1.5
#: Seconds between two looks at the stop event; signal handlers of the main thread run in between.
_LOOK_SECONDS = 0.05


class _Sent(NamedTuple):
    ids: frozenset[str]
    #: What became of it if no answer comes in time.
    lost: Outcome


class Window:
    """Send chunks, several at a time, and give their outcomes in order.

    A chunk goes when fewer than ``max_in_flight`` before it are not given yet, and none of those has an id of its
    own: two writes of one id that are under way together have no known order. All but ``_run`` happens in the
    caller's thread; the threads are daemons, so that a request that hangs never holds up the exit.

    :param send: delivers a chunk, in a thread of its own; it says in the outcome what goes wrong.
    :param max_in_flight: chunks under way at a time.
    :param stop: when set, waits end within :data:`GRACE_SECONDS`.
    """

    def __init__(self, send: Callable[[Chunk], Outcome], max_in_flight: int, stop: threading.Event) -> None:
        self._send = send
        self._max_in_flight = max_in_flight
        self._stop = stop
        self._give_up_at: float | None = None
        self._pending: deque[_Sent] = deque()
        self._done: dict[int, Outcome] = {}
        self._failed = False
        self._ended = False
        self._changed = threading.Condition()

    @property
    def over(self) -> bool:
        """Whether the load is over: it was told to stop, or has ended."""
        return self._ended or self._stop.is_set()

    @property
    def closed(self) -> bool:
        """Whether no chunk is sent any more: one has failed, or the load is over."""
        return self._failed or self.over

    def fail(self) -> None:
        """Send no chunk any more; what is under way still counts."""
        self._failed = True

    def close(self) -> None:
        """End the load."""
        self._ended = True

    def put(self, chunk: Chunk) -> Iterator[Outcome]:
        """Send a chunk as soon as it may go, unless the window is closed; give what was settled until then."""
        ids = frozenset(chunk.entries)
        while self._pending and not self.closed and (self._settled() or not self._may_go(ids)):
            yield self._oldest()
        if self.closed:
            return
        lost = Outcome.of(chunk)
        lost.fail(chunk, IngestAbortedError("The load was told to stop, and gave this chunk up"))
        self._pending.append(_Sent(ids, lost))
        threading.Thread(
            target=self._run, args=(chunk, lost), name=f"vectorize-chunk-{chunk.number}", daemon=True
        ).start()

    def drain(self) -> Iterator[Outcome]:
        """Give the outcomes of all that is under way; once told to stop, what does not end in time is lost."""
        while self._pending:
            yield self._oldest()

    def _settled(self) -> bool:
        return self._pending[0].lost.number in self._done

    def _may_go(self, ids: frozenset[str]) -> bool:
        return len(self._pending) < self._max_in_flight and all(
            ids.isdisjoint(sent.ids) for sent in self._pending
        )

    def _oldest(self) -> Outcome:
        lost = self._pending.popleft().lost
        with self._changed:
            while lost.number not in self._done:
                if self._stop.is_set():
                    now = time.monotonic()
                    self._give_up_at = self._give_up_at or now + GRACE_SECONDS
                    if now >= self._give_up_at:
                        return lost
                self._changed.wait(_LOOK_SECONDS)
            return self._done.pop(lost.number)

    def _run(self, chunk: Chunk, lost: Outcome) -> None:
        try:
            outcome = self._send(chunk)
        except Exception as error:  # noqa: BLE001  # without an outcome, who waits for it would wait for ever
            outcome = lost
            outcome.error = error
        with self._changed:
            self._done[chunk.number] = outcome
            self._failed = self._failed or outcome.error is not None
            self._changed.notify()
