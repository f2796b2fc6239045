"""Which column is which field of a record: from rows under anybody's names to records. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, time
from typing import Any

from airflow_provider_vectorize.client.errors import InvalidArgumentError

#: Hex digits of an id that is a hash: 128 bits.
HASH_DIGITS = 32

_FIELDS = ("id", "values", "namespace", "metadata")
_SHOWN = 20

Row = Mapping[str, Any]


class Columns:
    """A mapping of columns, such as ``{"id": "doc_id", "values": "embedding", "metadata": ["title", "lang"]}``.

    A field that is left out is the column of its own name; ``namespace`` and ``metadata`` may then be missing.

    :param given: ``id``: a column, whose whole numbers become text; a list of columns, joined by ``:``; or
        ``{"hash": [columns]}``, 32 hex digits of SHA-256 over the compact JSON of the list of their values.
        ``values`` and ``namespace``: a column. ``metadata``: a list of columns, ``"*"`` for all that are left, or a
        mapping from the property to the column.
    :raises InvalidArgumentError: naming what it cannot be.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        if not isinstance(given, Mapping):
            raise InvalidArgumentError(
                f'columns must be a mapping such as {{"id": "doc_id", "values": "embedding"}}, got {given!r}'
            )
        if unknown := [key for key in given if key not in _FIELDS]:
            raise InvalidArgumentError(
                f"columns: unknown field {', '.join(map(repr, unknown))}; a record has {', '.join(_FIELDS)}"
            )
        self.given = dict(given)
        self.values = _name("values", given.get("values", "values"))
        self.namespace = _name("namespace", given.get("namespace", "namespace"))
        self._id, self._make_id = _id_from(given.get("id"))
        self._rest = given.get("metadata") == "*"
        self._renamed = None if self._rest else _metadata_from(given.get("metadata"))

    @property
    def needed(self) -> list[str]:
        """The columns that must be there."""
        named = [self.namespace] if "namespace" in self.given else []
        return list(dict.fromkeys([*self._id, self.values, *named, *(self._renamed or {}).values()]))

    def wanted(self, there: Iterable[str]) -> list[str]:
        """Choose the columns to read of those that are there.

        :raises InvalidArgumentError: one that is needed is not there; the text names those that are.
        """
        names = list(there)
        self.check(names)
        optional = {self.namespace, *(("metadata",) if self._renamed is None else ())}
        return [name for name in names if self._rest or name in optional or name in self.needed]

    def check(self, there: Sequence[str]) -> None:
        """See that every column that is needed is there.

        :raises InvalidArgumentError: naming those that are not, and those that are.
        """
        if missing := [name for name in self.needed if name not in there]:
            shown = ", ".join(map(repr, there[:_SHOWN])) + (", ..." if len(there) > _SHOWN else "")
            raise InvalidArgumentError(
                f"there is no column {', '.join(map(repr, missing))}; there are {shown or 'none'}"
            )

    def record(self, row: Row) -> dict[str, Any]:
        """Make a record of a row; what is missing is left out, and left to the checks."""
        record: dict[str, Any] = {}
        if (made := self._make_id(row)) is not None:
            record["id"] = made
        if self.values in row:
            record["values"] = row[self.values]
        if row.get(self.namespace) is not None:
            record["namespace"] = row[self.namespace]
        if self._rest:
            used = {*self._id, self.values, self.namespace}
            record["metadata"] = {name: _json(row[name]) for name in row if name not in used}
        elif self._renamed is not None:
            record["metadata"] = {
                name: _json(row[column]) for name, column in self._renamed.items() if column in row
            }
        elif row.get("metadata") is not None:
            record["metadata"] = _json(row["metadata"])
        return record


def _id_from(given: Any) -> tuple[list[str], Callable[[Row], Any]]:
    if given is None:
        return ["id"], lambda row: row.get("id")
    if isinstance(given, str):
        column = _name("id", given)
        return [column], lambda row: _text(row.get(column))
    if isinstance(given, Mapping) and list(given) == ["hash"]:
        hashed = _names("id, hash", given["hash"])
        return hashed, lambda row: _hash([row.get(name) for name in hashed])
    joined = _names("id", given)
    return joined, lambda row: _join([_text(row.get(name)) for name in joined])


def _metadata_from(given: Any) -> dict[str, str] | None:
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {_name("metadata", name): _name("metadata", column) for name, column in given.items()}
    if given == []:
        return {}
    return {name: name for name in _names("metadata", given)}


def _name(field: str, given: Any) -> str:
    if not isinstance(given, str) or not given:
        raise InvalidArgumentError(f"columns, {field}: the name of a column is expected, got {given!r}")
    return given


def _names(field: str, given: Any) -> list[str]:
    if not isinstance(given, list | tuple) or not given:
        raise InvalidArgumentError(
            f"columns, {field}: a column or a list of columns is expected, got {given!r}"
        )
    return [_name(field, each) for each in given]


def _text(value: Any) -> Any:
    # A whole number is an id that was stored as one; of anything else the checks say what it is.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _join(parts: list[Any]) -> Any:
    return ":".join(parts) if all(isinstance(each, str) for each in parts) else None


def _hash(values: list[Any]) -> str | None:
    try:
        text = json.dumps(list(map(_json, values)), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    except (TypeError, ValueError):
        return None
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | time) else value
