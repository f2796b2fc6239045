"""The 14 operations: a checked request in, a result out."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from airflow_provider_vectorize.emulator import filters, routes, search, settings, uploads, validation
from airflow_provider_vectorize.emulator.cursors import Cursors
from airflow_provider_vectorize.emulator.damage import Damage
from airflow_provider_vectorize.emulator.errors import ApiError
from airflow_provider_vectorize.emulator.models import Index, MetadataIndex, StoredVector
from airflow_provider_vectorize.emulator.settings import Settings
from airflow_provider_vectorize.emulator.state import State


@dataclass(frozen=True)
class Request:
    """A request that was let in.

    :param index: the index of the path; empty for the two operations on none.
    :param query: the query string's values.
    :param damage: what a fault does to the write.
    """

    operation: str
    account: str
    index: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    content_type: str = ""
    body: bytes = b""
    damage: Damage | None = None


class Result(NamedTuple):
    """What an operation answers.

    :param value: ``result`` of the envelope.
    :param vectors: how many vectors or ids a write was about; 0 for a read.
    :param mutation_id: of a write.
    """

    value: Any
    vectors: int = 0
    mutation_id: str | None = None


class Operations:
    """The operations on a state.

    :param state: where everything is kept.
    :param options: the emulator's settings.
    """

    def __init__(self, state: State, options: Settings) -> None:
        self._state = state
        self._settings = options
        self._cursors = Cursors(options.cursor_seconds)
        self._handlers: dict[str, Callable[[Request], Result]] = {
            "list_indexes": self._list_indexes,
            "create_index": self._create_index,
            "get_index": self._get_index,
            "delete_index": self._delete_index,
            "index_info": self._index_info,
            "insert": self._upload,
            "upsert": self._upload,
            "delete_by_ids": self._delete_by_ids,
            "get_by_ids": self._get_by_ids,
            "query": self._query,
            "list_vectors": self._list_vectors,
            "create_metadata_index": self._create_metadata_index,
            "delete_metadata_index": self._delete_metadata_index,
            "list_metadata_indexes": self._list_metadata_indexes,
        }

    def run(self, request: Request) -> Result:
        """Carry out a request.

        :raises ApiError: if it is refused.
        """
        if request.operation in routes.JSON_BODIES:
            if request.index:  # An index that is not there is told before anything about the body.
                self._state.index(request.account, request.index)
            validation.json_type(request.content_type)
        return self._handlers[request.operation](request)

    def _list_indexes(self, request: Request) -> Result:
        return Result([_index(index) for index in self._state.indexes(request.account)])

    def _create_index(self, request: Request) -> Result:
        return Result(_index(self._state.create_index(request.account, validation.new_index(request.body))))

    def _get_index(self, request: Request) -> Result:
        return Result(_index(self._state.index(request.account, request.index)))

    def _delete_index(self, request: Request) -> Result:
        self._state.delete_index(request.account, request.index)
        return Result(None)

    def _index_info(self, request: Request) -> Result:
        index = self._state.info(request.account, request.index)
        info: dict[str, Any] = {"dimensions": index.dimensions, "vectorCount": index.count}
        if index.applied_at is not None:
            info["processedUpToDatetime"] = _timestamp(index.applied_at)
            info["processedUpToMutation"] = index.watermark
        return Result(info)

    def _upload(self, request: Request) -> Result:
        index = self._state.index(request.account, request.index)
        discard = validation.discard(request.query)
        how = uploads.Upload(
            request.operation,
            index.dimensions,
            discard,
            self._settings.ndjson_boundary,
            self._settings.null_metadata,
        )
        vectors = uploads.read(request.body, request.content_type, how)
        write = self._state.upsert if request.operation == "upsert" else self._state.insert
        spoil = request.damage.vectors if request.damage else None
        return _mutation(write(index, vectors, spoil), len(vectors))

    def _delete_by_ids(self, request: Request) -> Result:
        ids = validation.ids(request.body, settings.MAX_DELETE_IDS)
        spoil = request.damage.names if request.damage else None
        return _mutation(self._state.delete(request.account, request.index, ids, spoil), len(ids))

    def _get_by_ids(self, request: Request) -> Result:
        ids = validation.ids(request.body, settings.MAX_GET_IDS)
        found = []
        for vector in self._state.get(request.account, request.index, ids):
            item = {
                "id": vector.id,
                "values": _numbers(vector.values),
                "metadata": _fragment(vector.metadata),
            }
            found.append(item if vector.namespace is None else {**item, "namespace": vector.namespace})
        return Result(found)

    def _query(self, request: Request) -> Result:
        view = self._state.view(request.account, request.index)
        query = validation.query(request.body, view.index.dimensions)
        vector = query.vector
        if query.vector_id is not None:
            rows = [row for row, found in enumerate(view.rows) if found.vector.id == query.vector_id]
            if not rows:
                raise ApiError("vector_not_found", id=query.vector_id[:80])
            vector = view.matrix[rows[0]].tolist()
        allowed = [
            row for row, found in enumerate(view.rows) if _passes(found, query, view.metadata_indexes)
        ] if query.namespace is not None or query.filter is not None else None  # fmt: skip
        matches = []
        for hit in search.nearest(view.index.metric, view.matrix, vector or [], allowed, query.top_k):
            found = view.rows[hit.row]
            match: dict[str, Any] = {"id": found.vector.id, "score": hit.score}
            if query.return_values:
                match["values"] = view.matrix[hit.row].tolist()
            if query.return_metadata == "all":
                match["metadata"] = _fragment(found.vector.metadata)
            elif query.return_metadata == "indexed":
                held = filters.indexed(_metadata(found.vector.metadata), found.seq, view.metadata_indexes)
                match["metadata"] = {name: value for name, value in held.items() if value is not None}
            if found.vector.namespace is not None:
                match["namespace"] = found.vector.namespace
            matches.append(match)
        return Result({"count": len(matches), "matches": matches})

    def _list_vectors(self, request: Request) -> Result:
        count = validation.count(request.query)
        cursor = request.query.get("cursor")
        if cursor is None:
            index, ids = self._state.ids(request.account, request.index)
            page = self._cursors.first(index.number, ids, count)
        else:
            number = self._state.index(request.account, request.index).number
            following = self._cursors.next(number, cursor, count)
            if following is None:
                raise ApiError("bad_list", reason="the cursor is unknown or has expired")
            page = following
        result: dict[str, Any] = {
            "count": len(page.ids),
            "totalCount": page.total,
            "isTruncated": page.next_cursor is not None,
            "vectors": [{"id": name} for name in page.ids],
        }
        if page.next_cursor is not None:
            result["nextCursor"] = page.next_cursor
            result["cursorExpirationTimestamp"] = _timestamp(page.expires)
        return Result(result)

    def _create_metadata_index(self, request: Request) -> Result:
        name, kind = validation.metadata_index(request.body)
        return _mutation(self._state.create_metadata_index(request.account, request.index, name, kind), 0)

    def _delete_metadata_index(self, request: Request) -> Result:
        name = validation.metadata_index_name(request.body)
        return _mutation(self._state.delete_metadata_index(request.account, request.index, name), 0)

    def _list_metadata_indexes(self, request: Request) -> Result:
        found = self._state.metadata_indexes(request.account, request.index)
        # The API answers "String" to what was created as "string".
        return Result(
            {
                "metadataIndexes": [
                    {"propertyName": item.name, "indexType": item.type.title()} for item in found
                ]
            }
        )


def _passes(found: StoredVector, query: validation.Query, indexes: Sequence[MetadataIndex]) -> bool:
    if query.namespace is not None and found.vector.namespace != query.namespace:
        return False
    if query.filter is None:
        return True
    return filters.matches(
        query.filter, filters.indexed(_metadata(found.vector.metadata), found.seq, indexes)
    )


def _index(index: Index) -> dict[str, Any]:
    created = _timestamp(index.created_on)
    return {
        "name": index.name,
        "description": index.description or "",
        "created_on": created,
        "modified_on": created,  # Nothing of an index's configuration ever changes.
        "config": {"dimensions": index.dimensions, "metric": index.metric},
    }


def _mutation(mutation_id: str, vectors: int) -> Result:
    return Result({"mutationId": mutation_id}, vectors, mutation_id)


def _metadata(stored: bytes | None) -> dict[str, Any]:
    return orjson.loads(stored) if stored else {}


def _fragment(stored: bytes | None) -> orjson.Fragment:
    # As it was stored, which is compact JSON already and may be nested as deeply as orjson writes.
    return orjson.Fragment(stored or b"{}")


def _numbers(values: bytes) -> list[float]:
    # As doubles, so that 67.1 reads back as 67.0999984741211, like the API's.
    return array("f", values).tolist()


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
