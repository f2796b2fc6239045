"""What is known of every managed id, and which of them this source has: a table on the local disk.

20 million ids are about a gigabyte there, and a bitmap in memory.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from airflow_provider_vectorize.sync.segments import Row, State

_PAGE = 10_000
#: Of pages that are kept in memory.
_CACHE_KIB = 64 * 1024

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE known (id TEXT PRIMARY KEY, state BLOB NOT NULL, number INTEGER NOT NULL) WITHOUT ROWID;
"""
_PUT = "INSERT INTO known VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state"  # keeps its number


class Bits:
    """A set of small numbers, one bit each."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, number: int) -> bool:
        place = number >> 3
        return place < len(self._bits) and bool(self._bits[place] & 1 << (number & 7))

    def add(self, number: int) -> bool:
        """Add a number; tell whether it was new."""
        place = number >> 3
        if place >= len(self._bits):
            self._bits.extend(bytes(max(1024, place)))
        bit = 1 << (number & 7)
        if self._bits[place] & bit:
            return False
        self._bits[place] |= bit
        self._count += 1
        return True


class Known:
    """Every managed id with its state and a number, which never changes. Use as a context: it ends with its file."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="vectorize-manifest-")
        # Not always the thread that made it asks; never two at a time.
        self._base = sqlite3.connect(
            Path(self._folder.name) / "known.db", isolation_level=None, check_same_thread=False
        )
        self._base.executescript(_SCHEMA)
        self._base.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._next = 0
        #: Numbers of the ids that the source has.
        self.seen = Bits()

    def __enter__(self) -> Known:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove it from the disk."""
        self._base.close()
        self._folder.cleanup()

    def __len__(self) -> int:
        """How many ids are managed; it counts them."""
        return int(self._base.execute("SELECT count(*) FROM known").fetchone()[0])

    def sure(self) -> int:
        """How many of them the index is known to have; it counts them."""
        return int(self._base.execute("SELECT count(*) FROM known WHERE length(state) > 0").fetchone()[0])

    def apply(self, rows: Iterable[Row]) -> None:
        """Enter rows in their order; one that says *deleted* ends the id's being managed."""
        self._base.execute("BEGIN")
        puts: list[tuple[str, bytes, int]] = []
        for record_id, state in rows:
            if state is None:
                self._put(puts)
                self._base.execute("DELETE FROM known WHERE id = ?", (record_id,))
                continue
            puts.append((record_id, state, self._next))
            self._next += 1
            if len(puts) >= _PAGE:
                self._put(puts)
        self._put(puts)
        self._base.execute("COMMIT")

    def _put(self, puts: list[tuple[str, bytes, int]]) -> None:
        self._base.executemany(_PUT, puts)
        puts.clear()

    def get(self, record_id: str) -> tuple[State, int]:
        """Give the state of an id and its number; (None, -1) if it is not managed."""
        row = self._base.execute("SELECT state, number FROM known WHERE id = ?", (record_id,)).fetchone()
        return (None, -1) if row is None else row

    def rows(self) -> Iterator[tuple[str, bytes, int]]:
        """Give all of it, sorted by id; changes under way are seen where they lie ahead."""
        last = ""
        while True:
            page = self._base.execute(
                "SELECT id, state, number FROM known WHERE id > ? ORDER BY id LIMIT ?", (last, _PAGE)
            ).fetchall()
            yield from page
            if len(page) < _PAGE:
                return
            last = page[-1][0]
