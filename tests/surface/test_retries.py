"""A task that is tried again goes on where it stopped (Airflow 3.3 and later)."""

from __future__ import annotations

import copy
import logging
import os
import threading
import time

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, task

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import (
    IngestAbortedError,
    ServerError,
    TransportError,
    WaitAbortedError,
)
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.index import (
    VectorizeCreateIndexOperator,
    VectorizeDeleteIndexOperator,
)
from airflow_provider_vectorize.operators.sync import VectorizeSyncOperator, VectorizeVerifyOperator
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.operators.vectors import (
    VectorizeDeleteOperator,
    VectorizeExportOperator,
    VectorizeQueryOperator,
)
from airflow_provider_vectorize.runtime.task import TaskCheckpoint, TaskRun
from airflow_provider_vectorize.sensors.vectorize import VectorizeMutationSensor, VectorizeUpsertSensor
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, Instance, Store, ndjson, vectors

PACKAGE = "airflow_provider_vectorize"

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
        assert (report["resumed_from"], report["accepted"]) == ([f"file://{source}", 6], 10)
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


@pytest.mark.skipif(not HAS_STORE, reason="the state store came with Airflow 3.3")
class TestTwoLoadsOfOneTask:
    """Each has a checkpoint of its own, also where nothing but their order tells them apart."""

    @pytest.fixture
    def break_in_the_second(self, monkeypatch):
        """Break the first try at the sixth request of its second load; each of them has ten."""
        upsert, calls = VectorizeClient.upsert, iter(range(1000))

        def broken(self, *args):
            if next(calls) == 15:
                raise ServerError("no more today", status=503)
            return upsert(self, *args)

        monkeypatch.setattr(VectorizeClient, "upsert", broken)

    @pytest.mark.parametrize("second", ["the same file", "another"])
    def test_of_files_the_second_goes_on_and_the_first_which_was_done_is_done_again(
        self, emulator, client, dag, run_dag, source, break_in_the_second, second
    ):
        sources = [source, source]
        if second == "another":
            sources[1] = source.with_name("more.ndjson")
            sources[1].write_text(ndjson(vectors(*"klmnopqrst")))
        with dag:

            @task(retries=1)
            def load():
                hook = VectorizeHook()
                one_by_one = {"max_batch_vectors": 1, "max_in_flight": 1}
                reports = [hook.upsert(INDEX, source=str(each), **one_by_one) for each in sources]
                return [report.to_dict()["resumed_from"] for report in reports]

            load()
        ended = run_dag(dag)
        assert ended.state == "success"
        assert ended.xcom("load") == [None, [f"file://{sources[1]}", 6]]
        assert len(uploads(emulator)) == 15 + 10 + 5
        assert len(list(client.list_vectors(INDEX))) == (10 if second == "the same file" else 20)
        assert "cannot be continued" not in ended.log

    def test_of_vectors_only_the_second_is_said_to_start_again(
        self, emulator, client, dag, run_dag, break_in_the_second, caplog
    ):
        with dag:

            @task(retries=1)
            def load():
                for ids in ("abcdefghij", "klmnopqrst"):
                    VectorizeHook().upsert(INDEX, vectors=vectors(*ids), max_batch_vectors=1, max_in_flight=1)

            load()
        ended = run_dag(dag)
        assert ended.state == "success"
        assert len(uploads(emulator)) == 15 + 10 + 10
        assert len(list(client.list_vectors(INDEX))) == 20
        said = [record.getMessage() for record in caplog.records]
        assert sum("An earlier try cannot be continued" in text for text in said) == 1
        again = next(n for n, text in enumerate(said) if "An earlier try cannot be continued" in text)
        begun = sum(text.startswith("Loading ") for text in said[:again])
        assert begun == 4  # both of both tries


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


def attempt(operator, store, try_number, max_tries=1):
    """Run a try of a task that has one retry, whatever Airflow this is."""
    operator.retries = 1
    ti = Instance(try_number, max_tries)
    operator.execute({"ti": ti, "task": operator, "task_state_store": store})
    return ti.pushed["report"]


def waiting(**kwargs):
    settings = {
        "task_id": "load",
        "index_name": INDEX,
        "max_batch_vectors": 1,
        "wait_for_completion": True,
        "poll_interval": 0.05,
        "completion_timeout": 0.2,
    }
    return VectorizeUpsertOperator(**(settings | kwargs))


