"""Every operation of the Vectorize v2 API, as methods."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from airflow_provider_vectorize.client.address import DEFAULT_BASE_URL, normalize_base_url
from airflow_provider_vectorize.client.errors import (
    IndexExistsError,
    IndexNotFoundError,
    InvalidArgumentError,
    UnexpectedAnswerError,
    VectorizeApiError,
)
from airflow_provider_vectorize.client.limits import (
    MAX_DELETE_IDS,
    MAX_GET_IDS,
    MAX_INDEX_NAME_BYTES,
    MAX_LIST_PAGE,
    MAX_MUTATION_ID_CHARS,
)
from airflow_provider_vectorize.client.transport import (
    AbortableAdapter,
    Answer,
    GlobalKeyAuth,
    TokenAuth,
    Transport,
)
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

DEFAULT_TIMEOUT = 60.0
DEFAULT_MAX_ATTEMPTS = 8

_T = TypeVar("_T")

_ACCOUNT_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_INDEX_NAME = re.compile(r"[a-z]+[a-z0-9_-]*[a-z0-9]+")


class VectorizeClient:
    """A client of one Cloudflare account; safe to share between threads.

    Transient failures are repeated as :mod:`~airflow_provider_vectorize.client.retry` says. Every method raises
    :class:`VectorizeApiError` (or a subclass) when the API says no, :class:`TransportError` when no answer arrives,
    and :class:`InvalidArgumentError` for an argument that can never work.

    :param account_id: ``[A-Za-z0-9_-]{1,32}``; Cloudflare's are 32 hex characters.
    :param api_token: an API token with the permission Vectorize Write, or Read for what only reads.
    :param email: with ``api_key`` instead of a token: the user of the legacy Global API key.
    :param api_key: the Global API key.
    :param base_url: address of the API; ``/client/v4`` is appended unless it is there. Plain http is refused unless
        the host is loopback.
    :param timeout: seconds to wait for the next byte of an answer; at most 10 of them to connect, and for 2 MiB of a
        body to leave.
    :param max_attempts: requests for one call, at least 1. A throttled call may take more, see the retry policy.
    :param session: a requests session, with its own adapters and ``verify``. Default: a new one.
    :param sleep: waits for a number of seconds; replace it to be able to interrupt a wait.
    :param clock: tells seconds, monotonic, in step with ``sleep``.
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
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not _ACCOUNT_ID.fullmatch(account_id):
            raise InvalidArgumentError(
                f"account_id {account_id[:40]!r} is not of the form [A-Za-z0-9_-]{{1,32}}"
            )
        if timeout <= 0:
            raise InvalidArgumentError(f"timeout must be more than 0 seconds, got {timeout!r}")
        if max_attempts < 1:
            raise InvalidArgumentError(f"max_attempts must be at least 1, got {max_attempts!r}")
        self.account_id = account_id
        self.base_url = normalize_base_url(base_url)
        self._transport = Transport(
            self.base_url,
            account_id,
            _auth(api_token, email, api_key),
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
        self._transport.abort()

    # Indexes

    def list_indexes(self) -> list[Index]:
        """List the indexes of the account."""
        answer = self._call("list_indexes", "GET", None)
        return [
            _read(Index.from_result, "list_indexes", item) for item in _list("list_indexes", answer.result)
        ]

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
        return _read(Index.from_result, "create_index", answer.result)

    def get_index(self, index_name: str) -> Index:
        """Get an index and its configuration.

        :raises IndexNotFoundError: there is none of that name.
        """
        return _read(Index.from_result, "get_index", self._call("get_index", "GET", index_name).result)

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
        return _read(
            IndexInfo.from_result, "index_info", self._call("index_info", "GET", index_name, "/info").result
        )

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
            _mutation(
                "delete_by_ids",
                self._call("delete_by_ids", "POST", index_name, "/delete_by_ids", json={"ids": part}),
            )
            for part in _parts(ids, MAX_DELETE_IDS)
        ]

    # Reads

    def get_by_ids(self, index_name: str, ids: Iterable[str]) -> list[Vector]:
        """Get vectors, 20 ids a request. Ids that are not in the index are left out.

        :param ids: any number of them.
        """
        vectors: list[Vector] = []
        for part in _parts(ids, MAX_GET_IDS):
            answer = self._call("get_by_ids", "POST", index_name, "/get_by_ids", json={"ids": part})
            vectors += [
                _read(Vector.from_result, "get_by_ids", item) for item in _list("get_by_ids", answer.result)
            ]
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
        result = self._call("query", "POST", index_name, "/query", json=body).result
        matches = _list("query", result.get("matches") if isinstance(result, dict) else None)
        return [_read(Match.from_result, "query", item) for item in matches]

    def list_vectors(self, index_name: str, *, page_size: int = MAX_LIST_PAGE) -> Iterator[str]:
        """List the ids of all vectors, page by page.

        :param page_size: ids a request, 1 to 1,000.
        """
        cursor: str | None = None
        while True:
            params: dict[str, str | int] = {"count": page_size}
            if cursor is not None:
                params["cursor"] = cursor
            result = self._call("list_vectors", "GET", index_name, "/list", params=params).result
            page = _list("list_vectors", result.get("vectors") if isinstance(result, dict) else None)
            yield from (_read(_id, "list_vectors", item) for item in page)
            following = result.get("nextCursor")
            if not result.get("isTruncated") or following is None:
                return
            if following == cursor:
                raise _unexpected("list_vectors", "the next page is the same page")
            cursor = following

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
        result = self._call("list_metadata_indexes", "GET", index_name, "/metadata_index/list").result
        items = _list(
            "list_metadata_indexes", result.get("metadataIndexes") if isinstance(result, dict) else None
        )
        return [_read(MetadataIndex.from_result, "list_metadata_indexes", item) for item in items]

    def _change_metadata_index(
        self,
        operation: str,
        index_name: str,
        path: str,
        body: Mapping[str, str],
        wanted: MetadataIndex | None,
    ) -> Mutation | None:
        try:
            return _mutation(operation, self._call(operation, "POST", index_name, path, json=body))
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
        return _mutation(
            operation, self._call(operation, "POST", index_name, f"/{operation}", params=params, ndjson=body)
        )

    def _call(
        self,
        operation: str,
        method: str,
        index_name: str | None,
        path: str = "",
        *,
        place: str = "",
        **kwargs: Any,
    ) -> Answer:
        root = f"/accounts/{quote(self.account_id, safe='')}/vectorize/v2/indexes"
        if index_name is not None:
            check_index_name(index_name)
            root += f"/{quote(index_name, safe='')}"
            place = f"index {index_name!r}"
        return self._transport.call(operation, method, root + path, place=place, **kwargs)


