"""Gates, which own all waiting that a throttle causes.

The API counts the requests of a token over everything that it does, and concurrency brings on its write-pressure
error. So when one request is throttled, all wait, one at a time goes on, and the others come back one by one. A gate
knows since when nothing has passed: after :data:`~.limits.RATE_LIMIT_BLOCK_SECONDS` of that a call gives up, however
many wait beside it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from airflow_provider_vectorize.client.errors import RateLimitError
from airflow_provider_vectorize.client.limits import RATE_LIMIT_BLOCK_SECONDS

#: Seconds without throttling after which one more sender may go.
QUIET_SECONDS = 60.0
#: The back-off of a first refusal, and of the last one.
BASE_SECONDS = 1.0
CAP_SECONDS = 60.0
#: Seconds between two looks of those who wait for a place.
_LOOK_SECONDS = 0.1


class Gate:
    """Let requests through: freely at first, then as the throttling of the API asks.

    :param clock: tells seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._active = 0
        self._closed_until: float | None = None  # None: never throttled
        self._refusals = 0  # in a row
        self._since = float("-inf")  # of the first of these

    @contextmanager
    def slot(
        self, name: str, since: float, sleep: Callable[[float], None], check: Callable[[], None]
    ) -> Iterator[None]:
        """Hold a place among the senders for one request.

        :param name: of the call, for the message.
        :param since: when the call began, by the clock.
        :param sleep: waits for a number of seconds, in step with the clock; it raises to end the call.
        :param check: raises to end the call.
        :raises RateLimitError: the call has waited as long as a throttled one may, and nothing has passed.
        """
        while not self._enter():
            pause = self._pause()
            if pause > 0:
                if self.exhausted(since):
                    raise RateLimitError(
                        f"{name} was not sent: throttled for {RATE_LIMIT_BLOCK_SECONDS:.0f} s without one success. "
                        f"{RateLimitError.hint}",
                        status=429,
                    )
                sleep(pause)
                continue
            check()
            with self._changed:
                # The number allowed grows with time, which notifies nobody.
                self._changed.wait(_LOOK_SECONDS)
        try:
            yield
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify()

    def passed(self) -> None:
        """Take note of a request that was not throttled."""
        self._refusals = 0

    def refuse(self, retry_after: float | None) -> float:
        """Take note of a request that was throttled: nobody goes for a while, and one at a time after that.

        :param retry_after: seconds that the API asks to wait; they count up to the length of its block.
        :returns: the seconds until the gate opens: at least a back-off, and spread over processes.
        """
        asked = min(retry_after or 0.0, RATE_LIMIT_BLOCK_SECONDS)
        now = self._clock()
        with self._changed:
            ceiling = min(BASE_SECONDS * 2.0 ** min(self._refusals, 9), CAP_SECONDS)
            if now >= (self._closed_until or now):  # refusals of requests that left together count once
                self._since = self._since if self._refusals else now
                self._refusals += 1
            backoff = random.uniform(0, ceiling)  # noqa: S311  # spreads load, guards nothing
            if asked:
                spread = random.uniform(0, max(BASE_SECONDS, asked / 10))  # noqa: S311
                backoff = max(asked, backoff) + spread
            self._closed_until = max(self._closed_until or 0.0, now + backoff)
            return self._closed_until - now

    def exhausted(self, since: float) -> bool:
        """Tell whether a call has waited in vain for as long as the API blocks, beside nothing but refusals.

        :param since: when the call began, by the clock.
        """
        waited = self._clock() - max(since, self._since)
        return self._refusals > 0 and waited >= RATE_LIMIT_BLOCK_SECONDS

    def _enter(self) -> bool:
        with self._changed:
            if self._pause() > 0 or self._active >= self._allowed():
                return False
            self._active += 1
            return True

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

    :param budget: what the budget is counted by: the address, the account, a hash of the credentials; for the
        pressure of writes on one index, its name as well.
    :param clock: see :class:`Gate`; a client with a time of its own has a gate of its own.
    """
    if clock is not time.monotonic:
        return Gate(clock)
    with _gates_lock:
        gate = _gates.get(budget)
        if gate is None:
            gate = _gates[budget] = Gate(clock)
        return gate
