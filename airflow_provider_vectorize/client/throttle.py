"""One gate for all senders of the process that share a budget.

The API counts the requests of a token over everything that it does, and concurrency brings on its write-pressure
error. So when one request is throttled, all wait, one at a time goes on, and the others come back one by one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

#: Seconds without throttling after which one more sender may go.
QUIET_SECONDS = 60.0


class Gate:
    """Let requests through: freely at first, then as the throttling of the API asks.

    :param clock: tells seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._active = 0
        self._closed_until: float | None = None  # None: never throttled

    @contextmanager
    def slot(self, sleep: Callable[[float], None]) -> Iterator[None]:
        """Hold a place among the senders for one request.

        :param sleep: waits for a number of seconds, in step with the clock.
        """
        self._enter(sleep)
        try:
            yield
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify()

    def close_for(self, seconds: float) -> None:
        """Let nobody through for so long, and one at a time after that."""
        with self._changed:
            self._closed_until = max(self._closed_until or 0.0, self._clock() + seconds)

    def _enter(self, sleep: Callable[[float], None]) -> None:
        while True:
            with self._changed:
                pause = self._pause()
                if pause <= 0:
                    if self._active < self._allowed():
                        self._active += 1
                        return
                    # The number allowed grows with time, which notifies nobody.
                    self._changed.wait(timeout=1.0)
                    continue
            sleep(pause)

    def _pause(self) -> float:
        return 0.0 if self._closed_until is None else self._closed_until - self._clock()

    def _allowed(self) -> float:
        if self._closed_until is None:
            return float("inf")
        return 1 + (self._clock() - self._closed_until) // QUIET_SECONDS


_gates: WeakValueDictionary[tuple[str, ...], Gate] = WeakValueDictionary()
_gates_lock = threading.Lock()


def shared_gate(*budget: str, clock: Callable[[], float]) -> Gate:
    """Give the gate of a budget, the same for every client of the process that shares it.

    :param budget: what the budget is counted by: the address, the account, a hash of the credentials.
    :param clock: see :class:`Gate`; a client with a time of its own has a gate of its own.
    """
    if clock is not time.monotonic:
        return Gate(clock)
    with _gates_lock:
        gate = _gates.get(budget)
        if gate is None:
            gate = _gates[budget] = Gate(clock)
        return gate
