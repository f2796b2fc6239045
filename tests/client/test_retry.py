"""The retry policy: what is repeated, how often, after how long; and the gates that all senders share."""

from __future__ import annotations

import threading
import time as real_time

import pytest
import requests

from airflow_provider_vectorize.client import VectorizeClient, errors
from airflow_provider_vectorize.client.throttle import QUIET_SECONDS, Gate, shared_gate
from tests.client.conftest import ACCOUNT, BASE, TOKEN, failure, ok
from tests.fake_time import FakeTime


@pytest.mark.parametrize(
    "fault",
    [
        {"status_code": 408},
        {"status_code": 500},
        {"status_code": 503, "json": failure(1, "x")},
        {"status_code": 429},
        {"status_code": 400, "json": failure(40041, "Too Many Requests")},
        {"status_code": 429, "json": failure(40041, "Too Many Requests")},
        {"exc": requests.exceptions.ConnectTimeout},
        {"exc": requests.exceptions.ReadTimeout},
        {"exc": requests.exceptions.ConnectionError},
        {"exc": requests.exceptions.ChunkedEncodingError},
    ],
    ids=str,
)
def test_transient_failures_are_repeated(client, api, fault, time):
    api.post(f"{BASE}/docs/upsert", [fault, fault, {"json": ok({"mutationId": "m"})}])
    mutation = client.upsert("docs", b"{}\n")
    assert (mutation.id, mutation.attempts) == ("m", 3)
    assert len([seconds for seconds in time.slept if seconds]) <= 4


def test_the_body_of_a_repeated_upload_is_the_same(client, api):
    api.post(f"{BASE}/docs/upsert", [{"status_code": 500}, {"json": ok({"mutationId": "m"})}])
    client.upsert("docs", bytearray(b'{"id":"a"}\n'))
    assert [bytes(request.body) for request in api.request_history] == [b'{"id":"a"}\n'] * 2


def test_attempts_end_at_max_attempts(make_client, api):
    api.get(BASE, status_code=503)
    with pytest.raises(errors.ServerError, match="HTTP 503"):
        make_client(max_attempts=5).list_indexes()
    assert api.call_count == 5


def test_one_attempt_means_one_request(make_client, api, time):
    api.get(BASE, exc=requests.exceptions.ReadTimeout)
    with pytest.raises(errors.TransportError, match="list_indexes got no answer: ReadTimeout"):
        make_client(max_attempts=1).list_indexes()
    assert (api.call_count, time.slept) == (1, [])


def test_a_wrong_certificate_is_not_repeated(client, api):
    api.get(BASE, exc=requests.exceptions.SSLError("CERTIFICATE_VERIFY_FAILED: self-signed certificate"))
    with pytest.raises(errors.TransportError, match="CERTIFICATE_VERIFY_FAILED"):
        client.list_indexes()
    assert api.call_count == 1


def test_the_wait_has_full_jitter_and_is_capped(api, monkeypatch):
    asked: list[tuple[float, float]] = []

    def highest(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    monkeypatch.setattr("random.uniform", highest)
    time = FakeTime()
    api.get(BASE, status_code=500)
    with pytest.raises(errors.ServerError):
        VectorizeClient(ACCOUNT, TOKEN, max_attempts=9, sleep=time.sleep, clock=time.clock).list_indexes()
    assert {low for low, _ in asked} == {0}
    assert time.slept == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("7", 7, 8), ("300", 300, 330), ("9999", 330, 363), ("0", 0, 1), ("1", 1, 2)],
)
def test_retry_after_is_honoured_up_to_330_seconds_and_spread(client, api, time, header, least, most):
    api.get(BASE, [{"status_code": 429, "headers": {"Retry-After": header}}, {"json": ok([])}])
    client.list_indexes()
    assert least <= time.now - 1_000.0 <= most


def test_processes_that_are_told_the_same_time_come_back_at_different_ones():
    def waits() -> float:
        return Gate(FakeTime().clock).refuse(300)

    times = sorted(waits() for _ in range(32))
    assert times[-1] - times[0] > 5


