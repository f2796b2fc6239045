"""A clock that stands still until somebody sleeps, so that no test waits."""

from __future__ import annotations

import threading


class FakeTime:
    """Give ``sleep`` and ``clock`` in step; remember every sleep."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds
            self.slept.append(seconds)

    def clock(self) -> float:
        return self.now
