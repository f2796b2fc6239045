"""Faults for one test among many, damage to accepted writes, and lines that are slow."""

from __future__ import annotations

import http.client
import time
from math import ceil
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.emulator.damage import Damage
from airflow_provider_vectorize.emulator.faults import Fault, Faults
from airflow_provider_vectorize.emulator.models import Vector
from tests.emulator.api import NDJSON, Api, ndjson, vector


def write_row(emulator: Emulator) -> dict[str, Any]:
    """Give the log's row of the last write."""
    return [row for row in emulator.log() if row.get("mutation_id")][-1]


def read(docs: Api, *ids: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for at in range(0, len(ids), 20):
        found |= {item["id"]: item["values"] for item in docs.get("docs", *ids[at : at + 20])}
    return found


def test_an_order_with_a_scope_is_for_requests_of_that_scope_alone(emulator: Emulator, docs: Api) -> None:
    mine, other = emulator.scope("mine"), emulator.scope()
    emulator.add_faults([{"kind": "status", "status": 503, "scope": "mine"}])
    headers = {"Authorization": "Bearer x"}
    assert docs.call("GET", "/docs/info").status_code == 200
    assert other.get(f"{docs.url}/docs/info", headers=headers, timeout=10).status_code == 200
    assert [order["scope"] for order in emulator.faults()] == ["mine"]
    assert mine.get(f"{docs.url}/docs/info", headers=headers, timeout=10).status_code == 503
    assert emulator.faults() == []
    assert mine.get(f"{docs.url}/docs/info", headers=headers, timeout=10).status_code == 200


def test_an_order_without_a_scope_is_for_any_request(emulator: Emulator, docs: Api) -> None:
    emulator.add_faults([{"kind": "status", "status": 503, "times": 2}])
    assert docs.call("GET", "/docs/info").status_code == 503
    headers = {"Authorization": "Bearer x"}
    assert emulator.scope("s").get(f"{docs.url}/docs/info", headers=headers, timeout=10).status_code == 503


def test_scopes_of_no_name_differ(emulator: Emulator) -> None:
    names = {emulator.scope().headers["X-Emulator-Scope"] for _ in range(10)}
    assert len(names) == 10


def test_our_client_works_in_a_scope(emulator: Emulator, docs: Api) -> None:
    emulator.add_faults([{"kind": "status", "status": 503, "scope": "a"}, {"kind": "reset", "scope": "b"}])
    client = VectorizeClient(
        emulator.account,
        emulator.token,
        base_url=emulator.url,
        session=emulator.scope("a"),
        sleep=lambda _: None,
    )
    assert client.index_info("docs").vector_count == 0
    assert [row.get("fault") for row in emulator.log()] == ["status", None]
    assert [order["scope"] for order in emulator.faults()] == ["b"]


@pytest.mark.parametrize("operation", ["upsert", "insert"])
@pytest.mark.parametrize(
    ("count", "share", "lost"), [(1_000, 0.001, 1), (10, 0.25, 3), (7, 1, 7), (1, 1e-6, 1)]
)
def test_drop_loses_a_share_of_the_vectors_and_accounts_for_each(
    emulator: Emulator, docs: Api, operation: str, count: int, share: float, lost: int
) -> None:
    emulator.add_faults([{"kind": "drop", "share": share}])
    docs.info("docs")  # A read uses up no order that is for writes.
    ids = [f"v{number}" for number in range(count)]
    mutation = docs.upload(operation, "docs", (vector(name) for name in ids))
    row = write_row(emulator)
    assert (row["fault"], row["vectors"], len(row["damaged"])) == ("drop", count, lost)
    assert docs.info("docs")["vectorCount"] == count - lost
    assert docs.watermark("docs") == mutation
    assert set(ids) - set(read(docs, *ids)) == set(row["damaged"])
    assert emulator.faults() == []
    docs.upsert("docs", *(vector(name) for name in row["damaged"]))
    assert docs.info("docs")["vectorCount"] == count


def test_drop_leaves_the_old_vector_where_a_new_one_is_lost(emulator: Emulator, docs: Api) -> None:
    docs.upsert("docs", vector("a", 1.0))
    emulator.add_faults([{"kind": "drop", "share": 1}])
    docs.upsert("docs", vector("a", 2.0))
    assert read(docs, "a")["a"][0] == 1.0


def test_drop_of_a_delete_leaves_vectors_and_counts_those_that_were_there(
    emulator: Emulator, docs: Api
) -> None:
    docs.upsert("docs", *(vector(f"v{number}") for number in range(4)))
    emulator.add_faults([{"operation": "delete_by_ids", "kind": "drop", "share": 0.5}])
    docs.delete("docs", "nobody", "v0", "v1", "v2", "v3")
    damaged = write_row(emulator)["damaged"]
    assert len(damaged) == 2
    assert set(read(docs, "v0", "v1", "v2", "v3")) == set(damaged)


@pytest.mark.parametrize("operation", ["upsert", "insert"])
@pytest.mark.parametrize("first", [0.0, 1.0, -2.5, 3e38])
def test_corrupt_changes_one_value_of_one_stored_vector(
    emulator: Emulator, docs: Api, operation: str, first: float
) -> None:
    docs.upsert("docs", vector("old", 0.25))
    emulator.add_faults([{"kind": "corrupt"}])
    sent = {"a": vector("a", first)["values"], "b": vector("b", first)["values"]}
    records = [{"id": name, "values": values} for name, values in sent.items()]
    docs.upload(
        operation, "docs", [*records, vector("c")] if operation == "upsert" else [vector("old"), *records]
    )
    (name,) = write_row(emulator)["damaged"]
    differing = {
        (found, place)
        for found, values in read(docs, "a", "b").items()
        for place, value in enumerate(values)
        if value != pytest.approx(sent[found][place], rel=1e-6)
    }
    assert [found for found, _ in differing] == [name]
    assert read(docs, "old")["old"][0] == 0.25


def test_a_refused_write_uses_up_no_damage(emulator: Emulator, docs: Api) -> None:
    emulator.add_faults([{"kind": "corrupt"}])
    docs.refused("POST", "/docs/upsert", data=b"broken", headers={"Content-Type": NDJSON})
    assert "fault" not in emulator.log()[-1]
    assert [order["kind"] for order in emulator.faults()] == ["corrupt"]
    docs.upsert("docs", vector("a"))
    assert write_row(emulator)["damaged"] == ["a"]


@given(st.integers(0, 3_000), st.floats(0.0001, 1))
def test_damage_loses_the_share_rounded_up(count: int, share: float) -> None:
    damage = Damage(share)
    vectors = [Vector(str(number), b"", None, None) for number in range(count)]
    kept = damage.vectors(vectors)
    assert len(damage.ids) == ceil(share * count) == count - len(kept)
    assert {item.id for item in kept} | set(damage.ids) == {item.id for item in vectors}


def test_a_write_of_nothing_cannot_be_damaged(emulator: Emulator, docs: Api) -> None:
    docs.upsert("docs", vector("a", 2.0))
    emulator.add_faults([{"kind": "corrupt"}, {"kind": "drop", "share": 1}])
    for _ in range(2):
        docs.insert("docs", vector("a"))
        assert write_row(emulator)["damaged"] == []
    assert read(docs, "a")["a"][0] == 2.0


def test_drip_answers_byte_by_byte(emulator: Emulator, docs: Api) -> None:
    emulator.add_faults([{"operation": "upsert", "kind": "drip", "seconds": 0.002}])
    began = time.monotonic()
    response = docs.call("POST", "/docs/upsert", data=ndjson([vector("a")]), headers={"Content-Type": NDJSON})
    size = len(response.content)
    assert response.json()["success"] is True
    assert time.monotonic() - began >= size * 0.002
    assert docs.watermark("docs") == response.json()["result"]["mutationId"]


def test_a_drip_keeps_within_every_read_timeout_and_ends_with_the_emulator() -> None:
    with Emulator() as emulator:
        emulator.create_index("docs")
        emulator.add_faults([{"kind": "drip", "seconds": 0.05}])
        connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=5)
        path = f"/client/v4/accounts/{emulator.account}/vectorize/v2/indexes/docs/info"
        connection.request("GET", path, headers={"Authorization": "Bearer x"})
        assert connection.sock.recv(1) == b"H"
        assert connection.sock.recv(1) == b"T"
        began = time.monotonic()
    assert time.monotonic() - began < 5


