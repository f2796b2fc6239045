"""What a task tells of what it read and wrote: by OpenLineage's own provider, and by the events of its asset."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_vectorize.assets import asset_uri, dataset_name, vectorize_index
from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.sync import VectorizeSyncOperator
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.operators.vectors import VectorizeDeleteOperator
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, vectors
from tests.versions import asset_events

ROOT = Path(__file__).parent.parent.parent
INDEX_NAME = (f"vectorize://{ACCOUNT}", INDEX)
pytestmark = pytest.mark.timeout(900)  # its DAGs run in a process of their own, with a start of Airflow


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Run the DAGs of ``lineage_run.py``; give the events of OpenLineage and the folder of the data."""
    folder = tmp_path_factory.mktemp("lineage")
    file = folder / "events.ndjson"
    transport = {"type": "file", "log_file_path": str(file), "append": True}
    with Emulator() as emulator:
        emulator.create_index(INDEX, dimensions=32, metric="cosine")
        emulator.set_visibility("polls", 1)
        environment = os.environ | {
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
            "AIRFLOW__OPENLINEAGE__NAMESPACE": "tests",
            "AIRFLOW_CONN_VECTORIZE_DEFAULT": f"vectorize://{ACCOUNT}:{TOKEN}@127.0.0.1:{emulator.port}/http",
        }
        command = [sys.executable, "-m", "tests.surface.lineage_run", str(folder)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in file.read_text().splitlines()], folder, file.read_text()


def event(ran, dag_id, kind):
    [found] = [
        each for each in ran[0] if each["job"]["name"] == f"{dag_id}.load" and each["eventType"] == kind
    ]
    return found


def names(datasets):
    return [(each["namespace"], each["name"]) for each in datasets]


VALUES_BYTES = 32 * 2


@pytest.mark.parametrize(
    ("dag_id", "kind", "rows", "row_bytes"),
    [
        ("green", "COMPLETE", [2], VALUES_BYTES),
        ("deferred", "COMPLETE", [1], VALUES_BYTES),
        ("red", "FAIL", [1, 2], VALUES_BYTES),
        ("delete", "COMPLETE", [2], 3),
        ("delete_deferred", "COMPLETE", [1], 3),
        ("delete_red", "FAIL", [100], 6),
        ("sync", "COMPLETE", [2], VALUES_BYTES),
        ("sync_deferred", "COMPLETE", [2], VALUES_BYTES),
        ("sync_red", "FAIL", [1, 2], VALUES_BYTES),
    ],
)
def test_it_names_the_file_the_index_rows_and_bytes(ran, dag_id, kind, rows, row_bytes):
    told = event(ran, dag_id, kind)
    assert names(told["inputs"]) == [("file", str(ran[1] / f"{dag_id} 1.ndjson"))]
    [output] = told["outputs"]
    assert names([output]) == [INDEX_NAME]
    statistics = output["outputFacets"]["outputStatistics"]
    # Of what failed, what was accepted by then.
    assert statistics["rowCount"] in rows
    assert statistics["size"] > row_bytes * statistics["rowCount"]


