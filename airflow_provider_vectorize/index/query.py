"""Questions to an index: checked before they are sent, asked one by one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import orjson

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.client.limits import (
    MAX_ID_BYTES,
    MAX_NAMESPACE_BYTES,
    MAX_TOP_K,
    MAX_TOP_K_WITH_VALUES,
)
from airflow_provider_vectorize.client.types import Match, ReturnMetadata
from airflow_provider_vectorize.index.filters import check_filter
from airflow_provider_vectorize.index.pace import Pace

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Query:
    """A question to an index.

    :param vector: what to look for, as many numbers as the index has dimensions; or
    :param vector_id: the id of a stored vector to ask with, at most 64 bytes.
    :param top_k: number of answers, 1 to 100, and at most 50 with values or all metadata (limits page).
    :param namespace: look only there; at most 64 bytes.
    :param filter: see :func:`~airflow_provider_vectorize.index.filters.check_filter`.
    :param return_values: with the values.
    :param return_metadata: ``none``, ``indexed`` (strings cut to 64 bytes) or ``all``.
    """

    vector: Sequence[float] | None = None
    vector_id: str | None = None
    top_k: int = 5
    namespace: str | None = None
    filter: Mapping[str, Any] | None = None
    return_values: bool = False
    return_metadata: ReturnMetadata = "none"

    def check(self) -> Self:
        """Check it against the rules of the API, and return it.

        :raises InvalidArgumentError: naming the parameter and the rule.
        """
        if (self.vector is None) == (self.vector_id is None):
            raise InvalidArgumentError("a query has either vector or vector_id")
        if self.vector is not None:
            _check_vector(self.vector)
        _check_text("vector_id", self.vector_id, MAX_ID_BYTES)
        _check_text("namespace", self.namespace, MAX_NAMESPACE_BYTES)
        if self.return_metadata not in ("none", "indexed", "all"):
            raise InvalidArgumentError(
                f"return_metadata must be none, indexed or all, got {self.return_metadata!r}"
            )
        if self.return_values not in (True, False):
            raise InvalidArgumentError(f"return_values must be True or False, got {self.return_values!r}")
        most = MAX_TOP_K_WITH_VALUES if self.return_values or self.return_metadata == "all" else MAX_TOP_K
        if type(self.top_k) is not int or not 1 <= self.top_k <= most:
            raise InvalidArgumentError(
                f"top_k must be a whole number of 1 to {MAX_TOP_K}, at most {MAX_TOP_K_WITH_VALUES} with values or all "
                f"metadata, got {self.top_k!r}"
            )
        if self.filter is not None:
            check_filter(self.filter)
        return self

    def merged(self, given: Mapping[str, Any]) -> Query:
        """Make a query of a mapping, with this one's for what it leaves out.

        :param given: keys are the parameters of a query; or a vector as it is loaded, of which ``id`` and ``values``
            count.
        :raises InvalidArgumentError: naming what is wrong.
        """
        if not hasattr(given, "keys"):
            raise InvalidArgumentError(f"a query is a mapping, got {given!r:.80}")
        fields = {key: given[key] for key in given if key != "id"}
        if "values" in given:
            fields = {"vector": given["values"]}
        if unknown := [key for key in fields if key not in Query.__dataclass_fields__]:
            raise InvalidArgumentError(
                f"unknown key {', '.join(map(repr, unknown))}; a query has "
                f"{', '.join(Query.__dataclass_fields__)}, a vector has id and values"
            )
        return replace(self, **fields).check()


def ask(client: VectorizeClient, index_name: str, query: Query) -> list[dict[str, Any]]:
    """Ask once, and give the matches as JSON, the closest first; what was not asked for is left out.

    :param client: the client.
    :param index_name: the index.
    :param query: checked.
    """
    matches = client.query(
        index_name,
        query.vector,
        vector_id=query.vector_id,
        top_k=query.top_k,
        namespace=query.namespace,
        filter=query.filter,
        return_values=query.return_values,
        return_metadata=query.return_metadata,
    )
    if not matches and query.filter is not None:
        _warn_of_properties(client, index_name, query.filter)
    return [_as_json(match, query) for match in matches]


def answers(
    client: VectorizeClient,
    index_name: str,
    queries: Iterable[tuple[str | None, Query]],
    pace: Pace,
) -> Iterator[bytes]:
    """Ask many times, one after the other, and give a line of NDJSON for each.

    :param client: the client.
    :param index_name: the index.
    :param queries: each with its id, if it has one.
    :param pace: called before every request.
    """
    for number, (query_id, query) in enumerate(queries, 1):
        pace()
        answer = {"query": number, "id": query_id, "matches": ask(client, index_name, query)}
        yield orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE)


def _as_json(match: Match, query: Query) -> dict[str, Any]:
    found = asdict(match)
    found["values"] = list(match.values or ())
    if not query.return_values:
        del found["values"]
    if query.return_metadata == "none":
        del found["metadata"]
    if found["namespace"] is None:
        del found["namespace"]
    return found


def _warn_of_properties(client: VectorizeClient, index_name: str, expression: Mapping[str, Any]) -> None:
    listed = {each.property_name for each in client.list_metadata_indexes(index_name)}
    for name in expression.keys() - listed:
        log.warning(
            "Nothing was found in index %r, and it has no metadata index for %r: a filter on such a property finds "
            "nothing. Its metadata indexes are: %s",
            index_name, name, ", ".join(sorted(listed)) or "none",
        )  # fmt: skip


def _check_vector(vector: Any) -> None:
    if isinstance(vector, str | bytes | Mapping) or not hasattr(vector, "__len__"):
        raise InvalidArgumentError(f"vector must be a list of numbers, got {type(vector).__name__}")
    if any(isinstance(each, bool | str) or each is None for each in vector):
        raise InvalidArgumentError("vector must be a list of numbers")
    try:
        with np.errstate(over="ignore"):
            finite = np.isfinite(np.asarray(vector, np.float32))
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgumentError("vector must be a flat list of numbers") from None
    if finite.ndim != 1 or not finite.size:
        raise InvalidArgumentError(f"vector must be a flat list of numbers, got shape {finite.shape}")
    if not finite.all():
        raise InvalidArgumentError(f"vector[{int(np.flatnonzero(~finite)[0])}] is not a finite float32")


def _check_text(name: str, text: Any, most: int) -> None:
    if text is None:
        return
    if not isinstance(text, str) or not text:
        raise InvalidArgumentError(f"{name} must be a text that is not empty, got {text!r}")
    if (size := len(text.encode("utf-8", "surrogatepass"))) > most:
        raise InvalidArgumentError(f"{name} takes {size} bytes, at most {most} are allowed: {text[:20]!r}...")
