"""What this package relies on of the Vectorize API, checked against the emulator and, on request, the real service.

The same tests for both, so that the two cannot drift apart unseen. Only what is published or was observed
independently is asserted here: how the emulator fills the gaps is tested with the emulator.
"""

from __future__ import annotations

import uuid

import pytest

from tests.contract.service import DIMENSIONS, Service
from tests.emulator.api import NDJSON, ndjson, vector

HEADERS = {"Content-Type": NDJSON}


def test_an_index_is_created_listed_described_and_deleted(service: Service) -> None:
    name = service.index("euclidean")
    described = service.result("GET", f"/{name}")
    assert described["name"] == name
    assert described["config"]["dimensions"] == DIMENSIONS
    assert described["config"]["metric"] == "euclidean"
    assert {"created_on", "modified_on"} <= described.keys()
    assert name in [index["name"] for index in service.result("GET")]
    service.result("DELETE", f"/{name}")
    assert name not in [index["name"] for index in service.result("GET")]


def test_a_new_index_has_no_watermark(service: Service) -> None:
    info = service.info(service.index())
    assert (info["dimensions"], info["vectorCount"]) == (DIMENSIONS, 0)
    assert info.get("processedUpToMutation") is None


def test_an_index_that_exists_is_3002(service: Service) -> None:
    body = {"name": service.index(), "config": {"dimensions": DIMENSIONS, "metric": "cosine"}}
    assert service.refused("POST", json=body)[1] == 3002


def test_an_unknown_index_is_3000(service: Service) -> None:
    assert service.refused("GET", f"/contract-{uuid.uuid4().hex[:16]}/info")[1] == 3000


def test_a_deleted_index_is_3000_or_3005(service: Service) -> None:
    name = service.index()
    service.result("DELETE", f"/{name}")
    assert service.refused("GET", f"/{name}")[1] in (3000, 3005)


def test_dimensions_out_of_range_are_refused(service: Service) -> None:
    body = {"name": f"contract-{uuid.uuid4().hex[:8]}", "config": {"dimensions": 1537, "metric": "cosine"}}
    assert "Dimensions must be in range: [32, 1536]" in service.refused("POST", json=body)[2]


def test_a_write_is_seen_once_the_watermark_is_its_mutation(service: Service) -> None:
    name = service.index()
    mutation = service.upsert(name, vector("a"), vector("b"))
    assert uuid.UUID(mutation).version == 4
    service.wait(name, mutation)
    assert [found["id"] for found in service.get(name, "a", "b", "nobody")] == ["a", "b"]
    service.until(lambda: service.info(name)["vectorCount"] == 2)


def test_a_vector_reads_back_as_float32_with_namespace_and_metadata(service: Service) -> None:
    name = service.index()
    whole = vector(
        "a",
        67.1,
        namespace="n",
        metadata={"text": "x", "number": 1.5, "yes": True, "list": ["a"], "in": {"b": 1}},
    )
    service.wait(name, service.upsert(name, whole))
    (found,) = service.get(name, "a")
    assert found["values"][0] == pytest.approx(67.0999984741211, abs=1e-12)
    assert (found["namespace"], found["metadata"]) == (whole["namespace"], whole["metadata"])


def test_upsert_replaces_and_insert_skips(service: Service) -> None:
    name = service.index()
    service.upsert(name, vector("a", 1.0, metadata={"t": "old"}))
    service.upsert(name, vector("a", 2.0))
    service.wait(name, service.insert(name, vector("a", 3.0), vector("b", 3.0)))
    found = {item["id"]: item for item in service.get(name, "a", "b")}
    assert [found["a"]["values"][0], found["b"]["values"][0]] == [2.0, 3.0]
    assert not found["a"].get("metadata")


def test_deleted_vectors_are_gone(service: Service) -> None:
    name = service.index()
    service.upsert(name, vector("a"), vector("b"))
    service.wait(name, service.delete(name, "a", "nobody"))
    assert [found["id"] for found in service.get(name, "a", "b")] == ["b"]


@pytest.mark.parametrize(("metric", "identical"), [("cosine", 1.0), ("euclidean", 0.0)])
def test_a_query_finds_the_closest_first(service: Service, metric: str, identical: float) -> None:
    name = service.index(metric)
    service.wait(
        name, service.upsert(name, vector("far", 0.0, 1.0), vector("near", 1.0, 0.1), vector("same", 1.0))
    )
    wanted = vector("")["values"]
    matches = service.until(
        lambda: (found := service.query(name, vector=wanted)) and len(found) == 3 and found
    )
    assert [match["id"] for match in matches] == ["same", "near", "far"]
    assert matches[0]["score"] == pytest.approx(identical, abs=1e-3)


