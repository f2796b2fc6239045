"""Every Vectorize method of the ``cloudflare`` package of PyPI against the emulator."""

from __future__ import annotations

import json
import os
import time

import cloudflare

ACCOUNT = os.environ["CLOUDFLARE_ACCOUNT_ID"]
NDJSON = {"Content-Type": "application/x-ndjson"}
indexes = cloudflare.Cloudflare(
    api_token=os.environ["CLOUDFLARE_API_TOKEN"], base_url=os.environ["VECTORIZE_API"]
).vectorize.indexes


def vector(number: int) -> dict[str, object]:
    return {
        "id": f"v{number}",
        "values": [float(place == number) for place in range(32)],
        "metadata": {"n": number},
    }


def done(method: str) -> None:
    print(f"  {method}", flush=True)
    time.sleep(0.3)  # until the write can be seen


body = "\n".join(json.dumps(vector(number)) for number in range(30)).encode()

index = indexes.create(account_id=ACCOUNT, name="docs", config={"dimensions": 32, "metric": "cosine"})
assert index.name == "docs"
done("create")
assert [item.name for item in indexes.list(account_id=ACCOUNT)] == ["docs"]
done("list")
assert indexes.get("docs", account_id=ACCOUNT).config.dimensions == 32
done("get")
assert indexes.metadata_index.create(
    "docs", account_id=ACCOUNT, index_type="number", property_name="n"
).mutation_id
done("metadata_index.create")
assert indexes.metadata_index.list("docs", account_id=ACCOUNT).metadata_indexes[0].property_name == "n"
done("metadata_index.list")
try:
    indexes.insert("docs", account_id=ACCOUNT, body=body)
    refused = None
except cloudflare.BadRequestError as error:
    refused = error.errors[0].code
assert refused == 1005, refused
done("insert, labelled JSON: refused with code 1005")
assert indexes.insert("docs", account_id=ACCOUNT, body=body, extra_headers=NDJSON).mutation_id
done("insert")
mutation = indexes.upsert(
    "docs", account_id=ACCOUNT, body=body, unparsable_behavior="discard", extra_headers=NDJSON
).mutation_id
done("upsert")
info = indexes.info("docs", account_id=ACCOUNT)
assert (info.vector_count, info.processed_up_to_mutation) == (30, mutation), info
done("info")
found = indexes.query(
    "docs",
    account_id=ACCOUNT,
    vector=vector(7)["values"],
    filter={"n": {"$lt": 10}},
    top_k=10,
    return_metadata="all",
)
assert (found.count, found.matches[0].id, found.matches[0].metadata) == (10, "v7", {"n": 7}), found
done("query")
assert indexes.get_by_ids("docs", account_id=ACCOUNT, ids=["v1", "nobody"])[0]["id"] == "v1"
done("get_by_ids")
page = indexes.list_vectors("docs", account_id=ACCOUNT, count=20)
rest = indexes.list_vectors("docs", account_id=ACCOUNT, count=20, cursor=page.next_cursor)
assert (page.count, rest.count, rest.is_truncated) == (20, 10, False)
done("list_vectors")
assert indexes.delete_by_ids("docs", account_id=ACCOUNT, ids=["v1"]).mutation_id
done("delete_by_ids")
assert indexes.metadata_index.delete("docs", account_id=ACCOUNT, property_name="n").mutation_id
done("metadata_index.delete")
indexes.delete("docs", account_id=ACCOUNT)
assert list(indexes.list(account_id=ACCOUNT)) == []
done("delete")
