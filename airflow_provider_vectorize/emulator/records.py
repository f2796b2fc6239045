"""The account of what was asked: a log with a row a request, and sums by operation."""

from __future__ import annotations

import threading
from collections import deque
from email.message import Message
from typing import Any, Final

from airflow_provider_vectorize.emulator.routes import OPERATIONS

#: Older rows are dropped; the sums go on.
_MAX_ROWS: Final = 100_000
_SECRET_HEADERS: Final = frozenset({"authorization", "x-auth-key", "cookie", "proxy-authorization"})

Row = dict[str, Any]


def safe_headers(headers: Message) -> dict[str, str]:
    """Give headers with lower-case names, and without the secrets."""
    return {
        name.lower(): "[redacted]" if name.lower() in _SECRET_HEADERS else value
        for name, value in headers.items()
    }


class Records:
    """The request log and the sums, safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: deque[Row] = deque(maxlen=_MAX_ROWS)
        self._sums = {name: {"requests": 0, "vectors": 0, "bytes": 0} for name in OPERATIONS}

    def add(self, row: Row) -> None:
        """Add a row: before its answer is sent, so that who has the answer finds the row."""
        with self._lock:
            self._rows.append(row)
            if row["operation"] in self._sums:
                sums = self._sums[row["operation"]]
                sums["requests"] += 1
                sums["vectors"] += row["vectors"]
                sums["bytes"] += row["bytes"]

    def rows(self) -> list[Row]:
        """Give the rows, oldest first."""
        with self._lock:
            return list(self._rows)

    def clear(self) -> None:
        """Forget the rows; the sums stay."""
        with self._lock:
            self._rows.clear()

    def stats(self) -> dict[str, dict[str, int]]:
        """Give requests, vectors written and body bytes of every operation since the start."""
        with self._lock:
            return {name: dict(sums) for name, sums in self._sums.items()}
