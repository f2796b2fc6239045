"""What is to be found in an index, drawn while its source is read: a sample of the records, or all of them."""

from __future__ import annotations

import hashlib
import heapq
import secrets
from collections.abc import Iterator
from types import TracebackType
from typing import Literal, Protocol, Self

import numpy as np
import orjson

from airflow_provider_vectorize.ingest.chunks import Chunk
from airflow_provider_vectorize.ingest.outcomes import Outcome
from airflow_provider_vectorize.ingest.records import Record
from airflow_provider_vectorize.sync.known import Known
from airflow_provider_vectorize.sync.marks import Json
from airflow_provider_vectorize.visibility import plain

#: What is compared, each by 8 bytes.
FIELDS = ("values", "namespace", "metadata")
_BYTES = 8
_PAGE = 1_000


def parts(record: Json) -> bytes:
    """Mark what Vectorize stores of a record, field by field: float32 values, namespace, metadata."""
    values = np.asarray(record["values"], dtype="<f4") + np.float32(0.0)
    return b"".join(
        hashlib.blake2b(text, digest_size=_BYTES).digest()
        for text in (
            values.tobytes(),
            (record.get("namespace") or "").encode(),
            orjson.dumps(plain(record.get("metadata") or {}), option=orjson.OPT_SORT_KEYS),
        )
    )


def differing(expected: bytes, found: bytes) -> list[str]:
    """Name the fields that differ."""
    return [
        name
        for number, name in enumerate(FIELDS)
        if expected[number * _BYTES : (number + 1) * _BYTES] != found[number * _BYTES : (number + 1) * _BYTES]
    ]


#: Which record of an id that comes again an index has: an upsert leaves the last, an insert the first.
Keep = Literal["last", "first"]


class Expected(Protocol):
    """What is to be found. Use as a context."""

    #: Records that were seen.
    seen: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __len__(self) -> int:
        """How many records will be compared."""
        ...

    @property
    def complete(self) -> bool:
        """Whether these are all."""
        ...

    def __call__(self, record_id: str, record: Json | bytes) -> None:
        """Take note of a record, or of the mark of one that was not made, as :mod:`.marks` makes it."""
        ...

    def discard(self, record_id: str) -> None:
        """Forget a record: it was refused."""
        ...

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Give ids, each with its :func:`parts` or its mark."""
        ...


class Sample:
    """A sample of the records, each id as likely as another, however often it comes.

    Those are in it whose id has the lowest number, drawn for it by a hash. So an id that is in it at the end was in it
    from its first record on, and which of its records counts is known.

    :param size: of the sample.
    :param keep: which record of an id counts.
    """

    def __init__(self, size: int, keep: Keep = "last") -> None:
        self._size = size
        self._keep = keep
        self._salt = secrets.token_bytes(16)
        self._chosen: dict[str, bytes] = {}
        #: The numbers of the chosen, negative, so that the highest comes first.
        self._numbers: list[tuple[int, str]] = []
        #: Once something was left out, what has a higher number is as well.
        self._limit: int | None = None
        self.seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def complete(self) -> bool:
        """See :class:`Expected`."""
        return self._limit is None

    def __call__(self, record_id: str, record: Json | bytes) -> None:
        """See :class:`Expected`."""
        if record_id in self._chosen:
            if self._keep == "last":
                self._chosen[record_id] = _mark(record)
            return
        self.seen += 1
        # Not by hash(), whose numbers for two salts are not independent: some ids came three times as often as others.
        drawn = hashlib.blake2b(record_id.encode(), key=self._salt, digest_size=_BYTES)
        number = int.from_bytes(drawn.digest())
        if self._limit is not None and number >= self._limit:
            return
        self._chosen[record_id] = _mark(record)
        heapq.heappush(self._numbers, (-number, record_id))
        if len(self._numbers) > self._size:
            highest, left_out = heapq.heappop(self._numbers)
            self._limit = -highest
            self._chosen.pop(left_out, None)

    def discard(self, record_id: str) -> None:
        """See :class:`Expected`."""
        self._chosen.pop(record_id, None)

    def items(self) -> Iterator[tuple[str, bytes]]:
        """See :class:`Expected`."""
        return iter(self._chosen.items())


class Everything:
    """All records, on the local disk.

    :param keep: which record of an id counts.
    """

    complete = True

    def __init__(self, keep: Keep = "last") -> None:
        self._keep = keep
        self._known = Known()
        self._new: dict[str, bytes | None] = {}
        self.seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._known.close()

    def __len__(self) -> int:
        self._flush()
        return len(self._known)

    def __contains__(self, record_id: str) -> bool:
        self._flush()
        return self._known.get(record_id)[0] is not None

    def __call__(self, record_id: str, record: Json | bytes) -> None:
        """See :class:`Expected`."""
        self.seen += 1
        if self._keep == "first" and (self._new.get(record_id) or self._known.get(record_id)[0]):
            return
        self._new[record_id] = _mark(record)
        if len(self._new) >= _PAGE:
            self._flush()

    def discard(self, record_id: str) -> None:
        """See :class:`Expected`."""
        self._new[record_id] = None

    def items(self) -> Iterator[tuple[str, bytes]]:
        """See :class:`Expected`."""
        self._flush()
        return ((record_id, state) for record_id, state, _ in self._known.rows())

    def _flush(self) -> None:
        if self._new:
            self._known.apply(self._new.items())
            self._new = {}


def _mark(record: Json | bytes) -> bytes:
    return record if isinstance(record, bytes) else parts(record)


class Witness:
    """Follow a load only to know what the index should hold after it.

    :param expected: what is told.
    """

    partial = False

    def __init__(self, expected: Expected) -> None:
        self._expected = expected

    def mark(self, record: Json) -> bytes:
        """See :class:`~airflow_provider_vectorize.ingest.following.Follower`."""
        self._expected(record["id"], record)
        return b""

    def wants(self, record: Record) -> bool:  # noqa: ARG002
        """All are sent."""
        return True

    def sending(self, chunk: Chunk) -> None:
        """Nothing is taken down."""

    def settled(self, outcome: Outcome) -> None:
        """What was refused is not expected."""
        for reject in outcome.rejects:
            if reject.id is not None:
                self._expected.discard(reject.id)
