"""The upload operators: what they take, what they return, and what each mistake says."""

from __future__ import annotations

import dataclasses
import gzip
import inspect
import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from airflow.providers.common.compat.sdk import task, task_group

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import InvalidArgumentError
from airflow_provider_vectorize.hooks.loads import LoadOptions
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.ingest import IngestOptions
from airflow_provider_vectorize.operators.resolving import resolve_vectors
from airflow_provider_vectorize.operators.vectorize import (
    VectorizeInsertOperator,
    VectorizeUpload,
    VectorizeUpsertOperator,
)
from airflow_provider_vectorize.sensors.vectorize import VectorizeUpsertSensor
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, ndjson, vectors
from tests.versions import AIRFLOW, serialized


@pytest.fixture
def client(emulator):
    return VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)


@pytest.fixture
def upsert(dag, run_dag):
    """Run one upsert."""

    def run(**kwargs):
        with dag:
            VectorizeUpsertOperator(**({"task_id": "upsert", "index_name": INDEX} | kwargs))
        return run_dag(dag)

    return run


class TestWhatItTakes:
    def test_a_list(self, emulator, client, upsert):
        ended = upsert(vectors=vectors("a", "b"))
        assert ended.state == "success"
        assert ended.xcom("upsert") == client.index_info(INDEX).processed_up_to_mutation
        assert sorted(client.list_vectors(INDEX)) == ["a", "b"]

    @pytest.mark.parametrize("as_what", [str, str.encode])
    def test_ndjson_text(self, emulator, client, upsert, as_what):
        assert upsert(vectors=as_what(ndjson(vectors("a", "b")))).state == "success"
        assert sorted(client.list_vectors(INDEX)) == ["a", "b"]

    def test_the_output_of_a_task(self, emulator, client, dag, run_dag):
        @task
        def make():
            return vectors("a", "b", "c")

        with dag:
            made = make()
            operator = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=made)
        assert operator.upstream_task_ids == {"make"}
        assert run_dag(dag).state == "success"
        assert client.index_info(INDEX).vector_count == 3

    def test_frames_that_tasks_return(self, emulator, client, dag, run_dag):
        pandas = pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")  # by which Airflow keeps a frame in XCom
        if AIRFLOW < (3,) and pandas.DataFrame.__module__ == "pandas":
            pytest.skip("Airflow 2 keeps no frame of pandas 3 in XCom")
        values = np.random.default_rng(7).standard_normal((3, 32))

        @task
        def embed(begin, width):
            embeddings = list(values.astype(width))
            return pandas.DataFrame(
                {"doc": range(begin, begin + 3), "embedding": embeddings, "lang": "日本語"}
            )

        with dag:
            floats, doubles = embed(10, "f4"), embed(20, "f8")
            columns = {"id": "doc", "values": "embedding", "metadata": ["lang"]}
            for name, given in {"one": floats, "list": [doubles, floats]}.items():
                VectorizeUpsertOperator(task_id=name, index_name=INDEX, vectors=given, columns=columns)
        ended = run_dag(dag)
        assert ended.state == "success"
        assert [ended.xcom(name, "report")["accepted"] for name in ("one", "list")] == [3, 6]
        for begin in (10, 20):
            found = {each.id: each for each in client.get_by_ids(INDEX, [str(begin + n) for n in range(3)])}
            for n in range(3):
                vector = found[str(begin + n)]
                assert vector.metadata == {"lang": "日本語"}
                assert (np.array(vector.values, "f4") == values[n].astype("f4")).all()

    @pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a list"])
    @pytest.mark.parametrize(
        "kind", ["records", "record", "text", "bytes", "table", "tables", "texts", "number"]
    )
    def test_whatever_a_task_returns_is_the_same_alone_and_in_a_list(self, alone, kind):
        arrow = pytest.importorskip("pyarrow")
        records = vectors("a", "b")
        table, text = arrow.Table.from_pylist(records), ndjson(records)
        lines = text.encode().splitlines()
        returned, expected = {
            "records": (records, records),
            "record": (records[0], records[:1]),
            "text": (text, lines),
            "bytes": (text.encode(), lines),
            "table": (table, [table]),
            "tables": ([table, table], [table, table]),
            "texts": ([text, text.encode()], lines * 2),
            "number": (5, [5]),
        }[kind]

        class Output:
            def resolve(self, context):
                return returned

            def iter_references(self):
                return iter(())

        found = resolve_vectors(Output() if alone else [Output()], {})
        if alone and kind in ("text", "bytes", "table", "number"):
            assert found is returned  # whole: it is told at a glance what it is
        else:
            assert list(found) == expected

    def test_mapped_vectors(self, emulator, client, dag, run_dag):
        @task
        def make():
            return [vectors("a"), vectors("b", "c")]

        with dag:
            VectorizeUpsertOperator.partial(task_id="upsert", index_name=INDEX).expand(vectors=make())
        assert run_dag(dag).state == "success"
        assert sorted(client.list_vectors(INDEX)) == ["a", "b", "c"]

    def test_mapped_sources(self, emulator, client, dag, run_dag, tmp_path):
        for name in "ab":
            (tmp_path / f"{name}.ndjson").write_text(ndjson(vectors(name)))
        with dag:
            VectorizeUpsertOperator.partial(task_id="upsert", index_name=INDEX).expand(
                source=[str(tmp_path / "a.ndjson"), str(tmp_path / "b.ndjson")]
            )
        assert run_dag(dag).state == "success"
        assert sorted(client.list_vectors(INDEX)) == ["a", "b"]

    @pytest.mark.parametrize(
        "source",
        [
            "{folder}/a.ndjson",
            "file://{folder}/a.ndjson",
            "{folder}/?.ndjson",
            "{folder}/a.ndjson.gz",
            ["{folder}/a.ndjson"],
        ],
    )
    def test_files(self, emulator, client, upsert, tmp_path, source):
        (tmp_path / "a.ndjson").write_text(ndjson(vectors("a")))
        with gzip.open(tmp_path / "a.ndjson.gz", "wt") as file:
            file.write(ndjson(vectors("a")))
        fill = lambda path: path.format(folder=tmp_path)  # noqa: E731
        ended = upsert(source=[*map(fill, source)] if isinstance(source, list) else fill(source))
        assert ended.state == "success"
        assert list(client.list_vectors(INDEX)) == ["a"]
        [name] = ended.xcom("upsert", "report")["sources"]
        assert name.removeprefix("file://").startswith(str(tmp_path))

    def test_the_source_is_a_template(self, emulator, client, upsert, tmp_path):
        (tmp_path / "upsert.ndjson").write_text(ndjson(vectors("a")))
        assert upsert(source=f"{tmp_path}/{{{{ task.task_id }}}}.ndjson").state == "success"
        assert list(client.list_vectors(INDEX)) == ["a"]

    def test_the_outputs_of_mapped_instances_are_read_one_at_a_time_and_flattened(
        self, emulator, client, dag, run_dag
    ):
        @task
        def make(names):
            return vectors(*names)

        with dag:
            VectorizeUpsertOperator(
                task_id="upsert", index_name=INDEX, vectors=make.expand(names=["ab", "c", "de"])
            )
        ended = run_dag(dag)
        assert ended.state == "success"
        assert ended.xcom("upsert", "report")["accepted"] == 5
        assert sorted(client.list_vectors(INDEX)) == list("abcde")

    def test_a_list_of_outputs(self, emulator, client, dag, run_dag):
        @task
        def make(names):
            return vectors(*names)

        @task
        def text():
            return ndjson(vectors("x", "y"))

        with dag:
            given = [make("ab"), *vectors("own"), text(), make.expand(names=["c", "de"])]
            made = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=given)
        assert len(made.upstream_task_ids) == 3
        assert run_dag(dag).state == "success"
        assert sorted(client.list_vectors(INDEX)) == ["a", "b", "c", "d", "e", "own", "x", "y"]

    def test_an_argument_of_a_mapped_task_group(self, emulator, client, dag, run_dag):
        @task_group
        def load(given):
            VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=given)

        with dag:
            load.expand(given=[vectors("a"), vectors("b")])
        assert run_dag(dag).state == "success"
        assert sorted(client.list_vectors(INDEX)) == ["a", "b"]

    def test_a_parameter_of_the_dag(self, emulator, client, dag, run_dag):
        dag.params["vectors"] = vectors("a")
        with dag:
            VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=dag.param("vectors"))
        assert run_dag(dag).state == "success"
        assert list(client.list_vectors(INDEX)) == ["a"]

    def test_a_callable(self, emulator, client, upsert):
        def make(ti):
            yield from vectors(ti.task_id)

        assert upsert(vectors=make).state == "success"
        assert list(client.list_vectors(INDEX)) == ["upsert"]

    def test_nothing_that_an_upstream_returned_is_said(self, emulator, dag, run_dag):
        @task
        def nothing():
            return None

        with dag:
            VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=nothing(), retries=2)
        ended = run_dag(dag)
        assert ended.task_state("upsert") == "failed"
        assert ended.tasks["upsert"][0].try_number == 1
        assert "vectors is None" in ended.log

    @pytest.mark.parametrize("in_a_list", [False, True])
    def test_nothing_that_an_upstream_returned_skips_if_that_is_wanted(
        self, emulator, dag, run_dag, in_a_list
    ):
        @task
        def nothing():
            return None

        with dag:
            what = nothing()
            VectorizeUpsertOperator(
                task_id="upsert", index_name=INDEX, vectors=[what] if in_a_list else what, on_empty="skip"
            )
        ended = run_dag(dag)
        assert ended.task_state("upsert") == "skipped"
        assert ended.xcom("upsert", "report")["accepted"] == 0

    def test_a_load_that_has_sent_something_is_never_skipped(self, emulator, dag, run_dag):
        @task
        def some():
            return vectors("a", "b")

        @task
        def nothing():
            return None

        with dag:
            VectorizeUpsertOperator(
                task_id="upsert",
                index_name=INDEX,
                vectors=[some(), nothing()],
                on_empty="skip",
                max_batch_vectors=1,
            )
        assert run_dag(dag).task_state("upsert") == "failed"

    def test_the_index_of_the_connection(self, emulator, client, upsert, monkeypatch):
        uri = f"vectorize://{ACCOUNT}:{TOKEN}@127.0.0.1:{emulator.port}/http?index_name={INDEX}"
        monkeypatch.setenv("AIRFLOW_CONN_VECTORIZE_DEFAULT", uri)
        assert upsert(index_name=None, vectors=vectors("a")).state == "success"
        assert list(client.list_vectors(INDEX)) == ["a"]


