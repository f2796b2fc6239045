"""``@task.vectorize_upsert``: a function that returns or yields records is the whole task."""

from __future__ import annotations

import threading
import time

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, task

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.decorators.vectorize import vectorize_upsert_task
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, ndjson, vectors


@pytest.fixture
def client(emulator):
    return VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)


@pytest.fixture
def load(dag, run_dag):
    """Run one decorated function."""

    def run(function, *args, **options):
        with dag:
            task.vectorize_upsert(**({"index_name": INDEX, "task_id": "load"} | options))(function)(*args)
        return run_dag(dag)

    return run


def nothing():
    return []


class TestWhatTheFunctionGives:
    def returned():
        return vectors("a", "b")

    def yielded():
        yield from vectors("a", "b")

    def text():
        return ndjson(vectors("a", "b"))

    def lines():
        yield from ndjson(vectors("a", "b")).encode().splitlines()

    @pytest.mark.parametrize("function", [returned, yielded, text, lines])
    def test_it_is_loaded(self, emulator, client, load, function):
        ended = load(function)
        assert ended.state == "success"
        assert ended.xcom("load") == client.index_info(INDEX).processed_up_to_mutation
        assert ended.xcom("load", "report")["accepted"] == 2
        assert sorted(client.list_vectors(INDEX)) == ["a", "b"]

    def test_arguments_and_context(self, emulator, client, dag, run_dag):
        @task
        def names():
            return ["x", "y"]

        @task.vectorize_upsert(index_name=INDEX)
        def load(ids, prefix, ti):
            yield from vectors(*(f"{prefix}-{each}-{ti.task_id}" for each in ids))

        with dag:
            load(names(), prefix="p")
        assert run_dag(dag).state == "success"
        assert sorted(client.list_vectors(INDEX)) == ["p-x-load", "p-y-load"]

    def test_mapped(self, emulator, client, dag, run_dag):
        @task.vectorize_upsert(index_name=INDEX)
        def load(name):
            yield from vectors(name)

        with dag:
            load.expand(name=["a", "b"])
        ended = run_dag(dag)
        assert [str(each.state) for each in ended.tasks["load"]] == ["success", "success"]
        assert sorted(client.list_vectors(INDEX)) == ["a", "b"]

    def test_bare(self, emulator, client, dag, run_dag, monkeypatch):
        monkeypatch.setenv(
            "AIRFLOW_CONN_VECTORIZE_DEFAULT",
            f"vectorize://{ACCOUNT}:{TOKEN}@127.0.0.1:{emulator.port}/http?index_name={INDEX}",
        )

        @vectorize_upsert_task
        def load():
            return vectors("a")

        with dag:
            load()
        assert run_dag(dag).state == "success"
        assert list(client.list_vectors(INDEX)) == ["a"]


class TestEverythingThatTheOperatorHas:
    def test_the_wait(self, emulator, load):
        emulator.set_visibility("polls", 1)
        ended = load(lambda: vectors("a"), wait_for_completion=True, deferrable=True, poll_interval=1)
        assert ended.state == "success"
        assert "running trigger in line" in ended.log

    def test_the_checks(self, emulator, load):
        ended = load(lambda: [*vectors("a"), {"id": "bad", "values": [1.0]}], retries=2)
        assert ended.state == "failed"
        assert "the index has 32 dimensions, the vector 1" in ended.log
        assert ended.tasks["load"][0].try_number == 1

    def test_options_are_checked_at_parse_time(self, dag):
        with dag, pytest.raises(InvalidArgumentError, match="without effect"):
            task.vectorize_upsert(index_name=INDEX, task_id="load", max_rejects=3)(nothing)()

    @pytest.mark.parametrize("argument", ["vectors", "source"])
    def test_the_vectors_are_what_the_function_gives(self, dag, argument):
        with dag, pytest.raises(InvalidArgumentError, match=f"so {argument} cannot be given"):
            task.vectorize_upsert(index_name=INDEX, **{argument: "x"})(nothing)()

    def test_an_async_function_is_refused(self, dag):
        async def load():
            yield {}

        with dag, pytest.raises(InvalidArgumentError, match=r"load\(\): the function must be a plain one"):
            task.vectorize_upsert(index_name=INDEX)(load)()


class TestNothingToLoad:
    @pytest.mark.parametrize("function", [lambda: None, nothing, lambda: iter(())])
    @pytest.mark.parametrize(("on_empty", "state"), [("fail", "failed"), ("skip", "skipped")])
    def test_on_empty_decides(self, emulator, load, function, on_empty, state):
        assert load(function, on_empty=on_empty).task_state("load") == state

    def test_none_is_named(self, emulator, load):
        def forgotten():
            pass

        assert "forgotten() returned None" in load(forgotten).log

    def test_a_generator_may_skip_the_task(self, emulator, load):
        def generate():
            if True:
                raise AirflowSkipException("nothing today")
            yield

        assert load(generate).task_state("load") == "skipped"


def test_a_generator_that_breaks_off_is_red_and_says_after_which_record(emulator, load):
    def generate():
        yield from vectors("a", "b")
        raise OSError("the model is gone")

    ended = load(generate)
    assert ended.state == "failed"
    assert "vectors broke off after record 2: OSError('the model is gone')" in ended.log


def test_a_generator_is_read_as_it_goes(emulator, client, load):
    """Full requests leave while the function is still at work."""
    seen = []

    def generate():
        for number in range(6):
            yield from vectors(f"v{number}")
            deadline = time.monotonic() + 30
            while number >= 4 and not seen and time.monotonic() < deadline:
                threading.Event().wait(0.02)
                seen.extend(client.list_vectors(INDEX))

    assert load(generate, max_batch_vectors=2).state == "success"
    assert {"v0", "v1"} <= set(seen)
    assert len(list(client.list_vectors(INDEX))) == 6
