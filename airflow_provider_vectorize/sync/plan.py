"""What a load will take, and what its index will cost: the source read as a load would, and nothing sent."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.client.limits import MAX_DIMENSIONS, MIN_DIMENSIONS
from airflow_provider_vectorize.ingest.chunks import Chunk, Chunker
from airflow_provider_vectorize.ingest.following import Follower
from airflow_provider_vectorize.ingest.operations import checker_of
from airflow_provider_vectorize.ingest.options import IngestOptions
from airflow_provider_vectorize.ingest.outcomes import Outcome
from airflow_provider_vectorize.ingest.records import FlawError
from airflow_provider_vectorize.ingest.rejects import Reject
from airflow_provider_vectorize.ingest.sources import START, as_source

#: Requests a minute of all that the API allows to one token: 1,200 in 5 minutes.
QUOTA_PER_MINUTE = 240
#: Dollars, by the pricing page of that date.
PRICES_OF = "2026-11"
PRICE_QUERIED = 0.01 / 1_000_000
PRICE_STORED = 0.05 / 100_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What a load will take, and what its index will cost.

    :param dimensions: of the index.
    :param records: records in the source.
    :param invalid: how many of them break a rule, by the rule.
    :param duplicates: records whose id is in the source once more; the last of them wins.
    :param bytes_read: bytes of NDJSON, after decompression; 0 for mappings and tables.
    :param bytes_sent: bytes of the requests' bodies, as they will be sent.
    :param requests: uploads. Beside them a load asks for the index once, and reads back once.
    """

    dimensions: int
    records: int = 0
    invalid: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    bytes_read: int = 0
    bytes_sent: int = 0
    requests: int = 0

    @property
    def stored(self) -> int:
        """Vectors that the index will have of it."""
        return self.records - sum(self.invalid.values()) - self.duplicates

    @property
    def stored_dimensions(self) -> int:
        """What Cloudflare counts."""
        return self.stored * self.dimensions

    @property
    def quota_minutes(self) -> float:
        """Minutes of all that the API allows to the token."""
        return self.requests / QUOTA_PER_MINUTE

    @property
    def price_per_month(self) -> float:
        """Dollars for a month in which the index is queried once or a few times.

        By the published formula: (queried + stored vectors) x dimensions x $0.01 a million, and stored vectors x
        dimensions x $0.05 per 100 million. What the account's plan includes is not taken off.
        """
        return self.stored_dimensions * (PRICE_QUERIED + PRICE_STORED)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "records": self.records,
            "invalid": dict(self.invalid),
            "duplicates": self.duplicates,
            "bytes_read": self.bytes_read,
            "bytes_sent": self.bytes_sent,
            "requests": self.requests,
            "quota_minutes": round(self.quota_minutes, 3),
            "dimensions": self.dimensions,
            "stored_dimensions": self.stored_dimensions,
            "price_per_month": round(self.price_per_month, 4),
            "prices_of": PRICES_OF,
        }

    def __str__(self) -> str:
        """As a table for people."""
        rows = [
            ("records", f"{self.records:,}", ""),
            ("  invalid", f"{sum(self.invalid.values()):,}", ""),
            *((f"    {rule}", f"{count:,}", "") for rule, count in sorted(self.invalid.items())),
            ("  duplicate ids", f"{self.duplicates:,}", ""),
            ("  to be stored", f"{self.stored:,}", ""),
            ("bytes to send", f"{self.bytes_sent:,}", ""),
            ("requests", f"{self.requests:,}", ""),
            (
                "minutes of quota",
                f"{self.quota_minutes:,.2f}",
                f"of {QUOTA_PER_MINUTE} requests a minute; over a longer time, what is left is for others",
            ),
            ("dimensions stored", f"{self.stored_dimensions:,}", ""),
            (
                "$ a month",
                f"{self.price_per_month:,.2f}",
                f"prices of {PRICES_OF}, nothing taken off, the index queried at least once",
            ),
            (
                "$ a million queries",
                f"{self.dimensions * PRICE_QUERIED * 1_000_000:,.2f}",
                "beside that",
            ),
        ]
        return "\n".join(f"{name:<28}{value:>18}  {note}".rstrip() for name, value, note in rows)


def plan(
    records: object,
    *,
    dimensions: int,
    options: IngestOptions = IngestOptions(),  # noqa: B008  # immutable
    follower: Follower | None = None,
) -> Plan:
    """Read a source as a load would, to its end, and send nothing.

    Invalid records are counted, and the rest is planned as if they were rejected.

    :param records: as :func:`~airflow_provider_vectorize.ingest.ingest` takes them; a generator is used up.
    :param dimensions: of the index.
    :param options: of the load.
    :param follower: may leave records out; it is told that all others were accepted.
    :raises SourceError: it is missing, breaks off or cannot be read.
    """
    if type(dimensions) is not int or not MIN_DIMENSIONS <= dimensions <= MAX_DIMENSIONS:
        raise InvalidArgumentError(
            f"dimensions must be a whole number from {MIN_DIMENSIONS} to {MAX_DIMENSIONS}, got {dimensions!r}"
        )
    source = as_source(records)
    checker = checker_of(options, dimensions, follower)
    chunker = Chunker(
        max_vectors=options.max_batch_vectors,
        max_bytes=options.max_batch_bytes,
        keep="last" if options.operation == "upsert" else "first",
    )
    invalid: Counter[str] = Counter()
    ids = array("q")
    read = 0

    def chunks() -> Iterator[Chunk]:
        nonlocal read
        with closing(source.read(START, _never)) as items:
            for item in items:
                read += 1
                try:
                    record = checker.check(item.data)
                except FlawError as flaw:
                    invalid[flaw.code] += 1
                    name = source.names[item.end.source]
                    full = chunker.reject(
                        Reject(name, item.end.line, flaw.record_id, flaw.code, flaw.reason), None, item
                    )
                else:
                    ids.append(hash(record.id))
                    if follower is not None and not follower.wants(record):
                        continue
                    full = chunker.add(record, item)
                if full is not None:
                    yield full
        if (last := chunker.flush()) is not None:
            yield last

    requests = bytes_sent = bytes_read = 0
    last_line = 0
    chunk: Chunk | None = None
    for chunk in chunks():
        bytes_read += chunk.bytes_read
        entries = list(chunk.entries.values())
        if follower is not None:
            follower.sending(chunk)
        if entries:
            requests += 1
            bytes_sent += sum(entry.end - entry.begin for entry in entries)
            last_line = entries[-1].end - entries[-1].begin
        if follower is not None:
            follower.settled(Outcome.of(chunk))
    if chunk is not None and not chunk.entries and requests:
        # What a wait waits for is the last request: when nothing is left for it, the last record goes once more.
        requests += 1
        bytes_sent += last_line
    return Plan(
        dimensions=dimensions,
        records=read,
        invalid=dict(invalid),
        duplicates=_repeated(ids),
        bytes_read=bytes_read,
        bytes_sent=bytes_sent,
        requests=requests,
    )


def _repeated(hashes: array[int]) -> int:
    """Count those that are there once more: 8 bytes a record, and of 20 million one in 100,000 plans is off by one."""
    numbers = np.frombuffer(hashes, dtype=np.int64) if hashes else np.empty(0, np.int64)
    numbers.sort()
    return int((numbers[1:] == numbers[:-1]).sum())


def _never() -> None: ...
