"""What a load of changes has to do with the manifest: which record goes, what is about to go, and what arrived."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

from airflow_provider_vectorize.client.errors import SyncGuardError
from airflow_provider_vectorize.ingest.chunks import Chunk, Entry
from airflow_provider_vectorize.ingest.outcomes import Outcome
from airflow_provider_vectorize.ingest.records import Record
from airflow_provider_vectorize.sync.difference import MAX_NAMED, Change, compare, gone, guard
from airflow_provider_vectorize.sync.expected import Expected
from airflow_provider_vectorize.sync.known import Bits, Known
from airflow_provider_vectorize.sync.marks import Json, marker, value_mark
from airflow_provider_vectorize.sync.options import RECORD, SyncOptions
from airflow_provider_vectorize.sync.segments import UNKNOWN, Row


class Notes(Protocol):
    """Where it is taken down what goes out and what arrived: a session of the manifest."""

    known: Known

    def intend(self, ids: Sequence[str]) -> None:
        """Take down that ids are about to be written; then they may be."""
        ...

    def settle(self, rows: Iterable[Row]) -> None:
        """Take down what was accepted."""
        ...

    def check(self) -> None:
        """Make sure that the index may still be changed."""
        ...


class Changes:
    """Follow a load: only what has changed goes, and nothing goes that is not taken down before.

    :param notes: where.
    :param options: what counts as changed.
    :param witness: told of every record that the source has; where a field decides that it is unchanged, of its mark
        only: the index has the rest as it was.
    """

    partial = True

    def __init__(
        self,
        notes: Notes,
        options: SyncOptions,
        witness: Expected | None = None,
    ) -> None:
        self._notes = notes
        self._known = notes.known
        self._options = options
        self._mark = marker(options.changed_by)
        self._witness = witness
        #: A source may ask :meth:`unchanged` while something is sent.
        self._lock = threading.Lock()
        #: The one that was checked last.
        self._record: Json = {}
        #: Ids that were given to the load and are not taken down yet: what each was before, and its last mark.
        self._given: dict[str, tuple[Change, bytes | None]] = {}
        self._sent: dict[int, tuple[dict[str, Entry], dict[str, Change]]] = {}
        #: Numbers of ids that were sent: nothing is known of them until they are settled.
        self._dirty = Bits()
        #: Ids that were managed before.
        self.managed = len(self._known)
        self.counts = dict.fromkeys(Change, 0)
        #: Records of the source whose id could not be read.
        self.nameless = 0
        self._kept = 0

    def unsent(self) -> int:
        """How many ids were compared, and not sent."""
        return len(self._known.seen) - len(self._dirty) - self._kept

    def gone(self) -> Iterator[str]:
        """Give the managed ids that the source did not have, once it was read to its end."""
        return gone(self._known.rows(), self._known.seen)

    def guard(self) -> int:
        """Tell how many ids are gone, once the source was read to its end.

        :raises SyncGuardError: they must not be deleted.
        """
        seen = len(self._known.seen)
        going = len(self._known) - seen
        guard(
            managed=self.managed,
            records=seen,
            going=going,
            first=list(islice(self.gone(), MAX_NAMED)) if going else [],
            nameless=self.nameless,
            min_records=self._options.min_records,
            max_delete_fraction=self._options.max_delete_fraction,
        )
        return going

    def unchanged(self, record_id: str, value: object) -> bool:
        """Tell whether the index has this version of a record, so that it need not be made.

        A record of which this says so counts as one of the source.

        :param record_id: its id.
        :param value: what ``changed_by`` names: the value of that field; for ``record`` the whole record.
        """
        if self._options.force:
            return False
        mark = (
            self._mark(value if isinstance(value, Mapping) else {"values": value})
            if self._options.changed_by == RECORD
            else value_mark(value)
        )
        with self._lock:
            unchanged = self._look(record_id, mark) is Change.UNCHANGED
            if unchanged and self._witness is not None:
                self._witness(record_id, mark)
        return unchanged

    def mark(self, record: Mapping[str, Any]) -> bytes:
        """See :class:`~airflow_provider_vectorize.ingest.following.Follower`."""
        self._record = record
        return self._mark(record)

    def wants(self, record: Record) -> bool:
        """Tell whether a record has changed; it is one of the source in any case.

        :raises SyncGuardError: its id is none of those that this manifest is for.
        """
        prefix = self._options.id_prefix
        if prefix is not None and not record.id.startswith(prefix):
            raise SyncGuardError(
                f"id {record.id!r} does not begin with id_prefix {prefix!r}: it is not sent, and nothing was deleted. "
                "If it is meant, change id_prefix"
            )
        change = self._look(record.id, record.mark or UNKNOWN)
        wanted = change is not Change.UNCHANGED or self._options.force
        if self._witness is not None:
            whole = wanted or self._options.changed_by == RECORD
            self._witness(record.id, self._record if whole else record.mark or UNKNOWN)
        if not wanted:
            return False
        if record.id in self._given:
            change = self._given[record.id][0]
        self._given[record.id] = Change.ADDED if change is Change.ADDED else Change.CHANGED, record.mark
        return True

    def _look(self, record_id: str, mark: bytes) -> Change:
        if record_id in self._given:
            return Change.CHANGED
        state, number = self._known.get(record_id)
        change = compare(state, mark)
        if number >= 0:
            self._known.seen.add(number)
        return change

    def sending(self, chunk: Chunk) -> None:
        """Take down that the ids of a chunk are about to be written."""
        # The last request of a load may be a repetition of its last record, which is settled: it has no id.
        ids = [each for each in chunk.entries if each]
        if not ids:
            return
        with self._lock:
            changes = {each: self._given[each][0] for each in ids if each in self._given}
            for each in changes:
                # The record that was given last is in the next chunk, perhaps under an id of this one.
                if self._given[each][1] == chunk.entries[each].mark:
                    del self._given[each]
            self._notes.intend(ids)
            for each in ids:
                _, number = self._known.get(each)
                self._known.seen.add(number)
                if not self._dirty.add(number):
                    changes.pop(each, None)
            self._sent[chunk.number] = chunk.entries, changes

    def settled(self, outcome: Outcome) -> None:
        """Take down what was accepted. Of a chunk that failed nothing is: its ids stay unknown."""
        with self._lock:
            for reject in outcome.rejects:
                # A refused record is one of the source all the same; what the index has of it stays.
                if reject.id is None:
                    self.nameless += 1
                    continue
                if self._witness is not None:
                    self._witness.discard(reject.id)
                if (number := self._known.get(reject.id)[1]) >= 0 and self._known.seen.add(number):
                    self._kept += 1
            entries, changes = self._sent.pop(outcome.number, ({}, {}))
            if outcome.error is None and entries:
                refused = {reject.id for reject in outcome.rejects}
                self._notes.settle(
                    [(each.id, each.mark or UNKNOWN) for each in entries.values() if each.id not in refused]
                )
                for record_id, change in changes.items():
                    if record_id not in refused:
                        self.counts[change] += 1
