"""The API's rate limit: so many requests in so many seconds, then none for as long."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from math import ceil

from airflow_provider_vectorize.emulator.errors import ApiError
from airflow_provider_vectorize.emulator.settings import RateLimit


class Throttle:
    """Counts requests, safe to use from many threads.

    :param limit: None lets everything pass.
    :param clock: seconds that never go back.
    """

    def __init__(self, limit: RateLimit | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self.set(limit)

    def set(self, limit: RateLimit | None) -> None:
        """Choose the limit, and forget what was counted."""
        with self._lock:
            self._limit = limit
            self._seen: dict[str, deque[float]] = {}
            self._blocked_until: dict[str, float] = {}

    def check(self, credential: str) -> None:
        """Count a request.

        :raises ApiError: 429 with ``retry_after``, if it is one too many.
        """
        with self._lock:
            if self._limit is None:
                return
            now = self._clock()
            seen = self._seen.setdefault(credential, deque())
            while seen and seen[0] <= now - self._limit.seconds:
                seen.popleft()
            if now >= self._blocked_until.get(credential, now):
                seen.append(now)
                if len(seen) <= self._limit.requests:
                    return
                self._blocked_until[credential] = now + self._limit.seconds
            error = ApiError("throttled", limit=self._limit.requests, seconds=self._limit.seconds)
            error.retry_after = ceil(self._blocked_until[credential] - now)
            raise error
