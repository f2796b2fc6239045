"""Refusals in the API's words: a test for each row that is known, and one for each limit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_vectorize.emulator import Emulator, settings
from airflow_provider_vectorize.emulator.errors import REFUSALS
from tests.emulator.api import NDJSON, Api, ndjson, vector

UPSTREAM = "vectorize.upstream_error - "
HEADERS = {"Content-Type": NDJSON}
JSON = {"Content-Type": "application/json"}


def upload(api: Api, *records: Any, operation: str = "upsert") -> tuple[int, int, str]:
    return api.refused("POST", f"/docs/{operation}", data=ndjson(records), headers=HEADERS)


def refused_query(api: Api, **request: Any) -> tuple[int, int, str]:
    return api.refused("POST", "/docs/query", json=request)


def test_1005_an_upload_of_another_content_type(docs: Api) -> None:
    for kind in ("application/json", "text/plain", "", "application/x-ndjsonx"):
        answer = docs.refused(
            "POST", "/docs/upsert", data=ndjson([vector("a")]), headers={"Content-Type": kind}
        )
        assert answer == (400, 1005, "vectorize.unknown_content_type")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""), ("DELETE", ""), ("GET", "/info"), ("GET", "/list"), ("GET", "/metadata_index/list"),
        ("POST", "/upsert"), ("POST", "/insert"), ("POST", "/query"), ("POST", "/get_by_ids"),
        ("POST", "/delete_by_ids"), ("POST", "/metadata_index/create"), ("POST", "/metadata_index/delete"),
    ],
)  # fmt: skip
def test_3000_an_unknown_index(api: Api, method: str, path: str) -> None:
    body = b'{"ids": [], "propertyName": "t", "indexType": "string"}' if method == "POST" else None
    headers = HEADERS if path in ("/upsert", "/insert") else JSON
    answer = api.refused(method, f"/nobody{path}", data=body, headers=headers)
    assert answer == (404, 3000, 'vectorize.index.not_found - Index name "nobody"')


def test_3002_an_index_that_exists(docs: Api) -> None:
    answer = docs.refused("POST", json={"name": "docs", "config": {"dimensions": 32, "metric": "cosine"}})
    assert answer == (400, 3002, 'vectorize.index.duplicate_name - Index name "docs"')


def test_3005_an_index_deleted_a_short_while_ago(docs: Api) -> None:
    docs.result("DELETE", "/docs")
    for method, path in (("GET", ""), ("GET", "/info"), ("DELETE", "")):
        answer = docs.refused(method, f"/docs{path}")
        assert answer == (410, 3005, 'vectorize.index.deleted - Index name "docs" was deleted')


def test_a_deleted_name_can_be_used_again_or_not_as_set() -> None:
    for reuse, status in ((True, 200), (False, 410)):
        with Emulator(reuse_deleted_name=reuse) as emulator:
            api = Api(f"{emulator.url}/client/v4", emulator.account, emulator.token)
            api.create("docs")
            api.result("DELETE", "/docs")
            config = {"dimensions": 32, "metric": "cosine"}
            assert api.call("POST", json={"name": "docs", "config": config}).status_code == status


def test_a_deleted_index_is_unknown_after_the_time_that_is_set() -> None:
    with Emulator(deleted_seconds=0) as emulator:
        api = Api(f"{emulator.url}/client/v4", emulator.account, emulator.token)
        api.create("docs")
        api.result("DELETE", "/docs")
        assert api.refused("GET", "/docs")[1] == 3000


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"dimensions": 31, "metric": "cosine"}, "Dimensions must be in range: [32, 1536]"),
        ({"dimensions": 1537, "metric": "cosine"}, "Dimensions must be in range: [32, 1536]"),
        ({"dimensions": "768", "metric": "cosine"}, "Dimensions must be in range: [32, 1536]"),
        ({"dimensions": True, "metric": "cosine"}, "Dimensions must be in range: [32, 1536]"),
        ({}, "Dimensions must be in range: [32, 1536]"),
        ({"dimensions": 32, "metric": "manhattan"}, "Metric must be one of: cosine, euclidean, dot-product"),
        ({"dimensions": 32, "metric": ["cosine"]}, "Metric must be one of: cosine, euclidean, dot-product"),
        ({"preset": "mine"}, "unknown preset"),
        ({"preset": {}}, "unknown preset"),
    ],
)
def test_3003_an_invalid_configuration(api: Api, config: Any, reason: str) -> None:
    answer = api.refused("POST", json={"name": "docs", "config": config})
    assert answer == (400, 3003, f"vectorize.index.invalid_config - {reason}")


@pytest.mark.parametrize("body", [{"name": "docs"}, {"name": "docs", "config": None}])
def test_3003_a_missing_configuration(api: Api, body: dict[str, Any]) -> None:
    answer = api.refused("POST", json=body)
    assert answer == (400, 3003, "vectorize.index.invalid_config - Config must be provided")


@pytest.mark.parametrize(
    "name", ["", "a", "Docs", "1docs", "docs-", "docs_", "a b", "döcs", "a" * 65, "docs\n"]
)
def test_3001_an_invalid_name(api: Api, name: str) -> None:
    status, code, message = api.refused(
        "POST", json={"name": name, "config": {"dimensions": 32, "metric": "cosine"}}
    )
    assert (status, code) == (400, 3001)
    assert message.startswith("vectorize.index.invalid_name - ")


@pytest.mark.parametrize("name", ["ab", "a1", "a--b", "a_b-9", "a" * 64])
def test_a_valid_name(api: Api, name: str) -> None:
    api.create(name)
    assert api.info(name)["vectorCount"] == 0


def test_40006_a_query_of_other_dimensions(docs: Api) -> None:
    want = UPSTREAM + "invalid query vector, expected 32 dimensions, and got {} dimensions"
    assert refused_query(docs, vector=[1.0] * 33) == (400, 40006, want.format(33))
    assert refused_query(docs, topK=1) == (400, 40006, want.format(0))


def test_40007_too_many_ids(docs: Api) -> None:
    want = UPSTREAM + "too many ids in payload; max id count is {}, got {}"
    for path, limit in (("get_by_ids", 20), ("delete_by_ids", 100)):
        docs.result("POST", f"/docs/{path}", json={"ids": ["x"] * limit})
        answer = docs.refused("POST", f"/docs/{path}", json={"ids": ["x"] * (limit + 1)})
        assert answer == (400, 40007, want.format(limit, limit + 1))


def test_40008_an_id_of_more_than_64_bytes(docs: Api) -> None:
    docs.upsert("docs", vector("é" * 32), vector("x" * 64))
    assert upload(docs, vector("é" * 37)) == (
        400,
        40008,
        UPSTREAM + "id too long; max is 64 bytes, got 74 bytes",
    )
    assert upload(docs, vector("x" * 65))[1] == 40008
    for path in ("get_by_ids", "delete_by_ids"):
        assert docs.refused("POST", f"/docs/{path}", json={"ids": ["x" * 65]})[1] == 40008


def test_40009_a_namespace_of_more_than_64_bytes(docs: Api) -> None:
    docs.upsert("docs", vector("a", namespace="é" * 32))
    status, code, message = upload(docs, vector("a", namespace="é" * 33))
    assert (status, code) == (400, 40009)
    assert message.startswith(UPSTREAM + "namespace too long")


def test_40012_a_vector_of_other_dimensions(docs: Api) -> None:
    want = UPSTREAM + 'invalid vector for id="a", expected 32 dimensions, and got {} dimensions'
    for got in (0, 31, 33):
        assert upload(docs, {"id": "a", "values": [1.0] * got}) == (400, 40012, want.format(got))


def test_40016_metadata_of_more_than_10240_bytes(docs: Api) -> None:
    def sized(size: int) -> dict[str, Any]:
        return vector("a", metadata={"text": "x" * (size - len('{"text":""}'))})

    docs.upsert("docs", sized(10_240))
    want = (
        'oversized metadata for vector id="a"; the compact JSON representation of the metadata '
        "must not exceed 10240 bytes, got 21326 bytes"
    )
    assert upload(docs, sized(21_326)) == (400, 40016, UPSTREAM + want)
    assert upload(docs, sized(10_241))[1] == 40016


@pytest.mark.parametrize("key", ["", "a.b", 'a"b', "$a"])
@pytest.mark.parametrize("nested", [False, True])
def test_40018_a_bad_metadata_key(docs: Api, key: str, nested: bool) -> None:
    metadata = {key: 1}
    assert upload(docs, vector("a", metadata={"in": metadata} if nested else metadata))[:2] == (400, 40018)


@pytest.mark.parametrize(
    "line",
    [
        b"not JSON", b"{", b"[]", b"3", b"null", b"{}", b'{"id": "a"}', b'{"values": []}', b"\xff\xfe", b'"\\ud800"',
        b"\xef\xbb\xbf" + ndjson([vector("a")]),
        *(
            json.dumps({**vector("a"), **change}).encode()
            for change in (
                {"id": 7}, {"id": ""}, {"id": None}, {"values": None}, {"values": "1,2"}, {"values": {"0": 1}},
                {"values": ["1.5"] * 32}, {"values": [True] * 32}, {"values": [None] * 32}, {"values": [[1]] * 32},
                {"values": [float("nan")] * 32}, {"values": [float("inf")] * 32}, {"values": [1e39] * 32},
                {"values": [10**400] * 32}, {"values": [10**60] * 32}, {"metadata": {"n": 10**400}},
                {"values": [True]}, {"namespace": 7}, {"metadata": "text"}, {"metadata": []},
                {"metadata": {"a": ["x", None]}}, {"metadata": {"a": [1]}}, {"metadata": {"a": [["x"]]}},
            )
        ),
        b'{"id": "a", "values": [1e999]}',
        b'{"id": "a", "values": []' + b"[" * 5000,
        b'{"id": "a", "values": [' + b"1," * 31 + b'1], "metadata": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
    ],
)  # fmt: skip
def test_40023_a_line_that_is_no_vector(docs: Api, line: bytes) -> None:
    body = b"\n".join([ndjson([vector("a")]), line, ndjson([vector("b")])])
    for operation in ("insert", "upsert"):
        want = f"failed to parse {operation} vectors request in ndjson format: line Some(1) was not expected format"
        answer = docs.refused("POST", f"/docs/{operation}", data=body, headers=HEADERS)
        assert answer == (400, 40023, UPSTREAM + want)
    assert docs.info("docs")["vectorCount"] == 0


@pytest.mark.parametrize("body", [b"", b"\n \n"])
def test_40023_an_upload_of_nothing(docs: Api, body: bytes) -> None:
    assert docs.refused("POST", "/docs/upsert", data=body, headers=HEADERS)[:2] == (400, 40023)


@pytest.mark.parametrize("extra", [{"returnValues": True}, {"returnMetadata": "all"}])
def test_40025_more_than_50_matches_with_values_or_all_metadata(docs: Api, extra: dict[str, Any]) -> None:
    values = vector("")["values"]
    docs.query("docs", vector=values, topK=50, **extra)
    status, code, message = refused_query(docs, vector=values, topK=100, **extra)
    assert (status, code) == (400, 40025)
    assert message.startswith(
        UPSTREAM + "with returnValues=true or returnMetadata=all, max top K is 50, but got 100; "
    )


@pytest.mark.parametrize(
    ("top_k", "code"), [(0, 40025), (101, 40025), (-1, 40025), ("5", 40026), (True, 40026), (2.5, 40026)]
)
def test_a_top_k_out_of_range_or_no_integer(docs: Api, top_k: Any, code: int) -> None:
    assert refused_query(docs, vector=vector("")["values"], topK=top_k)[:2] == (400, code)


def test_a_top_k_of_100_is_in_range_with_indexed_metadata(docs: Api) -> None:
    assert docs.query("docs", vector=vector("")["values"], topK=100.0, returnMetadata="indexed") == []


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/docs/query",
        "/docs/get_by_ids",
        "/docs/delete_by_ids",
        "/docs/metadata_index/create",
        "/docs/metadata_index/delete",
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b"\xff", b'{"ids": NaN}', b"[" * 5000, b'{"a":' * 5000]
)
def test_40026_a_body_that_is_no_json_object(docs: Api, path: str, body: bytes) -> None:
    status, code, message = docs.refused("POST", path, data=body, headers=JSON)
    assert (status, code) == (400, 40026)
    assert message.startswith(UPSTREAM + "Failed to parse the request body as JSON: ")


@pytest.mark.parametrize(
    ("path", "request_body"),
    [
        ("", {"name": "docs2", "config": {"dimensions": 32, "metric": "cosine"}}),
        ("/docs/query", {"vector": [1.0] * 32}), ("/docs/get_by_ids", {"ids": []}),
        ("/docs/delete_by_ids", {"ids": []}), ("/docs/metadata_index/delete", {"propertyName": "t"}),
        ("/docs/metadata_index/create", {"propertyName": "t", "indexType": "string"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [None, "", "text/plain", NDJSON, "application/jsonx"])
def test_40026_json_without_its_content_type(
    docs: Api, path: str, request_body: Any, kind: str | None
) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    answer = docs.refused("POST", path, data=json.dumps(request_body), headers=headers)
    assert answer == (400, 40026, UPSTREAM + "Expected request with `Content-Type: application/json`")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/x+json"]
)
def test_json_may_be_labelled_with_parameters_and_suffix(docs: Api, kind: str) -> None:
    assert docs.result("POST", "/docs/get_by_ids", data='{"ids": []}', headers={"Content-Type": kind}) == []


@pytest.mark.parametrize(
    ("path", "request_body"),
    [
        ("", {"name": 7, "config": {}}),
        ("", {"name": "docs2", "config": []}),
        ("", {"name": "docs2", "config": {"dimensions": 32, "metric": "cosine"}, "description": 7}),
        ("/docs/get_by_ids", {}),
        ("/docs/get_by_ids", {"ids": "a"}),
        ("/docs/get_by_ids", {"ids": [7]}),
        ("/docs/delete_by_ids", {"ids": None}),
        ("/docs/query", {"vector": "1"}),
        ("/docs/query", {"vector": ["1"] * 32}),
        ("/docs/query", {"vector": [True] * 32}),
        ("/docs/query", {"vector": [1e39] * 32}),
        ("/docs/query", {"vectorId": 7}),
        ("/docs/query", {"vector": [1.0] * 32, "namespace": 7}),
        ("/docs/query", {"vector": [1.0] * 32, "returnValues": "yes"}),
        ("/docs/query", {"vector": [1.0] * 32, "returnMetadata": True}),
        ("/docs/query", {"vector": [1.0] * 32, "returnMetadata": ["all"]}),
        ("/docs/metadata_index/create", {"propertyName": "t", "indexType": "String"}),
        ("/docs/metadata_index/create", {"propertyName": "t"}),
        ("/docs/metadata_index/create", {"propertyName": "", "indexType": "string"}),
        ("/docs/metadata_index/create", {"propertyName": 7, "indexType": "string"}),
        ("/docs/metadata_index/delete", {}),
    ],
)  # fmt: skip
def test_40026_a_json_body_of_wrong_types(docs: Api, path: str, request_body: Any) -> None:
    assert docs.refused("POST", path, json=request_body)[:2] == (400, 40026)


def test_40041_comes_as_a_fault_on_order(emulator: Emulator, docs: Api) -> None:
    emulator.add_faults([{"operation": "upsert", "kind": "status", "status": 400, "code": 40041}])
    assert upload(docs, vector("a")) == (400, 40041, UPSTREAM + "Too Many Requests")


def test_10000_a_wrong_token_or_account() -> None:
    with Emulator(account="a" * 32, token="right") as emulator:
        base = f"{emulator.url}/client/v4"
        assert Api(base, "a" * 32, "right").result("GET") == []
        assert Api(base, "a" * 32, "wrong").refused("GET") == (401, 10000, "Authentication error")
        assert Api(base, "b" * 32, "right").refused("GET") == (403, 10000, "Authentication error")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "right"},
        {"Authorization": "Bearer "},
        {"X-Auth-Key": "key"},
        {"X-Auth-Email": "me"},
    ],
)
def test_9106_no_credentials(docs: Api, headers: dict[str, str]) -> None:
    del docs.session.headers["Authorization"]
    assert docs.refused("GET", headers=headers)[:2] == (400, 9106)


@pytest.mark.parametrize(
    "path",
    [
        "/client//v4", "/client/v4", "/client/v4/accounts", "/client/v4/accounts/a/vectorize/v1/indexes",
        "/client/v4/accounts//vectorize/v2/indexes", f"/client/v4/accounts/{'a' * 33}/vectorize/v2/indexes",
        "/client/v4/accounts/a/vectorize/v2/indexes/", "/client/v4/accounts/a/vectorize/v2/indexes/docs/",
        "/client/v4/accounts/a/vectorize/v2/indexes/docs/nothing", "/_emulator", "/_emulator/", "/_emulator/nothing",
        "/client/v4/accounts/a/vectorize/v2/indexes/docs/info/more", "/client/v4/accounts/%00/vectorize/v2/indexes",
    ],
)  # fmt: skip
def test_7003_a_path_without_route(emulator: Emulator, docs: Api, path: str) -> None:
    docs.url = emulator.url
    assert docs.refused("GET", path) == (404, 7003, "No route for the URI")


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", ""), ("PATCH", "/docs"), ("GET", "/docs/upsert"), ("POST", "/docs/info")]
)
def test_7001_a_route_for_another_method(docs: Api, method: str, path: str) -> None:
    assert docs.refused(method, path)[:2] == (405, 7001)


@pytest.mark.parametrize(
    ("path", "allow"),
    [("", "GET, POST"), ("/docs", "GET, DELETE"), ("/docs/upsert", "POST"), ("/docs/info", "GET")],
)
def test_a_405_names_what_is_allowed(docs: Api, path: str, allow: str) -> None:
    response = docs.call("PUT", path)
    assert (response.status_code, response.headers["Allow"]) == (405, allow)
    assert "Allow" not in docs.call("GET", "/nobody").headers


def test_the_status_of_a_refusal_can_be_set() -> None:
    with Emulator(statuses={"index_not_found": 400}) as emulator:
        api = Api(f"{emulator.url}/client/v4", emulator.account, emulator.token)
        assert api.refused("GET", "/nobody")[:2] == (400, 3000)
        assert emulator.log()[-1]["status"] == 400


def test_more_than_5000_vectors_are_refused(docs: Api) -> None:
    records = [vector(f"v{number}") for number in range(5_001)]
    docs.upsert("docs", *records[:5_000])
    assert upload(docs, *records)[0] == 400
    assert docs.info("docs")["vectorCount"] == 5_000


def test_more_than_10_metadata_indexes_are_refused(docs: Api) -> None:
    for number in range(10):
        docs.add_metadata_index("docs", f"p{number}")
    body = {"propertyName": "p10", "indexType": "string"}
    assert docs.refused("POST", "/docs/metadata_index/create", json=body)[0] == 400


def test_40004_a_metadata_index_that_exists(docs: Api) -> None:
    docs.add_metadata_index("docs", "t")
    again = {"propertyName": "t", "indexType": "number"}
    answer = docs.refused("POST", "/docs/metadata_index/create", json=again)
    assert answer == (400, 40004, UPSTREAM + 'metadata index for property "t" already exists')


def test_40005_an_unknown_metadata_index(docs: Api) -> None:
    answer = docs.refused("POST", "/docs/metadata_index/delete", json={"propertyName": "u"})
    assert answer == (400, 40005, UPSTREAM + 'no metadata index for property "u"')


def test_a_metadata_index_can_be_created_again_until_the_first_is_applied(
    emulator: Emulator, docs: Api
) -> None:
    emulator.set_visibility("manual")
    first, second = docs.add_metadata_index("docs", "t"), docs.add_metadata_index("docs", "t", "number")
    assert first != second
    emulator.apply()
    listed = docs.result("GET", "/docs/metadata_index/list")["metadataIndexes"]
    assert listed == [{"propertyName": "t", "indexType": "String"}], "the first counts"
    body = {"propertyName": "t", "indexType": "string"}
    assert docs.refused("POST", "/docs/metadata_index/create", json=body)[1] == 40004


@pytest.mark.parametrize("field", ["other", "body", None])
@pytest.mark.parametrize("operation", ["insert", "upsert"])
def test_40045_a_multipart_upload_without_a_part_vectors(
    docs: Api, field: str | None, operation: str
) -> None:
    part = {} if field is None else {"files": {field: ("v.ndjson", ndjson([vector("a")]), NDJSON)}}
    empty = {"data": b"--x--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}
    answer = docs.refused("POST", f"/docs/{operation}", **(part or empty))
    want = f"Got a multipart request without a vectors part in {operation} operation"
    assert answer == (400, 40045, UPSTREAM + want)


def test_an_unknown_vector_id_is_refused(docs: Api) -> None:
    assert refused_query(docs, vectorId="nobody")[0] == 400


@pytest.mark.parametrize(
    "query",
    ["count=0", "count=1001", "count=-1", "count=x", "count=1e2", "count=٣", "cursor=nobody", "cursor="],
)
def test_a_bad_list_request_is_refused(docs: Api, query: str) -> None:
    assert docs.refused("GET", f"/docs/list?{query}")[0] == 400


def test_a_cursor_of_another_index_is_refused(docs: Api) -> None:
    docs.upsert("docs", vector("a"), vector("b"))
    cursor = docs.result("GET", "/docs/list?count=1")["nextCursor"]
    docs.create("other")
    assert docs.refused("GET", f"/other/list?cursor={cursor}")[0] == 400


def test_an_unknown_unparsable_behavior_is_refused(docs: Api) -> None:
    path = "/docs/upsert?unparsable-behavior=ignore"
    assert docs.refused("POST", path, data=ndjson([vector("a")]), headers=HEADERS)[0] == 400


def test_a_free_plan_has_100_indexes_and_1000_namespaces() -> None:
    with Emulator(plan="free") as emulator:
        api = Api(f"{emulator.url}/client/v4", emulator.account, emulator.token)
        for number in range(100):
            emulator.create_index(f"docs{number}")
        assert (
            api.refused("POST", json={"name": "more", "config": {"dimensions": 32, "metric": "cosine"}})[0]
            == 400
        )
        api.upsert("docs0", *(vector(f"v{number}", namespace=f"n{number}") for number in range(1_000)))
        more = ndjson([vector("more", namespace="more")])
        assert api.refused("POST", "/docs0/upsert", data=more, headers=HEADERS)[0] == 400
        api.upsert("docs0", vector("more", namespace="n7"))
        assert api.info("docs0")["vectorCount"] == 1_001


def test_a_full_index_is_refused_whole(docs: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MAX_INDEX_VECTORS", 2)
    docs.upsert("docs", vector("a"), vector("b"))
    assert upload(docs, vector("a", 0.5), vector("c"))[0] == 400
    assert docs.get("docs", "a", "c") == [{**vector("a"), "metadata": {}}]


def test_codes_of_our_own_are_marked_as_such() -> None:
    known = {
        1005, 3000, 3001, 3002, 3003, 3005, 40004, 40005, 40006, 40007, 40008, 40009, 40012, 40016, 40018, 40023, 40025,
        40026, 40041, 40045, 7001, 7003, 9106, 10000, 10100,
    }  # fmt: skip
    for row in REFUSALS.values():
        assert row.code in known or 3900 <= row.code < 4000 or 49000 <= row.code < 50000
