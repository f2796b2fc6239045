"""``@task.vectorize_upsert`` and ``@task.vectorize_sync``: a function that gives records is the whole task."""

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


def test_ten_records_a_second_are_in_the_index_while_the_next_are_made(emulator, client, load):
    """Far from a full request, they leave after ``flush_seconds``, and again."""
    held, made = [], []

    def generate():
        while len(set(held)) < 3 and len(made) < 300:
            made.append(f"v{len(made)}")
            yield from vectors(made[-1])
            threading.Event().wait(0.1)
            held.append(len(list(client.list_vectors(INDEX))))

    assert load(generate, flush_seconds=0.2).state == "success"
    assert held == sorted(held)
    assert 0 < held[-1] <= len(made) < 300
    assert len(list(client.list_vectors(INDEX))) == len(made)


class TestSync:
    @pytest.fixture
    def sync(self, dag, run_dag, tmp_path):
        """Run one function that is a sync."""

        def run(function, *args, **options):
            options = {"index_name": INDEX, "task_id": "sync", "manifest": str(tmp_path / "m")} | options
            with dag:
                task.vectorize_sync(**options)(function)(*args)
            return run_dag(dag)

        return run

    def test_what_went_away_is_deleted(self, emulator, client, dag, run_dag, tmp_path):
        names = ["a", "b", "c"]

        @task.vectorize_sync(index_name=INDEX, manifest=str(tmp_path / "m"), max_delete_fraction=1)
        def sync(prefix):
            yield from vectors(*(prefix + each for each in names))

        with dag:
            sync("p-")
        assert run_dag(dag).xcom("sync", "report")["added"] == 3
        names.remove("c")
        report = run_dag(dag).xcom("sync", "report")
        assert (report["added"], report["unchanged"], report["deleted"]) == (0, 2, 1)
        assert sorted(client.list_vectors(INDEX)) == ["p-a", "p-b"]

    @pytest.mark.parametrize("default", [True, False])
    def test_it_may_ask_what_is_known_before_it_embeds(
        self, emulator, client, dag, run_dag, tmp_path, default
    ):
        texts = {"a": "one", "b": "two"}
        embedded = []

        def embedding(known, prefix):
            for id_, text in texts.items():
                if not known.unchanged(id_, text):
                    embedded.append(id_)
                    yield from vectors(id_, metadata={"text": text})

        def with_default(prefix, known=None):
            yield from embedding(known, prefix)

        function = with_default if default else embedding
        with dag:
            task.vectorize_sync(
                index_name=INDEX, task_id="sync", manifest=str(tmp_path / "m"), changed_by="metadata.text"
            )(function)(prefix="p")
        assert run_dag(dag).state == "success"
        assert embedded == ["a", "b"]
        again = run_dag(dag)
        assert again.state == "success"
        assert embedded == ["a", "b"]
        assert again.xcom("sync", "report")["unchanged"] == 2
        texts["b"] = "other"
        assert run_dag(dag).xcom("sync", "report")["changed"] == 1
        assert embedded == ["a", "b", "b"]

    def test_mapped_each_has_a_manifest_of_its_own(self, emulator, client, dag, run_dag, tmp_path):
        with dag:
            for name in "ab":
                task.vectorize_sync(index_name=INDEX, manifest=str(tmp_path / name), task_id=f"sync_{name}")(
                    lambda known, name: vectors(name)
                ).expand(name=[name])
        assert run_dag(dag).state == "success"
        assert sorted(client.list_vectors(INDEX)) == ["a", "b"]

    def test_none_is_an_error_that_names_the_function(self, emulator, sync):
        def forgotten(known):
            pass

        ended = sync(forgotten)
        assert ended.state == "failed"
        assert "forgotten() returned None" in ended.log

    def test_a_generator_that_may_ask_may_skip_the_task_too(self, emulator, sync):
        def generate(known):
            raise AirflowSkipException("nothing today")
            yield

        assert sync(generate).task_state("sync") == "skipped"

    def test_known_is_given_by_nobody(self, dag, tmp_path):
        with dag, pytest.raises(InvalidArgumentError, match="known is what the index holds"):
            task.vectorize_sync(index_name=INDEX, manifest=str(tmp_path))(lambda known: [])(known={"a": 1})