class TestLife:
    """A retry goes on, a clear begins again; whether Airflow keeps the state of a task on a clear or drops it."""

    @pytest.fixture(params=["source", "vectors"])
    def given(self, request, source):
        return {"source": str(source)} if request.param == "source" else {"vectors": source.read_text()}

    @pytest.fixture
    def timed_out(self, emulator, given):
        """A load that was accepted, and a wait that was not proved."""
        store = Store()
        emulator.set_visibility("manual")
        with pytest.raises(AirflowFailException, match="could not be seen"):
            attempt(waiting(**given), store, 1)
        assert len(uploads(emulator)) == 10
        return store

    def test_a_retry_of_a_wait_does_not_load_again(self, emulator, given, timed_out):
        emulator.set_visibility("immediate")
        report = attempt(waiting(**given), timed_out, 2)
        assert report["accepted"] == 10
        assert len(uploads(emulator)) == 10

    @pytest.mark.parametrize("kept", [True, False], ids=["kept on a clear", "dropped on a clear"])
    def test_a_clear_loads_again(self, emulator, client, given, timed_out, kept):
        emulator.set_visibility("immediate")
        client.delete_by_ids(INDEX, list("abcdefghij"))
        report = attempt(waiting(**given), timed_out if kept else Store(), 2, max_tries=2)
        assert report["accepted"] == 10
        assert report["resumed_from"] is None
        assert sorted(client.list_vectors(INDEX)) == list("abcdefghij")

    def test_it_says_so_with_the_age_of_what_it_found(self, emulator, given, timed_out, caplog):
        emulator.set_visibility("immediate")
        [note] = timed_out.values()
        note["at"] -= 2 * 24 * 3600
        with caplog.at_level(logging.INFO):
            attempt(waiting(**given), timed_out, 2, max_tries=2)
        assert "was cleared since a load was noted, 2 days, 0:00:0" in caplog.text

    def test_a_part_of_an_earlier_life_is_not_gone_on_with(self, emulator, client, source, monkeypatch):
        store = Store()
        upsert, calls = VectorizeClient.upsert, iter(range(100))

        def break_at_the_sixth(self, *args):
            if next(calls) == 5:
                raise ServerError("no more today", status=503)
            return upsert(self, *args)

        monkeypatch.setattr(VectorizeClient, "upsert", break_at_the_sixth)
        operator = waiting(source=str(source), max_in_flight=1)
        with pytest.raises(ServerError):
            attempt(operator, store, 1)
        assert attempt(operator, store, 3, max_tries=3)["resumed_from"] is None

    def test_success_leaves_nothing_behind(self, emulator, given):
        store = Store()
        attempt(waiting(**given), store, 1)
        assert store == {}

    def test_a_retry_of_a_try_that_sent_nothing_says_nothing_of_it(self, emulator, given, caplog):
        attempt(waiting(**given), Store(), 2)
        assert "An earlier try" not in caplog.text


