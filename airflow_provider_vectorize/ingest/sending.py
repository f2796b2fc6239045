"""The sending window: which chunk may go when, and the threads that take it there."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from airflow_provider_vectorize.client.errors import IngestAbortedError
from airflow_provider_vectorize.ending import LOOK_SECONDS, Ending, State
from airflow_provider_vectorize.ingest.chunks import Chunk
from airflow_provider_vectorize.ingest.outcomes import Outcome

#: Seconds that requests under way are given to end once the load was told to stop. Airflow kills after 5.
GRACE_SECONDS = 1.5
#: Seconds that a thread is given to end once its request was cut.
JOIN_SECONDS = 1.0


class _Sending(threading.Thread):
    """A chunk under way. A daemon, so that a request that cannot be cut never holds up the exit."""

    def __init__(self, chunk: Chunk, deliver: Callable[[Chunk], Outcome], ending: Ending) -> None:
        super().__init__(name=f"vectorize-chunk-{chunk.number}", daemon=True)
        self.chunk = chunk
        self.outcome: Outcome | None = None
        self._deliver = deliver
        self._ending = ending

    def run(self) -> None:
        """Deliver the chunk."""
        try:
            outcome = self._deliver(self.chunk)
        except BaseException as error:  # noqa: BLE001  # without an outcome, who waits for it would wait for ever
            outcome = self.lost(error)
        self.chunk.text = memoryview(b"")  # the outcome may have to wait for those before it
        with self._ending.changed:
            self.outcome = outcome
            if outcome.error is not None:
                self._ending.come_to(State.FAILING)
            self._ending.changed.notify_all()

    def lost(self, error: BaseException) -> Outcome:
        """Give the outcome of a chunk of which nothing was heard."""
        outcome = Outcome.of(self.chunk)
        outcome.fail(self.chunk, error)
        return outcome


class Window:
    """Send chunks, several at a time, and give their outcomes in order.

    A chunk goes when fewer than ``max_in_flight`` before it are not given yet, and none of those has an id of its
    own: two writes of one id that are under way together have no known order. All but the delivery happens in the
    caller's thread.

    :param deliver: delivers a chunk, in a thread of its own; it says in the outcome what goes wrong.
    :param max_in_flight: chunks under way at a time.
    :param ending: of the load.
    """

    def __init__(self, deliver: Callable[[Chunk], Outcome], max_in_flight: int, ending: Ending) -> None:
        self._deliver = deliver
        self._max_in_flight = max_in_flight
        self._ending = ending
        self._cut_at: float | None = None
        self._pending: deque[_Sending] = deque()

    def make_room(self, chunk: Chunk) -> Iterator[Outcome]:
        """Give outcomes until a chunk may go; all of them once the load is to end."""
        while self._pending and (
            self._ending.state > State.RUNNING
            or self._pending[0].outcome is not None
            or len(self._pending) >= self._max_in_flight
            or any(not chunk.entries.keys().isdisjoint(sending.chunk.entries) for sending in self._pending)
        ):
            yield self._oldest()

    def send(self, chunk: Chunk) -> None:
        """Send a chunk for which there is room."""
        sending = _Sending(chunk, self._deliver, self._ending)
        self._pending.append(sending)
        try:
            sending.start()
        except (RuntimeError, MemoryError):  # no thread could be made
            self._pending.pop()
            raise

    def arrived(self) -> Iterator[Outcome]:
        """Give the outcomes that are there without waiting."""
        while self._pending and self._pending[0].outcome is not None:
            yield self._oldest()

    def drain(self) -> Iterator[Outcome]:
        """Give the outcomes of all that is under way; once told to stop, what does not end in time is lost."""
        while self._pending:
            yield self._oldest()

    def close(self) -> None:
        """Cut what is still under way, and see its threads end."""
        self._ending.come_to(State.OVER)
        for sending in self._pending:
            if sending.is_alive():
                sending.join(JOIN_SECONDS)

    def _oldest(self) -> Outcome:
        sending = self._pending[0]
        with self._ending.changed:
            while sending.outcome is None and not self._given_up():
                self._ending.changed.wait(LOOK_SECONDS)
        if sending.outcome is None:
            outcome = sending.lost(IngestAbortedError("The load was told to stop, and gave this chunk up"))
        else:
            sending.join()
            outcome = sending.outcome
        self._pending.popleft()
        return outcome

    def _given_up(self) -> bool:
        if self._ending.state < State.STOPPING:
            return False
        now = time.monotonic()
        self._cut_at = self._cut_at or now + GRACE_SECONDS
        if now >= self._cut_at:
            self._ending.come_to(State.OVER)
        return now >= self._cut_at + JOIN_SECONDS
