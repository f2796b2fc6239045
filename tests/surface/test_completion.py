"""The operators' own wait, in the worker and in the triggerer; and the sentinel."""

from __future__ import annotations

import threading
import time

import pytest

from airflow_provider_vectorize import waiting
from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import InvalidArgumentError, VectorizeError, WaitAbortedError
from airflow_provider_vectorize.hooks import base
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.vectorize import VectorizeInsertOperator, VectorizeUpsertOperator
from airflow_provider_vectorize.sensors.vectorize import VectorizeMutationSensor
from airflow_provider_vectorize.triggers import vectorize
from airflow_provider_vectorize.visibility import Probe, Target
from airflow_provider_vectorize.waiting import Sentinel, Wait
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, ndjson, vectors


@pytest.fixture
def client(emulator):
    return VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)


def upsert(**kwargs):
    settings = {
        "task_id": "upsert",
        "index_name": INDEX,
        "vectors": vectors("a", "b"),
        "wait_for_completion": True,
        "poll_interval": 0.1,
        "completion_timeout": 20,
    }
    return VectorizeUpsertOperator(**(settings | kwargs))


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("kind", [VectorizeUpsertOperator, VectorizeInsertOperator])
def test_the_task_ends_once_the_load_can_be_seen(emulator, client, dag, run_dag, deferrable, kind):
    emulator.set_visibility("delay", 1.0)
    with dag:
        kind(
            task_id="load",
            index_name=INDEX,
            vectors=vectors("a"),
            wait_for_completion=True,
            poll_interval=0.1,
            deferrable=deferrable,
        )
    ended = run_dag(dag)
    assert ended.state == "success"
    assert ended.xcom("load") == client.index_info(INDEX).processed_up_to_mutation
    assert ended.xcom("load", "report")["accepted"] == 1


def test_what_can_be_seen_at_once_is_not_deferred(emulator, dag, run_dag):
    with dag:
        upsert(deferrable=True)
    ended = run_dag(dag)
    assert ended.state == "success"
    assert "running trigger in line" not in ended.log


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_deadline_is_red_without_retries(emulator, dag, run_dag, deferrable):
    emulator.set_visibility("manual")
    with dag:
        upsert(deferrable=deferrable, completion_timeout=0.5, retries=2)
    ended = run_dag(dag)
    assert ended.task_state("upsert") == "failed"
    assert ended.tasks["upsert"][0].try_number == 1
    assert "could not be seen within" in ended.log
    assert len([row for row in emulator.log() if row["operation"] == "upsert"]) == 1


@pytest.fixture
def busy(emulator, client):
    """An index that holds all of it already, with another writer who never stops."""
    client.upsert(INDEX, ndjson(vectors("a", "b")).encode())
    emulator.set_visibility("delay", 0.3)
    emulator.foreign(INDEX, writes=100_000, every=0.02)


def sentinels(emulator, client):
    emulator.set_visibility("immediate")
    return [id_ for id_ in client.list_vectors(INDEX) if id_.startswith("airflow-fence")]


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_reload_of_unchanged_vectors_is_proved_by_a_fence(emulator, client, dag, run_dag, deferrable):
    client.upsert(INDEX, ndjson(vectors("a", "b")).encode())
    emulator.set_visibility("delay", 0.3)
    with dag:
        upsert(deferrable=deferrable)
    assert run_dag(dag).state == "success"
    assert sentinels(emulator, client) == []


@pytest.mark.parametrize("deferrable", [False, True])
def test_beside_a_writer_who_never_stops_it_is_proved_by_a_sentinel(
    emulator, client, busy, dag, run_dag, deferrable
):
    with dag:
        upsert(deferrable=deferrable, sentinel=True)
    assert run_dag(dag).state == "success"
    assert sentinels(emulator, client) == []


MODES = [{"mode": "poke"}, {"mode": "reschedule"}, {"deferrable": True}]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_the_sensor_has_one_as_well(emulator, client, busy, dag, run_dag, mode):
    with dag:
        load = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a", "b"))
        VectorizeMutationSensor(
            task_id="wait", mutation_id=load.output, sentinel=True, poke_interval=0.1, timeout=20, **mode
        )
    ended = run_dag(dag)
    assert ended.state == "success"
    assert sentinels(emulator, client) == []


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("option", [{}, {"soft_fail": True}], ids=str)
def test_a_wait_that_times_out_leaves_no_sentinel(emulator, client, dag, run_dag, monkeypatch, mode, option):
    monkeypatch.setattr(
        waiting, "LOOKS_A_FENCE", 1
    )  # before Airflow 3.3 a look of one process leaves it to chance
    client.upsert(INDEX, ndjson(vectors("a", "b")).encode())
    emulator.set_visibility("manual")
    with dag:
        load = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a", "b"))
        VectorizeMutationSensor(
            task_id="wait",
            mutation_id=load.output,
            sentinel=True,
            poke_interval=0.1,
            timeout=0.5,
            **mode,
            **option,
        )
    assert run_dag(dag).task_state("wait") == ("skipped" if option else "failed")
    assert any(row["operation"] == "upsert" and row["vectors"] == 1 for row in emulator.log())
    assert sentinels(emulator, client) == []