class TestTaskRun:
    def run(self, try_number=1, max_tries=0, **context):
        task = type("Task", (), {"retries": 0})
        return TaskRun({"ti": Instance(try_number, max_tries), "task": task, **context})

    def test_loads_of_one_task_have_checkpoints_of_their_own(self):
        store = Store()
        for name in ("a", "b"):
            self.run(task_state_store=store).checkpoint("upsert", name).save({"of": name})
        assert len(store) == 2
        assert self.run(task_state_store=store).checkpoint("upsert", "a").load() == {"of": "a"}

    def test_loads_of_one_try_that_look_the_same_have_them_too_in_their_order(self):
        store = Store()
        first, second = self.run(task_state_store=store), self.run(try_number=2, task_state_store=store)
        for name in ("one", "two"):
            first.checkpoint("upsert", "a").save({"of": name})
        assert [second.checkpoint("upsert", "a").load()["of"] for _ in range(2)] == ["one", "two"]

    def test_there_is_one_for_each_try(self, monkeypatch):
        task, ti = type("Task", (), {"retries": 1}), Instance(1, 1)
        monkeypatch.setattr(f"{PACKAGE}.runtime.task.get_current_context", lambda: context)
        context = {"ti": ti, "task": task}
        begun = TaskRun.begin(context)
        assert TaskRun.current() is begun
        ti.try_number = 2
        assert (again := TaskRun.current()) is not begun
        assert TaskRun.current() is again
        context = {"ti": Instance(2, 1), "task": task}
        assert TaskRun.current() is not again

    def test_a_store_that_fails_to_forget_is_logged_only(self, caplog):
        class Broken(Store):
            def delete(self, key):
                raise OSError("gone")

        self.run(task_state_store=Broken()).checkpoint("x").clear()
        assert "could not be deleted" in caplog.text

    def test_without_a_store_there_is_no_checkpoint(self):
        assert self.run().checkpoint("x") is None

    def test_outside_of_a_task_there_is_no_earlier_try(self):
        run = TaskRun.current()
        assert (run.name, run.tried_before, run.life) == (None, False, 1)
        assert run.checkpoint("x") is None

    @pytest.mark.parametrize(("parent", "stops"), [("dead", True), ("alive", False)])
    @pytest.mark.parametrize("error", [BrokenPipeError(), EOFError(), ConnectionResetError()], ids=repr)
    def test_a_task_whose_supervisor_is_gone_stops(self, monkeypatch, error, parent, stops):
        class Broken(Store):
            def set(self, key, value):
                raise error

        run = self.run(task_state_store=Broken())
        checkpoint = run.checkpoint("x")
        if parent == "dead":
            monkeypatch.setattr(os, "getppid", lambda: 1)
        with pytest.raises(type(error)):
            checkpoint.save({})
        assert run.stop.is_set() == stops

    def test_a_store_that_cannot_be_read_costs_a_second_load_only(self, emulator, client):
        class Broken(Store):
            def get(self, key, default=None):
                raise OSError("the store is down")

        load = VectorizeUpsertOperator(task_id="load", index_name=INDEX, vectors=vectors("a"))
        load.execute({"ti": Instance(2, 1), "task": load, "task_state_store": Broken()})
        assert list(client.list_vectors(INDEX)) == ["a"]

    def test_a_store_that_fails_otherwise_stops_nothing(self):
        class Broken(Store):
            def set(self, key, value):
                raise OSError("no space left")

        run = self.run(task_state_store=Broken())
        with pytest.raises(OSError, match="no space"):
            run.checkpoint("x").save({})
        assert not run.stop.is_set()


