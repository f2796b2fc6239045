"""What the emulator stores and hands around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Vector(NamedTuple):
    """One vector as it is stored.

    :param id: at most 64 bytes of UTF-8.
    :param values: little-endian float32, four bytes a dimension.
    :param namespace: at most 64 bytes of UTF-8, or None.
    :param metadata: compact JSON of at most 10,240 bytes, or None.
    """

    id: str
    values: bytes
    namespace: str | None
    metadata: bytes | None


class StoredVector(NamedTuple):
    """A visible vector with the number of the write that brought it.

    A metadata index holds the vectors that were written after it, so the number matters to filters.
    """

    vector: Vector
    seq: int


class MetadataIndex(NamedTuple):
    """A metadata index, and the number of the write that created it."""

    name: str
    type: str
    seq: int


@dataclass(frozen=True)
class Index:
    """An index with its state as of the last applied batch.

    :param number: the row's key; a name that is used again gets a new one.
    :param created_on: seconds since the epoch.
    :param applied: the number of the last write that can be seen; 0 on a new index.
    :param count: how many vectors can be seen.
    :param watermark: the mutation id of the last write that can be seen; None on a new index.
    :param applied_at: when the last batch was applied, seconds since the epoch.
    """

    number: int
    account: str
    name: str
    description: str | None
    dimensions: int
    metric: str
    created_on: float
    applied: int
    count: int
    watermark: str | None
    applied_at: float | None


class LoggedWrite(NamedTuple):
    """A write as people look at it."""

    index_name: str
    mutation_id: str
    vectors: int
    logged_at: float
    visible: bool


@dataclass(frozen=True)
class Batch:
    """Writes that became visible together."""

    index: str
    mutation_id: str
    writes: int
    vectors: int
