"""Hostile input, and what is handed on: the rows of SECURITY.md that no other test has."""

from __future__ import annotations

import ast
import gzip
import json
import tracemalloc
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from airflow_provider_vectorize.client.errors import InvalidArgumentError, InvalidRecordError
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from tests.surface.conftest import INDEX, TOKEN, ndjson, vectors

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