def test_an_export_reads_the_index_and_writes_files(ran):
    told = event(ran, "export", "COMPLETE")
    assert names(told["inputs"]) == [INDEX_NAME]
    [output] = told["outputs"]
    part = ran[1] / "export" / "part-000001.ndjson.gz"
    assert names([output]) == [("file", str(part))]
    statistics = output["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["size"]) == (153, part.stat().st_size)


def test_an_export_that_failed_has_read_the_index_and_written_nothing(ran):
    told = event(ran, "export_red", "FAIL")
    assert names(told["inputs"]) == [INDEX_NAME]
    assert told["outputs"] == []


def test_a_dry_run_writes_to_no_index(ran):
    assert event(ran, "sync_dry", "COMPLETE")["outputs"] == []


def test_no_event_has_the_token(ran):
    assert TOKEN not in ran[2]


@pytest.mark.parametrize(
    ("source", "name", "uri"),
    [
        ("vectors", None, None),
        ("/data/a b.ndjson", ("file", "/data/a b.ndjson"), "file:///data/a%20b.ndjson"),
        ("file:///data/a.ndjson", ("file", "/data/a.ndjson"), "file:///data/a.ndjson"),
        ("s3://conn@bucket/a/b.gz", ("s3://bucket", "a/b.gz"), "s3://bucket/a/b.gz"),
        ("gs://bucket/é", ("gs://bucket", "é"), "gs://bucket/%C3%A9"),
    ],
)
def test_the_names_of_a_file(source, name, uri):
    assert dataset_name(source) == name
    assert asset_uri(source) == uri


class TestAssetEvents:
    def upsert(self, **kwargs):
        settings = {"task_id": "load", "index_name": INDEX, "vectors": vectors("a", "b")}
        return VectorizeUpsertOperator(outlets=[vectorize_index(ACCOUNT, INDEX)], **(settings | kwargs))

    def delete(self, **kwargs):
        settings = {"task_id": "load", "index_name": INDEX, "ids": ["a", "b"]}
        return VectorizeDeleteOperator(outlets=[vectorize_index(ACCOUNT, INDEX)], **(settings | kwargs))

    def check(self, ended, accepted=2):
        [extra] = asset_events(ended.tasks["load"][0])
        assert extra == {
            "mutation_id": ended.xcom("load"),
            "accepted": accepted,
            "rejected": 0,
            "deleted": None,
            "unchanged": None,
            "dimensions": 32,
        }

    def test_once_it_was_accepted(self, emulator, dag, run_dag):
        emulator.set_visibility("manual")
        with dag:
            self.upsert()
        self.check(run_dag(dag))

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_once_it_can_be_seen(self, emulator, dag, run_dag, deferrable):
        emulator.set_visibility("polls", 1)
        with dag:
            self.upsert(wait_for_completion=True, poll_interval=0.1, deferrable=deferrable)
        ended = run_dag(dag)
        assert ended.state == "success"
        self.check(ended)

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_none_while_it_cannot_be_seen(self, emulator, dag, run_dag, deferrable):
        emulator.set_visibility("manual")
        with dag:
            self.upsert(
                wait_for_completion=True, poll_interval=0.1, completion_timeout=0.5, deferrable=deferrable
            )
        ended = run_dag(dag)
        assert ended.task_state("load") == "failed"
        assert asset_events(ended.tasks["load"][0]) == []

    def test_none_when_there_was_nothing_to_load(self, emulator, dag, run_dag):
        with dag:
            self.upsert(vectors=[], on_empty="skip")
        ended = run_dag(dag)
        assert ended.task_state("load") == "skipped"
        assert asset_events(ended.tasks["load"][0]) == []

    @pytest.mark.parametrize("wait", [{}, {"deferrable": True}, {"deferrable": False}], ids=str)
    def test_of_a_delete_once_it_was_accepted_or_can_be_seen(self, emulator, dag, run_dag, wait):
        emulator.set_visibility("polls", 1)
        with dag:
            self.delete(**({"wait_for_completion": True, "poll_interval": 0.1} | wait if wait else {}))
        ended = run_dag(dag)
        assert ended.state == "success"
        [extra] = asset_events(ended.tasks["load"][0])
        assert extra == {
            "mutation_id": ended.xcom("load"),
            "accepted": 0,
            "rejected": 0,
            "deleted": 2,
            "unchanged": None,
            "dimensions": 32,
        }

    @pytest.mark.parametrize(
        "wrong",
        [
            {"ids": [""]},
            {"max_deletes": 1},
            {
                "wait_for_completion": True,
                "poll_interval": 0.1,
                "completion_timeout": 0.5,
                "deferrable": True,
            },
        ],
        ids=["no id", "too many", "never seen"],
    )
    def test_none_of_a_delete_that_is_red(self, emulator, dag, run_dag, wrong):
        emulator.set_visibility("manual")
        with dag:
            self.delete(**wrong)
        ended = run_dag(dag)
        assert ended.task_state("load") == "failed"
        assert asset_events(ended.tasks["load"][0]) == []

    def sync(self, tmp_path, records, **kwargs):
        return VectorizeSyncOperator(
            task_id="load",
            index_name=INDEX,
            vectors=records,
            manifest=str(tmp_path / "manifest"),
            outlets=[vectorize_index(ACCOUNT, INDEX)],
            **kwargs,
        )

    def test_of_a_sync(self, emulator, dag, run_dag, tmp_path):
        manifest = tmp_path / "manifest"
        VectorizeHook().sync(INDEX, vectors=vectors("a", "b"), manifest=str(manifest))
        with dag:
            self.sync(tmp_path, [*vectors("a"), *vectors("cc", "d")], max_delete_fraction=1)
        ended = run_dag(dag)
        assert ended.state == "success"
        [extra] = asset_events(ended.tasks["load"][0])
        assert extra == {
            "mutation_id": ended.xcom("load"),
            "accepted": 2,
            "rejected": 0,
            "deleted": 1,
            "unchanged": 1,
            "dimensions": 32,
        }

    def test_none_of_a_dry_run(self, emulator, dag, run_dag, tmp_path):
        with dag:
            self.sync(tmp_path, vectors("a"), dry_run=True)
        ended = run_dag(dag)
        assert ended.state == "success"
        assert asset_events(ended.tasks["load"][0]) == []

    def test_what_goes_wrong_there_costs_the_event_its_extra_only(self, emulator, dag, run_dag, monkeypatch):
        monkeypatch.setattr("airflow_provider_vectorize.lineage.index_uri", lambda *_: 1 / 0)
        with dag:
            self.upsert()
        ended = run_dag(dag)
        assert ended.state == "success"
        assert asset_events(ended.tasks["load"][0]) == [{}]
        assert "The asset event has no extra: ZeroDivisionError" in ended.log
