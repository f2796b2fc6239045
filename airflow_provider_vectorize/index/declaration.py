"""What an index shall be, against what it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.client.limits import (
    MAX_DIMENSIONS,
    MAX_METADATA_INDEXES,
    METADATA_INDEX_TYPES,
    METRICS,
    MIN_DIMENSIONS,
    PRESETS,
)
from airflow_provider_vectorize.client.types import Index, MetadataIndex, MetadataIndexType, Metric


@dataclass(frozen=True, slots=True)
class Declaration:
    """What an index shall be.

    :param dimensions: length of the vectors, 32 to 1,536; with ``metric``, instead of ``preset``.
    :param metric: ``cosine``, ``euclidean`` or ``dot-product``.
    :param preset: name of an embedding model that the API knows, such as ``@cf/baai/bge-base-en-v1.5``.
    :param description: free text.
    :param metadata_indexes: the properties that queries can filter by, each with its type: ``string``, ``number`` or
        ``boolean``; at most 10 (limits page). ``.`` nests.
    :raises InvalidArgumentError: naming what can never work.
    """

    dimensions: int | None = None
    metric: Metric | None = None
    preset: str | None = None
    description: str = ""
    metadata_indexes: Mapping[str, MetadataIndexType] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.preset is not None:
            if self.dimensions is not None or self.metric is not None:
                raise InvalidArgumentError(
                    "an index is declared by dimensions and metric, or by preset, not by both"
                )
        elif self.dimensions is None or self.metric is None:
            raise InvalidArgumentError("an index is declared by dimensions and metric together, or by preset")
        else:
            _check_dimensions(self.dimensions)
            if self.metric not in METRICS:
                raise InvalidArgumentError(f"metric must be one of {', '.join(METRICS)}, got {self.metric!r}")
        _check_metadata_indexes(self.metadata_indexes)


@dataclass(frozen=True, slots=True)
class Drift:
    """How an index differs from its declaration.

    :param conflicts: differences that nothing can mend, in words.
    :param missing: metadata indexes that are declared and not there, with their types.
    :param remarks: differences that do no harm, in words.
    """

    conflicts: tuple[str, ...] = ()
    missing: Mapping[str, MetadataIndexType] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def compare(declared: Declaration, index: Index, metadata_indexes: Sequence[MetadataIndex]) -> Drift:
    """Compare what an index shall be with what it is.

    :param declared: what it shall be.
    :param index: what it is.
    :param metadata_indexes: those that it has.
    """
    conflicts: list[str] = []
    remarks: list[str] = []
    dimensions = declared.dimensions or PRESETS.get(declared.preset or "")
    if dimensions is None:
        remarks.append(
            f"what the preset {declared.preset!r} stands for is not known here, so dimensions "
            f"({index.dimensions}) and metric ({index.metric}) were not compared"
        )
    elif dimensions != index.dimensions:
        conflicts.append(f"it has {index.dimensions} dimensions, declared are {dimensions}")
    # The metric of a preset is not published.
    if declared.metric is not None and declared.metric != index.metric:
        conflicts.append(f"its metric is {index.metric}, declared is {declared.metric}")
    if declared.description and declared.description != index.description:
        remarks.append(f"its description is {index.description!r}, declared is {declared.description!r}")
    types = {each.property_name: each.index_type for each in metadata_indexes}
    for name, kind in declared.metadata_indexes.items():
        if name in types and types[name] != kind:
            conflicts.append(f"its metadata index {name!r} is of type {types[name]}, declared is {kind}")
    extra = sorted(types.keys() - declared.metadata_indexes.keys())
    if extra:
        remarks.append(f"it has metadata indexes that are not declared: {', '.join(extra)}")
    missing = {name: kind for name, kind in declared.metadata_indexes.items() if name not in types}
    if len(types) + len(missing) > MAX_METADATA_INDEXES:
        conflicts.append(
            f"with the declared ones it would have {len(types) + len(missing)} metadata indexes, at most "
            f"{MAX_METADATA_INDEXES} are allowed"
        )
    return Drift(tuple(conflicts), missing, tuple(remarks))


def _check_dimensions(dimensions: object) -> None:
    if isinstance(dimensions, bool) or not isinstance(dimensions, int):
        raise InvalidArgumentError(f"dimensions must be a whole number, got {dimensions!r}")
    if not MIN_DIMENSIONS <= dimensions <= MAX_DIMENSIONS:
        raise InvalidArgumentError(
            f"dimensions must be {MIN_DIMENSIONS} to {MAX_DIMENSIONS}, got {dimensions}"
        )


def _check_metadata_indexes(declared: object) -> None:
    if not isinstance(declared, Mapping):
        raise InvalidArgumentError(
            f'metadata_indexes must be a mapping such as {{"lang": "string"}}, got {declared!r}'
        )
    if len(declared) > MAX_METADATA_INDEXES:
        raise InvalidArgumentError(
            f"an index has at most {MAX_METADATA_INDEXES} metadata indexes, declared are {len(declared)}"
        )
    for name, kind in declared.items():
        if not isinstance(name, str) or not name:
            raise InvalidArgumentError(f"metadata_indexes: {name!r} is not the name of a property")
        if kind not in METADATA_INDEX_TYPES:
            raise InvalidArgumentError(
                f"metadata_indexes: the type of {name!r} must be one of {', '.join(METADATA_INDEX_TYPES)}, got {kind!r}"
            )
