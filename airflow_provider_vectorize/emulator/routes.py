"""Which operation a method and a path stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from airflow_provider_vectorize.emulator.errors import ApiError

#: (method, path under .../indexes) -> operation; None stands for the index name.
ROUTES: Final[dict[tuple[str, tuple[str | None, ...]], str]] = {
    ("GET", ()): "list_indexes",
    ("POST", ()): "create_index",
    ("GET", (None,)): "get_index",
    ("DELETE", (None,)): "delete_index",
    ("GET", (None, "info")): "index_info",
    ("POST", (None, "insert")): "insert",
    ("POST", (None, "upsert")): "upsert",
    ("POST", (None, "delete_by_ids")): "delete_by_ids",
    ("POST", (None, "get_by_ids")): "get_by_ids",
    ("POST", (None, "query")): "query",
    ("GET", (None, "list")): "list_vectors",
    ("POST", (None, "metadata_index", "create")): "create_metadata_index",
    ("POST", (None, "metadata_index", "delete")): "delete_metadata_index",
    ("GET", (None, "metadata_index", "list")): "list_metadata_indexes",
}
OPERATIONS: Final = tuple(ROUTES.values())
UPLOADS: Final = frozenset({"insert", "upsert"})
#: Whose body is JSON: every other POST.
JSON_BODIES: Final = frozenset(name for (method, _), name in ROUTES.items() if method == "POST") - UPLOADS
_SHAPES: Final = {shape for _, shape in ROUTES}
_MAX_ACCOUNT_CHARACTERS: Final = 32


@dataclass(frozen=True)
class Route:
    """An operation on an account's index (None where the operation is on none)."""

    operation: str
    account: str
    index: str | None


def match(method: str, path: str) -> Route:
    """Find the route.

    :param path: the request target without its query, still percent-encoded.
    :raises ApiError: 7003 if there is none, 7001 if there is one for another method.
    """
    parts = [unquote(part) for part in path.split("/")]
    if parts[:4] != ["", "client", "v4", "accounts"] or parts[5:8] != ["vectorize", "v2", "indexes"]:
        raise ApiError("no_route")
    account, rest = parts[4], parts[8:]
    if not 1 <= len(account) <= _MAX_ACCOUNT_CHARACTERS or not account.isprintable():
        raise ApiError("no_route")
    index = rest[0] if rest else None
    shape = (None, *rest[1:]) if rest else ()
    if index == "" or shape not in _SHAPES:
        raise ApiError("no_route")
    if (method, shape) not in ROUTES:
        error = ApiError("wrong_method", method=method)
        error.allow = ", ".join(known for known, of in ROUTES if of == shape)
        raise error
    return Route(ROUTES[method, shape], account, index)