def test_slow_body_holds_up_the_sender_and_the_write_is_whole(emulator: Emulator, docs: Api) -> None:
    body = ndjson(vector(f"v{number}") for number in range(200))
    emulator.add_faults([{"operation": "upsert", "kind": "slow-body", "bytes_per_second": len(body) * 2}])
    began = time.monotonic()
    docs.result("POST", "/docs/upsert", data=body, headers={"Content-Type": NDJSON})
    assert time.monotonic() - began >= 0.4
    assert docs.info("docs")["vectorCount"] == 200
    parts = [body[at : at + 5_000] for at in range(0, len(body), 5_000)]
    emulator.add_faults([{"operation": "upsert", "kind": "slow-body", "bytes_per_second": len(body) * 4}])
    docs.result("POST", "/docs/upsert", data=iter(parts), headers={"Content-Type": NDJSON})


def test_slow_body_slows_the_answer_and_not_its_head(emulator: Emulator, docs: Api) -> None:
    docs.upsert("docs", vector("a"))
    emulator.add_faults([{"operation": "get_by_ids", "kind": "slow-body", "bytes_per_second": 1_000}])
    began = time.monotonic()
    response = docs.call("POST", "/docs/get_by_ids", json={"ids": ["a"]}, stream=True)
    head = time.monotonic() - began
    size = len(response.content)
    assert time.monotonic() - began >= size / 1_000 > head