@pytest.mark.parametrize("deferrable", [False, True])
def test_nor_does_the_uploads_own_wait(emulator, client, dag, run_dag, deferrable):
    client.upsert(INDEX, ndjson(vectors("a", "b")).encode())
    emulator.set_visibility("manual")
    with dag:
        upsert(sentinel=True, deferrable=deferrable, completion_timeout=0.5)
    assert run_dag(dag).state == "failed"
    assert sentinels(emulator, client) == []


@pytest.mark.parametrize("deferrable", [False, True])
def test_an_answer_that_drips_does_not_hold_up_the_deadline(emulator, dag, run_dag, monkeypatch, deferrable):
    monkeypatch.setattr(base, "LAST_LOOK_SECONDS", 0.2)
    emulator.add_faults([{"operation": "index_info", "times": 100, "kind": "drip", "seconds": 1}])
    with dag:
        upsert(sentinel=True, deferrable=deferrable, completion_timeout=0.5)
        VectorizeMutationSensor(task_id="wait", mutation_id="m", poke_interval=0.1, timeout=0.5)
    monkeypatch.setattr(vectorize, "grace", lambda _: 0.2)
    started = time.monotonic()  # 2.11 keeps no beginning of a task that was deferred
    ended = run_dag(dag)
    assert time.monotonic() - started < 60  # a whole answer takes minutes
    assert [ended.task_state(each) for each in ("upsert", "wait")] == ["failed", "failed"]
    assert "Could not look at index" in ended.log


class TestDeletingASentinel:
    """It comes after the proof: whatever goes wrong, the wait stays green."""

    WAIT = Wait(INDEX, [Target("m")], sentinel=Sentinel("s", "mark"))

    @pytest.fixture
    def log(self, caplog, capfd):
        return lambda: caplog.text + "".join(capfd.readouterr())

    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "status", "status": 403},
            {"kind": "status", "status": 503},
            {"kind": "status", "status": 429, "retry_after": 300},
            {"kind": "reset"},
            {"kind": "drip", "seconds": 0.5},
        ],
        ids=str,
    )
    def test_a_failure_is_logged_only_and_soon(self, emulator, log, fault):
        emulator.add_faults([{"operation": "delete_by_ids", "times": 100, **fault}])
        started = time.monotonic()
        VectorizeHook().delete_sentinel(self.WAIT)
        assert time.monotonic() - started < 5
        assert "the sentinel s could not be deleted" in log()

    def test_one_passing_error_is_repeated(self, emulator, log):
        emulator.add_faults([{"operation": "delete_by_ids", "times": 1, "kind": "status", "status": 503}])
        VectorizeHook().delete_sentinel(self.WAIT)
        assert "could not be deleted" not in log()
        assert [row["status"] for row in emulator.log()] == [503, 200]

    def test_a_connection_that_is_gone_is_logged_only(self, log):
        VectorizeHook("gone").delete_sentinel(self.WAIT)
        assert "could not be deleted" in log()

    def test_without_one_the_connection_is_not_even_looked_up(self, log):
        VectorizeHook("gone").delete_sentinel(Wait(INDEX, [Target("m")]))
        assert "could not be deleted" not in log()


