"""The rules: what a write does to an index, when it can be seen, who else writes. Knows nothing of HTTP or SQL."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from struct import pack
from typing import TYPE_CHECKING, Final

from airflow_provider_vectorize.emulator import schedule, search, settings
from airflow_provider_vectorize.emulator.errors import ApiError
from airflow_provider_vectorize.emulator.foreign import Foreign
from airflow_provider_vectorize.emulator.models import (
    Batch,
    Index,
    LoggedWrite,
    MetadataIndex,
    StoredVector,
    Vector,
)
from airflow_provider_vectorize.emulator.schedule import Pending, Visibility
from airflow_provider_vectorize.emulator.settings import Settings
from airflow_provider_vectorize.emulator.store import KEPT_WRITES, LOGGED, Store

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from airflow_provider_vectorize.emulator.validation import NewIndex

#: Foreign writes that are made at a time: then others get their turn.
_FOREIGN_AT_ONCE: Final = 500

#: Given what a write is about to store (or the ids it is about to delete), says what it really does.
SpoilVectors = Callable[[list[Vector]], list[Vector]]
SpoilIds = Callable[[list[str]], list[str]]


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
        self._foreign = Foreign()
        self._views: dict[int, View] = {}
        self._store = Store(path)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._store.close()

    # Indexes

    def create_index(self, account: str, new: NewIndex) -> Index:
        """Create an index.

        :raises ApiError: 3002 if it exists, 3005 if its name cannot be used again yet.
        """
        limit, _ = settings.PLANS[self._settings.plan]
        with self._transaction():
            if self._store.find(account, new.name):
                raise ApiError("duplicate_name", name=new.name)
            if not self._settings.reuse_deleted_name and self._deleted(account, new.name):
                raise ApiError("index_deleted", name=new.name)
            if len(self._store.indexes(account)) >= limit:
                raise ApiError("too_many_indexes", limit=limit)
            self._store.create_index(account, new, self._clock())
            return self._find(account, new.name)

    def indexes(self, account: str | None = None) -> list[Index]:
        """List the indexes of an account, or of all accounts, by name."""
        with self._lock:
            return self._store.indexes(account)

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
            self._store.delete_index(number, self._clock())
            self._foreign.forget(number)
            self._polls.pop(number, None)
            self._views.pop(number, None)

    # Writes: each is committed when the method returns its mutation id.

    def upsert(self, index: Index, vectors: Iterable[Vector], spoil: SpoilVectors | None = None) -> str:
        """Log vectors that replace those of the same id; of one id twice, the last counts.

        :param index: the index that the vectors were checked against.
        :param spoil: a fault on order.
        """
        return self._upload(index, {vector.id: vector for vector in vectors}, spoil, replace=True)

    def insert(self, index: Index, vectors: Iterable[Vector], spoil: SpoilVectors | None = None) -> str:
        """Log vectors whose ids are new, skip the others; of one id twice, the first counts.

        :param index: the index that the vectors were checked against.
        :param spoil: a fault on order.
        """
        unique: dict[str, Vector] = {}
        for vector in vectors:
            unique.setdefault(vector.id, vector)
        return self._upload(index, unique, spoil, replace=False)

    def delete(self, account: str, name: str, ids: Sequence[str], spoil: SpoilIds | None = None) -> str:
        """Log a deletion by ids; ids that are not there are no error.

        :param spoil: a fault on order.
        """
        with self._writing(account, name) as index:
            meant = list(dict.fromkeys(ids))
            if spoil is not None:
                meant = spoil([item for item in meant if self._store.holds(index.number, item)])
            return self._write(index, len(ids), lambda seq: -self._store.end(index.number, meant, seq))

    def create_metadata_index(self, account: str, name: str, property_name: str, kind: str) -> str:
        """Log the creation of a metadata index, which will hold the vectors written after it.

        One that is logged already and cannot be seen yet is not created twice, and is no error.

        :raises ApiError: 40004 if it can be seen.
        """
        with self._writing(account, name) as index:
            logged = {item.name for item in self._store.metadata_indexes(index.number, LOGGED)}
            if property_name in logged:
                seen = self._store.metadata_indexes(index.number, index.applied)
                if property_name in {item.name for item in seen}:
                    raise ApiError("metadata_index_exists", name=property_name)
                return self._write(index, 0, lambda _: 0)
            if len(logged) >= settings.MAX_METADATA_INDEXES:
                raise ApiError("too_many_metadata_indexes", limit=settings.MAX_METADATA_INDEXES)

            def change(seq: int) -> int:
                self._store.add_metadata_index(index.number, property_name, kind, seq)
                return 0

            return self._write(index, 0, change)

    def delete_metadata_index(self, account: str, name: str, property_name: str) -> str:
        """Log the deletion of a metadata index.

        :raises ApiError: 40005 if there is none.
        """
        with self._writing(account, name) as index:

            def change(seq: int) -> int:
                if not self._store.end_metadata_index(index.number, property_name, seq):
                    raise ApiError("metadata_index_not_found", name=property_name)
                return 0

            return self._write(index, 0, change)

    # Reads: what is visible, and nothing else.

    def info(self, account: str, name: str) -> Index:
        """Give an index as :meth:`index` does, and count this as a poll."""
        with self._lock:
            index = self._catch_up(self._find(account, name))
            if self._visibility.mode != "polls" or not self._store.pending(index, 1):
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
            found = (self._store.vector(index, item) for item in dict.fromkeys(ids))
            return [vector for vector in found if vector is not None]

    def ids(self, account: str, name: str) -> tuple[Index, list[str]]:
        """List the visible ids in byte order."""
        with self._lock:
            index = self._catch_up(self._find(account, name))
            return index, self._store.ids(index)

    def metadata_indexes(self, account: str, name: str) -> list[MetadataIndex]:
        """List the visible metadata indexes in the order of their creation."""
        with self._lock:
            index = self._catch_up(self._find(account, name))
            return self._store.metadata_indexes(index.number, index.applied)

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

    @property
    def visibility(self) -> Visibility:
        """When writes become visible."""
        return self._visibility

    def apply(self, name: str | None = None) -> list[Batch]:
        """Apply the next batch of every index of that name, or of all."""
        with self._lock:
            applied = []
            for index in self._store.indexes():
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
            found = [index for index in self._store.indexes() if index.name == name]
            for index in found:
                self._foreign.add(index.number, writes, every, self._clock())
            return len(found)

    def tick(self) -> None:
        """Make a piece of the foreign writes that are due, if there are any: for a server to call now and then."""
        if self._foreign.indexes() and self._lock.acquire(blocking=False):
            try:
                for index in self._store.indexes():
                    if self._foreign.is_due(index.number, self._clock()):
                        self._catch_up(index)
            finally:
                self._lock.release()

    def recent(self) -> list[tuple[Index, int, list[LoggedWrite]]]:
        """Give every index with the number of its writes that wait, and its last writes, the newest first."""
        with self._lock:
            caught_up = [self._catch_up(index) for index in self._store.indexes()]
            return [
                (index, self._store.waiting(index), self._store.writes(index, KEPT_WRITES))
                for index in caught_up
            ]

    # Inside

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._store.transaction():
            yield

    @contextmanager
    def _writing(self, account: str, name: str) -> Iterator[Index]:
        with self._lock:
            # Outside of the transaction, since what time has brought stays when the write is refused.
            index = self._catch_up(self._find(account, name))
            with self._transaction():
                yield index

    def _find(self, account: str, name: str) -> Index:
        index = self._store.find(account, name)
        if index is None:
            raise ApiError("index_deleted" if self._deleted(account, name) else "index_not_found", name=name)
        return index

    def _deleted(self, account: str, name: str) -> bool:
        deleted_on = self._store.deleted_on(account, name)
        return deleted_on is not None and self._clock() - deleted_on < self._settings.deleted_seconds

    def _upload(
        self, checked: Index, vectors: dict[str, Vector], spoil: SpoilVectors | None, *, replace: bool
    ) -> str:
        with self._writing(checked.account, checked.name) as index:
            if index.number != checked.number:  # Deleted and created again while the body was read.
                raise ApiError("index_deleted", name=index.name)
            meant = list(vectors.values())
            if spoil is not None:
                meant = spoil(
                    [item for item in meant if replace or not self._store.holds(index.number, item.id)]
                )

            def change(seq: int) -> int:
                ended = self._store.end(index.number, (item.id for item in meant), seq) if replace else 0
                return self._add(index.number, meant, seq) - ended

            return self._write(index, len(vectors), change)

    def _write(self, index: Index, vectors: int, change: Callable[[int], int]) -> str:
        """Log one write, and let the job run if it is due at once."""
        mutation_id = self._log(index, vectors, change, self._clock())
        self._store.prune(index)
        self._run_job(index, self._clock())
        return mutation_id

    def _log(self, index: Index, vectors: int, change: Callable[[int], int], at: float) -> str:
        mutation_id = str(uuid.uuid4())
        if self._store.log(index.number, mutation_id, vectors, change, at) > settings.MAX_INDEX_VECTORS:
            raise ApiError("index_full", limit=settings.MAX_INDEX_VECTORS)
        return mutation_id

    def _add(self, number: int, vectors: Sequence[Vector], seq: int) -> int:
        _, limit = settings.PLANS[self._settings.plan]
        names = {vector.namespace for vector in vectors if vector.namespace is not None}
        if self._store.add_namespaces(number, names) > limit:
            raise ApiError("too_many_namespaces", limit=limit)
        return self._store.add(number, vectors, seq)

    def _catch_up(self, index: Index) -> Index:
        """Let what time has brought happen: foreign writes, and runs of the job."""
        now = self._clock()
        if self._foreign.is_due(index.number, now):
            with suppress(ApiError), self._transaction():  # The index is full: theirs to know.
                self._write_foreign(index, now)
        return self._run_job(index, now)

    def _run_job(self, index: Index, now: float) -> Index:
        job = self._job(index)
        if job is None or job > now:
            return index
        with self._transaction():
            while job is not None and job <= now:
                index = self._apply(index, self._batch(index, job), job)
                job = self._job(index)
        return index

    def _job(self, index: Index) -> float | None:
        return schedule.due(self._visibility, self._store.pending(index, 1), index.applied_at)

    def _write_foreign(self, index: Index, now: float) -> None:
        values = pack(f"<{index.dimensions}f", 1, *[0] * (index.dimensions - 1))
        for at in self._foreign.take(index.number, now, _FOREIGN_AT_ONCE):
            vector = Vector(f"foreign-{uuid.uuid4()}", values, None, None)
            self._log(index, 1, partial(self._store.add, index.number, [vector]), at)

    def _batch(self, index: Index, at: float) -> Sequence[Pending]:
        return schedule.batch(self._store.pending(index, settings.BATCH_WRITES), at)

    def _apply(self, index: Index, writes: Sequence[Pending], at: float) -> Index:
        """Run the job once: move the index to the last of these writes."""
        self._polls.pop(index.number, None)
        with self._transaction():
            self._store.move(index.number, writes[-1], at)
            return self._find(index.account, index.name)

    def _load(self, index: Index) -> View:
        found = sorted(self._store.rows(index), key=lambda row: row[0])
        rows = [
            StoredVector(Vector(name, b"", space, metadata), seq) for name, space, metadata, seq, _ in found
        ]
        values = search.matrix([row[-1] for row in found], index.dimensions)
        return View(index, rows, values, self._store.metadata_indexes(index.number, index.applied))
