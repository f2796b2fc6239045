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
from airflow_provider_vectorize.ingest.chunks import Chunk, Entry
from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.ingest.outcomes import Outcome
from airflow_provider_vectorize.ingest.rejects import Reject

#: Requests for one chunk beyond the first.
MAX_EXTRA_REQUESTS = 50

_NAMED_ID = re.compile(r'\bid="(.*?)"(?:[,;]|$)')
_NAMED_LINE = re.compile(r"\bline Some\((\d+)\)")

Send = Callable[[bytes | bytearray], Mutation]


class Delivery:
    """Deliver chunks, from several threads at a time.

    :param send: makes one request.
    :param names: names of the sources.
    :param options: what a refusal means.
    :param halted: whether the load was told to stop; asked before every extra request.
    """

    def __init__(
        self,
        send: Send,
        names: Sequence[str],
        options: IngestOptions,
        *,
        halted: Callable[[], bool],
    ) -> None:
        self.send = send
        self.names = names
        self.options = options
        self.halted = halted
        self._rejected = 0
        self._lock = threading.Lock()

    def count_rejects(self, count: int) -> int:
        """Count refused records, by the API and before it; returns how many there are by now."""
        with self._lock:
            self._rejected += count
            return self._rejected

    def deliver(self, chunk: Chunk) -> Outcome:
        """Deliver a chunk, and use up its body. What goes wrong is in the outcome, never raised."""
        outcome = Outcome.of(chunk)
        course = _Course(self, outcome)
        try:
            course.deliver(_Piece(list(chunk.entries), chunk.body))
        except Exception as error:  # noqa: BLE001  # raised again in the thread that reads the outcome
            outcome.fail(chunk, error, course.settled)
        return outcome


class _Piece:
    """Some records of a chunk and their lines; cut in place, since a copy may take 32 MiB."""

    def __init__(self, entries: list[Entry], body: bytearray) -> None:
        self.entries = entries
        self.body = body

    def cut(self, first: int, end: int) -> _Piece:
        """Take out the records from ``first`` to before ``end``."""
        begin = sum(entry.size for entry in self.entries[:first])
        stop = begin + sum(entry.size for entry in self.entries[first:end])
        part = _Piece(self.entries[first:end], self.body[begin:stop])
        del self.entries[first:end]
        del self.body[begin:stop]
        return part

    def named_by(self, refusal: InvalidVectorError) -> int | None:
        """Find the record that the API's message names."""
        if match := _NAMED_ID.search(refusal.reason):
            return next((i for i, entry in enumerate(self.entries) if entry.id == match[1]), None)
        if match := _NAMED_LINE.search(refusal.reason):
            place = int(match[1])
            return place if place < len(self.entries) else None
        return None


class _Course:
    """The requests for one chunk, one after the other, in file order as far as the API names no culprit."""

    def __init__(self, delivery: Delivery, outcome: Outcome) -> None:
        self._delivery = delivery
        self._outcome = outcome
        self._requests = 0
        self.settled: set[str] = set()

    def deliver(self, piece: _Piece) -> None:
        if not piece.entries:
            return
        try:
            mutation = self._request(piece.body)
        except InvalidVectorError as refusal:
            self._take_apart(piece, refusal)
        else:
            self._accept(piece, mutation)

    def _take_apart(self, piece: _Piece, refusal: InvalidVectorError) -> None:
        if len(piece.entries) == 1:
            self._reject(piece, refusal)
            return
        suspect = piece.named_by(refusal)
        if suspect is not None:
            known = len(self._outcome.rejects)
            self.deliver(piece.cut(suspect, suspect + 1))
            if len(self._outcome.rejects) > known:
                self.deliver(piece)
                return
        rest = piece.cut(len(piece.entries) // 2, len(piece.entries))
        self.deliver(piece)
        self.deliver(rest)

    def _request(self, body: bytearray) -> Mutation:
        if self._requests:
            if self._delivery.halted():
                raise IngestAbortedError("The load was told to stop")
            if self._requests > MAX_EXTRA_REQUESTS:
                raise TooManyRejectsError(
                    f"the API goes on refusing parts of one chunk: given up after {MAX_EXTRA_REQUESTS} extra requests"
                )
        self._requests += 1
        return self._delivery.send(body)

    def _accept(self, piece: _Piece, mutation: Mutation) -> None:
        self._outcome.mutations.append(mutation)
        self._outcome.accepted += len(piece.entries)
        self._outcome.bytes_sent += len(piece.body)
        last = piece.entries[-1]
        self._outcome.last_accepted = bytes(piece.body[-last.size :]), last.start
        self.settled.update(entry.id for entry in piece.entries)

    def _reject(self, piece: _Piece, refusal: InvalidVectorError) -> None:
        options = self._delivery.options
        [entry] = piece.entries
        reject = Reject(
            self._delivery.names[entry.start.source],
            entry.start.line + 1,
            entry.id,
            str(refusal.code),
            f"refused by the API: {refusal.reason or refusal}",
        )
        if options.rejects is not None:
            reject = reject.with_record(bytes(piece.body[:-1]))
        self._outcome.rejects.append(reject)
        self.settled.add(entry.id)
        rejected = self._delivery.count_rejects(1)
        if options.on_invalid == "fail":
            raise reject.error()
        if rejected > options.max_rejects:
            raise TooManyRejectsError(
                f"{rejected} records were refused so far, and max_rejects is {options.max_rejects}"
            )
