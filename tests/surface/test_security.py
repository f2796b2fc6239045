"""Hostile input, and what is handed on: the rows of SECURITY.md that no other test has."""

from __future__ import annotations

import ast
import gzip
import json
import tracemalloc
from pathlib import Path

import pyarrow
import pytest
from airflow.providers.common.compat.sdk import task
from airflow.utils.session import create_session
from pyarrow import parquet
from sqlalchemy import inspect, text

from airflow_provider_vectorize.client.errors import InvalidArgumentError, InvalidRecordError
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.sync import VectorizeSyncOperator
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.operators.vectors import VectorizeDeleteOperator, VectorizeQueryOperator
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, ndjson, vectors

PACKAGE = Path(__file__).parent.parent.parent / "airflow_provider_vectorize"
MIB = 1 << 20


def load(source, **options):
    return VectorizeHook().upsert(INDEX, source=str(source), **options)


def test_a_gzip_bomb_is_an_invalid_record_and_is_never_held_whole(emulator, tmp_path):
    bomb = tmp_path / "bomb.ndjson.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        for _ in range(96):
            file.write(b"0" * MIB)
    assert bomb.stat().st_size < MIB
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRecordError, match="line_too_long"):
            load(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 48 * MIB


@pytest.mark.parametrize("kind", ["a text", "a list of a text"])
def test_a_parquet_bomb_is_an_invalid_record_and_is_never_held_whole(emulator, tmp_path, kind):
    rows = 1_000
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * rows, pyarrow.int32()), ["x" * 500_000])
    if kind != "a text":
        column = pyarrow.ListArray.from_arrays(list(range(rows + 1)), column)
    values = pyarrow.array([[0.5] * 32] * rows, pyarrow.list_(pyarrow.float32()))
    table = pyarrow.table({"id": [f"v{n}" for n in range(rows)], "values": values, "text": column})
    bomb = tmp_path / "bomb.parquet"
    parquet.write_table(table, bomb, compression="zstd", store_schema=False)
    assert bomb.stat().st_size < MIB
    before, pool = pyarrow.default_memory_pool(), pyarrow.system_memory_pool()
    pyarrow.set_memory_pool(pool)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRecordError, match="metadata_too_large"):
            load(bomb, columns={"metadata": ["text"]})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        pyarrow.set_memory_pool(before)
    assert peak + pool.max_memory() < 64 * MIB


@pytest.mark.parametrize("inside", ["[", '{"a":'], ids=["lists", "objects"])
def test_a_json_bomb_is_an_invalid_record(emulator, tmp_path, inside):
    bomb = tmp_path / "bomb.ndjson"
    bomb.write_text('{"id": "a", "values": ' + inside * 100_000 + "\n")
    with pytest.raises(InvalidRecordError, match="line 1"):
        load(bomb)


def test_what_an_id_would_do_to_a_terminal_is_not_done(emulator, tmp_path):
    source = tmp_path / "a.ndjson"
    source.write_text(json.dumps({"id": "\x1b[31mred\x07\nINFO all is well", "values": [1.0]}) + "\n")
    with pytest.raises(InvalidRecordError) as refused:
        load(source)
    assert not {"\x1b", "\x07"} & set(str(refused.value))
    assert "\nINFO" not in str(refused.value)


def test_what_a_file_name_would_do_to_a_terminal_is_not_done(emulator, tmp_path):
    source = tmp_path / "\x1b[31m.ndjson"
    source.write_text("no json\n")
    with pytest.raises(InvalidRecordError) as refused:
        load(source)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize("name", ["../../accounts", "a/b", "a%2f..", "docs?x=1", "docs#", "do cs", ""])
def test_an_index_name_is_no_way_to_another_path(emulator, name):
    with pytest.raises(InvalidArgumentError, match="index"):
        VectorizeHook().conn.index_info(name)
    assert emulator.log() == []


def test_what_records_hold_is_no_template(emulator, dag, run_dag):
    text = "{{ conn.vectorize_default.password }}{% raw %}"
    with dag:
        VectorizeUpsertOperator(
            task_id="load", index_name=INDEX, vectors=vectors("a", metadata={"text": text})
        )
    ended = run_dag(dag)
    assert ended.state == "success"
    [vector] = VectorizeHook().conn.get_by_ids(INDEX, ["a"])
    assert vector.metadata == {"text": text}
    assert TOKEN not in ended.log


