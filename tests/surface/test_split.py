"""One big file on many workers: ``split``, then ``expand(source=pieces)``."""

from __future__ import annotations

import json

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath, task

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import EmptySourceError, InvalidArgumentError, SourceError
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, ndjson, vectors

IDS = [f"id-{number}" for number in range(40)]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "big.ndjson"
    path.write_text(ndjson(vectors(*IDS)))
    return path


def parquet(path):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(
        pyarrow.Table.from_pylist(vectors(*IDS)), path, row_group_size=5
    )


@pytest.mark.parametrize("name", ["big.ndjson", "big.parquet"])
def test_a_file_that_is_split_by_a_task_is_loaded_by_mapped_ones(emulator, dag, run_dag, source, name):
    source = source.with_name(name)
    if name.endswith(".parquet"):
        parquet(source)
    with dag:

        @task
        def split() -> list[dict]:
            return VectorizeHook().split(str(source), parts=4)

        VectorizeUpsertOperator.partial(task_id="upsert", index_name=INDEX).expand(source=split())
    ended = run_dag(dag)
    assert ended.state == "success"
    assert len(ended.tasks["upsert"]) == 4
    client = VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)
    assert sorted(client.list_vectors(INDEX)) == sorted(IDS)
    assert emulator.stats()["upsert"] | {"bytes": 0} == {"requests": 4, "vectors": 40, "bytes": 0}
    assert name in ended.xcom("split")[0]["path"]


def test_a_piece_names_its_line_and_its_place_in_the_file(emulator, source):
    source.write_text(source.read_text() + json.dumps({"id": "bad", "values": [1.0]}) + "\n")
    last = VectorizeHook().split(str(source), parts=4)[-1]
    with pytest.raises(Exception, match=r"big\.ndjson#bytes=\d+-\d+, line \d+ \(id 'bad'\)"):
        VectorizeHook().upsert(INDEX, source=last)


def test_a_file_that_was_written_again_since_it_was_split_is_refused(emulator, source):
    pieces = VectorizeHook().split(str(source), parts=4)
    source.write_text(ndjson(vectors(*IDS[:39])))
    with pytest.raises(SourceError, match="is not the file that was split"):
        VectorizeHook().upsert(INDEX, source=pieces[0])
    source.unlink()
    with pytest.raises(SourceError, match="does not exist"):
        VectorizeHook().upsert(INDEX, source=pieces[0])


def test_pieces_of_many_files_keep_the_connection(tmp_path, source, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_HERE", "file:///")
    (tmp_path / "more.ndjson").write_text(ndjson(vectors("more")))
    pieces = VectorizeHook().split(f"file://here@/{tmp_path}/*.ndjson".replace("@//", "@/"), parts=2)
    assert [piece["path"].rpartition("/")[2] for piece in pieces] == [
        "big.ndjson",
        "big.ndjson",
        "more.ndjson",
    ]
    assert all(piece["path"].startswith("file://here@/") for piece in pieces)
    path = ObjectStoragePath(f"file://{source}", conn_id="here")
    [piece] = VectorizeHook().split(path, parts=1)
    assert piece["path"] == f"file://here@{source}"


def test_what_cannot_be_split_is_refused(emulator, tmp_path, source):
    [piece] = VectorizeHook().split(str(source), parts=1)
    with pytest.raises(InvalidArgumentError, match="cannot be split again"):
        VectorizeHook().split(piece)
    with pytest.raises(EmptySourceError, match="no file matches"):
        VectorizeHook().split(f"{tmp_path}/*.none")
    with pytest.raises(InvalidArgumentError, match="must be a piece as"):
        VectorizeHook().upsert(INDEX, source={"path": str(source)})