class TestKill:
    """The loops of a wait end at once, with the words that the write was accepted."""

    @pytest.mark.parametrize("kind", ["upload", "sensor"])
    def test_a_wait_in_the_worker_ends_at_once(self, emulator, client, kind):
        emulator.set_visibility("manual")
        options = {"task_id": "load", "index_name": INDEX, "poke_interval": 30}
        if kind == "upload":
            task_ = waiting(vectors=vectors("a"), poll_interval=30, completion_timeout=60)
        else:
            task_ = VectorizeMutationSensor(mutation_id="m", timeout=60, **options)
        started = time.monotonic()
        threading.Timer(1.0, task_.on_kill).start()
        with pytest.raises(WaitAbortedError, match="The write was accepted"):
            task_.execute({"ti": Instance(1, 0), "task": task_})
        assert time.monotonic() - started < 10

    @pytest.mark.parametrize(
        ("operator", "called", "options"),
        [
            (VectorizeQueryOperator, "query_many", {"queries": [{"vector": [1.0]}], "output_path": "/out"}),
            (VectorizeExportOperator, "export", {"output_path": "/out"}),
            (VectorizeCreateIndexOperator, "create_index", {"dimensions": 32, "metric": "cosine"}),
            (VectorizeVerifyOperator, "verify", {"vectors": []}),
            (VectorizeSyncOperator, "run_sync", {"vectors": [], "manifest": "/m"}),
            (VectorizeDeleteOperator, "delete", {"ids": ["a"]}),
        ],
        ids=lambda each: getattr(each, "__name__", None),
    )
    def test_what_a_task_does_is_told_to_stop(self, monkeypatch, operator, called, options):
        told = []

        def does(*args, stop, **kwargs):
            killed.on_kill()
            told.append(stop.is_set())
            raise WaitAbortedError("stopped")

        killed = operator(task_id="killed", index_name=INDEX, **options)
        monkeypatch.setattr(VectorizeHook, called, does)
        with pytest.raises(WaitAbortedError):
            killed.execute({"ti": Instance(1, 0), "task": killed})
        assert told == [True]

    @pytest.mark.parametrize("kind", ["query", "delete_index"])
    def test_a_call_that_is_throttled_is_told_to_stop(self, emulator, monkeypatch, kind):
        emulator.add_faults(
            [{"operation": kind, "times": 100, "kind": "status", "status": 429, "retry_after": 60}]
        )
        if kind == "query":
            killed = VectorizeQueryOperator(task_id="killed", index_name=INDEX, vector=[1.0] * 32)
        else:
            killed = VectorizeDeleteIndexOperator(task_id="killed", index_name=INDEX)
        context = {"ti": Instance(1, 0), "task": killed}
        monkeypatch.setattr(f"{PACKAGE}.runtime.task.get_current_context", lambda: context)
        threading.Timer(1, killed.on_kill).start()
        started = time.monotonic()
        with pytest.raises(TransportError, match="told to stop"):
            killed.execute(context)
        assert time.monotonic() - started < 20

    def test_a_kill_before_the_first_request_is_heard_by_every_task(self, emulator, monkeypatch, tmp_path):
        source = tmp_path / "a.ndjson"
        source.write_text(ndjson(vectors("a")))
        out = str(tmp_path / "out")
        tasks = [
            VectorizeUpsertOperator(task_id="a", index_name=INDEX, vectors=vectors("a")),
            VectorizeUpsertSensor(task_id="b", index_name=INDEX, source=str(source)),
            VectorizeDeleteOperator(task_id="c", index_name=INDEX, ids=["a"]),
            VectorizeSyncOperator(task_id="d", index_name=INDEX, source=str(source), manifest=out + "-m"),
            VectorizeVerifyOperator(task_id="e", index_name=INDEX, source=str(source)),
            VectorizeQueryOperator(task_id="f", index_name=INDEX, vector=[1.0] * 32),
            VectorizeQueryOperator(
                task_id="g", index_name=INDEX, queries=[{"vector": [1.0] * 32}], output_path=out
            ),
            VectorizeExportOperator(task_id="h", index_name=INDEX, output_path=out + "-e"),
            VectorizeCreateIndexOperator(task_id="i", index_name="new", dimensions=32, metric="cosine"),
            VectorizeDeleteIndexOperator(task_id="j", index_name=INDEX),
            VectorizeMutationSensor(task_id="k", index_name=INDEX, mutation_id="m"),
            VectorizeMutationSensor(task_id="l", index_name=INDEX, mutation_id="m", deferrable=True),
        ]
        for module in ("operators.writing", "operators.sync", "operators.vectors", "operators.index"):
            monkeypatch.setattr(f"{PACKAGE}.{module}.push_links", lambda task_, *_: task_.on_kill())
        monkeypatch.setattr(f"{PACKAGE}.sensors.vectorize.push_links", lambda task_, *_: task_.on_kill())
        for killed in tasks:
            context = {"ti": Instance(1, 0), "task": killed}
            monkeypatch.setattr(f"{PACKAGE}.runtime.task.get_current_context", lambda known=context: known)
            with pytest.raises(
                (TransportError, IngestAbortedError, WaitAbortedError), match=r"[Tt]old to stop"
            ):
                killed.execute(context)
            assert emulator.log() == [], killed.task_id

    def test_a_kill_cuts_the_look_before_a_deferral(self, emulator):
        emulator.add_faults([{"operation": "index_info", "kind": "hang", "seconds": 60}])
        killed = waiting(vectors=vectors("a"), deferrable=True)
        threading.Timer(1, killed.on_kill).start()
        started = time.monotonic()
        with pytest.raises(WaitAbortedError, match="The write was accepted"):
            killed.execute({"ti": Instance(1, 0), "task": killed})
        assert time.monotonic() - started < 20

    def test_tasks_can_be_copied(self):
        for task_ in (
            waiting(vectors=vectors("a")),
            VectorizeMutationSensor(task_id="wait", mutation_id="m"),
        ):
            assert copy.deepcopy(task_).task_id == task_.task_id
            task_.on_kill()  # before it runs
