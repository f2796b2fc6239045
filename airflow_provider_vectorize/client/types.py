"""What the API returns, as frozen dataclasses. Each reads itself from the JSON of the ``result`` field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Metric = Literal["cosine", "euclidean", "dot-product"]
MetadataIndexType = Literal["string", "number", "boolean"]
ReturnMetadata = Literal["none", "indexed", "all"]
UnparsableBehavior = Literal["error", "discard"]


class Pieces:
    """NDJSON that goes out, in pieces that are not copied; it can be sent any number of times.

    :param pieces: bytes, in their order.
    """

    def __init__(self, pieces: Iterable[bytes | memoryview]) -> None:
        self._pieces = tuple(pieces)
        self._size = sum(map(len, self._pieces))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes | memoryview]:
        return iter(self._pieces)


#: The body of an upload, NDJSON.
Body = bytes | bytearray | Pieces


@dataclass(frozen=True, slots=True)
class Index:
    """An index and its configuration, which never changes.

    :param dimensions: length of every vector, 32 to 1,536.
    :param created_on: time of creation, as the API words it; it tells a new index from a deleted one of the
        same name.
    """

    name: str
    dimensions: int
    metric: str
    description: str
    created_on: str
    modified_on: str

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> Index:
        """Read the ``result`` of *get index*."""
        config = result["config"]
        return cls(
            name=str(result["name"]),
            dimensions=int(config["dimensions"]),
            metric=str(config["metric"]),
            description=str(result.get("description") or ""),
            created_on=str(result.get("created_on") or ""),
            modified_on=str(result.get("modified_on") or ""),
        )


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """State of an index.

    :param vector_count: number of vectors; it lags behind the writes.
    :param processed_up_to_mutation: the **last** mutation of the batch that was applied last (the watermark);
        None on a new index.
    :param processed_up_to_datetime: as the API words it; whether it is the time of the write or of its
        processing is disputed, so do not depend on it.
    """

    dimensions: int
    vector_count: int
    processed_up_to_mutation: str | None
    processed_up_to_datetime: str | None

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> IndexInfo:
        """Read the ``result`` of *index info*."""
        return cls(
            dimensions=int(result["dimensions"]),
            vector_count=int(result.get("vectorCount") or 0),
            processed_up_to_mutation=result.get("processedUpToMutation") or None,
            processed_up_to_datetime=result.get("processedUpToDatetime") or None,
        )


@dataclass(frozen=True, slots=True)
class Mutation:
    """A write that the API has accepted and will apply later.

    :param id: the mutation id, a random UUID: two of them cannot be ordered.
    :param attempts: requests that it took.
    :param messages: what the API remarked.
    """

    id: str
    attempts: int = 1
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vector:
    """A stored vector; the values are those of float32."""

    id: str
    values: tuple[float, ...]
    namespace: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> Vector:
        """Read one item of *get by ids*."""
        return cls(
            id=str(result["id"]),
            values=tuple(result.get("values") or ()),
            namespace=result.get("namespace") or None,
            metadata=result.get("metadata") or {},
        )


@dataclass(frozen=True, slots=True)
class Match:
    """One answer of a query: closer is a higher score for cosine, a lower one for euclidean, dot-product."""

    id: str
    score: float
    values: tuple[float, ...] | None = None
    namespace: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> Match:
        """Read one of the ``matches`` of *query*."""
        values = result.get("values")
        return cls(
            id=str(result["id"]),
            score=float(result["score"]),
            values=None if values is None else tuple(values),
            namespace=result.get("namespace") or None,
            metadata=result.get("metadata") or {},
        )


@dataclass(frozen=True, slots=True)
class MetadataIndex:
    """A metadata property that queries can filter by; the type is in lower case, as *create* takes it."""

    property_name: str
    index_type: str

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> MetadataIndex:
        """Read one item of *list metadata indexes*, which capitalises the type."""
        return cls(str(result["propertyName"]), str(result["indexType"]).lower())
