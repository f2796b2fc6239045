"""Asking an index: by the operator and by the hook."""

from __future__ import annotations

import gzip
import json
import threading

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath, task

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import InvalidArgumentError, VectorizeApiError, VectorizeError
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.vectors import VectorizeQueryOperator
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, ndjson


def unit(place):
    return [float(place == n) for n in range(32)]


@pytest.fixture
def client(emulator):
    client = VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)
    client.create_metadata_index(INDEX, "n", "number")
    records = [
        {
            "id": f"v{n}",
            "values": unit(n),
            "namespace": "even" if n % 2 == 0 else "odd",
            "metadata": {"n": n, "m": n},
        }
        for n in range(6)
    ]
    client.upsert(INDEX, ndjson(records).encode())
    return client


@pytest.fixture
def query(client, dag, run_dag):
    """Run one query."""

    def run(**kwargs):
        with dag:
            VectorizeQueryOperator(**({"task_id": "query", "index_name": INDEX} | kwargs))
        return run_dag(dag)

    return run


def test_of_a_gz_of_queries_that_is_left_in_the_middle_no_thread_is_alive(emulator, client, tmp_path):
    source = tmp_path / "queries.ndjson.gz"
    line = json.dumps({"id": "q", "values": unit(1)}).encode() + b"\n"
    with gzip.open(source, "wb", compresslevel=1) as stream:
        stream.write(line * 2 + b'{"vector": "wrong"}\n' + line * 100_000)
    with pytest.raises(VectorizeError) as caught:
        VectorizeHook().query_many(INDEX, source, tmp_path / "out.ndjson", requests_per_minute=12_000)
    assert caught.value.__traceback__ is not None  # which keeps alive whatever is not closed
    assert not [each for each in threading.enumerate() if "_decompress" in each.name]


@pytest.mark.parametrize("in_a_list", [False, True])
def test_queries_from_a_path_of_airflows(emulator, client, tmp_path, in_a_list):
    (tmp_path / "q.ndjson").write_text(ndjson([{"id": "q", "values": unit(1)}]))
    path = ObjectStoragePath(f"file://{tmp_path}/q.ndjson")
    out = tmp_path / "out.ndjson"
    assert VectorizeHook().query_many(INDEX, [path] if in_a_list else path, out) == 1


class TestOne:
    def test_the_answer_is_the_xcom(self, query):
        ended = query(vector=unit(3), top_k=2)
        assert ended.xcom("query")[0] == {"id": "v3", "score": 1.0, "namespace": "odd"}
        assert len(ended.xcom("query")) == 2

    @pytest.mark.parametrize("argument", ["vector", "queries"])
    def test_nothing_that_an_upstream_returned_is_said(self, client, dag, run_dag, tmp_path, argument):
        @task
        def nothing():
            return None

        out = {"output_path": str(tmp_path / "out.ndjson")} if argument == "queries" else {}
        with dag:
            VectorizeQueryOperator(
                task_id="query", index_name=INDEX, retries=2, **{argument: nothing()}, **out
            )
        ended = run_dag(dag)
        assert ended.task_state("query") == "failed"
        assert ended.tasks["query"][0].try_number == 1
        assert f"There is nothing to ask: {argument} is None" in ended.log

    def test_the_vector_may_be_a_parameter_of_the_dag(self, query, dag):
        dag.params["asked"] = unit(3)
        assert query(vector=dag.param("asked"), top_k=1).xcom("query")[0]["id"] == "v3"

    def test_all_of_its_parameters(self, query):
        ended = query(
            vector_id="v2",
            namespace="even",
            filter={"n": {"$gte": 2}},
            top_k=1,
            return_values=True,
            return_metadata="all",
        )
        assert ended.xcom("query") == [
            {"id": "v2", "score": 1.0, "values": unit(2), "namespace": "even", "metadata": {"n": 2, "m": 2}}
        ]

    def test_a_vector_that_a_task_returns(self, client, dag, run_dag):
        @task
        def embed():
            return unit(4)

        with dag:
            operator = VectorizeQueryOperator(task_id="query", index_name=INDEX, vector=embed(), top_k=1)
        assert operator.upstream_task_ids == {"embed"}
        assert run_dag(dag).xcom("query")[0]["id"] == "v4"

    def test_it_can_be_mapped(self, client, dag, run_dag):
        with dag:
            VectorizeQueryOperator.partial(task_id="query", index_name=INDEX, top_k=1).expand(
                vector_id=["v0", "v1"]
            )
        ended = run_dag(dag)
        assert ended.state == "success"
        assert len(ended.tasks["query"]) == 2

    def test_a_filter_that_breaks_a_rule_is_red_before_anything_is_sent(self, emulator, query):
        emulator.clear_log()
        ended = query(vector=unit(1), filter={"$or": []}, retries=2)
        assert ended.state == "failed"
        assert "'$or' stands where a property is expected" in ended.log
        assert emulator.log() == []
        assert ended.tasks["query"][0].try_number == 1

    def test_a_property_without_a_metadata_index_is_named(self, query):
        ended = query(vector=unit(1), filter={"m": 1})
        assert ended.xcom("query") == []
        assert "it has no metadata index for 'm'" in ended.log
        assert "Its metadata indexes are: n" in ended.log


