"""Deliver a chunk; when the API refuses it for a bad vector, find that vector and deliver the rest.

The API refuses a whole request for one bad vector. The checks before sending leave little to refuse, so this is
for what they do not know. The record that the API's message names is tried alone first; without a name the chunk
is halved. A chunk that takes more than :data:`MAX_EXTRA_REQUESTS` that way is given up.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence

from airflow_provider_vectorize.client.errors import (
    IngestAbortedError,
    InvalidVectorError,
    TooManyRejectsError,
)
from airflow_provider_vectorize.client.types import Mutation
from airflow_provider_vectorize.ending import Ending, State
from airflow_provider_vectorize.ingest.chunks import Chunk, Entry
from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.ingest.outcomes import Outcome
from airflow_provider_vectorize.ingest.rejects import Reject

#: Requests for one chunk beyond the first.
MAX_EXTRA_REQUESTS = 50

_NAMED_ID = re.compile(r'\bid="(.*?)"(?:[,;]|$)')
_NAMED_LINE = re.compile(r"\bline Some\((\d+)\)")

#: Makes one request of some records of a chunk.
Send = Callable[[Chunk, Sequence[Entry]], Mutation]


class Delivery:
    """Deliver chunks, from several threads at a time.

    :param send: makes one request.
    :param names: names of the sources.
    :param options: what a refusal means.
    :param keep_rejects: whether refused records are kept whole.
    :param ending: of the load; looked at before every extra request.
    """

    def __init__(
        self,
        send: Send,
        names: Sequence[str],
        options: IngestOptions,
        keep_rejects: bool,
        ending: Ending,
    ) -> None:
        self.send = send
        self.names = names
        self.options = options
        self.keep_rejects = keep_rejects
        self.ending = ending
        self._rejected = 0
        self._lock = threading.Lock()

    def count_rejects(self, count: int) -> int:
        """Count refused records, by the API and before it; returns how many there are by now."""
        with self._lock:
            self._rejected += count
            return self._rejected

    def deliver(self, chunk: Chunk) -> Outcome:
        """Deliver a chunk. What goes wrong is in the outcome, never raised."""
        outcome = Outcome.of(chunk)
        course = _Course(self, chunk, outcome)
        try:
            course.deliver(list(chunk.entries.values()))
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that reads the outcome
            outcome.fail(chunk, error, course.settled)
        return outcome


class _Course:
    """The requests for one chunk, one after the other, in file order as far as the API names no culprit."""

    def __init__(self, delivery: Delivery, chunk: Chunk, outcome: Outcome) -> None:
        self._delivery = delivery
        self._chunk = chunk
        self._outcome = outcome
        self._requests = 0
        self.settled: set[str] = set()

    def deliver(self, piece: list[Entry]) -> None:
        if not piece:
            return
        try:
            mutation = self._request(piece)
        except InvalidVectorError as refusal:
            self._take_apart(piece, refusal)
        else:
            self._accept(piece, mutation)

    def _take_apart(self, piece: list[Entry], refusal: InvalidVectorError) -> None:
        if len(piece) == 1:
            self._reject(piece[0], refusal)
            return
        suspect = _named(piece, refusal)
        if suspect is not None:
            known = len(self._outcome.rejects)
            self.deliver([piece.pop(suspect)])
            if len(self._outcome.rejects) > known:
                self.deliver(piece)
                return
        middle = len(piece) // 2
        self.deliver(piece[:middle])
        self.deliver(piece[middle:])

    def _request(self, piece: list[Entry]) -> Mutation:
        if self._requests:
            if self._delivery.ending.state >= State.STOPPING:
                raise IngestAbortedError("The load was told to stop")
            if self._requests > MAX_EXTRA_REQUESTS:
                raise TooManyRejectsError(
                    f"the API goes on refusing parts of one chunk: given up after {MAX_EXTRA_REQUESTS} extra requests"
                )
        self._requests += 1
        return self._delivery.send(self._chunk, piece)

    def _accept(self, piece: list[Entry], mutation: Mutation) -> None:
        self._outcome.mutations.append(mutation)
        self._outcome.accepted += len(piece)
        self._outcome.bytes_sent += sum(entry.end - entry.begin for entry in piece)
        self._outcome.last_accepted = self._chunk.line(piece[-1]), piece[-1].start
        self._outcome.last_ids = {entry.id for entry in piece}
        self.settled |= self._outcome.last_ids

    def _reject(self, entry: Entry, refusal: InvalidVectorError) -> None:
        options = self._delivery.options
        reject = Reject(
            self._delivery.names[entry.start.source],
            entry.start.line + 1,
            entry.id,
            str(refusal.code),
            f"refused by the API: {refusal.reason or refusal}",
        )
        if self._delivery.keep_rejects:
            self._outcome.kept.add(reject.with_record(self._chunk.line(entry)))
        self._outcome.rejects.append(reject)
        successor = self._successor(entry.id)
        if successor is None:
            self.settled.add(entry.id)
        rejected = self._delivery.count_rejects(1)
        if options.on_invalid == "fail":
            raise reject.error()
        if rejected > options.max_rejects:
            raise TooManyRejectsError(
                f"{rejected} records were refused so far, and max_rejects is {options.max_rejects}"
            )
        if successor is not None:
            self.deliver([successor])

    def _successor(self, record_id: str) -> Entry | None:
        """Give the turn to a record that gave way to the refused one, if there is such a record."""
        waiting = [entry for entry in self._chunk.superseded if entry.id == record_id]
        if not waiting:
            return None
        successor = waiting[-1 if self._delivery.options.operation == "upsert" else 0]
        self._chunk.superseded.remove(successor)
        self._outcome.superseded -= 1
        self._chunk.entries[record_id] = successor
        return successor


def _named(piece: Sequence[Entry], refusal: InvalidVectorError) -> int | None:
    """Find the record that the API's message names."""
    if match := _NAMED_ID.search(refusal.reason):
        return next((place for place, entry in enumerate(piece) if entry.id == match[1]), None)
    if match := _NAMED_LINE.search(refusal.reason):
        place = int(match[1])
        return place if place < len(piece) else None
    return None