def check_index_name(index_name: str) -> str:
    """Check the name of an index against the API's rule, and return it.

    :raises InvalidArgumentError: saying what the rule is.
    """
    if len(index_name) > MAX_INDEX_NAME_BYTES or not _INDEX_NAME.fullmatch(index_name):
        raise InvalidArgumentError(
            f"index_name {index_name[:80]!r} is not valid: a lower-case letter first, then lower-case letters, digits, "
            f"'-' and '_', a letter or digit last, 2 to {MAX_INDEX_NAME_BYTES} bytes"
        )
    return index_name


def _auth(api_token: str | None, email: str | None, api_key: str | None) -> TokenAuth:
    if api_token and not (email or api_key):
        auth = TokenAuth(api_token)
    elif email and api_key and not api_token:
        auth = GlobalKeyAuth(email, api_key)
    else:
        raise InvalidArgumentError(
            "either api_token, or email and api_key together, must be given and not be empty"
        )
    if not (auth.secret + (email or "")).isprintable() or not (auth.secret + (email or "")).isascii():
        raise InvalidArgumentError(
            "the token, key or e-mail contains characters that cannot be sent in a header"
        )
    return auth


def new_session() -> requests.Session:
    """Make a session whose connections :meth:`VectorizeClient.abort` can cut."""
    session = requests.Session()
    session.mount("https://", AbortableAdapter(pool_maxsize=32))
    session.mount("http://", AbortableAdapter(pool_maxsize=32))
    return session


def _parts(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    if isinstance(ids, str):
        raise InvalidArgumentError(f"ids must be a list of ids, got the text {ids[:80]!r}")
    everything = list(ids)
    return (everything[start : start + size] for start in range(0, len(everything), size))


def _mutation(operation: str, answer: Answer) -> Mutation:
    result = answer.result
    mutation_id = result.get("mutationId") if isinstance(result, dict) else None
    if not isinstance(mutation_id, str) or not 1 <= len(mutation_id) <= MAX_MUTATION_ID_CHARS:
        raise _unexpected(
            operation,
            f"it has no mutation id of 1 to {MAX_MUTATION_ID_CHARS} characters, so the write may not be accepted",
        )
    return Mutation(mutation_id, answer.attempts, answer.messages)


def _list(operation: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _unexpected(operation, "its result is not the list that the API documents")
    return value


def _read(reader: Callable[[Any], _T], operation: str, value: Any) -> _T:
    try:
        return reader(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unexpected(operation, f"its result is not what the API documents ({error!r})") from error


def _id(item: Any) -> str:
    return str(item["id"])


def _unexpected(operation: str, what: str) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(
        f"{operation}: the answer is not usable: {what}", status=200, operation=operation
    )
