"""The 14 operations, a clause of the contract each."""

from __future__ import annotations

import json
import uuid

import pytest

from airflow_provider_vectorize.emulator import Emulator
from tests.emulator.api import NDJSON, Api, ndjson, vector


def test_create_answers_the_index(api: Api) -> None:
    config = {"dimensions": 768, "metric": "euclidean"}
    index = api.result("POST", json={"name": "docs", "config": config, "description": "Of mine"})
    assert index["name"] == "docs"
    assert index["description"] == "Of mine"
    assert index["config"] == config
    assert index["created_on"] == index["modified_on"]
    assert index["created_on"].endswith("Z")


@pytest.mark.parametrize(
    ("preset", "dimensions"),
    [
        ("@cf/baai/bge-small-en-v1.5", 384),
        ("@cf/baai/bge-base-en-v1.5", 768),
        ("@cf/baai/bge-large-en-v1.5", 1024),
        ("openai/text-embedding-ada-002", 1536),
        ("cohere/embed-multilingual-v2.0", 768),
    ],
)
def test_create_takes_a_preset(api: Api, preset: str, dimensions: int) -> None:
    index = api.result("POST", json={"name": "docs", "config": {"preset": preset}})
    assert index["config"] == {"dimensions": dimensions, "metric": "cosine"}


@pytest.mark.parametrize("status", [200, 201])
def test_create_answers_200_or_201_as_set(status: int) -> None:
    with Emulator(created_status=status) as emulator:
        api = Api(f"{emulator.url}/client/v4", emulator.account, emulator.token)
        body = {"name": "docs", "config": {"dimensions": 32, "metric": "cosine"}}
        assert api.call("POST", json=body).status_code == status
        assert api.call("GET", "/docs").status_code == 200
    with pytest.raises(ValueError, match="created_status"):
        Emulator(created_status=204)


def test_metadata_may_have_null_values_or_not_as_set() -> None:
    record = vector("a", metadata={"t": None, "in": {"t": None}})
    for taken in (True, False):
        with Emulator(null_metadata=taken) as emulator:
            emulator.create_index("docs")
            api = Api(f"{emulator.url}/client/v4", emulator.account, emulator.token)
            if taken:
                api.upsert("docs", record)
                assert api.get("docs", "a") == [record]
            else:
                headers = {"Content-Type": NDJSON}
                assert api.refused("POST", "/docs/upsert", data=ndjson([record]), headers=headers)[1] == 40023


def test_get_answers_what_create_did(api: Api) -> None:
    created = api.result("POST", json={"name": "docs", "config": {"dimensions": 32, "metric": "cosine"}})
    assert api.result("GET", "/docs") == created


def test_list_answers_every_index_of_the_account(api: Api) -> None:
    for name in ("bb", "aa"):
        api.create(name)
    assert [index["name"] for index in api.result("GET")] == ["aa", "bb"]


def test_accounts_do_not_see_each_other(docs: Api) -> None:
    other = Api(docs.url.split("/accounts")[0], "f" * 32, "token")
    assert other.result("GET") == []
    other.create("docs")
    assert other.info("docs")["vectorCount"] == 0


def test_delete_removes_the_index_with_its_vectors(docs: Api) -> None:
    docs.upsert("docs", vector("a"))
    assert docs.result("DELETE", "/docs") is None
    assert docs.result("GET") == []
    docs.create("docs")
    assert docs.get("docs", "a") == []
    assert docs.info("docs") == {"dimensions": 32, "vectorCount": 0}


def test_info_of_a_new_index_has_no_watermark(docs: Api) -> None:
    assert docs.info("docs") == {"dimensions": 32, "vectorCount": 0}


def test_info_names_the_last_visible_mutation(docs: Api) -> None:
    mutation = docs.upsert("docs", vector("a"))
    info = docs.info("docs")
    assert (info["vectorCount"], info["processedUpToMutation"]) == (1, mutation)
    assert info["processedUpToDatetime"].endswith("Z")


@pytest.mark.parametrize("operation", ["insert", "upsert"])
def test_a_write_answers_a_random_uuid(docs: Api, operation: str) -> None:
    assert uuid.UUID(docs.upload(operation, "docs", [vector("a")])).version == 4


def test_values_are_stored_as_float32(docs: Api) -> None:
    docs.upsert("docs", vector("a", 67.1, 0.1))
    assert docs.get("docs", "a")[0]["values"][:3] == [67.0999984741211, 0.10000000149011612, 0.0]


def test_get_by_ids_answers_the_whole_vector_and_leaves_out_missing_ids(docs: Api) -> None:
    whole = vector("a", namespace="n", metadata={"t": "x", "list": ["a"], "in": {"deep": [], "yes": True}})
    docs.upsert("docs", whole, vector("b"))
    assert docs.get("docs", "b", "nobody", "a", "b") == [{**vector("b"), "metadata": {}}, whole]


