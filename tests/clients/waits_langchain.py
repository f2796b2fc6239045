"""Upsert changed vectors with ``langchain-cloudflare`` and let it wait; print how many waits ended, and how."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from langchain_cloudflare import CloudflareVectorize, vectorstores
from langchain_core.embeddings import Embeddings


class Lengths(Embeddings):
    """Vectors that differ from what is there."""

    def embed_query(self, text: str) -> list[float]:
        return [float(len(text) + place) for place in range(32)]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


count, seconds = int(sys.argv[1]), int(sys.argv[2])
vectorstores.DEFAULT_MAX_WAIT_SECONDS = seconds
store = CloudflareVectorize(
    embedding=Lengths(),
    account_id=os.environ["CLOUDFLARE_ACCOUNT_ID"],
    api_token=os.environ["CLOUDFLARE_API_TOKEN"],
    base_url=os.environ["VECTORIZE_API"],
    index_name="docs",
    default_wait_seconds=0.1,
)


def upsert_and_wait(number: int) -> str:
    try:
        store.add_texts(texts=[f"text {number}"], ids=[f"v{number}"], upsert=True, wait=True)
    except TimeoutError:
        return "lost"
    return "seen" if store.get_by_ids([f"v{number}"]) else "early"


with ThreadPoolExecutor(20) as pool:
    outcomes = list(pool.map(upsert_and_wait, range(count)))
print(json.dumps({outcome: outcomes.count(outcome) for outcome in ("seen", "early", "lost")}))