def test_the_report_tells_what_was_done(emulator, upsert):
    records = [*vectors("a", "b"), *vectors("a"), {"id": "x"}]
    ended = upsert(vectors=records, on_invalid="reject", max_rejects=1)
    assert ended.state == "success"
    report = ended.xcom("upsert", "report")
    assert (report["accepted"], report["superseded"], report["rejected"]) == (2, 1, 1)
    assert report["index_name"] == INDEX
    assert report["mutation_id"] == ended.xcom("upsert")
    assert report["sources"] == ["vectors"]
    assert json.dumps(report)


def test_a_load_is_cut_at_5000_vectors(emulator, upsert, tmp_path):
    path = tmp_path / "many.ndjson"
    path.write_text(ndjson(vectors(*map(str, range(10_001)))))
    assert upsert(source=str(path)).state == "success"
    uploads = [row["vectors"] for row in emulator.log() if row["operation"] == "upsert"]
    assert uploads == [5_000, 5_000, 1]


def test_insert_leaves_what_is_there(emulator, client, dag, run_dag):
    client.upsert(INDEX, ndjson(vectors("a", metadata={"n": 1})).encode())
    with dag:
        VectorizeInsertOperator(
            task_id="insert", index_name=INDEX, vectors=vectors("a", "b", metadata={"n": 2})
        )
    assert run_dag(dag).state == "success"
    assert {vector.id: vector.metadata["n"] for vector in client.get_by_ids(INDEX, ["a", "b"])} == {
        "a": 1,
        "b": 2,
    }


