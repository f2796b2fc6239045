"""Check a metadata filter before it is sent, and name the rule that it breaks. Pure.

The API does not refuse all that it cannot do: some of it just finds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.client.limits import MAX_FILTER_BYTES, MAX_FILTER_KEY_CHARACTERS

_EQUALITY = ("$eq", "$ne")
_MEMBERSHIP = ("$in", "$nin")
_LOWER, _UPPER = ("$gt", "$gte"), ("$lt", "$lte")
_OPERATORS = (*_EQUALITY, *_MEMBERSHIP, *_LOWER, *_UPPER)


def check_filter(expression: object) -> Mapping[str, Any]:
    """Check a filter, such as ``{"lang": "en", "year": {"$gte": 2020, "$lt": 2030}}``, and return it.

    :param expression: properties with a value, or with an object of operators (``$eq $ne $in $nin $lt $lte $gt $gte``);
        all of them must hold. Less than 2,048 bytes of compact JSON, keys of at most 512 characters (limits page).
    :raises InvalidArgumentError: naming the property and the rule.
    """
    if not isinstance(expression, Mapping):
        raise InvalidArgumentError(f"filter must be an object, got {_short(expression)}")
    if not expression:
        raise InvalidArgumentError("filter must not be empty: leave it out to ask without one")
    for key, operand in expression.items():
        _check_key(key)
        if isinstance(operand, Mapping):
            _check_operators(key, operand)
        else:
            _check_scalar(f"filter {key!r}", operand)
    try:
        size = len(orjson.dumps(expression))
    except TypeError as error:
        raise InvalidArgumentError(f"filter cannot be written as JSON: {error}") from None
    if size >= MAX_FILTER_BYTES:
        raise InvalidArgumentError(
            f"filter takes {size} bytes as compact JSON, it must be less than {MAX_FILTER_BYTES}"
        )
    return expression


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not key:
        raise InvalidArgumentError(f"filter: {_short(key)} is not the name of a property")
    if key.startswith("$"):
        raise InvalidArgumentError(
            f"filter: {_short(key)} stands where a property is expected; operators go inside, as in "
            '{"year": {"$gt": 2020}}, and there is no "or": ask once for each'
        )
    if '"' in key or "" in key.split("."):
        raise InvalidArgumentError(
            f"filter: the property {_short(key)} has a '\"' or an empty part in it ('.' nests)"
        )
    if len(key) > MAX_FILTER_KEY_CHARACTERS:
        raise InvalidArgumentError(
            f"filter: the property {_short(key)} has {len(key)} characters, at most {MAX_FILTER_KEY_CHARACTERS} are "
            "allowed"
        )


def _check_operators(key: str, operators: Mapping[Any, Any]) -> None:
    if not operators:
        raise InvalidArgumentError(f"filter {key!r}: the object of operators is empty")
    for operator, operand in operators.items():
        where = f"filter {key!r}, {operator}"
        if operator not in _OPERATORS:
            raise InvalidArgumentError(
                f"filter {key!r}: {_short(operator)} is no operator; known are {', '.join(_OPERATORS)} (a property "
                "inside another one is named by a '.')"
            )
        if operator in _EQUALITY:
            _check_scalar(where, operand)
        elif operator in _MEMBERSHIP:
            if not isinstance(operand, list | tuple) or not operand:
                raise InvalidArgumentError(
                    f"{where}: a list that is not empty is expected, got {_short(operand)}"
                )
            for each in operand:
                _check_scalar(where, each)
        elif isinstance(operand, bool) or not isinstance(operand, str | int | float):
            raise InvalidArgumentError(f"{where}: a number or a string is expected, got {_short(operand)}")
        else:
            _check_scalar(where, operand)
    if len(operators) > 1:
        bounds = [sum(each in operators for each in side) for side in (_LOWER, _UPPER)]
        if bounds != [1, 1] or len(operators) != 2:
            raise InvalidArgumentError(
                f"filter {key!r}: of several operators on a property only one lower ($gt, $gte) and one upper bound "
                f"($lt, $lte) go together, got {', '.join(operators)}"
            )


def _check_scalar(where: str, value: object) -> None:
    if value is not None and not isinstance(value, str | int | float):
        raise InvalidArgumentError(
            f"{where}: a string, a number, a boolean or null is expected, got {_short(value)}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgumentError(f"{where}: {value!r} is not a number that JSON knows")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({type(value).__name__})"