@pytest.mark.parametrize("header", ["soon", "-5", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_retry_after_that_is_no_whole_number_is_ignored(client, api, time, header):
    api.get(BASE, [{"status_code": 429, "headers": {"Retry-After": header}}, {"json": ok([])}])
    client.list_indexes()
    assert time.now - 1_000.0 <= 1


@pytest.mark.parametrize("status", [400, 429, 503])
def test_the_pressure_on_an_index_may_ask_for_a_pause_whatever_its_status(client, api, time, status):
    pressure = {
        "status_code": status,
        "json": failure(40041, "Too Many Requests"),
        "headers": {"Retry-After": "120"},
    }
    api.post(f"{BASE}/docs/upsert", [pressure, {"json": ok({"mutationId": "m"})}])
    client.upsert("docs", b"{}\n")
    assert time.now - 1_000.0 >= 120


THROTTLES = {
    "429": {"status_code": 429},
    "Retry-After: 0": {"status_code": 429, "headers": {"Retry-After": "0"}},
    "Retry-After: 1": {"status_code": 429, "headers": {"Retry-After": "1"}},
    "Retry-After: 300": {"status_code": 429, "headers": {"Retry-After": "300"}},
    "40041": {"status_code": 400, "json": failure(40041, "Too Many Requests")},
    "429 and 40041": {"status_code": 429, "json": failure(40041, "Too Many Requests")},
}


@pytest.mark.parametrize("throttle", THROTTLES.values(), ids=THROTTLES)
def test_every_throttle_is_waited_out_for_330_seconds_and_then_given_up(make_client, api, time, throttle):
    api.post(f"{BASE}/docs/upsert", **throttle)
    with pytest.raises(errors.RateLimitError, match="1,200 requests in 5 minutes"):
        make_client(max_attempts=2).upsert("docs", b"{}\n")
    assert 330 <= time.now - 1_000.0 <= (720 if "300" in str(throttle) else 400)
    assert api.call_count > 2


@pytest.mark.parametrize("senders", [4, 16])
def test_a_throttle_is_given_up_after_330_seconds_by_the_clock_however_many_wait(make_client, api, senders):
    speed = 100  # a clock for several threads cannot stand still
    client = make_client(
        max_attempts=2,
        sleep=lambda seconds: real_time.sleep(seconds / speed),
        clock=lambda: real_time.monotonic() * speed,
    )
    api.post(f"{BASE}/docs/upsert", status_code=429)
    began, given_up = real_time.monotonic(), []

    def send() -> None:
        with pytest.raises(errors.RateLimitError):
            client.upsert("docs", b"{}\n")
        given_up.append((real_time.monotonic() - began) * speed)

    threads = [threading.Thread(target=send, daemon=True) for _ in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(given_up) == senders
    assert 330 <= min(given_up) <= max(given_up) <= 330 + 2 * 60


def test_a_call_goes_on_as_long_as_others_of_its_budget_get_through():
    time = FakeTime()
    gate = Gate(time.clock)
    began = time.now
    for _ in range(10):
        gate.refuse(60)
        time.sleep(100)
        assert not gate.exhausted(began)
        gate.passed()
    time.sleep(330)
    assert not gate.exhausted(began)  # nothing was refused since
    gate.refuse(60)
    assert not gate.exhausted(began)
    time.sleep(330)
    assert gate.exhausted(began)
    assert not gate.exhausted(time.now - 10)


def test_the_time_of_a_throttle_does_not_count_an_outage_before_it():
    time = FakeTime()
    gate = Gate(time.clock)
    began = time.now
    time.sleep(400)  # no answer at all
    gate.refuse(5)
    assert not gate.exhausted(began)
    time.sleep(330)
    assert gate.exhausted(began)


def test_pressure_on_one_index_holds_up_nothing_else(client, api, time):
    throttle = {"status_code": 429, "json": failure(40041, "Too Many Requests")}
    api.post(f"{BASE}/docs/upsert", [throttle, {"json": ok({"mutationId": "m"})}])
    api.post(f"{BASE}/other/upsert", json=ok({"mutationId": "m"}))
    api.get(f"{BASE}/docs", json=ok({"name": "docs", "config": {"dimensions": 32, "metric": "cosine"}}))
    client._transport._gate("docs").refuse(200)
    client.upsert("other", b"{}\n")
    client.get_index("docs")
    assert time.slept == []
    client.upsert("docs", b"{}\n")
    assert time.now - 1_000.0 >= 200


def test_one_attempt_means_one_request_when_throttled_too_and_the_others_wait(make_client, api, time):
    api.get(BASE, status_code=429, headers={"Retry-After": "40"})
    client = make_client(max_attempts=1)
    with pytest.raises(errors.RateLimitError):
        client.list_indexes()
    assert (api.call_count, time.slept) == (1, [])
    with pytest.raises(errors.RateLimitError):
        client.list_indexes()
    assert api.call_count == 2
    [slept] = time.slept
    assert 40 <= slept <= 44


def test_a_throttled_request_holds_back_every_sender_of_the_budget(api):
    time = FakeTime()
    gate = Gate(time.clock)
    gate.refuse(30)
    with gate.slot("upsert", time.now, time.sleep, lambda: None):
        assert 30 <= time.now - 1_000.0 <= 33


def test_after_throttling_one_goes_at_a_time_and_one_more_after_every_minute_of_quiet():
    time = FakeTime()
    gate = Gate(time.clock)
    gate.refuse(10)
    inside, leave = threading.Semaphore(0), threading.Event()

    def sender() -> None:
        with gate.slot("upsert", time.now, time.sleep, lambda: None):
            inside.release()
            leave.wait(20)

    threads = [threading.Thread(target=sender, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert inside.acquire(timeout=5)
    assert not inside.acquire(timeout=0.3), "a second sender went while one was on its way"
    time.sleep(QUIET_SECONDS + 1)  # the gate opens at a random moment, whose float may be a little later
    assert inside.acquire(timeout=5)
    assert not inside.acquire(timeout=0.3), "a third sender went after one minute"
    leave.set()
    for thread in threads:
        thread.join(5)


def test_clients_with_the_same_credentials_share_the_gate_and_others_do_not():
    first, second = VectorizeClient(ACCOUNT, TOKEN), VectorizeClient(ACCOUNT, TOKEN)
    other = VectorizeClient(ACCOUNT, TOKEN[::-1])
    assert first._transport._gate() is second._transport._gate()
    assert first._transport._gate() is not other._transport._gate()


def test_a_client_with_its_own_clock_has_its_own_gate():
    time = FakeTime()
    assert shared_gate("a", clock=time.clock) is not shared_gate("a", clock=time.clock)
