"""The indexes, the write log and the vectors, in SQLite. Knows nothing of HTTP.

A write is stored once, as rows that are valid from its number (``seq``) until the number of the write that
replaces or deletes them. What can be seen of an index is what is valid at its ``applied`` number. So making
a batch visible is moving that one number: it takes no time, cannot happen twice, and a write that was
answered is there after a crash, since its rows were committed before the answer.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from struct import pack
from typing import TYPE_CHECKING, Final

from airflow_provider_vectorize.emulator import schedule, search, settings
from airflow_provider_vectorize.emulator.errors import ApiError
from airflow_provider_vectorize.emulator.models import Batch, Index, MetadataIndex, StoredVector, Vector
from airflow_provider_vectorize.emulator.schedule import Pending, Visibility
from airflow_provider_vectorize.emulator.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from airflow_provider_vectorize.emulator.validation import NewIndex

#: ``until`` of what is valid. Literal in statements, as SQLite matches partial indexes by literals.
_FOREVER: Final = 9223372036854775807
#: A write replaces 5,000 vectors at most, so removing twice that with each write keeps up.
_PRUNED_AT_ONCE: Final = 10_000

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


@dataclass(frozen=True)
class View:
    """An index as a query sees it, all as of the same applied write.

    :param rows: the visible vectors without their values.
    :param matrix: their values, float32, shape (len(rows), dimensions).
    """

    index: Index
    rows: Sequence[StoredVector]
    matrix: npt.NDArray[np.float32]
    metadata_indexes: Sequence[MetadataIndex]


@dataclass
class _Foreign:
    """Writes that somebody else is going to make."""

    at: float
    every: float
    left: int


class State:
    """All that the emulator knows, safe to use from many threads.

    :param path: the SQLite file, or ``:memory:``.
    :param options: the emulator's settings.
    :param clock: seconds since the epoch.
    """

    def __init__(self, path: str, options: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = options
        self._clock = clock
        self._lock = threading.RLock()
        self._visibility = Visibility()
        self._polls: dict[int, int] = {}
        self._foreign: dict[int, list[_Foreign]] = {}
        self._views: dict[int, View] = {}
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # An answered write outlives the machine's power too.
        self._db.execute(
            "PRAGMA secure_delete = OFF"
        )  # On in some builds: then deletes take five times as long.
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    # Indexes

    def create_index(self, account: str, new: NewIndex) -> Index:
        """Create an index.

        :raises ApiError: 3002 if it exists, 3005 if its name cannot be used again yet.
        """
        limit, _ = settings.PLANS[self._settings.plan]
        with self._transaction():
            if self._lookup(account, new.name):
                raise ApiError("duplicate_name", name=new.name)
            if not self._settings.reuse_deleted_name and self._deleted(account, new.name):
                raise ApiError("index_deleted", name=new.name)
            if len(self.indexes(account)) >= limit:
                raise ApiError("too_many_indexes", limit=limit)
            self._db.execute(
                "INSERT INTO indexes (account, name, description, dimensions, metric, created_on)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (account, new.name, new.description, new.dimensions, new.metric, self._clock()),
            )
            return self._find(account, new.name)

    def indexes(self, account: str | None = None) -> list[Index]:
        """List the indexes of an account, or of all accounts, by name."""
        with self._lock:
            found = self._db.execute(
                "SELECT * FROM live_indexes WHERE account = coalesce(?, account) ORDER BY name",
                (account,),
            )
            return [Index(*row) for row in found]

    def index(self, account: str, name: str) -> Index:
        """Give an index, brought up to date.

        :raises ApiError: 3000, or 3005 if it was deleted a short while ago.
        """
        with self._lock:
            return self._catch_up(self._find(account, name))

    def delete_index(self, account: str, name: str) -> None:
        """Delete an index with all it holds; its name stays known as deleted for a while."""
        with self._transaction():
            number = self._find(account, name).number
            self._db.execute("DELETE FROM vectors WHERE index_number = ?", (number,))
            self._db.execute("DELETE FROM mutations WHERE index_number = ?", (number,))
            self._db.execute("DELETE FROM metadata_indexes WHERE index_number = ?", (number,))
            self._db.execute("DELETE FROM namespaces WHERE index_number = ?", (number,))
            self._db.execute("UPDATE indexes SET deleted_on = ? WHERE number = ?", (self._clock(), number))
            for memory in (self._polls, self._foreign, self._views):
                memory.pop(number, None)

    # Writes: each is committed when the method returns its mutation id.

    def upsert(self, index: Index, vectors: Iterable[Vector]) -> str:
        """Log vectors that replace those of the same id; of one id twice, the last counts.

        :param index: the index that the vectors were checked against.
        """
        return self._upload(index, {vector.id: vector for vector in vectors}, replace=True)

    def insert(self, index: Index, vectors: Iterable[Vector]) -> str:
        """Log vectors whose ids are new, skip the others; of one id twice, the first counts.

        :param index: the index that the vectors were checked against.
        """
        unique: dict[str, Vector] = {}
        for vector in vectors:
            unique.setdefault(vector.id, vector)
        return self._upload(index, unique, replace=False)

    def delete(self, account: str, name: str, ids: Sequence[str]) -> str:
        """Log a deletion by ids; ids that are not there are no error."""
        with self._writing(account, name) as index:
            return self._write(index, len(ids), lambda seq: -self._end(index.number, ids, seq))

    def create_metadata_index(self, account: str, name: str, property_name: str, kind: str) -> str:
        """Log the creation of a metadata index, which will hold the vectors written after it."""
        with self._writing(account, name) as index:
            existing = [found.name for found in self._metadata_indexes(index.number, _FOREVER - 1)]
            if property_name in existing:
                raise ApiError("metadata_index_exists", name=property_name)
            if len(existing) >= settings.MAX_METADATA_INDEXES:
                raise ApiError("too_many_metadata_indexes", limit=settings.MAX_METADATA_INDEXES)

            def change(seq: int) -> int:
                self._db.execute(
                    "INSERT INTO metadata_indexes (index_number, name, type, seq) VALUES (?, ?, ?, ?)",
                    (index.number, property_name, kind, seq),
                )
                return 0

            return self._write(index, 0, change)

    def delete_metadata_index(self, account: str, name: str, property_name: str) -> str:
        """Log the deletion of a metadata index."""
        with self._writing(account, name) as index:

            def change(seq: int) -> int:
                ended = self._db.execute(
                    "UPDATE metadata_indexes SET until = ? WHERE index_number = ? AND name = ? AND until = ?",
                    (seq, index.number, property_name, _FOREVER),
                )
                if not ended.rowcount:
                    raise ApiError("metadata_index_not_found", name=property_name)
                return 0

            return self._write(index, 0, change)

    # Reads: what is visible, and nothing else.

    def info(self, account: str, name: str) -> Index:
        """Give an index as :meth:`index` does, and count this as a poll."""
        with self._lock:
            index = self._catch_up(self._find(account, name))
            if self._visibility.mode != "polls" or not self._pending(index, 1):
                return index
            polls = self._polls.get(index.number, 0)
            if polls < self._visibility.value:
                self._polls[index.number] = polls + 1
                return index
            return self._apply(index, self._batch(index, self._clock()), self._clock())

    def get(self, account: str, name: str, ids: Iterable[str]) -> list[Vector]:
        """Give the visible vectors among ``ids``, each once, in the order asked for."""
        with self._lock:
            index = self._catch_up(self._find(account, name))
            found = (
                self._db.execute(
                    "SELECT id, vals, namespace, metadata FROM vectors"
                    " WHERE index_number = ? AND id = ? AND until > ? AND seq <= ?",
                    (index.number, item, index.applied, index.applied),
                ).fetchone()
                for item in dict.fromkeys(ids)
            )
            return [Vector(*row) for row in found if row]

    def ids(self, account: str, name: str) -> tuple[Index, list[str]]:
        """List the visible ids in byte order."""
        with self._lock:
            index = self._catch_up(self._find(account, name))
            found = self._db.execute(
                "SELECT id FROM vectors WHERE index_number = ? AND until > ? AND seq <= ? ORDER BY id",
                (index.number, index.applied, index.applied),
            )
            return index, [row[0] for row in found]

    def metadata_indexes(self, account: str, name: str) -> list[MetadataIndex]:
        """List the visible metadata indexes in the order of their creation."""
        with self._lock:
            index = self._catch_up(self._find(account, name))
            return self._metadata_indexes(index.number, index.applied)

    def view(self, account: str, name: str) -> View:
        """Give all that a query needs; kept in memory until the next batch is applied."""
        with self._lock:
            index = self._catch_up(self._find(account, name))
            view = self._views.get(index.number)
            if view is None or view.index.applied != index.applied:
                self._views[index.number] = view = self._load(index)
            return view

    # Control

    def set_visibility(self, visibility: Visibility) -> None:
        """Choose when writes become visible, those that wait included."""
        with self._lock:
            self._visibility = visibility
            self._polls.clear()

    def apply(self, name: str | None = None) -> list[Batch]:
        """Apply the next batch of every index of that name, or of all."""
        with self._lock:
            applied = []
            for index in self.indexes():
                if name in (None, index.name):
                    current = self._catch_up(index)
                    if writes := self._batch(current, self._clock()):
                        self._apply(current, writes, self._clock())
                        vectors = sum(write.vectors for write in writes)
                        applied.append(Batch(index.name, writes[-1].mutation_id, len(writes), vectors))
            return applied

    def add_foreign(self, name: str, writes: int, every: float) -> int:
        """Let somebody else write to the indexes of that name.

        :param writes: how many writes of one vector each.
        :param every: seconds from one to the next; the first comes after that time too.
        :returns: how many indexes have that name.
        """
        with self._lock:
            found = [index for index in self.indexes() if index.name == name]
            for index in found:
                orders = self._foreign.setdefault(index.number, [])
                orders.append(_Foreign(self._clock() + every, every, writes))
            return len(found)

    # Inside

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
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

    @contextmanager
    def _writing(self, account: str, name: str) -> Iterator[Index]:
        with self._lock:
            # Outside of the transaction, since what time has brought stays when the write is refused.
            index = self._catch_up(self._find(account, name))
            with self._transaction():
                yield index

    def _lookup(self, account: str, name: str) -> Index | None:
        row = self._db.execute(
            "SELECT * FROM live_indexes WHERE account = ? AND name = ?",
            (account, name),
        ).fetchone()
        return Index(*row) if row else None

    def _find(self, account: str, name: str) -> Index:
        index = self._lookup(account, name)
        if index is None:
            raise ApiError("index_deleted" if self._deleted(account, name) else "index_not_found", name=name)
        return index

    def _deleted(self, account: str, name: str) -> bool:
        (deleted_on,) = self._db.execute(
            "SELECT max(deleted_on) FROM indexes WHERE account = ? AND name = ?", (account, name)
        ).fetchone()
        return deleted_on is not None and self._clock() - deleted_on < self._settings.deleted_seconds

    def _upload(self, checked: Index, vectors: dict[str, Vector], *, replace: bool) -> str:
        with self._writing(checked.account, checked.name) as index:
            if index.number != checked.number:  # Deleted and created again while the body was read.
                raise ApiError("index_deleted", name=index.name)

            def change(seq: int) -> int:
                ended = self._end(index.number, vectors, seq) if replace else 0
                return self._add(index.number, vectors.values(), seq) - ended

            return self._write(index, len(vectors), change)

    def _write(self, index: Index, vectors: int, change: Callable[[int], int]) -> str:
        """Log one write, and let the job run if it is due at once.

        :param change: stores what the write brings, given its number; returns by how much the count changes.
        """
        mutation_id = self._log(index, vectors, change, self._clock())
        self._prune(index)
        self._catch_up(index)
        return mutation_id

    def _log(self, index: Index, vectors: int, change: Callable[[int], int], at: float) -> str:
        mutation_id = str(uuid.uuid4())
        seq = self._db.execute(
            "INSERT INTO mutations (index_number, id, vectors, logged_at) VALUES (?, ?, ?, ?)",
            (index.number, mutation_id, vectors, at),
        ).lastrowid
        assert seq is not None  # noqa: S101 - sqlite3 types it so for statements that insert nothing
        (count,) = self._db.execute(
            "UPDATE indexes SET logged_count = logged_count + ? WHERE number = ? RETURNING logged_count",
            (change(seq), index.number),
        ).fetchone()
        if count > settings.MAX_INDEX_VECTORS:
            raise ApiError("index_full", limit=settings.MAX_INDEX_VECTORS)
        self._db.execute("UPDATE mutations SET count = ? WHERE seq = ?", (count, seq))
        return mutation_id

    def _end(self, number: int, ids: Iterable[str], seq: int) -> int:
        return self._db.executemany(
            "UPDATE vectors SET until = ? WHERE index_number = ? AND id = ? AND until = 9223372036854775807",
            ((seq, number, item) for item in ids),
        ).rowcount

    def _add(self, number: int, vectors: Iterable[Vector], seq: int) -> int:
        vectors = list(vectors)
        self._add_namespaces(number, {vector.namespace for vector in vectors if vector.namespace is not None})
        return self._db.executemany(
            "INSERT OR IGNORE INTO vectors (index_number, seq, id, vals, namespace, metadata)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            ((number, seq, *vector) for vector in vectors),
        ).rowcount

    def _add_namespaces(self, number: int, names: Iterable[str]) -> None:
        _, limit = settings.PLANS[self._settings.plan]
        added = self._db.executemany(
            "INSERT OR IGNORE INTO namespaces VALUES (?, ?)", ((number, name) for name in names)
        ).rowcount
        if added > 0:
            (count,) = self._db.execute(
                "SELECT count(*) FROM namespaces WHERE index_number = ?", (number,)
            ).fetchone()
            if count > limit:
                raise ApiError("too_many_namespaces", limit=limit)

    def _prune(self, index: Index) -> None:
        """Remove what no reader can reach any more, a bounded piece at a time."""
        self._db.execute(
            "DELETE FROM vectors WHERE rowid IN (SELECT rowid FROM vectors"
            " WHERE index_number = ? AND until <= ? AND until < 9223372036854775807 LIMIT ?)",
            (index.number, index.applied, _PRUNED_AT_ONCE),
        )

    def _catch_up(self, index: Index) -> Index:
        """Let what time has brought happen: foreign writes, and runs of the job."""
        now = self._clock()
        self._write_foreign(index, now)
        while True:
            job = schedule.due(self._visibility, self._pending(index, 1), index.applied_at)
            if job is None or job > now:
                return index
            index = self._apply(index, self._batch(index, job), job)

    def _write_foreign(self, index: Index, now: float) -> None:
        orders = self._foreign.get(index.number, [])
        while orders and (order := min(orders, key=lambda item: item.at)).at <= now:
            values = pack(f"<{index.dimensions}f", 1, *[0] * (index.dimensions - 1))
            vector = Vector(f"foreign-{uuid.uuid4()}", values, None, None)
            with self._transaction():
                self._log(index, 1, partial(self._add, index.number, [vector]), order.at)
            order.at += order.every
            order.left -= 1
            if not order.left:
                orders.remove(order)

    def _pending(self, index: Index, limit: int = settings.BATCH_WRITES) -> list[Pending]:
        found = self._db.execute(
            "SELECT seq, id, vectors, count, logged_at FROM mutations"
            " WHERE index_number = ? AND seq > ? ORDER BY seq LIMIT ?",
            (index.number, index.applied, limit),
        )
        return [Pending(*row) for row in found]

    def _batch(self, index: Index, at: float) -> Sequence[Pending]:
        return schedule.batch(self._pending(index), at)

    def _apply(self, index: Index, writes: Sequence[Pending], at: float) -> Index:
        """Run the job once: move the index to the last of these writes."""
        last = writes[-1]
        self._polls.pop(index.number, None)
        with self._transaction():
            self._db.execute(
                "UPDATE indexes SET applied = ?, count = ?, watermark = ?, applied_at = ? WHERE number = ?",
                (last.seq, last.count, last.mutation_id, at, index.number),
            )
            self._db.execute(
                "DELETE FROM mutations WHERE index_number = ? AND seq <= ?", (index.number, last.seq)
            )
            return self._find(index.account, index.name)

    def _metadata_indexes(self, number: int, at: int) -> list[MetadataIndex]:
        found = self._db.execute(
            "SELECT name, type, seq FROM metadata_indexes"
            " WHERE index_number = ? AND until > ? AND seq <= ? ORDER BY seq",
            (number, at, at),
        )
        return [MetadataIndex(*row) for row in found]

    def _load(self, index: Index) -> View:
        found = self._db.execute(
            "SELECT id, namespace, metadata, seq, vals FROM vectors"
            " WHERE index_number = ? AND until > ? AND seq <= ?",
            (index.number, index.applied, index.applied),
        ).fetchall()
        found.sort()
        rows = [
            StoredVector(Vector(name, b"", space, metadata), seq) for name, space, metadata, seq, _ in found
        ]
        values = search.matrix([row[-1] for row in found], index.dimensions)
        return View(index, rows, values, self._metadata_indexes(index.number, index.applied))
