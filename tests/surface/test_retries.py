"""A task that is tried again goes on where it stopped (Airflow 3.3 and later)."""

from __future__ import annotations

import json

import pytest
from airflow.providers.common.compat.sdk import task

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import ServerError
from airflow_provider_vectorize.hooks.checkpoint import KEY, TaskCheckpoint, current_context, is_first_try
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, ndjson, vectors

try:
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor  # noqa: F401

    HAS_STORE = True
except ImportError:
    HAS_STORE = False


@pytest.fixture
def client(emulator):
    return VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "ten.ndjson"
    path.write_text(ndjson(vectors(*"abcdefghij")))
    return path


def run(dag, run_dag, source, **kwargs):
    settings = {
        "task_id": "upsert",
        "index_name": INDEX,
        "max_batch_vectors": 1,
        "max_in_flight": 1,
        "retries": 1,
    }
    with dag:
        VectorizeUpsertOperator(source=str(source), **(settings | kwargs))
    return run_dag(dag)


def uploads(emulator):
    return [row for row in emulator.log() if row["operation"] == "upsert"]


@pytest.mark.skipif(not HAS_STORE, reason="the state store came with Airflow 3.3")
class TestWithAStateStore:
    def test_a_retry_goes_on_behind_what_was_accepted(
        self, emulator, client, dag, run_dag, source, monkeypatch
    ):
        upsert = VectorizeClient.upsert
        calls = iter(range(100))

        def break_at_the_sixth(self, *args):
            if next(calls) == 5:
                raise ServerError("no more today", status=503)
            return upsert(self, *args)

        monkeypatch.setattr(VectorizeClient, "upsert", break_at_the_sixth)
        ended = run(dag, run_dag, source)
        assert ended.state == "success"
        assert ended.tasks["upsert"][0].try_number == 2
        assert len(uploads(emulator)) == 10
        report = ended.xcom("upsert", "report")
        assert (report["resumed_from"], report["accepted"]) == ([str(source), 6], 10)
        assert sorted(client.list_vectors(INDEX)) == list("abcdefghij")
        assert "Going on at" in ended.log

    def test_a_wait_that_timed_out_keeps_the_load(self, emulator, dag, run_dag, source):
        emulator.set_visibility("manual")
        options = {
            "wait_for_completion": True,
            "completion_timeout": 0.3,
            "poll_interval": 0.1,
            "max_batch_vectors": 100,
        }
        ended = run(dag, run_dag, source, **options)
        assert ended.state == "failed"
        assert len(uploads(emulator)) == 1

    def test_success_forgets_the_checkpoint(self, emulator, dag, run_dag, source, monkeypatch):
        cleared = []
        original = TaskCheckpoint.clear
        monkeypatch.setattr(TaskCheckpoint, "clear", lambda self: (cleared.append(1), original(self)))
        run(dag, run_dag, source)
        assert cleared == [1]


def test_a_task_of_ones_own_that_loads_again_knows_no_record_to_recognise_the_load_by(
    emulator, dag, run_dag, source
):
    emulator.set_visibility("manual")  # what the first try has sent cannot be seen yet
    with dag:

        @task(retries=1)
        def load(ti=None):
            report = VectorizeHook().upsert(INDEX, source=str(source))
            if ti.try_number == 1:
                raise RuntimeError("after the load")
            return [probe.id for probe in report.probes]

        load()
    ended = run_dag(dag)
    assert ended.state == "success"
    assert ended.xcom("load") == []
    assert len(uploads(emulator)) == 2


@pytest.mark.parametrize("kind", ["source", "vectors"])
def test_a_retry_that_cannot_go_on_starts_again_and_says_so(
    emulator, client, dag, run_dag, source, monkeypatch, kind
):
    if kind == "source" and HAS_STORE:
        pytest.skip("this Airflow has a state store")
    upsert, calls = VectorizeClient.upsert, iter(range(100))

    def break_at_first(self, *args):
        if next(calls) == 0:
            raise ServerError("not yet", status=503)
        return upsert(self, *args)

    monkeypatch.setattr(VectorizeClient, "upsert", break_at_first)
    given = {"source": str(source)} if kind == "source" else {"vectors": source.read_text()}
    with dag:
        VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, retries=1, **given)
    ended = run_dag(dag)
    assert ended.state == "success"
    assert sorted(client.list_vectors(INDEX)) == list("abcdefghij")
    assert ended.xcom("upsert", "report")["probes"] == []
    assert "An earlier try cannot be continued, so the load starts again" in ended.log


class Store(dict):
    def set(self, key, value):
        self[key] = json.loads(json.dumps(value))

    def delete(self, key):
        del self[key]


class TestTaskCheckpoint:
    def test_it_keeps_one_json_object(self):
        store = Store()
        checkpoint = TaskCheckpoint.of({"task_state_store": store})
        assert checkpoint.load() is None
        checkpoint.save({"a": [1]})
        assert checkpoint.load() == {"a": [1]}
        checkpoint.clear()
        assert KEY not in store

    def test_a_store_that_fails_to_forget_is_logged_only(self, caplog):
        TaskCheckpoint(Store()).clear()
        assert "could not be deleted" in caplog.text

    def test_without_a_store_there_is_none(self):
        assert TaskCheckpoint.of({}) is None

    def test_outside_of_a_task_there_is_no_context_and_no_earlier_try(self):
        assert current_context() == {}
        assert is_first_try({})
