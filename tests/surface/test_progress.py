"""How far a load is, in the task's state while it runs (Airflow 3.3 and later)."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import get_current_context, task

from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.runtime.task import TaskRun
from tests.surface.conftest import INDEX, Instance, Store, vectors
from tests.versions import AIRFLOW

IDS = "abcdef"
ALONE = {"max_batch_vectors": 1, "max_in_flight": 1}
needs_a_store = pytest.mark.skipif(AIRFLOW < (3, 3), reason="the state store came with Airflow 3.3")


@needs_a_store
def test_an_operator_keeps_it_while_it_runs(emulator, dag, run_dag):
    seen = []

    def make(task_state_store):
        for each in IDS:
            seen.append(task_state_store.get("progress"))
            yield from vectors(each)

    with dag:
        VectorizeUpsertOperator(task_id="load", index_name=INDEX, vectors=make, **ALONE)
    ended = run_dag(dag)
    assert ended.state == "success", ended.log
    assert seen[0] is None
    told = [each for each in seen if each is not None]
    assert told
    assert [each["accepted"] for each in told] == sorted(each["accepted"] for each in told)
    last = told[-1]
    assert 1 <= last["accepted"] < len(IDS)
    assert (last["index_name"], last["operation"], last["try_number"]) == (INDEX, "upsert", 1)
    assert (last["rejected"], last["superseded"], last["retries"]) == (0, 0, 0)
    assert last["batches"] == last["accepted"]
    assert last["bytes_sent"] > 64 * last["accepted"]


@needs_a_store
def test_deletes_and_syncs_keep_it_too(emulator, dag, run_dag, tmp_path):
    def progress():
        return get_current_context()["task_state_store"].get("progress")

    @task
    def work():
        hook, manifest = VectorizeHook(), str(tmp_path / "manifest")
        hook.sync(INDEX, vectors=vectors("a", "b"), manifest=manifest)
        loaded = progress()
        hook.sync(INDEX, vectors=vectors("a"), manifest=manifest, max_delete_fraction=1)
        gone = progress()
        hook.delete(INDEX, list(IDS))
        return [loaded, gone, progress()]

    with dag:
        work()
    told = run_dag(dag).xcom("work")
    assert [each["operation"] for each in told] == ["upsert", "delete", "delete"]
    assert [each["accepted"] for each in told] == [2, 1, len(IDS)]


@needs_a_store
def test_the_hook_does_so_too_and_what_it_kept_last_stays(emulator, dag, run_dag):
    @task
    def load():
        VectorizeHook().upsert(INDEX, vectors=vectors(*IDS))
        return get_current_context()["task_state_store"].get("progress")

    with dag:
        load()
    assert run_dag(dag).xcom("load")["accepted"] == len(IDS)


def test_a_store_that_fails_costs_the_load_nothing(emulator):
    class Broken(Store):
        def set(self, key, value):
            raise OSError("full")

    progress = TaskRun({"task_state_store": Broken(), "ti": Instance()}).progress
    progress(VectorizeHook().upsert(INDEX, vectors=vectors("a")))


def test_without_a_store_there_is_none():
    assert TaskRun({"ti": Instance()}).progress is None
    assert TaskRun.current().progress is None
