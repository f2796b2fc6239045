"""The vector store of ``langchain-cloudflare`` against the emulator."""

from __future__ import annotations

import os

from langchain_cloudflare import CloudflareVectorize
from langchain_core.embeddings import Embeddings


class Letters(Embeddings):
    """Counts of letters: enough for texts that share words to be near each other."""

    def embed_query(self, text: str) -> list[float]:
        return [float(text.lower().count(chr(ord("a") + place))) for place in range(26)] + [0.0] * 6

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


def done(method: str) -> None:
    print(f"  {method}", flush=True)


store = CloudflareVectorize(
    embedding=Letters(),
    account_id=os.environ["CLOUDFLARE_ACCOUNT_ID"],
    api_token=os.environ["CLOUDFLARE_API_TOKEN"],
    base_url=os.environ["VECTORIZE_API"],
    index_name="docs",
    default_wait_seconds=0.1,
)
store.create_index(dimensions=32, metric="cosine", wait=True)
done("create_index")
store.create_metadata_index(property_name="topic", index_type="string", wait=True)
done("create_metadata_index")
assert store.list_metadata_indexes()[0]["propertyName"] == "topic"
done("list_metadata_indexes")
texts = ["whales sing in the deep", "a train leaves the station", "whales swim north"]
topics = [{"topic": "sea"}, {"topic": "rail"}, {"topic": "sea"}]
store.add_texts(texts=texts, metadatas=topics, ids=["a", "b", "c"], wait=True)
done("add_texts")
store.add_texts(texts=["whales swim south"], metadatas=[{"topic": "sea"}], ids=["c"], upsert=True, wait=True)
done("add_texts, upsert")
found = store.similarity_search("whales swim", k=5, md_filter={"topic": "sea"}, return_metadata="all")
assert [document.id for document in found] == ["c", "a"], found
done("similarity_search")
scored = store.similarity_search_with_score("train", k=1)
assert scored[0][0].id == "b", scored
done("similarity_search_with_score")
assert sorted(document.id for document in store.get_by_ids(["a", "b", "c"])) == ["a", "b", "c"]
done("get_by_ids")
assert store.get_index_info()["vectorCount"] == 3
done("get_index_info")
assert store.delete(ids=["a"], wait=True)
assert [document.id for document in store.get_by_ids(["a"])] == []
done("delete")
# Not delete_metadata_index: langchain-cloudflare 0.4.3 sends {"property": ...} where the API wants "propertyName".
assert [index["name"] for index in store.list_indexes()] == ["docs"]
done("list_indexes")
store.delete_index()
done("delete_index")
