"""Each operation: the request it makes, and how it reads the answer."""

from __future__ import annotations

import pytest

from airflow_provider_vectorize.client.errors import (
    IndexExistsError,
    IndexNotFoundError,
    InvalidArgumentError,
    UnexpectedAnswerError,
    VectorizeApiError,
)
from airflow_provider_vectorize.client.types import Index, IndexInfo, Match, MetadataIndex, Vector
from tests.client.conftest import BASE, failure, ok

INDEX = {
    "name": "docs",
    "description": "d",
    "created_on": "2026-01-01T00:00:00Z",
    "modified_on": "2026-01-02T00:00:00Z",
    "config": {"dimensions": 32, "metric": "cosine"},
}
AS_READ = Index("docs", 32, "cosine", "d", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")


def test_list_indexes(client, api):
    api.get(BASE, json=ok([INDEX]))
    assert client.list_indexes() == [AS_READ]


def test_create_index_sends_dimensions_and_metric(client, api):
    api.post(BASE, json=ok(INDEX))
    assert client.create_index("docs", dimensions=32, metric="cosine", description="d") == AS_READ
    assert api.last_request.json() == {
        "name": "docs",
        "config": {"dimensions": 32, "metric": "cosine"},
        "description": "d",
    }


def test_create_index_sends_a_preset(client, api):
    api.post(BASE, json=ok(INDEX))
    client.create_index("docs", preset="@cf/baai/bge-small-en-v1.5")
    assert api.last_request.json()["config"] == {"preset": "@cf/baai/bge-small-en-v1.5"}


@pytest.mark.parametrize(
    "arguments",
    [{}, {"dimensions": 32}, {"metric": "cosine"}, {"dimensions": 32, "metric": "cosine", "preset": "p"}],
)
def test_create_index_takes_either_dimensions_and_metric_or_a_preset(client, arguments):
    with pytest.raises(InvalidArgumentError, match="dimensions and metric"):
        client.create_index("docs", **arguments)


def test_create_index_that_exists_is_an_error(client, api):
    api.post(BASE, status_code=409, json=failure(3002, "vectorize.index.duplicate_name"))
    with pytest.raises(IndexExistsError, match="3002"):
        client.create_index("docs", dimensions=32, metric="cosine")


def test_create_index_after_a_lost_answer_returns_the_index_that_is_there(client, api):
    api.post(BASE, [{"status_code": 502}, {"status_code": 409, "json": failure(3002, "duplicate")}])
    api.get(f"{BASE}/docs", json=ok(INDEX))
    assert client.create_index("docs", dimensions=32, metric="cosine") == AS_READ


def test_create_index_after_a_lost_answer_refuses_an_index_of_another_configuration(client, api):
    api.post(BASE, [{"status_code": 502}, {"status_code": 409, "json": failure(3002, "duplicate")}])
    api.get(f"{BASE}/docs", json=ok(INDEX))
    with pytest.raises(IndexExistsError):
        client.create_index("docs", dimensions=64, metric="cosine")


def test_throttling_does_not_make_an_existing_index_ours(client, api):
    api.post(BASE, [{"status_code": 429}, {"status_code": 409, "json": failure(3002, "duplicate")}])
    with pytest.raises(IndexExistsError):
        client.create_index("docs", dimensions=32, metric="cosine")


def test_get_index(client, api):
    api.get(f"{BASE}/docs", json=ok(INDEX))
    assert client.get_index("docs") == AS_READ


def test_delete_index(client, api):
    api.delete(f"{BASE}/docs", json=ok(None))
    client.delete_index("docs")
    assert api.call_count == 1


def test_delete_index_that_is_not_there_is_an_error(client, api):
    api.delete(f"{BASE}/docs", status_code=404, json=failure(3000, "vectorize.index.not_found"))
    with pytest.raises(IndexNotFoundError, match="Check the index name"):
        client.delete_index("docs")


def test_delete_index_after_a_lost_answer_counts_as_done_when_it_is_gone(client, api):
    api.delete(f"{BASE}/docs", [{"status_code": 500}, {"status_code": 404, "json": failure(3000, "gone")}])
    client.delete_index("docs")
    assert api.call_count == 2


def test_index_info_of_a_new_index_has_no_watermark(client, api):
    api.get(f"{BASE}/docs/info", json=ok({"dimensions": 768, "vectorCount": 0}))
    assert client.index_info("docs") == IndexInfo(768, 0, None, None)


def test_index_info(client, api):
    result = {"dimensions": 768, "vectorCount": 5, "processedUpToDatetime": "t", "processedUpToMutation": "m"}
    api.get(f"{BASE}/docs/info", json=ok(result))
    assert client.index_info("docs") == IndexInfo(768, 5, "m", "t")


@pytest.mark.parametrize("operation", ["insert", "upsert"])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_upload_sends_the_body_as_it_is_and_returns_the_mutation(client, api, operation, kind):
    api.post(f"{BASE}/docs/{operation}", json=ok({"mutationId": "m-1"}))
    body = kind(b'{"id":"a","values":[1]}\n')
    mutation = getattr(client, operation)("docs", body, "discard")
    assert (mutation.id, mutation.attempts) == ("m-1", 1)
    request = api.last_request
    assert bytes(request.body) == bytes(body)
    assert request.headers["Content-Type"] == "application/x-ndjson"
    assert request.headers["Content-Length"] == str(len(body))
    assert request.qs == {"unparsable-behavior": ["discard"]}


def test_upload_asks_for_an_error_by_default(client, api):
    api.post(f"{BASE}/docs/upsert", json=ok({"mutationId": "m"}))
    client.upsert("docs", b"{}\n")
    assert api.last_request.qs == {"unparsable-behavior": ["error"]}


@pytest.mark.parametrize(
    "result", [None, {}, {"mutationId": ""}, {"mutationId": "x" * 37}, {"mutationId": 5}, []]
)
def test_a_write_without_a_mutation_id_is_an_error(client, api, result):
    api.post(f"{BASE}/docs/upsert", json=ok(result))
    with pytest.raises(UnexpectedAnswerError, match="no mutation id"):
        client.upsert("docs", b"{}\n")


def test_delete_by_ids_cuts_at_100_and_returns_every_mutation(client, api):
    api.post(f"{BASE}/docs/delete_by_ids", [{"json": ok({"mutationId": f"m{n}"})} for n in range(3)])
    mutations = client.delete_by_ids("docs", (str(n) for n in range(201)))
    assert [mutation.id for mutation in mutations] == ["m0", "m1", "m2"]
    sent = [request.json()["ids"] for request in api.request_history]
    assert [len(ids) for ids in sent] == [100, 100, 1]
    assert [id_ for ids in sent for id_ in ids] == [str(n) for n in range(201)]


def test_ids_given_as_one_text_are_refused(client):
    with pytest.raises(InvalidArgumentError, match="list of ids"):
        client.delete_by_ids("docs", "abc")


def test_get_by_ids_cuts_at_20_and_leaves_out_what_is_missing(client, api):
    first = {"id": "0", "values": [1.0], "metadata": {"a": 1}, "namespace": "n"}
    api.post(f"{BASE}/docs/get_by_ids", [{"json": ok([first])}, {"json": ok([])}])
    assert client.get_by_ids("docs", map(str, range(21))) == [Vector("0", (1.0,), "n", {"a": 1})]
    assert [len(request.json()["ids"]) for request in api.request_history] == [20, 1]


def test_query_by_vector(client, api):
    match = {"id": "a", "score": 0.5, "values": [1.0], "metadata": {"t": "x"}, "namespace": "n"}
    api.post(f"{BASE}/docs/query", json=ok({"count": 1, "matches": [match]}))
    matches = client.query(
        "docs",
        [0.1, 0.2],
        top_k=3,
        namespace="n",
        filter={"t": "x"},
        return_values=True,
        return_metadata="all",
    )
    assert matches == [Match("a", 0.5, (1.0,), "n", {"t": "x"})]
    assert api.last_request.json() == {
        "vector": [0.1, 0.2],
        "topK": 3,
        "namespace": "n",
        "filter": {"t": "x"},
        "returnValues": True,
        "returnMetadata": "all",
    }


def test_query_by_a_stored_vector(client, api):
    api.post(f"{BASE}/docs/query", json=ok({"count": 1, "matches": [{"id": "a", "score": 1}]}))
    assert client.query("docs", vector_id="a") == [Match("a", 1.0)]
    assert api.last_request.json() == {
        "vectorId": "a",
        "topK": 5,
        "returnValues": False,
        "returnMetadata": "none",
    }


@pytest.mark.parametrize("arguments", [{}, {"vector": [1.0], "vector_id": "a"}])
def test_query_takes_either_a_vector_or_an_id(client, arguments):
    with pytest.raises(InvalidArgumentError, match="either vector or vector_id"):
        client.query("docs", **arguments)


def test_list_vectors_follows_the_pages(client, api):
    pages = [
        {"vectors": [{"id": "a"}, {"id": "b"}], "isTruncated": True, "nextCursor": "c1"},
        {"vectors": [{"id": "c"}], "isTruncated": False},
    ]
    api.get(f"{BASE}/docs/list", [{"json": ok(page)} for page in pages])
    assert list(client.list_vectors("docs", page_size=2)) == ["a", "b", "c"]
    assert [request.qs for request in api.request_history] == [
        {"count": ["2"]},
        {"count": ["2"], "cursor": ["c1"]},
    ]


def test_list_vectors_follows_a_cursor_also_where_the_page_does_not_say_that_it_is_cut(client, api):
    pages = [{"vectors": [{"id": "a"}], "nextCursor": "c1"}, {"vectors": [{"id": "b"}], "nextCursor": None}]
    api.get(f"{BASE}/docs/list", [{"json": ok(page)} for page in pages])
    assert list(client.list_vectors("docs")) == ["a", "b"]


def test_list_vectors_does_not_go_round_in_circles(client, api):
    api.get(f"{BASE}/docs/list", json=ok({"vectors": [], "isTruncated": True, "nextCursor": "same"}))
    with pytest.raises(UnexpectedAnswerError, match="read before"):
        list(client.list_vectors("docs"))


def test_create_and_delete_metadata_index(client, api):
    api.post(f"{BASE}/docs/metadata_index/create", json=ok({"mutationId": "m1"}))
    api.post(f"{BASE}/docs/metadata_index/delete", json=ok({"mutationId": "m2"}))
    assert client.create_metadata_index("docs", "topic", "string").id == "m1"
    assert api.last_request.json() == {"propertyName": "topic", "indexType": "string"}
    assert client.delete_metadata_index("docs", "topic").id == "m2"
    assert api.last_request.json() == {"propertyName": "topic"}


def test_list_metadata_indexes_reads_the_type_in_lower_case(client, api):
    result = {"metadataIndexes": [{"propertyName": "topic", "indexType": "String"}]}
    api.get(f"{BASE}/docs/metadata_index/list", json=ok(result))
    assert client.list_metadata_indexes("docs") == [MetadataIndex("topic", "string")]


@pytest.mark.parametrize(
    ("operation", "arguments", "there"),
    [
        ("create", ("topic", "string"), [{"propertyName": "topic", "indexType": "String"}]),
        ("delete", ("topic",), []),
    ],
)
def test_a_metadata_index_change_after_a_lost_answer_looks_before_it_says_no(
    client, api, operation, arguments, there
):
    answers = [{"status_code": 500}, {"status_code": 400, "json": failure(40099, "no")}]
    api.post(f"{BASE}/docs/metadata_index/{operation}", answers)
    api.get(f"{BASE}/docs/metadata_index/list", json=ok({"metadataIndexes": there}))
    assert getattr(client, f"{operation}_metadata_index")("docs", *arguments) is None


def test_a_metadata_index_of_another_type_stays_an_error(client, api):
    answers = [{"status_code": 500}, {"status_code": 400, "json": failure(40099, "no")}]
    api.post(f"{BASE}/docs/metadata_index/create", answers)
    there = {"metadataIndexes": [{"propertyName": "topic", "indexType": "Number"}]}
    api.get(f"{BASE}/docs/metadata_index/list", json=ok(there))
    with pytest.raises(VectorizeApiError, match="40099"):
        client.create_metadata_index("docs", "topic", "string")


def test_a_refused_metadata_index_without_a_lost_answer_is_an_error_at_once(client, api):
    api.post(f"{BASE}/docs/metadata_index/create", status_code=400, json=failure(40099, "no"))
    with pytest.raises(VectorizeApiError, match="40099"):
        client.create_metadata_index("docs", "topic", "string")
    assert api.call_count == 1


@pytest.mark.parametrize("name", ["", "a", "Docs", "1docs", "docs-", "do/cs", "../docs", "d" * 65, "dócs"])
def test_an_index_name_that_the_api_does_not_allow_is_refused_before_anything_is_sent(client, api, name):
    with pytest.raises(InvalidArgumentError, match="index_name"):
        client.index_info(name)
    assert api.call_count == 0


@pytest.mark.parametrize("result", [None, [], {}, {"dimensions": "many"}, 5])
def test_a_result_of_another_shape_is_an_error_that_says_so(client, api, result):
    api.get(f"{BASE}/docs/info", json=ok(result))
    with pytest.raises(UnexpectedAnswerError, match="index_info: the answer is not usable"):
        client.index_info("docs")


@pytest.mark.parametrize(
    ("call", "method", "path"),
    [
        (lambda c: c.query("docs", [1.0]), "POST", "/query"),
        (lambda c: list(c.list_vectors("docs")), "GET", "/list"),
        (lambda c: c.list_metadata_indexes("docs"), "GET", "/metadata_index/list"),
        (lambda c: c.get_by_ids("docs", ["a"]), "POST", "/get_by_ids"),
    ],
)
def test_a_result_without_its_list_is_an_error(client, api, call, method, path):
    api.request(method, f"{BASE}/docs{path}", json=ok(None))
    with pytest.raises(UnexpectedAnswerError, match="not the list"):
        call(client)
