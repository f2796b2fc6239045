"""JSON bodies and query strings: checked, and turned into what an operation needs. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from airflow_provider_vectorize.emulator import filters, settings
from airflow_provider_vectorize.emulator.errors import ApiError

_NAME: Final = re.compile(r"[a-z]+[a-z0-9_-]*[a-z0-9]+")
_METADATA_TYPES: Final = ("string", "number", "boolean")
_LARGEST_FLOAT32: Final = 3.4028235677973366e38


class NewIndex(NamedTuple):
    """What ``create`` asks for."""

    name: str
    description: str | None
    dimensions: int
    metric: str


class Query(NamedTuple):
    """What ``query`` asks for; exactly one of ``vector`` and ``vector_id`` is set."""

    vector: list[float] | None
    vector_id: str | None
    top_k: int
    namespace: str | None
    filter: dict[str, list[filters.Condition]] | None
    return_values: bool
    return_metadata: str


def json_object(body: bytes) -> dict[str, Any]:
    """Parse a body that has to be a JSON object."""
    value = _json(body)
    if not isinstance(value, dict):
        raise ApiError("bad_json", reason="an object is expected")
    return value


def json_type(content_type: str) -> None:
    """Check that a body is labelled as JSON.

    :raises ApiError: 40026.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json" and not re.fullmatch(r"application/\S+\+json", kind):
        raise ApiError("no_json_type")


def json_list(body: bytes) -> list[Any]:
    """Parse a body that has to be a JSON list."""
    value = _json(body)
    if not isinstance(value, list):
        raise ApiError("bad_json", reason="a list is expected")
    return value


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError("bad_json", reason=str(error)) from None


def new_index(body: bytes) -> NewIndex:
    """Check the body of ``create``: name, and a configuration of dimensions and metric, or of a preset."""
    request = json_object(body)
    name, config, description = (request.get(key) for key in ("name", "config", "description"))
    if not isinstance(name, str) or not isinstance(description, (str, type(None))):
        raise ApiError("bad_json", reason="name and description are strings")
    if not _NAME.fullmatch(name) or len(name) > settings.MAX_NAME_BYTES:
        raise ApiError("invalid_name", name=name[:80])
    if config is None:
        raise ApiError("invalid_config", reason="Config must be provided")
    if not isinstance(config, dict):
        raise ApiError("bad_json", reason="config is an object")
    return NewIndex(name, description, *_configuration(config))


def _configuration(config: dict[str, Any]) -> tuple[int, str]:
    if "preset" in config:
        preset = config["preset"]
        if not isinstance(preset, str) or preset not in settings.PRESETS:
            raise ApiError("invalid_config", reason="unknown preset")
        return settings.PRESETS[preset], "cosine"
    dimensions, metric = config.get("dimensions"), config.get("metric")
    low, high = settings.MIN_DIMENSIONS, settings.MAX_DIMENSIONS
    if type(dimensions) is not int or not low <= dimensions <= high:
        raise ApiError("invalid_config", reason=f"Dimensions must be in range: [{low}, {high}]")
    if not isinstance(metric, str) or metric not in settings.METRICS:
        raise ApiError("invalid_config", reason=f"Metric must be one of: {', '.join(settings.METRICS)}")
    return dimensions, metric


def ids(body: bytes, limit: int) -> list[str]:
    """Check a body of ids: at most ``limit`` strings of at most 64 bytes."""
    found = json_object(body).get("ids")
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ApiError("bad_json", reason="ids is a list of strings")
    if len(found) > limit:
        raise ApiError("too_many_ids", limit=limit, got=len(found))
    for item in found:
        if (got := len(item.encode())) > settings.MAX_ID_BYTES:
            raise ApiError("id_too_long", limit=settings.MAX_ID_BYTES, got=got)
    return found


