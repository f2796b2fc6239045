"""What a load leaves behind in log, metrics and lineage; and what it never does: the token."""

from __future__ import annotations

import json

import pytest
from airflow.providers.common.compat.sdk import Stats, task

from airflow_provider_vectorize.hooks import loads as loads_module
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.sensors.vectorize import VectorizeMutationSensor
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, ndjson, vectors
from tests.versions import SecretsMasker, xcoms


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text(ndjson([*vectors("a", "b"), {"id": "bad"}]))
    return path


def load(file):
    return VectorizeHook().upsert(INDEX, source=str(file), on_invalid="reject", max_rejects=1)


def test_the_log_sums_up(emulator, file, dag, run_dag):
    with dag:
        VectorizeUpsertOperator(
            task_id="upsert", index_name=INDEX, source=str(file), on_invalid="reject", max_rejects=1
        )
    ended = run_dag(dag)
    assert "Loaded into index 'docs': 2 accepted, 1 rejected, 0 superseded; 1 requests" in ended.log
    assert f"mutation {ended.xcom('upsert')}" in ended.log


def test_metrics_count_vectors_and_bytes(emulator, file, monkeypatch):
    counted = {}
    monkeypatch.setattr(Stats, "incr", lambda name, count, tags: counted.update({name: (count, tags)}))
    report = load(file)
    tags = {"index_name": INDEX, "operation": "upsert"}
    assert counted == {
        "vectorize.accepted_vectors": (2, tags),
        "vectorize.rejected_vectors": (1, tags),
        "vectorize.bytes_sent": (report.bytes_sent, tags),
    }


def test_lineage_names_what_was_read_and_written(emulator, file, monkeypatch):
    seen = []

    class Collector:
        def add_input_asset(self, context, uri):
            seen.append(("input", uri))

        def add_output_asset(self, context, uri):
            seen.append(("output", uri))

    monkeypatch.setattr(loads_module, "get_hook_lineage_collector", Collector)
    load(file)
    assert seen == [("input", f"file://{file}"), ("output", f"vectorize://{ACCOUNT}/{INDEX}")]


class TestTheTokenIsNeverSeen:
    """Airflow masks secrets in logs by itself; what is asked for here is that there is nothing to mask."""

    @pytest.fixture(autouse=True)
    def no_masking(self, monkeypatch):
        monkeypatch.setattr(SecretsMasker, "filter", lambda self, record: True)

    def leaks(self, ended):
        stored = [xcoms(instance) for instances in ended.tasks.values() for instance in instances]
        return [
            text for text in (ended.log, json.dumps(stored, default=str), repr(ended.tasks)) if TOKEN in text
        ]

    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "status", "status": 403, "code": 10000},
            {"kind": "status", "status": 400, "code": 40012},
            {"kind": "status", "status": 500},
            {"kind": "reset"},
        ],
        ids=str,
    )
    def test_after_a_failing_upload(self, emulator, dag, run_dag, monkeypatch, fault):
        uri = f"vectorize://{ACCOUNT}:{TOKEN}@127.0.0.1:{emulator.port}/http?max_attempts=2"
        monkeypatch.setenv("AIRFLOW_CONN_VECTORIZE_DEFAULT", uri)
        emulator.add_faults([{"operation": "upsert", "times": 99, **fault}])
        with dag:
            VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
        ended = run_dag(dag)
        assert ended.state == "failed"
        assert not self.leaks(ended)

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_after_a_failing_wait(self, emulator, dag, run_dag, deferrable):
        emulator.set_visibility("manual")
        with dag:
            upsert = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
            VectorizeMutationSensor(
                task_id="wait",
                index_name=INDEX,
                mutation_id=upsert.output,
                poke_interval=0.1,
                timeout=0.5,
                deferrable=deferrable,
            )
        ended = run_dag(dag)
        assert ended.state == "failed"
        assert not self.leaks(ended)

    def test_after_a_failing_task_of_the_users(self, emulator, dag, run_dag):
        @task
        def own():
            hook = VectorizeHook()
            print(hook, hook.conn, hook.settings, vars(hook.conn))
            hook.conn.get_index("nowhere")

        with dag:
            own()
        ended = run_dag(dag)
        assert ended.state == "failed"
        assert not self.leaks(ended)

    def test_the_test_would_notice(self, emulator, dag, run_dag):
        @task
        def careless():
            print("leak", VectorizeHook().settings.secret)

        with dag:
            careless()
        assert self.leaks(run_dag(dag))


def test_a_wrong_token_is_red_and_says_where_to_look(emulator, dag, run_dag):
    emulator.add_faults([{"operation": "*", "times": 99, "kind": "status", "status": 403, "code": 10000}])
    with dag:
        VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"), retries=3)
    ended = run_dag(dag)
    assert ended.state == "failed"
    assert "Check the connection: login is the account ID, password an API token" in ended.log
    assert ended.tasks["upsert"][0].try_number == 1


def test_metrics_and_lineage_that_fail_do_not_fail_the_load(emulator, file, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise RuntimeError("statsd is gone")

    monkeypatch.setattr(loads_module, "get_hook_lineage_collector", fail)
    monkeypatch.setattr(loads_module.Stats, "incr", fail)
    report = VectorizeHook().upsert(INDEX, source=str(file), on_invalid="reject", max_rejects=1)
    assert report.accepted


@pytest.mark.parametrize("push", [True, False])
def test_red_pushes_its_report_too_unless_told_not_to(emulator, dag, run_dag, push):
    records = [*vectors(*"abc"), {"id": "bad"}]
    with dag:
        VectorizeUpsertOperator(task_id="load", index_name=INDEX, vectors=records, do_xcom_push=push)
    ended = run_dag(dag)
    assert ended.task_state("load") == "failed"
    report = ended.xcom("load", "report")
    assert report["stopped_at"] if push else report is None
