"""A token that is replaced while a worker uses it: the connection is read once more, through the hook."""

from __future__ import annotations

import json
import threading

import pytest

from airflow_provider_vectorize.client.errors import AuthenticationError
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, vectors

NEW = "tok_the-one-that-somebody-has-made-meanwhile"


@pytest.fixture
def connect(emulator, monkeypatch):
    """Put a token into the connection that the hook reads."""

    def put(token):
        connection = {
            "conn_type": "vectorize",
            "login": ACCOUNT,
            "password": token,
            "host": f"http://127.0.0.1:{emulator.port}",
        }
        monkeypatch.setenv("AIRFLOW_CONN_VECTORIZE_DEFAULT", json.dumps(connection))

    return put


def refusals(emulator):
    return [row["status"] for row in emulator.log()].count(401)


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_token_that_is_replaced_during_a_load_is_read_again_and_the_load_goes_on(
    emulator, connect, in_flight
):
    def source():
        for number in range(100):
            if number == 45:
                connect(NEW)
                emulator.revoke(TOKEN)
            yield from vectors(f"v{number:02}")

    connect(TOKEN)
    hook = VectorizeHook()
    report = hook.upsert(INDEX, vectors=source(), max_batch_vectors=10, max_in_flight=in_flight)
    assert (report.accepted, report.batches) == (100, 10)
    assert 1 <= refusals(emulator) <= in_flight
    assert len(list(hook.conn.list_vectors(INDEX))) == 100


def test_a_token_that_is_replaced_during_a_wait_deletes_its_sentinel(emulator, connect):
    connect(TOKEN)
    hook = VectorizeHook()
    report = hook.upsert(INDEX, vectors=vectors("a"))
    wait = hook.begin_wait(INDEX, [report.target()], sentinel=True)
    connect(NEW)
    emulator.revoke(TOKEN)
    hook.delete_sentinel(wait)
    assert [row["status"] for row in emulator.log() if row["operation"] == "delete_by_ids"] == [401, 200]


def test_a_load_whose_token_is_revoked_for_good_fails_and_says_how_far_it_came(emulator, connect):
    def source():
        for number in range(40):
            if number == 25:
                emulator.revoke(TOKEN)
            yield from vectors(f"v{number:02}")

    connect(TOKEN)
    with pytest.raises(AuthenticationError, match="Check the connection") as caught:
        VectorizeHook().upsert(INDEX, vectors=source(), max_batch_vectors=10, max_in_flight=1)
    assert 10 <= caught.value.report.accepted <= 20
    assert TOKEN not in str(caught.value)


def test_where_the_token_cannot_be_read_again_the_refusal_is_the_error(
    emulator, connect, monkeypatch, caplog
):
    connect(TOKEN)
    hook = VectorizeHook()
    assert hook.conn.list_indexes()
    monkeypatch.delenv("AIRFLOW_CONN_VECTORIZE_DEFAULT")
    emulator.revoke(TOKEN)
    with pytest.raises(AuthenticationError) as caught:
        hook.upsert(INDEX, vectors=vectors("a"))
    assert TOKEN not in str(caught.value)
    assert "cannot be read anew: AirflowNotFoundException" in caplog.text


def test_a_token_that_is_replaced_during_a_wait_of_the_worker_is_read_again_and_the_wait_goes_on(
    emulator, connect
):
    emulator.set_visibility("manual")
    connect(TOKEN)
    hook = VectorizeHook()
    report = hook.upsert(INDEX, vectors=vectors("a", "b"))
    connect(NEW)
    emulator.revoke(TOKEN)
    emulator.clear_log()
    applied = threading.Timer(0.3, emulator.apply)
    applied.start()
    hook.wait_for_mutation(INDEX, report, poll_interval=0.1, timeout=20)
    applied.join()
    assert refusals(emulator) == 1
