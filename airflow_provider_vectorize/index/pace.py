"""So many requests a minute, so that the rest of a token's budget is left to others."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from airflow_provider_vectorize.client.errors import IngestAbortedError, InvalidArgumentError

#: Half of what the API allows a token: 1,200 requests in 5 minutes.
DEFAULT_REQUESTS_PER_MINUTE = 120
#: The API's limit for an address: 200 a second.
MAX_REQUESTS_PER_MINUTE = 12_000

_MINUTE = 60.0


class Pace:
    """Let at most so many requests begin in any minute; the first of them at once. Safe to use from many threads.

    :param requests_per_minute: 1 to 12,000.
    :param stop: ends the waiting when set.
    :param clock: tells seconds, monotonic.
    :param wait: waits for a number of seconds, and tells whether to stop; default: ``stop.wait``.
    """

    def __init__(
        self,
        requests_per_minute: int,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        check_pace(requests_per_minute)
        self.limit = requests_per_minute
        self._stop = stop
        self._clock = clock
        self._wait = wait or stop.wait
        self._begun: deque[float] = deque()
        self._lock = threading.Lock()

    def __call__(self) -> None:
        """Wait until the next request may begin.

        :raises IngestAbortedError: told to stop.
        """
        while not self._stop.is_set():
            with self._lock:
                now = self._clock()
                if len(self._begun) < self.limit:
                    self._begun.append(now)
                    return
                pause = self._begun[0] + _MINUTE - now
                if pause <= 0:
                    self._begun.popleft()
                    self._begun.append(now)
                    return
            if self._wait(pause):
                break
        raise IngestAbortedError("Told to stop")


def check_pace(requests_per_minute: object) -> None:
    """Check a number of requests a minute.

    :raises InvalidArgumentError: saying what it must be.
    """
    if (
        isinstance(requests_per_minute, bool)
        or not isinstance(requests_per_minute, int)
        or not 1 <= requests_per_minute <= MAX_REQUESTS_PER_MINUTE
    ):
        raise InvalidArgumentError(
            f"requests_per_minute must be a whole number of 1 to {MAX_REQUESTS_PER_MINUTE}, got {requests_per_minute!r}"
        )


def minutes(requests: int, requests_per_minute: int) -> str:
    """Say how long so many requests take.

    :param requests: how many.
    :param requests_per_minute: how many a minute.
    """
    whole = max(0, requests - 1) // requests_per_minute  # what fits into the first minute begins at once
    if whole < 1:
        return "less than a minute"
    return f"{whole} minutes" if whole < 120 else f"{whole / 60:.1f} hours"