class TestMany:
    def read(self, path):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return [json.loads(line) for line in text.splitlines()]

    @pytest.mark.parametrize("name", ["answers.ndjson", "answers.ndjson.gz"])
    def test_answers_are_lines_of_a_file(self, query, tmp_path, name):
        ended = query(
            queries=[
                {"id": "a", "vector": unit(1)},
                {"vector_id": "v2", "top_k": 2, "filter": {"n": {"$lt": 3}}},
                {"vector_id": "v3", "return_metadata": "all"},
            ],
            top_k=1,
            output_path=str(tmp_path / "out" / name),
        )
        assert ended.xcom("query") == {"queries": 3, "output_path": str(tmp_path / "out" / name)}
        lines = self.read(tmp_path / "out" / name)
        assert [(line["id"], line["matches"][0]["id"]) for line in lines] == [
            ("a", "v1"),
            (None, "v2"),
            (None, "v3"),
        ]
        assert [line["query"] for line in lines] == [1, 2, 3]
        assert [len(line["matches"]) for line in lines] == [1, 2, 1]
        assert lines[2]["matches"][0]["metadata"] == {"n": 3, "m": 3}

    def test_a_source_of_vectors_by_a_templated_path(self, query, tmp_path):
        (tmp_path / "test_dag.ndjson").write_text(
            ndjson(
                [{"id": f"q{n}", "values": unit(n), "namespace": "x", "metadata": {"a": 1}} for n in (1, 5)]
            )
        )
        ended = query(
            queries=str(tmp_path / "test_{{ 'dag' }}.ndjson"),
            top_k=1,
            output_path=str(tmp_path / "answers"),
        )
        assert ended.state == "success"
        lines = self.read(tmp_path / "answers")
        assert [(line["id"], line["matches"][0]["id"]) for line in lines] == [("q1", "v1"), ("q5", "v5")]

    def test_what_is_wrong_is_named_by_its_place_and_no_file_is_left(self, query, tmp_path):
        ended = query(
            queries=[{"vector_id": "v1"}, {"vector_id": "v2", "topk": 3}],
            output_path=str(tmp_path / "answers"),
        )
        assert ended.state == "failed"
        assert "queries, number 2: unknown key 'topk'; a query has vector, vector_id, top_k" in " ".join(
            ended.log.split()
        )
        assert list(tmp_path.iterdir()) == []

    def test_it_keeps_to_its_pace(self, client, emulator, tmp_path):
        emulator.clear_log()
        import threading

        stop = threading.Event()
        threading.Timer(0.5, stop.set).start()
        with pytest.raises(Exception, match="Told to stop"):
            VectorizeHook().query_many(
                INDEX, [{"vector_id": "v1"}] * 9, tmp_path / "answers", requests_per_minute=3, stop=stop
            )
        assert [row["operation"] for row in emulator.log()] == ["query"] * 3


class TestParseTime:
    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({}, "exactly one of vector, vector_id and queries"),
            ({"vector": [1.0], "vector_id": "a"}, "exactly one of vector, vector_id and queries"),
            ({"queries": []}, "queries need output_path"),
            ({"vector_id": "a", "output_path": "/x"}, "output_path without effect"),
            ({"vector_id": "a", "requests_per_minute": 3}, "requests_per_minute without effect"),
            ({"queries": [], "output_path": "/x", "requests_per_minute": 0}, "requests_per_minute must be"),
            ({"vector_id": "a", "return_metadata": "some"}, "return_metadata must be none or indexed or all"),
        ],
    )
    def test_what_can_never_work(self, wrong, says):
        with pytest.raises(InvalidArgumentError, match=f"task 'query': {says}"):
            VectorizeQueryOperator(task_id="query", index_name=INDEX, **wrong)


class TestTheHook:
    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({}, "either vector or vector_id"),
            ({"vector": unit(0), "vector_id": "a"}, "either vector or vector_id"),
            ({"vector": "[1, 2]"}, "vector must be a list of numbers, got str"),
            ({"vector": {"a": 1}}, "vector must be a list of numbers, got dict"),
            ({"vector": [1, "2"]}, "vector must be a list of numbers"),
            ({"vector": [True, 1.0]}, "vector must be a list of numbers"),
            ({"vector": [[1.0]]}, "flat list of numbers, got shape"),
            ({"vector": [[1.0], 2.0]}, "flat list of numbers"),
            ({"vector": []}, "flat list of numbers, got shape"),
            ({"vector": [0.0, 1e39]}, r"vector\[1\] is not a finite float32"),
            ({"vector": [float("nan")]}, r"vector\[0\] is not a finite float32"),
            ({"vector_id": ""}, "vector_id must be a text that is not empty"),
            ({"vector_id": "x" * 65}, "vector_id takes 65 bytes, at most 64"),
            ({"vector_id": "a", "namespace": "é" * 33}, "namespace takes 66 bytes"),
            ({"vector_id": "a", "top_k": 0}, "top_k must be a whole number of 1 to 100"),
            ({"vector_id": "a", "top_k": 101}, "top_k must be"),
            ({"vector_id": "a", "top_k": 51, "return_values": True}, "at most 50 with values"),
            ({"vector_id": "a", "top_k": 51, "return_metadata": "all"}, "at most 50 with values"),
            ({"vector_id": "a", "top_k": True}, "top_k must be"),
            ({"vector_id": "a", "return_metadata": "yes"}, "return_metadata must be"),
            ({"vector_id": "a", "return_values": "yes"}, "return_values must be"),
            ({"vector_id": "a", "filter": {}}, "filter must not be empty"),
        ],
    )
    def test_every_rule_is_checked_before_sending(self, emulator, wrong, says):
        with pytest.raises(InvalidArgumentError, match=says):
            VectorizeHook().query(INDEX, **wrong)
        assert emulator.log() == []

    def test_a_vector_of_other_dimensions_is_the_apis_to_refuse(self, client):
        with pytest.raises(VectorizeApiError, match="expected 32 dimensions, and got 2"):
            VectorizeHook().query(INDEX, [1.0, 2.0])

    def test_numpy(self, client):
        import numpy as np

        assert VectorizeHook().query(INDEX, np.array(unit(2), np.float32), top_k=1)[0]["id"] == "v2"
