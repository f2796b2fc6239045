"""The tables in SQLite: indexes, the write log, vectors. It has no rules and no clock: those are :mod:`.state`'s.

A write is stored once, as rows that are valid from its number (``seq``) until the number of the write that
replaces or deletes them. What can be seen of an index is what is valid at its ``applied`` number. So making
a batch visible is moving that one number: it takes no time, cannot happen twice, and a write that was
answered is there after a crash, since its rows were committed before the answer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_vectorize.emulator.models import Index, LoggedWrite, MetadataIndex, Vector
from airflow_provider_vectorize.emulator.schedule import Pending

if TYPE_CHECKING:
    from airflow_provider_vectorize.emulator.validation import NewIndex

#: ``until`` of what is valid. Literal in statements, as SQLite matches partial indexes by literals.
_FOREVER: Final = 9223372036854775807
#: As of the last logged write, whether it can be seen or not.
LOGGED: Final = _FOREVER - 1
#: A write replaces 5,000 vectors at most, so removing twice that with each write keeps up.
_PRUNED_AT_ONCE: Final = 10_000
#: So many writes of an index stay in the log after they were applied, for people to look at.
KEPT_WRITES: Final = 50

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS indexes (
    number INTEGER PRIMARY KEY, account TEXT NOT NULL, name TEXT NOT NULL, description TEXT,
    dimensions INTEGER NOT NULL, metric TEXT NOT NULL, created_on REAL NOT NULL, deleted_on REAL,
    applied INTEGER NOT NULL DEFAULT 0, count INTEGER NOT NULL DEFAULT 0, watermark TEXT, applied_at REAL,
    logged_count INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX IF NOT EXISTS index_names ON indexes (account, name) WHERE deleted_on IS NULL;
CREATE VIEW IF NOT EXISTS live_indexes AS
    SELECT number, account, name, description, dimensions, metric, created_on, applied, count, watermark, applied_at
    FROM indexes WHERE deleted_on IS NULL;
CREATE TABLE IF NOT EXISTS mutations (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, index_number INTEGER NOT NULL, id TEXT NOT NULL,
    vectors INTEGER NOT NULL, count INTEGER, logged_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS mutations_of ON mutations (index_number, seq);
CREATE TABLE IF NOT EXISTS vectors (
    index_number INTEGER NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL,
    until INTEGER NOT NULL DEFAULT 9223372036854775807, namespace TEXT, metadata BLOB, vals BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS vector_ids ON vectors (index_number, id, until);
CREATE INDEX IF NOT EXISTS old_vectors ON vectors (index_number, until) WHERE until < 9223372036854775807;
CREATE TABLE IF NOT EXISTS metadata_indexes (
    index_number INTEGER NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL, seq INTEGER NOT NULL,
    until INTEGER NOT NULL DEFAULT 9223372036854775807, PRIMARY KEY (index_number, name, until)
);
CREATE TABLE IF NOT EXISTS namespaces (
    index_number INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (index_number, name)
) WITHOUT ROWID;
"""