class TestHook:
    def test_it_loads_and_waits_outside_of_a_task(self, emulator):
        emulator.set_visibility("delay", 0.3)
        hook = VectorizeHook()
        report = hook.upsert(INDEX, vectors=vectors("a", "b"))
        assert report.accepted == 2
        hook.wait_for_mutation(INDEX, report, poll_interval=0.05, timeout=10)
        assert hook.conn.index_info(INDEX).vector_count == 2

    @pytest.mark.parametrize("operation", ["get_index", "get_by_ids"])
    def test_a_stop_cuts_what_a_load_reads(self, emulator, operation):
        emulator.add_faults([{"operation": operation, "kind": "hang", "seconds": 60}])
        stop = threading.Event()
        threading.Timer(0.5, stop.set).start()
        started = time.monotonic()
        with pytest.raises(VectorizeError, match="told to stop"):
            VectorizeHook().load("upsert", INDEX, vectors=vectors("a"), stop=stop)
        assert time.monotonic() - started < 5

    def test_a_stop_cuts_a_look_and_says_that_the_write_was_accepted(self, emulator):
        emulator.add_faults([{"operation": "index_info", "kind": "hang", "seconds": 60}])
        hook, stop = VectorizeHook(), threading.Event()
        wait = hook.begin_wait(INDEX, [Target("m")], sentinel=False)
        threading.Timer(0.5, stop.set).start()
        started = time.monotonic()
        with pytest.raises(WaitAbortedError, match="The write was accepted"):
            hook.finish_wait(wait, poll_interval=1, timeout=60, stop=stop)
        assert time.monotonic() - started < 5

    @pytest.mark.parametrize("form", ["report", "dict", "id", "list"])
    def test_what_to_wait_for_has_many_forms(self, emulator, form):
        hook = VectorizeHook()
        report = hook.insert(INDEX, vectors=vectors("a"))
        mutation = {
            "report": report,
            "dict": report.to_dict(),
            "id": report.mutation_id,
            "list": [report, report.mutation_id],
        }[form]
        hook.wait_for_mutation(INDEX, mutation, poll_interval=0.05, timeout=5)

    def test_a_delete_among_other_writers_is_proved_by_an_id_that_was_there(self, emulator, client):
        client.upsert(INDEX, ndjson(vectors("a", "b")).encode())
        emulator.set_visibility("delay", 0.3)
        emulator.foreign(INDEX, writes=100_000, every=0.02)
        hook = VectorizeHook()
        [mutation] = hook.conn.delete_by_ids(INDEX, ["a"])
        target = Target(mutation.id, probes=(Probe("a", None),))
        hook.wait_for_mutation(INDEX, target, poll_interval=0.05, timeout=10)
        assert [vector.id for vector in client.get_by_ids(INDEX, ["a", "b"])] == ["b"]

    def test_a_metadata_index_can_be_waited_for(self, emulator, client):
        emulator.set_visibility("delay", 0.3)
        hook = VectorizeHook()
        mutation = hook.conn.create_metadata_index(INDEX, "topic", "string")
        hook.wait_for_mutation(INDEX, [mutation], poll_interval=0.05, timeout=10)
        assert client.list_metadata_indexes(INDEX)

    def test_beside_a_writer_who_never_stops_a_sentinel_proves_it(self, emulator, client, busy):
        hook = VectorizeHook()
        report = hook.upsert(INDEX, vectors=vectors("a", "b"))
        hook.wait_for_mutation(INDEX, report, poll_interval=0.05, timeout=20, sentinel=True)
        assert sentinels(emulator, client) == []

    @pytest.mark.parametrize("option", [{"poll_interval": 0.001}, {"timeout": 0}, {"timeout": -1}], ids=str)
    def test_durations_are_checked(self, emulator, option):
        [name] = option
        with pytest.raises(InvalidArgumentError, match=name):
            VectorizeHook().wait_for_mutation(INDEX, "m", **option)

    def test_an_empty_list_is_nothing_to_wait_for(self, emulator):
        with pytest.raises(InvalidArgumentError, match="is empty"):
            VectorizeHook().wait_for_mutation(INDEX, [])

    def test_anything_else_is_nothing_to_wait_for(self, emulator):
        with pytest.raises(InvalidArgumentError, match="a mutation is"):
            VectorizeHook().wait_for_mutation(INDEX, 5)

    def test_connection_can_be_tested(self, emulator):
        ok, message = VectorizeHook().test_connection()
        assert ok
        assert "has 1 indexes" in message

    def test_a_connection_that_does_not_work_says_where_to_look(self, monkeypatch):
        monkeypatch.setenv(
            "AIRFLOW_CONN_VECTORIZE_DEFAULT", f"vectorize://{ACCOUNT}:{TOKEN}@127.0.0.1:9/http"
        )
        ok, message = VectorizeHook().test_connection()
        assert not ok
        assert "host, port and schema" in message

    @pytest.mark.parametrize(
        ("uri", "says"),
        [("vectorize://:{token}@", "field login"), ("vectorize://{account}:@", "field password")],
    )
    def test_a_connection_that_is_incomplete_names_the_field(self, monkeypatch, uri, says):
        monkeypatch.setenv("AIRFLOW_CONN_VECTORIZE_DEFAULT", uri.format(account=ACCOUNT, token=TOKEN))
        ok, message = VectorizeHook().test_connection()
        assert not ok
        assert says in message
