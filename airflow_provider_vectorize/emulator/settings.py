"""The limits of the API, and what can be set because it is unknown or a matter of the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

# Cloudflare Vectorize limits page, 2026-08-05.
MIN_DIMENSIONS: Final = 32
MAX_DIMENSIONS: Final = 1536
MAX_UPLOAD_VECTORS: Final = 5_000
MAX_UPLOAD_BYTES: Final = 100_000_000
MAX_INDEX_VECTORS: Final = 20_000_000
MAX_NAME_BYTES: Final = 64
MAX_ID_BYTES: Final = 64
MAX_NAMESPACE_BYTES: Final = 64
MAX_METADATA_BYTES: Final = 10_240
MAX_METADATA_INDEXES: Final = 10
INDEXED_STRING_BYTES: Final = 64
MAX_GET_IDS: Final = 20
MAX_DELETE_IDS: Final = 100
MAX_LIST: Final = 1_000
DEFAULT_LIST: Final = 100
DEFAULT_TOP_K: Final = 5
MAX_TOP_K: Final = 100
MAX_TOP_K_WITH_VALUES: Final = 50
MAX_FILTER_BYTES: Final = 2_048
MAX_FILTER_KEY_CHARACTERS: Final = 512

# Cloudflare Vectorize, "What is a mutation": one job takes this much at a time.
BATCH_WRITES: Final = 1_000
BATCH_VECTORS: Final = 200_000

# No published limit; far above any request that is within the limits on ids, vector and filter.
MAX_JSON_BYTES: Final = 4_000_000

METRICS: Final = ("cosine", "euclidean", "dot-product")
PRESETS: Final[Mapping[str, int]] = {
    "@cf/baai/bge-small-en-v1.5": 384,
    "@cf/baai/bge-base-en-v1.5": 768,
    "@cf/baai/bge-large-en-v1.5": 1024,
    "openai/text-embedding-ada-002": 1536,
    "cohere/embed-multilingual-v2.0": 768,
}

#: Indexes an account and namespaces an index, by plan (limits page).
PLANS: Final[Mapping[str, tuple[int, int]]] = {"free": (100, 1_000), "paid": (50_000, 50_000)}


@dataclass(frozen=True)
class RateLimit:
    """A budget for each credential (Cloudflare API rate limits page).

    :param requests: how many requests pass.
    :param seconds: the window, and for how long all requests are refused once it is overdrawn.
    """

    requests: int = 1200
    seconds: float = 300.0

    def __post_init__(self) -> None:
        if type(self.requests) is not int or self.requests < 1:
            raise ValueError("requests must be an integer of at least 1")
        if type(self.seconds) not in (int, float) or not 0 < self.seconds <= 86_400:
            raise ValueError("seconds must be a number above 0, of at most 86400")


@dataclass(frozen=True)
class Settings:
    """How this emulator behaves where the real service is unknown, or where a test wants its say.

    :param account: the only account id that is let in; None lets any in.
    :param token: the only API token (or Global API key) that is let in; None lets any in.
    :param plan: whose limits on indexes and namespaces hold.
    :param statuses: HTTP statuses that differ from the table in :mod:`.errors`, by the name of the refusal.
        The real status of ``index_not_found``, ``index_deleted`` and ``wrong_token`` is not known for sure.
    :param deleted_seconds: for how long requests to a deleted index are told so (code 3005) before the name
        is unknown (code 3000). The real time is unknown.
    :param reuse_deleted_name: whether the name of a deleted index can be taken again at once; if not, creating
        it within ``deleted_seconds`` is refused with code 3005.
    :param ndjson_boundary: whether a body labelled ``application/x-ndjson; boundary=...``, as the API
        reference's own curl command sends it, is read as multipart, with the file in a part ``vectors`` or
        ``body``. If not it is 40023.
    :param null_metadata: whether a value in metadata may be null. If not, such a line is 40023.
    :param created_status: HTTP status of an answer that creates an index: 200 (the OpenAPI document) or 201
        (Cloudflare's own how-to).
    :param cursor_seconds: how long the cursor of a list can be used. The real time is unknown.
    :param rate_limit: None for no rate limit; ``RateLimit()`` is the API's.
    :param request_seconds: how long a sender may take for the head of a request, and again for its body; idle
        connections are closed after that time.
    """

    account: str | None = None
    token: str | None = None
    plan: Literal["free", "paid"] = "paid"
    statuses: Mapping[str, int] = field(default_factory=dict)
    deleted_seconds: float = 60.0
    reuse_deleted_name: bool = True
    ndjson_boundary: bool = True
    null_metadata: bool = True
    created_status: Literal[200, 201] = 200
    cursor_seconds: float = 300.0
    rate_limit: RateLimit | None = None
    request_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.created_status not in (200, 201):
            raise ValueError(f"created_status must be 200 or 201, not {self.created_status!r}")
