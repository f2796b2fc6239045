"""Whatever is sent to any endpoint, the answer is an envelope and never a 500, and the server goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.emulator.routes import ROUTES
from tests.emulator.api import NDJSON, Api, failure, vector

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ENDPOINTS = [
    (method, "".join(f"/{part or 'docs'}" for part in parts))
    for (method, parts), operation in ROUTES.items()
    if operation not in ("delete_index", "create_index")
]

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
near_misses = st.fixed_dictionaries(
    {},
    optional={
        "name": values, "ids": values,
        "config": values | st.fixed_dictionaries({"dimensions": values, "metric": values}),
        "vector": st.just([1.0] * 32) | st.lists(scalars, max_size=33), "vectorId": values, "topK": values,
        "filter": st.dictionaries(
            st.sampled_from(["n", "s", "in.x", "$x", ""]),
            values | st.dictionaries(st.sampled_from(["$eq", "$ne", "$in", "$nin", "$lt", "$gte", "$no"]), values),
        ),
        "namespace": values, "returnValues": st.booleans() | values, "propertyName": values, "indexType": values,
        "returnMetadata": st.sampled_from(["none", "indexed", "all"]) | values,
    },
)  # fmt: skip
lines = st.fixed_dictionaries(
    {"id": st.text(max_size=70) | values, "values": st.just([1.0] * 32) | st.lists(scalars, max_size=33)},
    optional={
        "namespace": st.text(max_size=70) | values,
        "metadata": st.dictionaries(st.text(max_size=10), values) | values,
    },
)
queries = st.dictionaries(st.sampled_from(["count", "cursor", "unparsable-behavior"]), st.text(max_size=10))
JSON = {"Content-Type": "application/json"}
content_types = st.sampled_from(
    [NDJSON, "application/json", "multipart/form-data; boundary=x", f"{NDJSON}; boundary=x", "é/x"]
)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        running.create_index("docs")
        yield running


@pytest.fixture
def api(emulator: Emulator) -> Api:
    return Api(f"{emulator.url}/client/v4", emulator.account, emulator.token)


def check(api: Api, method: str, path: str, **options: Any) -> None:
    response = api.call(method, path, **options)
    assert response.status_code in (200, 400, 404, 405, 410, 413)
    if response.status_code == 200:
        assert response.json()["success"] is True
    else:
        failure(response.json())


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@FUZZ
@given(
    body=st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()),
    query=queries,
    kind=content_types,
)
def test_any_body(api: Api, method: str, path: str, body: bytes, query: dict[str, str], kind: str) -> None:
    check(api, method, path, data=body, params=query, headers={"Content-Type": kind.encode()})


@pytest.mark.parametrize(
    "path", [path for method, path in ENDPOINTS if method == "POST" and "sert" not in path]
)
@FUZZ
@given(body=near_misses)
def test_json_that_is_nearly_right(api: Api, path: str, body: dict[str, Any]) -> None:
    check(api, "POST", path, data=json.dumps(body), headers=JSON)


@FUZZ
@given(name=st.text(max_size=70) | values, config=values, preset=st.booleans())
def test_configurations_that_are_nearly_right(api: Api, name: Any, config: Any, preset: bool) -> None:
    wanted = {"preset": config} if preset else {"dimensions": config, "metric": "cosine"}
    check(api, "POST", "", data=json.dumps({"name": name, "config": wanted}), headers=JSON)


@pytest.mark.parametrize("operation", ["insert", "upsert"])
@FUZZ
@given(records=st.lists(lines, max_size=4), behavior=st.sampled_from(["error", "discard"]))
def test_lines_that_are_nearly_right(api: Api, operation: str, records: list[Any], behavior: str) -> None:
    body = "\n".join(json.dumps(record) for record in records).encode()
    path = f"/docs/{operation}?unparsable-behavior={behavior}"
    check(api, "POST", path, data=body, headers={"Content-Type": NDJSON})


@FUZZ
@given(
    name=st.text(min_size=1, max_size=64), space=st.text(max_size=64), key=st.text(min_size=1), value=values
)
def test_what_is_accepted_reads_back(api: Api, name: str, space: str, key: str, value: Any) -> None:
    record = vector(name, namespace=space, metadata={key: value})
    response = api.call(
        "POST", "/docs/upsert", data=json.dumps(record).encode(), headers={"Content-Type": NDJSON}
    )
    if response.status_code == 200:
        assert api.get("docs", name) == [record]


@FUZZ
@given(
    path=st.text(max_size=40), method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
)
def test_any_path_of_the_control_surface(emulator: Emulator, api: Api, path: str, method: str) -> None:
    api.url = f"{emulator.url}/_emulator/"
    check(api, method, path, data=b"{")