def test_a_query_keeps_to_namespace_and_filter(service: Service) -> None:
    name = service.index()
    service.wait(name, service.add_metadata_index(name, "n", "number"))
    records = [vector(f"v{n}", namespace="odd" if n % 2 else "even", metadata={"n": n}) for n in range(6)]
    service.wait(name, service.upsert(name, *records))
    wanted = {
        "vector": vector("")["values"],
        "namespace": "odd",
        "filter": {"n": {"$gte": 2}},
        "returnMetadata": "indexed",
    }
    matches = service.until(lambda: (found := service.query(name, **wanted)) and len(found) == 2 and found)
    assert sorted(match["metadata"]["n"] for match in matches) == [3, 5]


def test_metadata_indexes_are_listed_and_deleted(service: Service) -> None:
    name = service.index()
    service.wait(name, service.add_metadata_index(name, "t", "string"))
    (listed,) = service.result("GET", f"/{name}/metadata_index/list")["metadataIndexes"]
    assert (listed["propertyName"], listed["indexType"].lower()) == ("t", "string")
    deleted = service.result("POST", f"/{name}/metadata_index/delete", json={"propertyName": "t"})[
        "mutationId"
    ]
    service.wait(name, deleted)
    assert service.result("GET", f"/{name}/metadata_index/list")["metadataIndexes"] == []


def test_ids_are_listed_page_by_page(service: Service) -> None:
    name = service.index()
    service.wait(name, service.upsert(name, *(vector(f"v{number}") for number in range(5))))
    service.until(lambda: service.result("GET", f"/{name}/list")["totalCount"] == 5)
    page = service.result("GET", f"/{name}/list?count=3")
    assert (page["count"], page["isTruncated"]) == (3, True)
    rest = service.result("GET", f"/{name}/list", params={"count": 3, "cursor": page["nextCursor"]})
    assert (rest["count"], rest["isTruncated"]) == (2, False)
    assert {item["id"] for item in page["vectors"] + rest["vectors"]} == {f"v{number}" for number in range(5)}


def test_an_upload_may_be_multipart(service: Service) -> None:
    name = service.index()
    files = {"vectors": ("vectors.ndjson", ndjson([vector("a")]), NDJSON)}
    service.wait(name, service.result("POST", f"/{name}/upsert", files=files)["mutationId"])
    assert len(service.get(name, "a")) == 1


def test_an_upload_labelled_json_is_1005(service: Service) -> None:
    headers = {"Content-Type": "application/json"}
    status, code, _ = service.refused(
        "POST", f"/{service.index()}/upsert", data=ndjson([vector("a")]), headers=headers
    )
    assert (status, code) == (400, 1005)


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (vector("x" * 65), 40008),
        (vector("é" * 33), 40008),
        (vector("a", namespace="x" * 65), 40009),
        (vector("a", dimensions=33), 40012),
        (vector("a", metadata={"text": "x" * 10_240}), 40016),
        (vector("a", metadata={"a.b": 1}), 40018),
        ({"id": "a", "values": ["1.5"] * DIMENSIONS}, 40023),
    ],
)
def test_one_bad_vector_refuses_the_whole_body(
    service: Service, record: dict[str, object], code: int
) -> None:
    name = service.index()
    body = ndjson([vector("good"), record])
    assert service.refused("POST", f"/{name}/upsert", data=body, headers=HEADERS)[:2] == (400, code)
    assert service.get(name, "good") == []


def test_a_broken_line_is_named_from_0(service: Service) -> None:
    body = ndjson([vector("a")]) + b"\n{broken"
    status, code, message = service.refused("POST", f"/{service.index()}/upsert", data=body, headers=HEADERS)
    assert (status, code) == (400, 40023)
    assert "line Some(1) was not expected format" in message


def test_too_many_ids_are_40007(service: Service) -> None:
    name = service.index()
    for path, limit in (("get_by_ids", 20), ("delete_by_ids", 100)):
        answer = service.refused("POST", f"/{name}/{path}", json={"ids": [f"v{n}" for n in range(limit + 1)]})
        assert answer[:2] == (400, 40007)


def test_a_query_of_other_dimensions_is_40006(service: Service) -> None:
    assert service.refused("POST", f"/{service.index()}/query", json={"vector": [1.0]})[:2] == (400, 40006)


def test_more_than_50_matches_with_values_are_40025(service: Service) -> None:
    body = {"vector": vector("")["values"], "topK": 51, "returnValues": True}
    assert service.refused("POST", f"/{service.index()}/query", json=body)[:2] == (400, 40025)


def test_a_broken_json_body_is_40026(service: Service) -> None:
    headers = {"Content-Type": "application/json"}
    assert service.refused("POST", f"/{service.index()}/query", data=b"{", headers=headers)[:2] == (
        400,
        40026,
    )
