"""The export operator: what it returns, and what it does when tried again, cleared, or told something else."""

from __future__ import annotations

import gzip
import json

import pytest
from airflow.providers.common.compat.sdk import task

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.sync import VectorizeSyncOperator
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.operators.vectors import VectorizeExportOperator
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, ndjson, vectors


@pytest.fixture
def client(emulator):
    client = VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)
    client.upsert(INDEX, ndjson(vectors("a", "b", "c", metadata={"k": "v"}, namespace="n")).encode())
    return client


def saved(folder):
    lines = gzip.decompress((folder / "part-000001.ndjson.gz").read_bytes()).splitlines()
    return sorted(json.loads(line)["id"] for line in lines)


def test_export_then_upsert_is_the_same_index(emulator, client, dag, run_dag, tmp_path):
    emulator.create_index("copy", dimensions=32, metric="cosine")
    with dag:
        export = VectorizeExportOperator(
            task_id="export", index_name=INDEX, output_path=str(tmp_path / "{{ 'out' }}")
        )
        load = VectorizeUpsertOperator(
            task_id="load", index_name="copy", source="{{ ti.xcom_pull('export')['source'] }}"
        )
        export >> load
    ended = run_dag(dag)
    assert ended.state == "success"
    report = ended.xcom("export")
    assert (report["vectors"], report["parts"], report["missing"]) == (3, 1, 0)
    assert report["output_path"].endswith("/out")
    ids = ["a", "b", "c"]
    assert client.get_by_ids("copy", ids) == client.get_by_ids(INDEX, ids)


def test_a_path_of_pathlib_need_not_be_there_where_airflow_resolves_what_it_can(
    client, dag, run_dag, tmp_path
):
    with dag:
        VectorizeExportOperator(task_id="export", index_name=INDEX, output_path=tmp_path / "out")
    assert run_dag(dag).state == "success"
    assert saved(tmp_path / "out") == ["a", "b", "c"]


def test_nor_need_a_rejects_path_or_a_manifest_of_pathlib(client, emulator, dag, run_dag, tmp_path):
    source = tmp_path / "in.ndjson"
    source.write_text(ndjson([*vectors("d"), {"id": "bad"}]))
    rejecting = {"index_name": INDEX, "on_invalid": "reject", "max_rejects": 1}
    with dag:
        VectorizeUpsertOperator(task_id="one", source=source, rejects_path=tmp_path / "one", **rejecting)
        VectorizeUpsertOperator.partial(task_id="each", rejects_path=tmp_path / "each", **rejecting).expand(
            source=[source]
        )
        VectorizeSyncOperator(
            task_id="sync",
            source=source,
            manifest=tmp_path / "m",
            rejects_path=tmp_path / "sync",
            **rejecting,
        )
    assert run_dag(dag).state == "success"
    for name in ("one", "each", "sync"):
        [file] = (tmp_path / name).iterdir()
        assert json.loads(file.read_text())["record"]["id"] == "bad"
    assert list((tmp_path / "m").iterdir())


def test_ids_of_a_task(client, dag, run_dag, tmp_path):
    @task
    def choose():
        return ["a", "c"]

    with dag:
        operator = VectorizeExportOperator(
            task_id="export", index_name=INDEX, output_path=str(tmp_path / "out"), ids=choose()
        )
    assert operator.upstream_task_ids == {"choose"}
    assert run_dag(dag).state == "success"
    assert saved(tmp_path / "out") == ["a", "c"]


@pytest.mark.parametrize(
    ("ids", "says"),
    [(None, "ids is None"), ("doc-1", "a list of ids"), ([["a"], ["c"]], "number 1: an id is a text")],
    ids=str,
)
def test_ids_that_are_none_are_refused_and_never_all(emulator, client, dag, run_dag, tmp_path, ids, says):
    @task
    def choose():
        return ids

    with dag:
        VectorizeExportOperator(
            task_id="export", index_name=INDEX, output_path=str(tmp_path / "out"), ids=choose(), retries=1
        )
    ended = run_dag(dag)
    assert ended.task_state("export") == "failed"
    assert ended.tasks["export"][0].try_number == 1
    assert says in ended.log
    assert not (tmp_path / "out").exists()


def test_a_retry_goes_on(emulator, client, dag, run_dag, tmp_path):
    emulator.add_faults(
        [{"operation": "get_by_ids", "kind": "status", "status": 400, "code": 49999, "times": 1}]
    )
    with dag:

        class Retried(VectorizeExportOperator):
            def execute(self, context):
                try:
                    return super().execute(context)
                except Exception as error:
                    raise RuntimeError("try again") from error

        Retried(task_id="export", index_name=INDEX, output_path=str(tmp_path / "out"), retries=1)
    ended = run_dag(dag)
    assert ended.state == "success"
    assert "Going on in" in ended.log
    assert saved(tmp_path / "out") == ["a", "b", "c"]


def test_a_folder_that_holds_a_whole_export_is_red_and_uses_no_retry(client, dag, run_dag, tmp_path):
    VectorizeHook().export(INDEX, tmp_path / "out")
    with dag:
        VectorizeExportOperator(
            task_id="export", index_name=INDEX, output_path=str(tmp_path / "out"), retries=2
        )
    ended = run_dag(dag)
    assert ended.state == "failed"
    assert "it holds a whole export" in ended.log
    assert ended.tasks["export"][0].try_number == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"format": "csv"}, "format must be ndjson or parquet, got 'csv'"),
        ({"requests_per_minute": 0}, "requests_per_minute must be a whole number of 1 to 12000"),
    ],
)
def test_what_can_never_work_is_refused_at_parse_time(wrong, says):
    with pytest.raises(InvalidArgumentError, match=f"task 'export': {says}"):
        VectorizeExportOperator(task_id="export", index_name=INDEX, output_path="/x", **wrong)