def query(body: bytes, dimensions: int) -> Query:
    """Check the body of ``query`` against the index's dimensions and the rules on topK."""
    request = json_object(body)
    namespace, values = request.get("namespace"), request.get("returnValues", False)
    metadata = request.get("returnMetadata", "none")
    if not isinstance(namespace, (str, type(None))) or not isinstance(values, bool):
        raise ApiError("bad_json", reason="namespace is a string, returnValues a boolean")
    if metadata not in ("none", "indexed", "all"):
        raise ApiError("bad_json", reason="returnMetadata is one of none, indexed, all")
    vector, vector_id = _target(request, dimensions)
    wanted = request.get("filter")
    return Query(
        vector=vector,
        vector_id=vector_id,
        top_k=_top_k(request.get("topK", settings.DEFAULT_TOP_K), values or metadata == "all"),
        namespace=namespace,
        filter=None if wanted is None else filters.parse(wanted),
        return_values=values,
        return_metadata=metadata,
    )


def _target(request: dict[str, Any], dimensions: int) -> tuple[list[float] | None, str | None]:
    vector, vector_id = request.get("vector"), request.get("vectorId")
    if vector is None and isinstance(vector_id, str):
        return None, vector_id
    if vector is None and vector_id is None:
        vector = []
    if not isinstance(vector, list) or not {float, int}.issuperset(map(type, vector)):
        raise ApiError("bad_json", reason="vector is a list of numbers, vectorId a string")
    if len(vector) != dimensions:
        raise ApiError("query_dimensions", want=dimensions, got=len(vector))
    if any(abs(number) >= _LARGEST_FLOAT32 for number in vector):
        raise ApiError("bad_json", reason="a number of vector is too large for a float32")
    return vector, None


def _top_k(top_k: object, with_values: bool) -> int:
    if isinstance(top_k, float) and top_k.is_integer():
        top_k = int(top_k)
    if type(top_k) is not int:
        raise ApiError("bad_json", reason="topK is an integer")
    if not 1 <= top_k <= settings.MAX_TOP_K:
        raise ApiError("top_k", limit=settings.MAX_TOP_K, got=top_k)
    if with_values and top_k > settings.MAX_TOP_K_WITH_VALUES:
        raise ApiError("top_k_with_values", limit=settings.MAX_TOP_K_WITH_VALUES, got=top_k)
    return top_k


def metadata_index(body: bytes) -> tuple[str, str]:
    """Check the body of a metadata index's creation: property name and type."""
    request = json_object(body)
    if request.get("indexType") not in _METADATA_TYPES:
        raise ApiError("bad_json", reason=f"indexType is one of {', '.join(_METADATA_TYPES)}")
    return _property(request), request["indexType"]


def metadata_index_name(body: bytes) -> str:
    """Check the body of a metadata index's deletion."""
    return _property(json_object(body))


def _property(request: dict[str, Any]) -> str:
    name = request.get("propertyName")
    if not isinstance(name, str) or not 1 <= len(name) <= settings.MAX_FILTER_KEY_CHARACTERS:
        raise ApiError("bad_json", reason="propertyName is a string of 1 to 512 characters")
    return name


def count(query_string: Mapping[str, str]) -> int:
    """Read ``count`` of a list request: 1 to 1,000, 100 if it is left out."""
    text = query_string.get("count", str(settings.DEFAULT_LIST))
    if not re.fullmatch(r"[0-9]{1,4}", text, re.ASCII) or not 1 <= int(text) <= settings.MAX_LIST:
        raise ApiError("bad_list", reason=f"count must be in range: [1, {settings.MAX_LIST}]")
    return int(text)


def discard(query_string: Mapping[str, str]) -> bool:
    """Read ``unparsable-behavior``; left out it acts as ``error``."""
    behavior = query_string.get("unparsable-behavior", "error")
    if behavior not in ("error", "discard"):
        raise ApiError("bad_request", reason="unparsable-behavior is error or discard")
    return behavior == "discard"
