"""Extra links: what a button on the task's page leads to, in every state."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from airflow_provider_vectorize.links import VectorizeIndexLink, VectorizeRejectsLink, folder_url, index_url
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
from airflow_provider_vectorize.sensors.vectorize import VectorizeMutationSensor, VectorizeUpsertSensor
from tests.surface.conftest import ACCOUNT, INDEX, ndjson, vectors
from tests.versions import AIRFLOW, serialized, xcoms

PAGE = f"https://dash.cloudflare.com/{ACCOUNT}/ai/vectorize/{INDEX}"


def shown(instance, link=VectorizeIndexLink) -> str:
    """What the button leads to: Airflow 3 reads an XCom that its worker wrote, Airflow 2 asks the link."""
    if AIRFLOW >= (3,):
        return xcoms(instance)[f"_link_{link.__name__}"]
    return link().get_link(None, ti_key=instance.key)


def upsert(**kwargs):
    settings = {"task_id": "upsert", "index_name": INDEX, "vectors": vectors("a", "b")}
    return VectorizeUpsertOperator(**(settings | kwargs))


def test_green_and_a_sensor_behind_it(emulator, dag, run_dag):
    with dag:
        VectorizeMutationSensor(task_id="wait", index_name=INDEX, mutation_id=upsert().output)
    ended = run_dag(dag)
    assert ended.state == "success", ended.log
    assert [shown(ended.tasks[name][0]) for name in ("upsert", "wait")] == [PAGE, PAGE]


def test_red(emulator, dag, run_dag):
    with dag:
        upsert(vectors=[{"id": "a", "values": [1.0]}])
    ended = run_dag(dag)
    assert ended.task_state("upsert") == "failed"
    assert shown(ended.tasks["upsert"][0]) == PAGE


def others(folder):
    """The other operators on an index, one after the other, by task id."""
    source = folder / "a.ndjson"
    source.write_text(ndjson(vectors("a", "b")))
    index = {"index_name": INDEX}
    made = [
        VectorizeCreateIndexOperator(task_id="create", dimensions=32, metric="cosine", **index),
        VectorizeSyncOperator(task_id="sync", source=str(source), manifest=str(folder / "m"), **index),
        VectorizeVerifyOperator(task_id="verify", source=str(source), **index),
        VectorizeQueryOperator(task_id="query", vector_id="a", **index),
        VectorizeExportOperator(task_id="export", output_path=str(folder / "out"), **index),
        VectorizeDeleteOperator(task_id="delete", ids=["a"], **index),
        VectorizeDeleteIndexOperator(task_id="delete_index", **index),
    ]
    for before, after in pairwise(made):
        before >> after
    return [each.task_id for each in made]


def test_every_other_operator_on_an_index(emulator, dag, run_dag, tmp_path):
    with dag:
        names = others(tmp_path)
    ended = run_dag(dag)
    assert ended.state == "success", ended.log
    assert {name: shown(ended.tasks[name][0]) for name in names} == dict.fromkeys(names, PAGE)


def test_every_other_operator_that_is_red(emulator, dag, run_dag, tmp_path):
    with dag:
        names = others(tmp_path)
        for name in names:
            dag.get_task(name).trigger_rule = "all_done"
    emulator.add_faults([{"kind": "status", "status": 401, "times": 10_000}])
    ended = run_dag(dag)
    assert {ended.task_state(name) for name in names} == {"failed"}
    assert {name: shown(ended.tasks[name][0]) for name in names} == dict.fromkeys(names, PAGE)


def test_skipped(emulator, dag, run_dag):
    with dag:
        upsert(vectors=[], on_empty="skip")
    ended = run_dag(dag)
    assert ended.task_state("upsert") == "skipped"
    assert shown(ended.tasks["upsert"][0]) == PAGE


def test_after_a_deferral(emulator, dag, run_dag):
    emulator.set_visibility("polls", 1)
    with dag:
        upsert(wait_for_completion=True, deferrable=True, poll_interval=1)
    ended = run_dag(dag)
    assert ended.state == "success"
    assert "running trigger in line" in ended.log
    assert shown(ended.tasks["upsert"][0]) == PAGE


def test_mapped(emulator, dag, run_dag):
    with dag:
        VectorizeUpsertOperator.partial(task_id="upsert", index_name=INDEX).expand(
            vectors=[vectors("a"), vectors("b")]
        )
    ended = run_dag(dag)
    assert [shown(instance) for instance in ended.tasks["upsert"]] == [PAGE, PAGE]


def test_the_rejects_where_their_storage_has_a_page(emulator, dag, run_dag, tmp_path):
    source = tmp_path / "vectors.ndjson"
    source.write_text(ndjson(vectors("a")))
    with dag:
        upsert(on_invalid="reject", rejects_path="gs://bucket/rejects/{{ ds_nodash }}")
        upsert(task_id="local", on_invalid="reject", rejects_path=str(tmp_path / "rejects"))
        VectorizeUpsertSensor(task_id="sensor", index_name=INDEX, source=str(source))
    ended = run_dag(dag)
    [instance] = ended.tasks["upsert"]
    folder = shown(instance, VectorizeRejectsLink)
    assert folder.startswith("https://console.cloud.google.com/storage/browser/bucket/rejects/20")
    assert not shown(ended.tasks["local"][0], VectorizeRejectsLink)
    assert not shown(ended.tasks["sensor"][0], VectorizeRejectsLink)
    assert shown(ended.tasks["sensor"][0]) == PAGE


def test_a_connection_that_does_not_work_has_no_link_and_says_itself_what_is_wrong(
    emulator, dag, run_dag, monkeypatch
):
    monkeypatch.setenv("AIRFLOW_CONN_VECTORIZE_DEFAULT", "vectorize://bad account:t@")
    with dag:
        upsert()
    ended = run_dag(dag)
    assert ended.task_state("upsert") == "failed"
    assert "field login" in ended.log
    assert not shown(ended.tasks["upsert"][0])


def test_no_xcom_means_no_link_either(emulator, dag, run_dag):
    with dag:
        upsert(do_xcom_push=False)
    ended = run_dag(dag)
    assert ended.state == "success"
    assert "index_url" not in xcoms(ended.tasks["upsert"][0])
    assert "XCom not found" not in ended.log


def test_the_links_are_in_the_serialized_dag(dag):
    with dag:
        upsert()
    text = json.dumps(json.loads(serialized(dag)))
    assert "VectorizeIndexLink" in text
    assert "VectorizeRejectsLink" in text


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/data/rejects", None),
        ("file:///data/rejects", None),
        ("https://store.example/rejects", "https://store.example/rejects"),
        ("gs://conn@bucket/a b", "https://console.cloud.google.com/storage/browser/bucket/a%20b"),
        ("s3://bucket/a/b/", "https://console.aws.amazon.com/s3/buckets/bucket?prefix=a%2Fb%2F"),
    ],
)
def test_the_page_of_a_folder(path, page):
    assert folder_url(path) == page


def test_an_s3_store_of_another_address_has_no_page_at_amazon(monkeypatch):
    extra = {"endpoint_url": "https://account.r2.cloudflarestorage.com", "region_name": "auto"}
    connection = {"conn_type": "aws", "login": "key", "password": "secret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_R2", json.dumps(connection))
    assert folder_url("s3://r2@bucket/rejects") is None


def test_names_are_quoted():
    assert index_url("a/b", "c?d") == "https://dash.cloudflare.com/a%2Fb/ai/vectorize/c%3Fd"