class Store:
    """The tables. Not safe to use from two threads at once: :class:`.state.State` has the lock.

    :param path: the SQLite file, or ``:memory:``.
    """

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # An answered write outlives the machine's power too.
        # On in some builds: then deletes take five times as long.
        self._db.execute("PRAGMA secure_delete = OFF")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all that happens inside, or nothing of it; a transaction within another is part of that."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # Indexes

    def create_index(self, account: str, new: NewIndex, at: float) -> None:
        """Add an index."""
        self._db.execute(
            "INSERT INTO indexes (account, name, description, dimensions, metric, created_on)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (account, new.name, new.description, new.dimensions, new.metric, at),
        )

    def indexes(self, account: str | None = None) -> list[Index]:
        """List the indexes of an account, or of all accounts, by name."""
        found = self._db.execute(
            "SELECT * FROM live_indexes WHERE account = coalesce(?, account) ORDER BY name", (account,)
        )
        return [Index(*row) for row in found]

    def find(self, account: str, name: str) -> Index | None:
        """Give an index."""
        row = self._db.execute(
            "SELECT * FROM live_indexes WHERE account = ? AND name = ?", (account, name)
        ).fetchone()
        return Index(*row) if row else None

    def deleted_on(self, account: str, name: str) -> float | None:
        """Tell when an index of that name was deleted last."""
        return self._one("SELECT max(deleted_on) FROM indexes WHERE account = ? AND name = ?", account, name)  # type: ignore[no-any-return]  # SQLite's REAL or NULL

    def delete_index(self, number: int, at: float) -> None:
        """Delete an index with all it holds; its name stays."""
        for table in ("vectors", "mutations", "metadata_indexes", "namespaces"):
            self._db.execute(f"DELETE FROM {table} WHERE index_number = ?", (number,))  # noqa: S608 - our own names
        self._db.execute("UPDATE indexes SET deleted_on = ? WHERE number = ?", (at, number))

    # The write log

    def log(
        self, number: int, mutation_id: str, vectors: int, change: Callable[[int], int], at: float
    ) -> int:
        """Log one write.

        :param change: stores what the write brings, given its number; returns by how much the count changes.
        :returns: how many vectors the index has with it.
        """
        seq = self._db.execute(
            "INSERT INTO mutations (index_number, id, vectors, logged_at) VALUES (?, ?, ?, ?)",
            (number, mutation_id, vectors, at),
        ).lastrowid
        assert seq is not None  # noqa: S101 - sqlite3 types it so for statements that insert nothing
        count = int(
            self._one(
                "UPDATE indexes SET logged_count = logged_count + ? WHERE number = ? RETURNING logged_count",
                change(seq), number,
            )
        )  # fmt: skip
        self._db.execute("UPDATE mutations SET count = ? WHERE seq = ?", (count, seq))
        return count

    def pending(self, index: Index, limit: int) -> list[Pending]:
        """Give the oldest writes that wait, in log order."""
        found = self._db.execute(
            "SELECT seq, id, vectors, count, logged_at FROM mutations"
            " WHERE index_number = ? AND seq > ? ORDER BY seq LIMIT ?",
            (index.number, index.applied, limit),
        )
        return [Pending(*row) for row in found]

    def waiting(self, index: Index) -> int:
        """Count the writes that wait."""
        return int(
            self._one(
                "SELECT count(*) FROM mutations WHERE index_number = ? AND seq > ?",
                index.number,
                index.applied,
            )
        )

    def writes(self, index: Index, limit: int) -> list[LoggedWrite]:
        """Give the last writes of an index, the newest first."""
        found = self._db.execute(
            "SELECT id, vectors, logged_at, seq <= ? FROM mutations WHERE index_number = ? ORDER BY seq DESC LIMIT ?",
            (index.applied, index.number, limit),
        )
        return [LoggedWrite(index.name, name, vectors, at, bool(seen)) for name, vectors, at, seen in found]

    def move(self, number: int, last: Pending, at: float) -> None:
        """Make an index visible up to a write."""
        self._db.execute(
            "UPDATE indexes SET applied = ?, count = ?, watermark = ?, applied_at = ? WHERE number = ?",
            (last.seq, last.count, last.mutation_id, at, number),
        )
        self._db.execute(
            "DELETE FROM mutations WHERE index_number = ? AND seq <= (SELECT seq FROM mutations"
            " WHERE index_number = ? AND seq <= ? ORDER BY seq DESC LIMIT 1 OFFSET ?)",
            (number, number, last.seq, KEPT_WRITES),
        )

    # Vectors

    def end(self, number: int, ids: Iterable[str], seq: int) -> int:
        """Let vectors end with a write; give how many there were."""
        return self._db.executemany(
            "UPDATE vectors SET until = ? WHERE index_number = ? AND id = ? AND until = 9223372036854775807",
            ((seq, number, item) for item in ids),
        ).rowcount

    def add(self, number: int, vectors: Iterable[Vector], seq: int) -> int:
        """Let vectors begin with a write, those whose ids are there excepted; give how many did."""
        return self._db.executemany(
            "INSERT OR IGNORE INTO vectors (index_number, seq, id, vals, namespace, metadata)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            ((number, seq, *vector) for vector in vectors),
        ).rowcount

    def holds(self, number: int, name: str) -> bool:
        """Tell whether an id is there as of the last logged write."""
        return bool(
            self._one(
                "SELECT count(*) FROM vectors WHERE index_number = ? AND id = ? AND until = 9223372036854775807",
                number,
                name,
            )
        )

    def prune(self, index: Index) -> None:
        """Remove what no reader can reach any more, a bounded piece at a time."""
        self._db.execute(
            "DELETE FROM vectors WHERE rowid IN (SELECT rowid FROM vectors"
            " WHERE index_number = ? AND until <= ? AND until < 9223372036854775807 LIMIT ?)",
            (index.number, index.applied, _PRUNED_AT_ONCE),
        )

    def vector(self, index: Index, name: str) -> Vector | None:
        """Give a visible vector."""
        row = self._db.execute(
            "SELECT id, vals, namespace, metadata FROM vectors"
            " WHERE index_number = ? AND id = ? AND until > ? AND seq <= ?",
            (index.number, name, index.applied, index.applied),
        ).fetchone()
        return Vector(*row) if row else None

    def ids(self, index: Index) -> list[str]:
        """List the visible ids in byte order."""
        found = self._db.execute(
            "SELECT id FROM vectors WHERE index_number = ? AND until > ? AND seq <= ? ORDER BY id",
            (index.number, index.applied, index.applied),
        )
        return [row[0] for row in found]

    def rows(self, index: Index) -> list[tuple[str, str | None, bytes | None, int, bytes]]:
        """Give id, namespace, metadata, number of the write and values of every visible vector."""
        return self._db.execute(
            "SELECT id, namespace, metadata, seq, vals FROM vectors"
            " WHERE index_number = ? AND until > ? AND seq <= ?",
            (index.number, index.applied, index.applied),
        ).fetchall()

    def add_namespaces(self, number: int, names: Iterable[str]) -> int:
        """Note the namespaces of an index; give how many it has, or 0 if none of these is new."""
        added = self._db.executemany(
            "INSERT OR IGNORE INTO namespaces VALUES (?, ?)", ((number, name) for name in names)
        ).rowcount
        if added <= 0:
            return 0
        return int(self._one("SELECT count(*) FROM namespaces WHERE index_number = ?", number))

    # Metadata indexes

    def metadata_indexes(self, number: int, at: int) -> list[MetadataIndex]:
        """List the metadata indexes as of a write, in the order of their creation."""
        found = self._db.execute(
            "SELECT name, type, seq FROM metadata_indexes"
            " WHERE index_number = ? AND until > ? AND seq <= ? ORDER BY seq",
            (number, at, at),
        )
        return [MetadataIndex(*row) for row in found]

    def add_metadata_index(self, number: int, name: str, kind: str, seq: int) -> None:
        """Let a metadata index begin with a write."""
        self._db.execute(
            "INSERT INTO metadata_indexes (index_number, name, type, seq) VALUES (?, ?, ?, ?)",
            (number, name, kind, seq),
        )

    def end_metadata_index(self, number: int, name: str, seq: int) -> int:
        """Let a metadata index end with a write; give how many there were."""
        return self._db.execute(
            "UPDATE metadata_indexes SET until = ? WHERE index_number = ? AND name = ? AND until = ?",
            (seq, number, name, _FOREVER),
        ).rowcount

    def _one(self, statement: str, *values: Any) -> Any:
        (value,) = self._db.execute(statement, values).fetchone()
        return value