def test_the_rejects_folder_takes_the_refused_records(emulator, upsert, tmp_path):
    records = [*vectors("a"), *vectors("bad", dimensions=31), *vectors("c")]
    ended = upsert(
        vectors=records, on_invalid="reject", max_rejects=5, rejects_path=str(tmp_path / "rejects")
    )
    assert ended.state == "success"
    [file] = (tmp_path / "rejects").iterdir()
    [row] = map(json.loads, file.read_text().splitlines())
    assert (row["source"], row["line"], row["id"], row["code"]) == ("vectors", 2, "bad", "wrong_dimensions")
    assert row["record"]["id"] == "bad"


RECORD = vectors("a")[0]

MISTAKES = {
    "a line that is not JSON": (
        ndjson(vectors("ok")) + "{oops\n",
        ["vectors, line 2", "not JSON", "not_json"],
    ),
    "wrong dimensions": ([RECORD | {"values": [1.0] * 31}], ["id 'a'", "32 dimensions", "31"]),
    "NaN": ([RECORD | {"values": [float("nan")] * 32}], ["id 'a'", "nan"]),
    "text as a value": ([RECORD | {"values": ["1.5"] * 32}], ["id 'a'", "'1.5'"]),
    "a boolean as a value": ([RECORD | {"values": [True] * 32}], ["id 'a'", "True"]),
    "beyond float32": ([RECORD | {"values": [1e39] * 32}], ["id 'a'", "1e+39"]),
    "an id of 65 bytes in 40 characters": ([RECORD | {"id": "é" * 25 + "x" * 15}], ["65 bytes", "64"]),
    "a metadata key with a dot": ([RECORD | {"metadata": {"a.b": 1}}], ["id 'a'", "'a.b'"]),
    "no id": ([{"values": [1.0] * 32}], ["line 1", "there is no id"]),
    "another namespace": ([RECORD | {"namespace": "other"}], ["id 'a'", "other"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_bad_record_is_red_and_named_and_uses_no_retry(emulator, client, upsert, mistake):
    bad, says = MISTAKES[mistake]
    ended = upsert(vectors=bad, namespace="mine", retries=2)
    assert ended.state == "failed"
    assert all(part in ended.log for part in says), ended.log[-3_000:]
    assert "AirflowFailException" in ended.log
    assert not any(row["operation"] == "upsert" for row in emulator.log())


def test_an_unknown_index_is_named(emulator, upsert):
    ended = upsert(index_name="nowhere", vectors=vectors("a"))
    assert ended.state == "failed"
    assert "index 'nowhere'" in ended.log
    assert "create the index first" in ended.log


def test_no_index_at_all_names_both_places(emulator, upsert):
    ended = upsert(index_name=None, vectors=vectors("a"))
    assert ended.state == "failed"
    assert (
        "neither the argument index_name nor the extra index_name of connection 'vectorize_default'"
        in ended.log
    )


@pytest.mark.parametrize(("option", "state"), [("fail", "failed"), ("skip", "skipped")])
@pytest.mark.parametrize("empty", [[], "", "\n\n"])
def test_nothing_to_load(emulator, upsert, option, state, empty):
    assert upsert(vectors=empty, on_empty=option).task_state("upsert") == state


@pytest.mark.parametrize(("option", "state"), [("fail", "failed"), ("skip", "skipped")])
def test_a_glob_that_finds_nothing(emulator, upsert, tmp_path, option, state):
    ended = upsert(source=f"{tmp_path}/*.ndjson", on_empty=option)
    assert ended.task_state("upsert") == state
    assert f"{tmp_path}/*.ndjson" in ended.log


def test_a_missing_file_is_named(emulator, upsert, tmp_path):
    ended = upsert(source=str(tmp_path / "missing.ndjson"))
    assert ended.state == "failed"
    assert f"{tmp_path}/missing.ndjson does not exist" in ended.log


def test_a_truncated_gzip_is_red_and_says_up_to_where(emulator, upsert, tmp_path):
    whole = gzip.compress(ndjson(vectors(*map(str, range(500)))).encode())
    path = tmp_path / "cut.ndjson.gz"
    path.write_bytes(whole[: len(whole) // 2])
    ended = upsert(source=str(path))
    assert ended.state == "failed"
    assert f"{path} breaks off after line" in ended.log
    assert "nothing was accepted" in ended.log


def test_a_storage_that_is_not_installed_says_what_to_install(emulator, upsert):
    ended = upsert(source="nope://bucket/key.ndjson")
    assert ended.state == "failed"
    assert "apache-airflow-providers-amazon[s3fs]" in ended.log


@pytest.mark.parametrize("arguments", [{}, {"source": "x", "vectors": []}])
def test_both_or_neither_of_source_and_vectors_is_refused_at_parse_time(dag, arguments):
    with dag, pytest.raises(InvalidArgumentError, match="exactly one of source and vectors"):
        VectorizeUpsertOperator(task_id="upsert", **arguments)


def test_vectors_as_a_template_are_refused_with_a_hint(dag):
    with dag, pytest.raises(InvalidArgumentError, match=r"\.output instead"):
        VectorizeUpsertOperator(task_id="upsert", vectors="{{ ti.xcom_pull('make') }}")


def test_vectors_in_partial_are_refused(dag):
    with dag, pytest.raises(InvalidArgumentError, match=r"expand\(vectors=\.\.\.\)"):
        VectorizeUpsertOperator.partial(task_id="upsert", vectors=[])


@pytest.mark.parametrize(
    "option",
    [
        {"on_empty": "ignore"},
        {"on_invalid": "ignore"},
        {"max_batch_vectors": 5_001},
        {"max_batch_bytes": 10**8 + 1},
    ],
)
def test_an_option_that_cannot_work_is_named_at_parse_time(dag, option):
    [name] = option
    with dag, pytest.raises(InvalidArgumentError, match=f"task 'upsert': {name}"):
        VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"), **option)


WITHOUT_EFFECT = [
    {"sentinel": True},
    {"deferrable": True},
    {"completion_timeout": 60},
    {"max_rejects": 5},
    {"rejects_path": "/rejects"},
]


@pytest.mark.parametrize("option", WITHOUT_EFFECT, ids=str)
@pytest.mark.parametrize("kind", [VectorizeUpsertOperator, VectorizeInsertOperator, VectorizeUpsertSensor])
def test_an_option_without_effect_is_refused_at_parse_time(dag, kind, option):
    [name] = option
    if kind is VectorizeUpsertSensor and name == "deferrable":
        pytest.skip("the sensor waits for its source, too")
    with dag, pytest.raises(InvalidArgumentError, match=f"task 'load': {name} without effect"):
        kind(task_id="load", source="x", **option)


@pytest.mark.parametrize("option", WITHOUT_EFFECT, ids=str)
def test_what_default_args_say_to_many_tasks_is_no_mistake_of_one(dag, option):
    dag.default_args |= option
    with dag:
        VectorizeUpsertOperator(task_id="load", source="x")


@pytest.mark.parametrize("name", ["completion_timeout", "poll_interval"])
@pytest.mark.parametrize(
    "value", [0, -1, timedelta(0), float("inf"), float("nan"), "10", True, None], ids=str
)
def test_a_duration_is_seconds_above_0_or_a_timedelta(dag, name, value):
    with dag, pytest.raises(InvalidArgumentError, match=f"task 'load': {name} must be"):
        VectorizeUpsertOperator(task_id="load", source="x", wait_for_completion=True, **{name: value})


def test_durations_are_kept_as_seconds(dag):
    with dag:
        made = VectorizeUpsertOperator(
            task_id="load",
            source="x",
            wait_for_completion=True,
            completion_timeout=timedelta(hours=1),
            poll_interval=timedelta(seconds=5),
        )
    assert (made.completion_timeout, made.poll_interval) == (3600, 5)


def test_a_sensors_default_args_do_not_steer_the_uploads_own_wait(dag):
    dag.default_args |= {"timeout": 7 * 24 * 3600}
    with dag:
        made = VectorizeUpsertSensor(task_id="load", source="x", wait_for_completion=True)
    assert (made.timeout, made.completion_timeout) == (7 * 24 * 3600, 600)


def test_the_hook_names_an_option_that_it_does_not_know(emulator):
    with pytest.raises(InvalidArgumentError, match="unknown option max_reject; known are"):
        VectorizeHook().upsert(INDEX, vectors=vectors("a"), max_reject=1)


def test_the_hooks_options_are_those_of_the_ingest():
    fields = {field.name for field in dataclasses.fields(IngestOptions)}
    assert fields - {"operation"} == LoadOptions.__annotations__.keys() - {
        "columns",
        "format",
        "rejects_path",
    }


def test_vectors_are_neither_rendered_nor_serialized(emulator, dag, upsert):
    needle = "needle-in-the-haystack"
    ended = upsert(vectors=vectors(needle))
    assert ended.state == "success"
    assert needle not in ended.log
    assert needle not in serialized(dag)


@pytest.mark.parametrize(
    "answer",
    ['{"success": false, "errors": [], "messages": [], "result": null}', '{"success": true, "result": {}}'],
    ids=["success false with status 200", "no mutation id"],
)
def test_an_answer_that_is_no_success_is_red(emulator, upsert, requests_mock, answer):
    requests_mock.get(f"/client/v4/accounts/{ACCOUNT}/vectorize/v2/indexes/{INDEX}", real_http=True)
    requests_mock.post(
        f"/client/v4/accounts/{ACCOUNT}/vectorize/v2/indexes/{INDEX}/get_by_ids", real_http=True
    )
    requests_mock.post(f"/client/v4/accounts/{ACCOUNT}/vectorize/v2/indexes/{INDEX}/upsert", text=answer)
    ended = upsert(vectors=vectors("a"))
    assert ended.state == "failed"
    assert "does not say success" in ended.log or "no mutation id" in ended.log
    assert ended.xcom("upsert") is None


def test_the_docs_name_every_parameter_with_its_default():
    page = (Path(__file__).parent.parent.parent / "docs" / "operators.md").read_text()
    table = page.split("## Parameters")[1].split("## What is checked")[0]
    parameters = inspect.signature(VectorizeUpload.__init__).parameters
    own = {name: each for name, each in parameters.items() if each.kind is inspect.Parameter.KEYWORD_ONLY}
    assert len(own) == 25
    for name, parameter in own.items():
        [row] = [line for line in table.splitlines() if line.startswith("|") and f"`{name}`" in line]
        default = parameter.default
        if isinstance(default, str | bool) and name != "deferrable":
            assert f"`{default}`" in row, name
        elif default == 32 * 1024 * 1024:
            assert "32 MiB" in row
        elif isinstance(default, int | float) and name != "deferrable":
            assert f"{default:,.0f}" in row, name