def test_a_slow_body_may_take_longer_than_a_sender_may() -> None:
    with Emulator(request_seconds=0.3) as emulator:
        emulator.create_index("docs")
        api = Api(f"{emulator.url}/client/v4", emulator.account, emulator.token)
        body = ndjson(vector(f"v{number}") for number in range(50))
        emulator.add_faults([{"kind": "slow-body", "bytes_per_second": len(body)}])
        api.result("POST", "/docs/upsert", data=body, headers={"Content-Type": NDJSON})


def test_a_sender_that_leaves_a_slow_body_uses_up_nothing(emulator: Emulator, docs: Api) -> None:
    emulator.add_faults([{"operation": "upsert", "kind": "slow-body", "bytes_per_second": 1_000, "times": 2}])
    with pytest.raises(requests.Timeout):
        docs.session.post(
            f"{docs.url}/docs/upsert",
            data=ndjson([vector("a")] * 5),
            headers={"Content-Type": NDJSON},
            timeout=0.2,
        )
    docs.info("docs")
    assert sum(order["times"] for order in emulator.faults()) >= 1


@pytest.mark.parametrize(
    "order",
    [
        {"kind": "drop"}, {"kind": "drop", "share": 0}, {"kind": "drop", "share": 1.1}, {"kind": "drop", "share": "1"},
        {"kind": "drop", "share": 0.1, "operation": "query"}, {"kind": "corrupt", "operation": "delete_by_ids"},
        {"kind": "drip"}, {"kind": "drip", "seconds": -1}, {"kind": "slow-body"},
        {"kind": "slow-body", "bytes_per_second": 0}, {"kind": "slow-body", "bytes_per_second": 1.5},
        {"kind": "reset", "scope": ""}, {"kind": "reset", "scope": 7}, {"kind": "reset", "scope": "a\n"},
        {"kind": "reset", "scope": "x" * 201},
    ],
)  # fmt: skip
def test_a_bad_order_is_refused(order: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Fault.from_json(order)


def test_an_order_given_back_is_the_next_to_be_taken() -> None:
    faults = Faults()
    faults.add([Fault("reset", times=2), Fault("hang")])
    taken = faults.take("query")
    assert taken is not None
    faults.give_back(taken)
    assert [faults.take("query").kind for _ in range(3)] == ["reset", "reset", "hang"]
    assert faults.take("query") is None
