"""The operators that create and delete an index: what they return, what is red, and at what time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import task

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.index import (
    VectorizeCreateIndexOperator,
    VectorizeDeleteIndexOperator,
)
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN


@pytest.fixture
def client(emulator):
    return VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)


@pytest.fixture
def create(dag, run_dag):
    """Run one create."""

    def run(**kwargs):
        fields = {"task_id": "create", "index_name": "new", "dimensions": 32, "metric": "cosine"}
        with dag:
            VectorizeCreateIndexOperator(**(fields | kwargs))
        return run_dag(dag)

    return run


class TestCreate:
    def test_it_returns_the_index_as_a_dict(self, emulator, create):
        ended = create(
            metadata_indexes={"lang": "string", "year": "number"}, description="of {{ dag.dag_id }}"
        )
        assert ended.state == "success"
        returned = ended.xcom("create")
        assert returned["created_on"]
        assert returned == {
            "name": "new",
            "dimensions": 32,
            "metric": "cosine",
            "description": returned["description"],
            "created_on": returned["created_on"],
            "modified_on": returned["modified_on"],
            "metadata_indexes": {"lang": "string", "year": "number"},
        }
        assert returned["description"].startswith("of test_")

    def test_another_index_of_that_name_is_red_and_uses_no_retry(self, emulator, create):
        ended = create(index_name=INDEX, dimensions=64, retries=3)
        assert ended.state == "failed"
        assert "it has 32 dimensions, declared are 64" in ended.log
        assert ended.tasks["create"][0].try_number == 1

    def test_fail_is_red_for_an_index_that_is_there(self, emulator, create):
        ended = create(index_name=INDEX, if_exists="fail", retries=3)
        assert ended.state == "failed"
        assert ended.tasks["create"][0].try_number == 1

    def test_the_wait_for_metadata_indexes_has_a_deadline(self, emulator, create):
        emulator.set_visibility("manual")
        ended = create(metadata_indexes={"a": "string"}, completion_timeout=timedelta(seconds=0.2))
        assert ended.state == "failed"
        assert "the metadata indexes a are accepted, and not listed yet after 0.2 s" in ended.log

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({"dimensions": 31}, "task 'create': dimensions must be 32 to 1536, got 31"),
            ({"metric": None}, "task 'create': an index is declared by dimensions and metric together"),
            ({"if_exists": "replace"}, "task 'create': if_exists must be skip or fail, got 'replace'"),
            (
                {"on_late_metadata_index": "skip"},
                "task 'create': on_late_metadata_index must be fail or create",
            ),
            ({"metadata_indexes": {"a": "text"}}, "task 'create': metadata_indexes: the type of 'a'"),
        ],
    )
    def test_what_can_never_work_is_refused_at_parse_time(self, wrong, says):
        fields = {"task_id": "create", "index_name": "new", "dimensions": 32, "metric": "cosine"}
        with pytest.raises(InvalidArgumentError) as raised:
            VectorizeCreateIndexOperator(**(fields | wrong))
        assert str(raised.value).startswith(says)


class TestDelete:
    @pytest.mark.parametrize(("name", "deleted"), [(INDEX, True), ("nothing", False)])
    def test_it_may_be_repeated(self, emulator, client, dag, run_dag, name, deleted):
        with dag:
            VectorizeDeleteIndexOperator(task_id="delete", index_name=name)
        ended = run_dag(dag)
        assert ended.state == "success"
        assert ended.xcom("delete") is deleted
        assert (INDEX in {index.name for index in client.list_indexes()}) is not deleted

    def test_fail_is_red_when_there_is_none(self, emulator, dag, run_dag):
        with dag:
            VectorizeDeleteIndexOperator(task_id="delete", index_name="nothing", if_missing="fail")
        assert run_dag(dag).state == "failed"

    def test_if_missing_is_checked_at_parse_time(self):
        with pytest.raises(InvalidArgumentError, match="task 'delete': if_missing must be skip or fail"):
            VectorizeDeleteIndexOperator(task_id="delete", index_name="x", if_missing="ignore")


def test_a_teardown_deletes_what_the_setup_made_when_the_work_fails(emulator, client, dag, run_dag):
    @task
    def work():
        assert "passing" in [index.name for index in VectorizeHook().conn.list_indexes()]
        raise ValueError("it went wrong")

    with dag:
        create = VectorizeCreateIndexOperator(
            task_id="create", index_name="passing", dimensions=32, metric="cosine"
        )
        delete = VectorizeDeleteIndexOperator(task_id="delete", index_name="passing").as_teardown(
            setups=create
        )
        create >> work() >> delete
    ended = run_dag(dag)
    assert ended.state == "failed"
    assert ended.task_state("delete") == "success"
    assert [index.name for index in client.list_indexes()] == [INDEX]


class TestTheHook:
    def test_the_index_may_be_the_connections(self, emulator, client, monkeypatch):
        monkeypatch.setenv(
            "AIRFLOW_CONN_VECTORIZE_DEFAULT",
            f"vectorize://{ACCOUNT}:{TOKEN}@127.0.0.1:{emulator.port}/http?index_name=mine",
        )
        assert VectorizeHook().create_index(dimensions=32, metric="cosine")["name"] == "mine"
        assert VectorizeHook().delete_index("mine") is True
        assert VectorizeHook().delete_index("mine") is False