def test_deeply_nested_metadata_reads_back(docs: Api) -> None:
    deep = vector("a", metadata=json.loads('{"a":' * 253 + "1" + "}" * 253))
    docs.upsert("docs", deep)
    assert docs.get("docs", "a") == [deep]
    assert docs.query("docs", vectorId="a", returnMetadata="all")[0]["metadata"] == deep["metadata"]


def test_upsert_replaces_the_whole_vector(docs: Api) -> None:
    docs.upsert("docs", vector("a", namespace="n", metadata={"t": 1}))
    docs.upsert("docs", vector("a", 0.5))
    assert docs.get("docs", "a") == [{**vector("a", 0.5), "metadata": {}}]
    assert docs.info("docs")["vectorCount"] == 1


def test_insert_skips_ids_that_exist(docs: Api) -> None:
    docs.upsert("docs", vector("a", 1.0))
    docs.insert("docs", vector("a", 0.5), vector("b", 0.5))
    assert [found["values"][0] for found in docs.get("docs", "a", "b")] == [1.0, 0.5]


def test_of_an_id_twice_in_a_body_upsert_keeps_the_last_and_insert_the_first(docs: Api) -> None:
    docs.upsert("docs", vector("a", 1.0), vector("a", 2.0))
    docs.insert("docs", vector("b", 1.0), vector("b", 2.0))
    assert [found["values"][0] for found in docs.get("docs", "a", "b")] == [2.0, 1.0]
    assert docs.info("docs")["vectorCount"] == 2


def test_delete_by_ids_deletes_and_minds_no_unknown_id(docs: Api) -> None:
    docs.upsert("docs", vector("a"), vector("b"))
    mutation = docs.delete("docs", "a", "nobody", "a")
    assert docs.get("docs", "a", "b") == [{**vector("b"), "metadata": {}}]
    assert docs.info("docs")["vectorCount"] == 1
    assert docs.watermark("docs") == mutation


def test_a_deleted_id_can_be_inserted_again(docs: Api) -> None:
    docs.upsert("docs", vector("a"))
    docs.delete("docs", "a")
    docs.insert("docs", vector("a", 0.5))
    assert docs.get("docs", "a")[0]["values"][0] == 0.5


def test_query_answers_five_matches_without_values_and_metadata(docs: Api) -> None:
    docs.upsert("docs", *(vector(f"v{n}", 1.0, n / 10, metadata={"n": n}) for n in range(9)))
    matches = docs.query("docs", vector=vector("", 1.0)["values"])
    assert [match["id"] for match in matches] == ["v0", "v1", "v2", "v3", "v4"]
    assert all(match.keys() == {"id", "score"} for match in matches)
    assert matches[0]["score"] == pytest.approx(1)


def test_query_by_vector_id_uses_the_stored_values(docs: Api) -> None:
    docs.upsert("docs", vector("a", 1.0), vector("b", 0.0, 1.0), vector("c", 0.1, 1.0))
    assert [match["id"] for match in docs.query("docs", vectorId="b", topK=2)] == ["b", "c"]


def test_query_returns_values_metadata_and_namespace_when_asked(docs: Api) -> None:
    whole = vector("a", 0.1, namespace="n", metadata={"t": "x"})
    docs.upsert("docs", whole)
    (match,) = docs.query("docs", vector=whole["values"], returnValues=True, returnMetadata="all")
    assert match.pop("score") == pytest.approx(1)
    assert match.pop("values")[0] == 0.10000000149011612
    assert match == {"id": "a", "namespace": "n", "metadata": {"t": "x"}}


def test_query_in_a_namespace_finds_no_other(docs: Api) -> None:
    docs.upsert("docs", vector("a", namespace="n"), vector("b", namespace="m"), vector("c"))
    values = vector("")["values"]
    assert [match["id"] for match in docs.query("docs", vector=values, namespace="n")] == ["a"]
    assert len(docs.query("docs", vector=values)) == 3


def test_query_of_an_empty_index_finds_nothing(docs: Api) -> None:
    assert docs.query("docs", vector=vector("")["values"]) == []


def test_return_metadata_indexed_answers_indexed_properties_cut_to_64_bytes(docs: Api) -> None:
    docs.add_metadata_index("docs", "title")
    docs.add_metadata_index("docs", "n", "number")
    docs.upsert("docs", vector("a", metadata={"title": "é" * 40, "n": "no number", "other": 1}))
    (match,) = docs.query("docs", vectorId="a", returnMetadata="indexed")
    assert match["metadata"] == {"title": "é" * 32}


def test_list_answers_ids_page_by_page(docs: Api) -> None:
    docs.upsert("docs", *(vector(f"v{n}") for n in range(5)))
    page = docs.result("GET", "/docs/list?count=3")
    assert [item["id"] for item in page["vectors"]] == ["v0", "v1", "v2"]
    assert (page["count"], page["totalCount"], page["isTruncated"]) == (3, 5, True)
    assert page["cursorExpirationTimestamp"].endswith("Z")
    rest = docs.result("GET", "/docs/list", params={"count": 3, "cursor": page["nextCursor"]})
    assert [item["id"] for item in rest["vectors"]] == ["v3", "v4"]
    assert (rest["count"], rest["totalCount"], rest["isTruncated"]) == (2, 5, False)
    assert "nextCursor" not in rest


