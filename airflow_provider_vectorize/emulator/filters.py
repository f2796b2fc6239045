"""Metadata filters: read once, then asked of one vector's metadata at a time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import ge, gt, le, lt
from typing import Any, Final

import orjson

from airflow_provider_vectorize.emulator.errors import ApiError
from airflow_provider_vectorize.emulator.models import MetadataIndex
from airflow_provider_vectorize.emulator.settings import (
    INDEXED_STRING_BYTES,
    MAX_FILTER_BYTES,
    MAX_FILTER_KEY_CHARACTERS,
)

Scalar = str | int | float | bool | None
Condition = Callable[[Any], bool]

_ORDERS: Final[dict[str, Callable[[Any, Any], bool]]] = {"$lt": lt, "$lte": le, "$gt": gt, "$gte": ge}


def cut(text: str) -> str:
    """Cut a string to the 64 bytes that an index keeps of it, never inside a character."""
    return text.encode()[:INDEXED_STRING_BYTES].decode(errors="ignore")


def lookup(metadata: Mapping[str, Any], path: str) -> Any:
    """Follow a dotted path into nested metadata; None if it leads nowhere."""
    value: Any = metadata
    for key in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def indexed(metadata: Mapping[str, Any], seq: int, indexes: Iterable[MetadataIndex]) -> dict[str, Any]:
    """Give the properties that the metadata indexes hold of a vector: right type, written after the index.

    :param seq: the number of the write that brought the vector.
    :returns: property name -> value, strings cut to 64 bytes.
    """
    found: dict[str, Any] = {}
    for index in indexes:
        value = lookup(metadata, index.name) if seq > index.seq else None
        if _kind(value) == index.type:
            found[index.name] = cut(value) if isinstance(value, str) else value
    return found


def parse(expression: object) -> dict[str, list[Condition]]:
    """Read a filter: property -> conditions, all of which must hold.

    :param expression: the JSON value of ``filter``: at most 2,048 bytes of compact JSON, keys of at most 512
        characters (limits page).
    """
    if not isinstance(expression, dict):
        raise ApiError("bad_filter", reason="an object is expected")
    try:
        size = len(orjson.dumps(expression))
    except orjson.JSONEncodeError:  # nested deeper than orjson writes (254)
        raise ApiError("bad_filter", reason="nested too deeply") from None
    if size >= MAX_FILTER_BYTES:
        raise ApiError("bad_filter", reason=f"its compact JSON must be under {MAX_FILTER_BYTES} bytes")
    return {_key(key): list(_conditions(operand)) for key, operand in expression.items()}


def matches(conditions: Mapping[str, list[Condition]], properties: Mapping[str, Any]) -> bool:
    """Tell whether a vector passes; a property that no metadata index holds of it passes nothing."""
    return all(
        name in properties and all(condition(properties[name]) for condition in wanted)
        for name, wanted in conditions.items()
    )


def _key(key: str) -> str:
    if not 1 <= len(key) <= MAX_FILTER_KEY_CHARACTERS or key.startswith("$") or '"' in key:
        raise ApiError("bad_filter", reason=f"invalid key {key[:80]!r}")
    return key


def _conditions(operand: object) -> Iterable[Condition]:
    if not isinstance(operand, dict):
        return [_condition("$eq", operand)]
    if not operand:
        raise ApiError("bad_filter", reason="an object of operators must not be empty")
    return [_condition(operator, value) for operator, value in operand.items()]


def _condition(operator: str, operand: object) -> Condition:
    if operator in ("$eq", "$ne"):
        wanted = _scalar(operand)
        return lambda value: _equal(value, wanted) == (operator == "$eq")
    if operator in ("$in", "$nin"):
        if not isinstance(operand, list):
            raise ApiError("bad_filter", reason=f"{operator} expects a list")
        choices = [_scalar(item) for item in operand]
        return lambda value: any(_equal(value, choice) for choice in choices) == (operator == "$in")
    if operator in _ORDERS:
        order, bound = _ORDERS[operator], _scalar(operand)
        return lambda value: _comparable(value, bound) and order(value, bound)
    raise ApiError("bad_filter", reason=f"unknown operator {operator[:80]!r}")


def _scalar(value: object) -> Scalar:
    if isinstance(value, str):
        return cut(value)
    if value is None or isinstance(value, (int, float)):
        return value
    raise ApiError("bad_filter", reason="a string, a number, a boolean or null is expected")


def _kind(value: object) -> str | None:
    if isinstance(value, bool):  # Before number, since a bool is an int to Python.
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return "string" if isinstance(value, str) else None


def _equal(value: Scalar, wanted: Scalar) -> bool:
    return _kind(value) == _kind(wanted) and value == wanted


def _comparable(value: Scalar, bound: Scalar) -> bool:
    return _kind(value) == _kind(bound) in ("number", "string")
