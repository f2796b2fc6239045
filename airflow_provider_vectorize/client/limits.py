"""Limits of Cloudflare Vectorize v2, as published on its limits page (2026-08-05) and in its API reference.

Sizes are in bytes of UTF-8, never in characters.
"""

from __future__ import annotations

MIN_DIMENSIONS = 32
MAX_DIMENSIONS = 1536

MAX_UPLOAD_VECTORS = 5_000
MAX_UPLOAD_BYTES = 100_000_000

MAX_INDEX_NAME_BYTES = 64
MAX_ID_BYTES = 64
MAX_NAMESPACE_BYTES = 64
#: Of the metadata of one vector, as compact JSON.
MAX_METADATA_BYTES = 10_240

MAX_GET_IDS = 20
MAX_DELETE_IDS = 100
MAX_LIST_PAGE = 1_000

MAX_TOP_K = 100
#: With values or all metadata in the answer.
MAX_TOP_K_WITH_VALUES = 50

#: The API blocks a token for five minutes once its budget (1,200 requests in five minutes) is used up.
RATE_LIMIT_BLOCK_SECONDS = 330.0

#: What one may ask an index for is counted in requests, so nobody looks more often than this.
MIN_POLL_SECONDS = 1.0

#: A mutation id is a UUID; anything longer is not one.
MAX_MUTATION_ID_CHARS = 36

#: Of an index.
MAX_METADATA_INDEXES = 10
#: Compact JSON of a filter must be shorter.
MAX_FILTER_BYTES = 2_048
MAX_FILTER_KEY_CHARACTERS = 512
#: Bytes of a string that a metadata index keeps.
INDEXED_STRING_BYTES = 64

METRICS = ("cosine", "euclidean", "dot-product")
METADATA_INDEX_TYPES = ("string", "number", "boolean")

#: Dimensions of the presets that an index can be created by.
PRESETS = {
    "@cf/baai/bge-small-en-v1.5": 384,
    "@cf/baai/bge-base-en-v1.5": 768,
    "@cf/baai/bge-large-en-v1.5": 1024,
    "openai/text-embedding-ada-002": 1536,
    "cohere/embed-multilingual-v2.0": 768,
}