def test_list_answers_100_ids_by_default(docs: Api) -> None:
    docs.upsert("docs", *(vector(f"v{n}") for n in range(101)))
    assert docs.result("GET", "/docs/list")["count"] == 100


def test_a_list_is_a_snapshot(docs: Api) -> None:
    docs.upsert("docs", *(vector(f"v{n}") for n in range(4)))
    page = docs.result("GET", "/docs/list?count=2")
    docs.delete("docs", "v3")
    docs.upsert("docs", vector("v9"))
    rest = docs.result("GET", f"/docs/list?count=9&cursor={page['nextCursor']}")
    assert [item["id"] for item in rest["vectors"]] == ["v2", "v3"]
    assert docs.result("GET", "/docs/list")["vectors"][-1] == {"id": "v9"}


def test_metadata_indexes_are_listed_with_capitalised_types(docs: Api) -> None:
    for kind in ("string", "number", "boolean"):
        docs.add_metadata_index("docs", f"a-{kind}", kind)
    listed = docs.result("GET", "/docs/metadata_index/list")["metadataIndexes"]
    assert listed == [
        {"propertyName": "a-string", "indexType": "String"},
        {"propertyName": "a-number", "indexType": "Number"},
        {"propertyName": "a-boolean", "indexType": "Boolean"},
    ]


def test_creating_and_deleting_a_metadata_index_are_mutations(docs: Api) -> None:
    created = docs.add_metadata_index("docs", "t")
    assert docs.watermark("docs") == created
    deleted = docs.result("POST", "/docs/metadata_index/delete", json={"propertyName": "t"})["mutationId"]
    assert docs.watermark("docs") == deleted
    assert docs.result("GET", "/docs/metadata_index/list") == {"metadataIndexes": []}


def test_a_metadata_index_does_not_see_older_vectors(docs: Api) -> None:
    docs.upsert("docs", vector("old", metadata={"t": "x"}))
    docs.add_metadata_index("docs", "t")
    docs.upsert("docs", vector("new", metadata={"t": "x"}))
    wanted = {"vector": vector("")["values"], "filter": {"t": "x"}}
    assert [match["id"] for match in docs.query("docs", **wanted)] == ["new"]
    docs.upsert("docs", vector("old", metadata={"t": "x"}))
    assert {match["id"] for match in docs.query("docs", **wanted)} == {"new", "old"}


def test_a_metadata_index_made_again_starts_empty(docs: Api) -> None:
    docs.add_metadata_index("docs", "t")
    docs.upsert("docs", vector("a", metadata={"t": "x"}))
    docs.result("POST", "/docs/metadata_index/delete", json={"propertyName": "t"})
    docs.add_metadata_index("docs", "t")
    assert docs.query("docs", vectorId="a", filter={"t": "x"}) == []


def test_a_filter_on_a_property_without_index_finds_nothing(docs: Api) -> None:
    docs.upsert("docs", vector("a", metadata={"t": "x"}))
    assert docs.query("docs", vectorId="a", filter={"t": "x"}) == []


def test_both_kinds_of_authentication_are_let_in(docs: Api) -> None:
    del docs.session.headers["Authorization"]
    docs.session.headers.update({"X-Auth-Email": "me@example.com", "X-Auth-Key": "key"})
    assert docs.info("docs")["dimensions"] == 32


@pytest.mark.parametrize("behavior", ["error", "discard"])
def test_unparsable_behavior(docs: Api, behavior: str) -> None:
    body = ndjson([vector("a")]) + b"\n{broken\n" + ndjson([vector("b")])
    response = docs.call(
        "POST", f"/docs/upsert?unparsable-behavior={behavior}", data=body, headers={"Content-Type": NDJSON}
    )
    assert response.status_code == (200 if behavior == "discard" else 400)
    assert len(docs.get("docs", "a", "b")) == (2 if behavior == "discard" else 0)


@pytest.mark.parametrize(
    "content_type", [NDJSON, "application/x-ndjson; charset=utf-8", "Application/X-NDJSON"]
)
def test_a_raw_body_may_have_parameters_blank_lines_and_crlf(docs: Api, content_type: str) -> None:
    body = b"\r\n".join([ndjson([vector("a")]), b"", ndjson([vector("b")]), b""])
    docs.result("POST", "/docs/upsert", data=body, headers={"Content-Type": content_type})
    assert docs.info("docs")["vectorCount"] == 2


def test_a_multipart_body_may_have_other_parts_than_vectors(docs: Api) -> None:
    files = {"other": ("x", b"?"), "vectors": ("vectors.ndjson", ndjson([vector("a"), vector("b")]), NDJSON)}
    docs.result("POST", "/docs/upsert", files=files)
    assert docs.info("docs")["vectorCount"] == 2
