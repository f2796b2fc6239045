"""The control surface: health, request log, sums, faults, rate limit."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorize.emulator import Emulator, RateLimit
from airflow_provider_vectorize.emulator.errors import ApiError
from airflow_provider_vectorize.emulator.faults import Fault, Faults
from airflow_provider_vectorize.emulator.routes import OPERATIONS
from airflow_provider_vectorize.emulator.throttle import Throttle
from tests.emulator.api import NDJSON, Api, ndjson, vector


def control(emulator: Emulator, method: str, path: str, **options: Any) -> requests.Response:
    return requests.request(method, f"{emulator.url}/_emulator/{path}", timeout=10, **options)


def test_health(emulator: Emulator) -> None:
    assert control(emulator, "GET", "health").json() == {"status": "ok"}


def test_the_log_has_a_row_for_each_request_to_the_api(emulator: Emulator, docs: Api) -> None:
    before = time.time()
    body = ndjson([vector("a"), vector("b")])
    mutation = docs.upsert("docs", vector("a"), vector("b"))
    docs.refused("GET", "/nobody/info")
    control(emulator, "GET", "health")
    written, refused = control(emulator, "GET", "log").json()
    assert before <= written.pop("time") <= time.time()
    headers = written.pop("headers")
    assert headers["content-type"] == NDJSON
    assert written == {
        "operation": "upsert", "index": "docs", "status": 200, "bytes": len(body), "vectors": 2,
        "mutation_id": mutation,
    }  # fmt: skip
    assert (refused["operation"], refused["index"], refused["status"]) == ("index_info", "nobody", 404)


def test_the_log_holds_no_secret(emulator: Emulator, docs: Api) -> None:
    secret = "s3cret-s3cret"
    docs.session.headers.update({"Authorization": f"Bearer {secret}", "X-Auth-Key": secret, "Cookie": secret})
    docs.info("docs")
    docs.refused("GET", "/nobody/nothing")
    assert secret not in control(emulator, "GET", "log").text
    assert emulator.log()[0]["headers"]["authorization"] == "[redacted]"


def test_a_request_without_route_is_logged_without_operation(emulator: Emulator, docs: Api) -> None:
    docs.refused("GET", "/docs/nothing")
    assert [(row["operation"], row["status"]) for row in emulator.log()] == [(None, 404)]


def test_the_log_can_be_cleared(emulator: Emulator, docs: Api) -> None:
    docs.info("docs")
    assert control(emulator, "DELETE", "log").json() == []
    assert emulator.log() == []
    docs.info("docs")
    emulator.clear_log()
    assert emulator.log() == []
    assert emulator.stats()["index_info"]["requests"] == 2


def test_stats_sum_requests_vectors_and_bytes_by_operation(emulator: Emulator, docs: Api) -> None:
    body = ndjson([vector("a"), vector("b")])
    for _ in range(2):
        docs.upsert("docs", vector("a"), vector("b"))
    docs.delete("docs", "a")
    docs.refused("POST", "/docs/upsert", data=b"broken", headers={"Content-Type": NDJSON})
    stats = control(emulator, "GET", "stats").json()
    assert tuple(stats) == OPERATIONS
    assert stats["upsert"] == {"requests": 3, "vectors": 4, "bytes": 2 * len(body) + 6}
    assert stats["delete_by_ids"] == {"requests": 1, "vectors": 1, "bytes": 14}
    assert stats["query"] == {"requests": 0, "vectors": 0, "bytes": 0}


def test_a_status_fault_answers_an_error_and_logs_no_write(emulator: Emulator, docs: Api) -> None:
    order = {
        "operation": "upsert",
        "times": 2,
        "kind": "status",
        "status": 503,
        "code": 10001,
        "retry_after": 7,
    }
    left = control(emulator, "POST", "faults", json=[order]).json()
    assert left == [{**order, "seconds": 60.0}]
    for _ in range(2):
        response = docs.call(
            "POST", "/docs/upsert", data=ndjson([vector("a")]), headers={"Content-Type": NDJSON}
        )
        assert (response.status_code, response.headers["Retry-After"]) == (503, "7")
        assert response.json()["errors"][0]["code"] == 10001
        assert docs.info("docs")["vectorCount"] == 0
    assert control(emulator, "GET", "faults").json() == []
    docs.upsert("docs", vector("a"))
    assert [row.get("fault") for row in emulator.log() if row["operation"] == "upsert"] == [
        "status",
        "status",
        None,
    ]


def test_a_status_fault_of_200_says_success_false(emulator: Emulator, docs: Api) -> None:
    emulator.add_faults([{"kind": "status", "status": 200, "code": None}])
    response = docs.call("GET", "/docs/info")
    assert response.status_code == 200
    assert response.json()["success"] is False


def test_a_status_fault_may_have_a_status_without_a_name(emulator: Emulator, docs: Api) -> None:
    emulator.add_faults([{"kind": "status", "status": 599}])
    assert docs.call("GET", "/docs/info").status_code == 599


@pytest.mark.parametrize("order", [{"kind": "reset"}, {"kind": "hang", "seconds": 0.05}])
def test_reset_and_hang_answer_nothing_and_log_no_write(
    emulator: Emulator, docs: Api, order: dict[str, Any]
) -> None:
    emulator.add_faults([{"operation": "upsert", **order}])
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        docs.upsert("docs", vector("a"))
    assert docs.info("docs")["vectorCount"] == 0
    (row,) = [row for row in emulator.log() if row["operation"] == "upsert"]
    assert (row["status"], row["fault"], row["vectors"]) == (None, order["kind"], 0)


def test_a_hang_lasts_and_ends_with_the_emulator() -> None:
    with Emulator() as emulator:
        emulator.create_index("docs")
        api = Api(f"{emulator.url}/client/v4", emulator.account, emulator.token)
        emulator.add_faults([{"kind": "hang", "seconds": 600}])
        with pytest.raises(requests.Timeout):
            api.session.get(f"{api.url}/docs/info", timeout=0.2)
        began = time.monotonic()
    assert time.monotonic() - began < 5


def test_accept_then_reset_logs_the_write_and_answers_nothing(emulator: Emulator, docs: Api) -> None:
    emulator.add_faults([{"operation": "upsert", "kind": "accept-then-reset"}])
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        docs.upsert("docs", vector("a"))
    assert docs.info("docs")["vectorCount"] == 1
    (row,) = [row for row in emulator.log() if row["operation"] == "upsert"]
    assert (row["status"], row["vectors"]) == (None, 1)
    assert docs.watermark("docs") == row["mutation_id"]


def test_faults_can_be_dropped(emulator: Emulator, docs: Api) -> None:
    for drop in (emulator.clear_faults, lambda: control(emulator, "DELETE", "faults")):
        emulator.add_faults([{"kind": "reset", "times": 9}])
        drop()
        assert emulator.faults() == []
        docs.info("docs")


@pytest.mark.parametrize(
    "order",
    [
        7, [7], [{}], [{"kind": "explode"}], [{"kind": "reset", "operation": "dance"}], [{"kind": "reset", "times": 0}],
        [{"kind": "reset", "times": True}], [{"kind": "status", "status": 99}], [{"kind": "status", "status": "503"}],
        [{"kind": "status", "code": 7}], [{"kind": "hang", "seconds": -1}], [{"kind": "reset", "more": 1}],
        [{"kind": "status", "retry_after": 1.5}], {"kind": "reset"},
    ],
)  # fmt: skip
def test_a_bad_fault_is_refused_and_not_taken(emulator: Emulator, order: Any) -> None:
    response = control(emulator, "POST", "faults", json=order)
    assert response.status_code == 400
    assert response.json()["success"] is False
    assert emulator.faults() == []


faults = st.builds(
    Fault, kind=st.just("reset"), operation=st.sampled_from(["*", "query", "insert"]), times=st.integers(1, 3)
)


@given(st.lists(faults, max_size=5), st.lists(st.sampled_from(["query", "insert", "upsert"]), max_size=20))
def test_every_fault_is_used_once_for_each_of_its_times(orders: list[Fault], requested: list[str]) -> None:
    ordered = Faults()
    ordered.add(orders)
    used: Counter[str] = Counter()
    for operation in requested:
        left = ordered.left()
        fits = [row for row in left if row["operation"] in ("*", operation)]
        fault = ordered.take(operation)
        assert (fault is None) == (not fits)
        if fault is not None:
            assert fault.operation == fits[0]["operation"]
            used[fault.operation] += 1
    total = Counter[str]()
    for order in orders:
        total[order.operation] += order.times
    for row in ordered.left():
        used[row["operation"]] += row["times"]
    assert used == total


def test_faults_are_exactly_accounted_under_concurrency(emulator: Emulator, docs: Api) -> None:
    emulator.add_faults([{"operation": "index_info", "kind": "status", "status": 500, "times": 20}])
    statuses: list[int] = []

    def poll() -> None:
        api = Api(docs.url.split("/accounts")[0], emulator.account, emulator.token)
        statuses.extend(api.call("GET", "/docs/info").status_code for _ in range(10))

    threads = [threading.Thread(target=poll) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(statuses) == {500: 20, 200: 20}
    assert Counter(row["status"] for row in emulator.log()) == {500: 20, 200: 20}


def test_past_the_rate_limit_every_call_is_refused_until_the_block_ends() -> None:
    now = [0.0]
    throttle = Throttle(RateLimit(), clock=lambda: now[0])
    for _ in range(1_200):
        throttle.check("token")
        now[0] += 0.1
    with pytest.raises(ApiError, match="More than 1200 requests per 300 seconds reached") as caught:
        throttle.check("token")
    assert (caught.value.code, caught.value.status, caught.value.retry_after) == (10100, 429, 300)
    throttle.check("another token")
    now[0] += 299.5
    with pytest.raises(ApiError) as caught:
        throttle.check("token")
    assert caught.value.retry_after == 1
    now[0] += 0.5
    throttle.check("token")


def test_requests_leave_the_budget_after_the_window() -> None:
    now = [0.0]
    throttle = Throttle(RateLimit(2, 10), clock=lambda: now[0])
    for _ in range(10):
        throttle.check("token")
        now[0] += 5


def test_the_rate_limit_over_http(emulator: Emulator, docs: Api) -> None:
    assert control(emulator, "PUT", "rate_limit", json={"requests": 2, "seconds": 60}).status_code == 200
    docs.info("docs")
    docs.info("docs")
    response = docs.call("GET", "/docs/info")
    assert (response.status_code, response.headers["Retry-After"]) == (429, "60")
    assert emulator.log()[-1]["status"] == 429
    assert control(emulator, "PUT", "rate_limit").status_code == 200
    docs.info("docs")


@pytest.mark.parametrize(
    "order",
    ['{"requests": 0}', '{"requests": 1.5}', '{"seconds": 0}', '{"seconds": "1"}', '{"more": 1}', "[]"],
)
def test_a_bad_rate_limit_is_refused(emulator: Emulator, order: str) -> None:
    assert control(emulator, "PUT", "rate_limit", data=order).status_code == 400


def test_there_is_no_rate_limit_by_default(emulator: Emulator, docs: Api) -> None:
    for _ in range(1_201):
        assert docs.call("GET", "/docs").status_code == 200


def test_a_revoked_token_is_let_in_no_more_and_others_are(emulator: Emulator, docs: Api) -> None:
    control(emulator, "POST", "revoke", json={"token": "old"})
    docs.session.headers["Authorization"] = "Bearer old"
    assert docs.refused("GET", "/docs/info")[:2] == (401, 10000)
    docs.session.headers["Authorization"] = "Bearer new"
    docs.info("docs")


@pytest.mark.parametrize("order", [{}, {"token": ""}, {"token": 5}])
def test_a_revocation_names_a_token(emulator: Emulator, order: dict[str, Any]) -> None:
    assert control(emulator, "POST", "revoke", json=order).status_code == 400
