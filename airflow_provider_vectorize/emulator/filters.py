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
_LOWER: Final = frozenset({"$gt", "$gte"})
_UPPER: Final = frozenset({"$lt", "$lte"})
#: What a metadata index holds, by its type: one of strings holds numbers too.
_HELD: Final = {"string": ("string", "number"), "number": ("number",), "boolean": ("boolean",)}


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


def indexed(metadata: Mapping[str, Any], seq: int, indexes: Iterable[MetadataIndex]) -> dict[str, Scalar]:
    """Give what the metadata indexes hold of a vector that was written after them.

    :param seq: the number of the write that brought the vector.
    :returns: property name -> value, strings cut to 64 bytes; None if the vector has no value of a type that the
        index holds. A property whose index is newer than the vector is left out.
    """
    found: dict[str, Scalar] = {}
    for index in indexes:
        if seq > index.seq:
            value = lookup(metadata, index.name)
            held = _kind(value) in _HELD[index.type]
            found[index.name] = None if not held else cut(value) if isinstance(value, str) else value
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


def matches(conditions: Mapping[str, list[Condition]], properties: Mapping[str, Scalar]) -> bool:
    """Tell whether a vector passes; a property without a metadata index of its time passes nothing.

    :param properties: what :func:`indexed` gives.
    """
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
    if len(operand) > 1 and not (
        len(operand) == 2 and len(operand.keys() & _LOWER) == len(operand.keys() & _UPPER) == 1
    ):
        raise ApiError("bad_filter", reason="only one lower and one upper bound go together")
    return [_condition(operator, value) for operator, value in operand.items()]


def _condition(operator: str, operand: object) -> Condition:
    if operator in ("$eq", "$ne"):
        wanted, test = _scalar(operand), _equal if operator == "$eq" else _unequal
        return lambda value: test(value, wanted)
    if operator in ("$in", "$nin"):
        if not isinstance(operand, list):
            raise ApiError("bad_filter", reason=f"{operator} expects a list")
        choices = [_scalar(item) for item in operand]
        if operator == "$in":
            return lambda value: any(_equal(value, choice) for choice in choices)
        return lambda value: all(_unequal(value, choice) for choice in choices)
    if operator in _ORDERS:
        order, bound = _ORDERS[operator], _scalar(operand)
        if bound is None:
            raise ApiError("bad_filter", reason=f"{operator} expects no null")
        return lambda value: (right := _comparable(value, bound)) is not None and order(value, right)
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
    return value is not None and _kind(value) == _kind(wanted) and value == wanted


def _unequal(value: Scalar, wanted: Scalar) -> bool:
    # Nothing equals null, so everything differs from it, a vector without the property too. From any other value
    # only a value differs.
    return wanted is None or (value is not None and not _equal(value, wanted))


def _comparable(value: Scalar, bound: Scalar) -> Scalar:
    """Give the bound as what the value can be compared with; None if it cannot."""
    if _kind(value) == "number" and isinstance(bound, str):
        bound = _number(bound)
    return bound if _kind(value) == _kind(bound) in ("number", "string") else None


def _number(text: str) -> Scalar:
    try:
        number = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return number if type(number) in (int, float) else None
