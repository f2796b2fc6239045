"""Every refusal of the API in one table: its code, its HTTP status and its words."""

from __future__ import annotations

from typing import Final, NamedTuple

UPSTREAM_PREFIX: Final = "vectorize.upstream_error - "


class Refusal(NamedTuple):
    """One row of the table.

    :param code: the number in ``errors[0].code``, which clients branch on. 3900 to 3999 and 49000 to 49999
        are the emulator's own: the real code of that refusal has not been published.
    :param status: the HTTP status.
    :param text: the message, a format string. Codes of the 40000s get :data:`UPSTREAM_PREFIX`.
    """

    code: int
    status: int
    text: str


REFUSALS: Final[dict[str, Refusal]] = {
    # The index
    "index_not_found": Refusal(3000, 404, 'vectorize.index.not_found - Index name "{name}"'),
    "duplicate_name": Refusal(3002, 400, 'vectorize.index.duplicate_name - Index name "{name}"'),
    "index_deleted": Refusal(3005, 410, 'vectorize.index.deleted - Index name "{name}" was deleted'),
    "invalid_name": Refusal(3001, 400, 'vectorize.index.invalid_name - Index name "{name}"'),
    "invalid_config": Refusal(3003, 400, "vectorize.index.invalid_config - {reason}"),
    "too_many_indexes": Refusal(3902, 400, "vectorize.index.limit_reached - max index count is {limit}"),
    # The upload
    "unknown_content_type": Refusal(1005, 400, "vectorize.unknown_content_type"),
    "unparsable_line": Refusal(
        40023,
        400,
        "failed to parse {operation} vectors request in ndjson format: line Some({line}) was not expected format",
    ),
    "no_vectors_part": Refusal(
        40045, 400, "Got a multipart request without a vectors part in {operation} operation"
    ),
    "too_many_vectors": Refusal(49001, 400, "too many vectors in payload; max count is {limit}, got {got}"),
    "body_too_large": Refusal(49002, 413, "request body too large; max is {limit} bytes"),
    "index_full": Refusal(49003, 400, "too many vectors in index; max count is {limit}"),
    "too_many_namespaces": Refusal(49004, 400, "too many namespaces in index; max count is {limit}"),
    # A vector
    "id_too_long": Refusal(40008, 400, "id too long; max is {limit} bytes, got {got} bytes"),
    "namespace_too_long": Refusal(40009, 400, "namespace too long; max is {limit} bytes, got {got} bytes"),
    "vector_dimensions": Refusal(
        40012, 400, 'invalid vector for id="{id}", expected {want} dimensions, and got {got} dimensions'
    ),
    "metadata_too_large": Refusal(
        40016,
        400,
        'oversized metadata for vector id="{id}"; the compact JSON representation of the metadata '
        "must not exceed {limit} bytes, got {got} bytes",
    ),
    "metadata_key": Refusal(40018, 400, 'invalid metadata key "{key}" for vector id="{id}"'),
    # A JSON body
    "too_many_ids": Refusal(40007, 400, "too many ids in payload; max id count is {limit}, got {got}"),
    "bad_json": Refusal(40026, 400, "Failed to parse the request body as JSON: {reason}"),
    "no_json_type": Refusal(40026, 400, "Expected request with `Content-Type: application/json`"),
    "query_dimensions": Refusal(
        40006, 400, "invalid query vector, expected {want} dimensions, and got {got} dimensions"
    ),
    "top_k_with_values": Refusal(
        40025,
        400,
        "with returnValues=true or returnMetadata=all, max top K is {limit}, but got {got}; "
        "ask for fewer matches, or for less of each",
    ),
    "top_k": Refusal(40025, 400, "top K must be in range: [1, {limit}], but got {got}"),
    "vector_not_found": Refusal(49005, 400, 'vector id="{id}" not found'),
    "bad_filter": Refusal(49006, 400, "invalid filter: {reason}"),
    "bad_list": Refusal(49007, 400, "invalid list request: {reason}"),
    "metadata_index_exists": Refusal(40004, 400, 'metadata index for property "{name}" already exists'),
    "metadata_index_not_found": Refusal(40005, 400, 'no metadata index for property "{name}"'),
    "too_many_metadata_indexes": Refusal(49010, 400, "too many metadata indexes; max count is {limit}"),
    # The request as such
    "too_many_requests": Refusal(40041, 429, "Too Many Requests"),
    "throttled": Refusal(
        10100,
        429,
        "More than {limit} requests per {seconds:g} seconds reached. "
        "Please wait and consider throttling your request speed",
    ),
    "no_credentials": Refusal(9106, 400, "Missing X-Auth-Key, X-Auth-Email or Authorization headers"),
    "wrong_token": Refusal(10000, 401, "Authentication error"),
    "wrong_account": Refusal(10000, 403, "Authentication error"),
    "no_route": Refusal(7003, 404, "No route for the URI"),
    "wrong_method": Refusal(7001, 405, "Method {method} not available for that URI."),
    "bad_request": Refusal(49400, 400, "malformed HTTP request: {reason}"),
    "too_slow": Refusal(49408, 408, "the request did not arrive in time"),
    "no_multipart": Refusal(
        49501, 501, "multipart uploads need the [emulator] extra: pip install python-multipart"
    ),
    "internal": Refusal(49500, 500, "the emulator failed; its standard error says why"),
}


class ApiError(Exception):
    """A refusal, to be answered as an error envelope.

    :param kind: a key of :data:`REFUSALS`.
    :param values: what the message's format string names.

    Whoever raises it may set ``retry_after`` (whole seconds) and ``allow`` (methods): headers of the answer.
    """

    def __init__(self, kind: str, **values: object) -> None:
        row = REFUSALS[kind]
        text = row.text.format(**values)
        super().__init__(text)
        self.kind = kind
        self.code = row.code
        self.status = row.status
        self.message = UPSTREAM_PREFIX + text if 40000 <= row.code < 49400 else text
        self.retry_after: int | None = None
        self.allow: str | None = None