def test_what_an_upstream_task_returns_is_no_template(emulator, dag, run_dag):
    template = "{{ conn.vectorize_default.password }}"

    @task
    def make():
        return [template]

    with dag:
        VectorizeDeleteOperator(task_id="delete", index_name=INDEX, ids=make())
    ended = run_dag(dag)
    assert ended.state == "success"
    [row] = [row for row in emulator.log() if row["operation"] == "delete_by_ids"]
    assert ended.xcom("delete", "report")["bytes_sent"] == len(template) + len('"",')
    assert row["vectors"] == 1


@pytest.mark.parametrize("in_a_list", [False, True])
def test_nor_is_a_path_that_it_returns(emulator, dag, run_dag, tmp_path, in_a_list):
    path = str(tmp_path / "{{ conn.vectorize_default.password }}.ndjson")

    @task
    def make():
        return [path] if in_a_list else path

    with dag:
        VectorizeQueryOperator(
            task_id="query", index_name=INDEX, queries=make(), output_path=str(tmp_path / "out.ndjson")
        )
    ended = run_dag(dag)
    assert ended.task_state("query") == "failed"
    assert "{{ conn.vectorize_default.password }}.ndjson" in ended.log.replace("\\", "")
    assert TOKEN not in ended.log


def test_the_metadata_database_has_the_token_nowhere_else(emulator, dag, run_dag, tmp_path):
    source = tmp_path / "a.ndjson"
    source.write_text(ndjson([*vectors("a", "b"), {"id": "c"}]))
    index = {"index_name": INDEX, "conn_id": "vectorize_default"}
    lenient = {"on_invalid": "reject", "max_rejects": 1, "source": str(source)}
    wait = {"wait_for_completion": True, "poll_interval": 0.1, "deferrable": True}
    emulator.set_visibility("polls", 2)
    with dag:
        upsert = VectorizeUpsertOperator(
            task_id="load", rejects_path=str(tmp_path / "{{ run_id }}"), **index, **lenient, **wait
        )
        sync = VectorizeSyncOperator(task_id="sync", manifest=str(tmp_path / "m"), **index, **lenient)
        upsert >> sync >> VectorizeDeleteOperator(task_id="delete", ids=["a"], **index)
        VectorizeQueryOperator(task_id="red", vector=[1.0], **index)
    ended = run_dag(dag)
    assert [ended.task_state(name) for name in ("load", "sync", "delete", "red")] == [
        *["success"] * 3,
        "failed",
    ]
    found = {}
    with create_session() as session:
        for table in inspect(session.get_bind()).get_table_names():
            if table != "connection":
                found[table] = [repr(row) for row in session.execute(text(f'SELECT * FROM "{table}"'))]
    assert any(ACCOUNT in row for row in found["xcom"])
    assert [table for table, rows in found.items() if any(TOKEN in row for row in rows)] == []


def test_a_manifest_holds_no_secret_and_no_vector(emulator, tmp_path):
    manifest = tmp_path / "manifest"
    VectorizeHook().sync(INDEX, vectors=vectors("a", metadata={"title": "a secret"}), manifest=str(manifest))
    files = [path for path in manifest.rglob("*") if path.is_file()]
    assert files
    for path in files:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        assert not [each for each in (TOKEN, "a secret", "title", "32.0") if each.encode() in data]


def test_the_rejects_hold_records_and_reasons_and_no_secret(emulator, tmp_path):
    source = tmp_path / "a.ndjson"
    source.write_text(ndjson([*vectors("a"), {"id": "b"}]))
    load(source, on_invalid="reject", max_rejects=1, rejects_path=str(tmp_path / "rejects"))
    [file] = (tmp_path / "rejects").iterdir()
    assert "invalid_values" in file.read_text()
    assert TOKEN not in file.read_text()


def test_nothing_is_unpickled_or_evaluated():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {node.module or ""}
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = {node.func.id}
            else:
                continue
            assert not names & {"pickle", "marshal", "shelve", "dill", "yaml", "eval", "exec"}, path
