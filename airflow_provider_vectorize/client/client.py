"""Every operation of the Vectorize v2 API, as methods."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

import requests

from airflow_provider_vectorize.client.address import DEFAULT_BASE_URL, normalize_base_url
from airflow_provider_vectorize.client.answers import Answer
from airflow_provider_vectorize.client.arguments import check_account_id, check_index_name, parts_of
from airflow_provider_vectorize.client.auth import Credentials, flaw_of_credentials
from airflow_provider_vectorize.client.errors import (
    IndexExistsError,
    IndexNotFoundError,
    InvalidArgumentError,
    VectorizeApiError,
)
from airflow_provider_vectorize.client.limits import (
    MAX_DELETE_IDS,
    MAX_GET_IDS,
    MAX_LIST_PAGE,
)
from airflow_provider_vectorize.client.transport import Transport
from airflow_provider_vectorize.client.types import (
    Body,
    Index,
    IndexInfo,
    Match,
    MetadataIndex,
    MetadataIndexType,
    Metric,
    Mutation,
    ReturnMetadata,
    UnparsableBehavior,
    Vector,
)
from airflow_provider_vectorize.client.wire import new_session
from airflow_provider_vectorize.ending import Ending, State

DEFAULT_TIMEOUT = 60.0
DEFAULT_MAX_ATTEMPTS = 8


class VectorizeClient:
    """A client of one Cloudflare account; safe to share between threads.

    Transient failures are repeated as :mod:`.transport` says. Every method raises :class:`VectorizeApiError` when the
    API says no, :class:`TransportError` when no answer arrives, :class:`InvalidArgumentError` for what can never work.

    :param account_id: ``[A-Za-z0-9_-]{1,32}``; Cloudflare's are 32 hex characters.
    :param api_token: an API token with the permission Vectorize Write, or Read for what only reads.
    :param email: with ``api_key`` instead of a token: the user of the legacy Global API key.
    :param api_key: the Global API key.
    :param base_url: address of the API; ``/client/v4`` is appended unless it is there. Plain http is refused unless
        the host is loopback.
    :param timeout: seconds within which some bytes of a body must leave, or some of an answer arrive; at most 10 of
        them to connect. A whole exchange ends after four times as long, and the time that its body takes at 16 KiB/s.
    :param max_attempts: requests for one call, at least 1. A throttled call may take more, see the retry policy.
    :param session: a requests session, with its own adapters and ``verify``. Default: a new one.
    :param sleep: waits for a number of seconds. Default: a wait that :meth:`abort` and the like end.
    :param clock: tells seconds, monotonic, in step with ``sleep``.
    :param renew: reads the token, or the key, anew. When the API refuses the credentials it is called once a call, and
        the call goes on if they have changed.
    :raises InvalidArgumentError: naming the argument.
    """

    def __init__(
        self,
        account_id: str,
        api_token: str | None = None,
        *,
        email: str | None = None,
        api_key: str | None = None,
        base_url: str = DEFAULT_BASE_URL,
        timeout: float = DEFAULT_TIMEOUT,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        renew: Callable[[], str] | None = None,
    ) -> None:
        flaw = flaw_of_credentials(api_token, email, api_key)
        auth = Credentials(api_token or api_key or "", email, renew)
        del api_token, api_key  # a traceback may show what a frame holds
        if flaw is not None:
            raise InvalidArgumentError(flaw)
        check_account_id(account_id)
        if timeout <= 0:
            raise InvalidArgumentError(f"timeout must be more than 0 seconds, got {timeout!r}")
        if max_attempts < 1:
            raise InvalidArgumentError(f"max_attempts must be at least 1, got {max_attempts!r}")
        self.account_id = account_id
        self.base_url = normalize_base_url(base_url)
        self._transport = Transport(
            root=self.base_url,
            account_id=account_id,
            auth=auth,
            timeout=timeout,
            max_attempts=max_attempts,
            session=session or new_session(),
            sleep=sleep,
            clock=clock,
        )

    def __repr__(self) -> str:
        return f"<VectorizeClient account {self.account_id} at {self.base_url}>"

    def abort(self) -> None:
        """Cut the requests under way and refuse new ones. Safe to call from another thread or a signal handler."""
        self._transport.ending.come_to(State.OVER)

    def within(
        self, ending: Ending | None = None, *, seconds: float | None = None, max_attempts: int | None = None
    ) -> Self:
        """Give the same client for a piece of work with bounds; it shares connections, credentials and throttling.

        :param ending: ends its waits once it is stopping, and cuts its requests once it is over.
        :param seconds: by then, counted from now, each of its calls has ended.
        :param max_attempts: instead of the client's.
        """
        bounded = copy.copy(self)
        bounded._transport = self._transport.within(ending, seconds, max_attempts)  # noqa: SLF001  # of a copy of itself
        return bounded

    # Indexes

    def list_indexes(self) -> list[Index]:
        """List the indexes of the account."""
        answer = self._call("list_indexes", "GET", None)
        return answer.items(Index.from_result)

    def create_index(
        self,
        index_name: str,
        *,
        dimensions: int | None = None,
        metric: Metric | None = None,
        preset: str | None = None,
        description: str = "",
    ) -> Index:
        """Create an index. Its configuration can never be changed.

        When the answer to an earlier attempt was lost and the next one says that the name is taken, the index that
        is there is returned if it is what was asked for.

        :param index_name: a lower-case letter first, then letters, digits, ``-`` and ``_``, at most 64 bytes.
        :param dimensions: length of the vectors, 32 to 1,536; with ``metric``, instead of ``preset``.
        :param metric: ``cosine``, ``euclidean`` or ``dot-product``.
        :param preset: name of an embedding model that the API knows, such as ``@cf/baai/bge-base-en-v1.5``.
        :param description: free text.
        :raises IndexExistsError: the name is taken.
        """
        check_index_name(index_name)
        if (preset is None) == (dimensions is None and metric is None):
            raise InvalidArgumentError("create_index takes either dimensions and metric, or preset")
        if preset is None and (dimensions is None or metric is None):
            raise InvalidArgumentError("create_index takes dimensions and metric together")
        config: dict[str, Any] = (
            {"dimensions": dimensions, "metric": metric} if preset is None else {"preset": preset}
        )
        body = {"name": index_name, "config": config, "description": description}
        try:
            answer = self._call("create_index", "POST", None, json=body, place=f"index {index_name!r}")
        except IndexExistsError as error:
            if not error.after_lost_answer:
                raise
            index = self.get_index(index_name)
            if preset is None and (index.dimensions, index.metric) != (dimensions, metric):
                raise
            return index
        return answer.item(Index.from_result)

    def get_index(self, index_name: str) -> Index:
        """Get an index and its configuration.

        :raises IndexNotFoundError: there is none of that name.
        """
        return self._call("get_index", "GET", index_name).item(Index.from_result)

    def delete_index(self, index_name: str) -> None:
        """Delete an index with all its vectors.

        When the answer to an earlier attempt was lost and the next one says that there is no such index, it counts
        as deleted.

        :raises IndexNotFoundError: there is none of that name.
        """
        try:
            self._call("delete_index", "DELETE", index_name)
        except IndexNotFoundError as error:
            if not error.after_lost_answer:
                raise

    def index_info(self, index_name: str) -> IndexInfo:
        """Get the state of an index: the number of vectors, and how far the writes are applied."""
        return self._call("index_info", "GET", index_name, "/info").item(IndexInfo.from_result)

    # Writes

    def upsert(
        self, index_name: str, body: Body, unparsable_behavior: UnparsableBehavior = "error"
    ) -> Mutation:
        """Insert vectors, replacing those whose id exists. One request: one mutation.

        :param body: NDJSON, one vector a line; at most 5,000 vectors and 100 MB (limits page).
        :param unparsable_behavior: ``error`` refuses the whole body for one bad line; ``discard`` drops such lines,
            and the API does not say how many.
        :raises InvalidVectorError: one vector was refused, and the whole body with it.
        """
        return self._upload("upsert", index_name, body, unparsable_behavior)

    def insert(
        self, index_name: str, body: Body, unparsable_behavior: UnparsableBehavior = "error"
    ) -> Mutation:
        """Insert vectors; those whose id exists are silently left as they are. Otherwise as :meth:`upsert`."""
        return self._upload("insert", index_name, body, unparsable_behavior)

    def delete_by_ids(self, index_name: str, ids: Iterable[str]) -> list[Mutation]:
        """Delete vectors, 100 ids a request, one request after the other.

        :param ids: any number of them.
        :returns: a mutation for each request, in order: when the last can be seen, so can all.
        """
        return [
            self._call(
                "delete_by_ids", "POST", index_name, "/delete_by_ids", writes=True, json={"ids": part}
            ).mutation()
            for part in parts_of(ids, MAX_DELETE_IDS)
        ]

    # Reads

    def get_by_ids(self, index_name: str, ids: Iterable[str]) -> list[Vector]:
        """Get vectors, 20 ids a request. Ids that are not in the index are left out.

        :param ids: any number of them.
        """
        vectors: list[Vector] = []
        for part in parts_of(ids, MAX_GET_IDS):
            answer = self._call("get_by_ids", "POST", index_name, "/get_by_ids", json={"ids": part})
            vectors += answer.items(Vector.from_result)
        return vectors

    def query(
        self,
        index_name: str,
        vector: Sequence[float] | None = None,
        *,
        vector_id: str | None = None,
        top_k: int = 5,
        namespace: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002  # the API's own name for it
        return_values: bool = False,
        return_metadata: ReturnMetadata = "none",
    ) -> list[Match]:
        """Find the nearest vectors, the closest first.

        :param vector: the query, as long as the index's dimensions; or
        :param vector_id: the id of a stored vector to ask with.
        :param top_k: at most 100, and at most 50 with values or all metadata (limits page).
        :param namespace: look only there.
        :param filter: conditions on indexed metadata, such as ``{"topic": {"$in": ["birds", "weather"]}}``.
        :param return_values: with the values.
        :param return_metadata: ``none``, ``indexed`` (strings cut to 64 bytes) or ``all``.
        """
        if (vector is None) == (vector_id is None):
            raise InvalidArgumentError("query takes either vector or vector_id")
        body: dict[str, Any] = {
            "topK": top_k,
            "returnValues": return_values,
            "returnMetadata": return_metadata,
        }
        body |= {"vector": vector} if vector_id is None else {"vectorId": vector_id}
        if namespace is not None:
            body["namespace"] = namespace
        if filter is not None:
            body["filter"] = filter
        return self._call("query", "POST", index_name, "/query", json=body).items(
            Match.from_result, "matches"
        )

    def list_vectors(self, index_name: str, *, page_size: int = MAX_LIST_PAGE) -> Iterator[str]:
        """List the ids of all vectors, page by page.

        :param page_size: ids a request, 1 to 1,000.
        """
        params: dict[str, str | int] = {"count": page_size}
        cursors: set[str] = set()
        while True:
            answer = self._call("list_vectors", "GET", index_name, "/list", params=params)
            yield from answer.items(_id, "vectors")
            cursor = answer.result.get("nextCursor")
            if not answer.result.get("isTruncated", cursor):
                return
            if not isinstance(cursor, str) or not cursor:
                raise answer.unusable("the list goes on, and there is no cursor to follow")
            if cursor in cursors:
                raise answer.unusable("the next page is one that was read before")
            cursors.add(cursor)
            params["cursor"] = cursor

    # Metadata indexes

    def create_metadata_index(
        self, index_name: str, property_name: str, index_type: MetadataIndexType
    ) -> Mutation | None:
        """Let queries filter by a metadata property. Vectors written before are not in it.

        :param property_name: ``.`` nests.
        :param index_type: ``string``, ``number`` or ``boolean``.
        :returns: the mutation; None when the answer to the attempt that made it was lost, so that its id is unknown.
        """
        body = {"propertyName": property_name, "indexType": index_type}
        return self._change_metadata_index(
            "create_metadata_index",
            index_name,
            "/metadata_index/create",
            body,
            MetadataIndex(property_name, index_type),
        )

    def delete_metadata_index(self, index_name: str, property_name: str) -> Mutation | None:
        """Drop a metadata index; the vectors keep the property.

        :returns: as :meth:`create_metadata_index`.
        """
        body = {"propertyName": property_name}
        return self._change_metadata_index(
            "delete_metadata_index", index_name, "/metadata_index/delete", body, None
        )

    def list_metadata_indexes(self, index_name: str) -> list[MetadataIndex]:
        """List the properties that queries can filter by."""
        answer = self._call("list_metadata_indexes", "GET", index_name, "/metadata_index/list")
        return answer.items(MetadataIndex.from_result, "metadataIndexes")

    def _change_metadata_index(
        self,
        operation: str,
        index_name: str,
        path: str,
        body: Mapping[str, str],
        wanted: MetadataIndex | None,
    ) -> Mutation | None:
        try:
            return self._call(operation, "POST", index_name, path, json=body).mutation()
        except VectorizeApiError as error:
            # The codes for "exists" and "not found" are not documented here, so look whenever an answer was lost.
            if not (error.permanent and error.after_lost_answer):
                raise
            there = {item.property_name: item for item in self.list_metadata_indexes(index_name)}
            if there.get(body["propertyName"]) != wanted:
                raise
            return None

    def _upload(
        self,
        operation: str,
        index_name: str,
        body: Body,
        unparsable_behavior: UnparsableBehavior,
    ) -> Mutation:
        params = {"unparsable-behavior": unparsable_behavior}
        return self._call(
            operation, "POST", index_name, f"/{operation}", writes=True, params=params, ndjson=body
        ).mutation()

    def _call(
        self,
        operation: str,
        method: str,
        index_name: str | None,
        path: str = "",
        *,
        place: str = "",
        writes: bool = False,
        **kwargs: Any,
    ) -> Answer:
        root = f"/accounts/{quote(self.account_id, safe='')}/vectorize/v2/indexes"
        if index_name is not None:
            check_index_name(index_name)
            root += f"/{quote(index_name, safe='')}"
            place = f"index {index_name!r}"
        writes_to = index_name if writes and index_name else ""
        return self._transport.call(
            operation, method, root + path, place=place, writes_to=writes_to, **kwargs
        )


def _id(item: Any) -> str:
    return str(item["id"])
