"""Sync and plan through the hook and the command, with Airflow's connection and object storage."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from airflow.providers.common.compat.sdk import XComArg, task

from airflow_provider_vectorize.__main__ import main
from airflow_provider_vectorize.client.errors import InvalidArgumentError, VerificationError
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.sync import VectorizeSyncOperator, VectorizeVerifyOperator
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.sensors.vectorize import VectorizeMutationSensor
from tests.surface.conftest import INDEX, ndjson, vectors


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in" / "day.ndjson"
    path.parent.mkdir()
    path.write_text(ndjson(vectors("a", "b", "c")))
    return path


def syncing(source, folder, **options):
    """The task of a sync, with its manifest in a folder."""
    return VectorizeSyncOperator(
        task_id="sync", index_name=INDEX, source=str(source), manifest=str(folder / "manifest"), **options
    )


def test_the_hook_syncs_from_a_path_to_a_manifest_in_object_storage(emulator, source, tmp_path):
    hook = VectorizeHook()
    manifest = f"file://{tmp_path}/manifest"
    assert hook.sync(INDEX, source=str(source), manifest=manifest).added == 3
    source.write_text(ndjson(vectors("a", "b", "c")[:2]))
    report = hook.sync(INDEX, source=str(source), manifest=manifest, max_delete_fraction=0.5)
    assert (report.unchanged, report.deleted) == (2, 1)
    hook.wait_for_mutation(INDEX, report.to_dict())
    assert sorted(hook.conn.list_vectors(INDEX)) == ["a", "b"]


def test_the_hook_has_nothing_to_wait_for_after_a_sync_that_had_nothing_to_send(emulator, source, tmp_path):
    hook = VectorizeHook()
    reports = [hook.sync(INDEX, source=source, manifest=tmp_path / "manifest") for _ in range(2)]
    assert reports[1].mutation_id is None
    for what in (*reports, reports, [each.to_dict() for each in reports]):
        hook.wait_for_mutation(INDEX, what, timeout=20)
    asked = len(emulator.log())
    hook.wait_for_mutation(INDEX, reports[1].to_dict())
    assert len(emulator.log()) == asked
    for what, says in (
        ([], "the list of mutations is empty"),
        ({"mutationId": "m"}, "a mutation is a report"),
    ):
        with pytest.raises(InvalidArgumentError, match=says):
            hook.wait_for_mutation(INDEX, what)


def test_the_hook_hands_what_is_known_to_a_function(emulator, tmp_path):
    def texts(known):
        return [each for each in vectors("a", "b") if not known.unchanged(each["id"], each)]

    hook = VectorizeHook()
    assert hook.sync(INDEX, vectors=texts, manifest=tmp_path / "m").added == 2
    assert hook.sync(INDEX, vectors=texts, manifest=tmp_path / "m").unchanged == 2


def test_the_hook_refuses_what_can_never_work(emulator, source, tmp_path):
    hook = VectorizeHook()
    for wrong, says in (
        ({"changed_by": "hash"}, "changed_by"),
        ({"vectors": []}, "exactly one of"),
        ({"batch": 1}, "unknown option batch"),
        ({"manifest": " "}, "manifest must be"),
    ):
        with pytest.raises(InvalidArgumentError, match=says):
            hook.sync(INDEX, **{"source": source, "manifest": tmp_path} | wrong)


@pytest.mark.parametrize("call", ["sync", "verify", "plan"])
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"namespace": "None"}, "namespace is 'None'"),
        ({"source": "['/a', '/b']"}, "source is"),
        ({"on_invalid": "reject", "rejects_path": "None"}, "rejects_path is 'None'"),
        ({"manifest": "None"}, "manifest is 'None'"),
        ({"id_prefix": "None"}, "id_prefix is 'None'"),
    ],
    ids=["namespace", "source", "rejects_path", "manifest", "id_prefix"],
)
def test_what_a_template_leaves_is_refused_as_in_a_load(emulator, source, tmp_path, call, wrong, says):
    if (call != "sync" and "manifest" in wrong) or (call == "plan" and "id_prefix" in wrong):
        pytest.skip("it has no such argument")
    given = {"source": source} | ({"manifest": tmp_path / "m"} if call == "sync" else {}) | wrong
    with pytest.raises(InvalidArgumentError, match=says):
        getattr(VectorizeHook(), call)(INDEX, **given)


def test_the_rejects_folder_of_a_sync_is_apart_from_its_source(emulator, source, tmp_path):
    with pytest.raises(InvalidArgumentError, match="inside of source"):
        VectorizeHook().sync(
            INDEX,
            source=f"{source.parent}/*.ndjson",
            manifest=tmp_path / "m",
            on_invalid="reject",
            rejects_path=source.parent,
        )


def test_the_hook_plans_for_an_index_or_for_its_dimensions(emulator, source):
    hook = VectorizeHook()
    planned = hook.plan(INDEX, source=source).to_dict()
    assert planned == VectorizeHook("no_such_connection").plan(source=source, dimensions=32).to_dict()
    assert (planned["records"], planned["requests"], planned["stored_dimensions"]) == (3, 1, 96)


def test_the_command_prints_a_table_or_json_and_needs_no_account(source, capsys):
    assert main(["plan", str(source), "--dimensions", "32"]) == 0
    assert "duplicate ids" in capsys.readouterr().out
    assert main(["plan", str(source), "--dimensions", "32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["records"] == 3


def test_the_command_says_what_is_wrong_in_a_line(tmp_path, capsys):
    assert main(["plan", str(tmp_path / "none"), "--dimensions", "32"]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_the_command_asks_an_index(emulator, source):
    command = [
        sys.executable,
        "-m",
        "airflow_provider_vectorize",
        "plan",
        source,
        "--index-name",
        INDEX,
        "--json",
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout.splitlines()[-1])["dimensions"] == 32


def test_the_hook_verifies_a_sample_or_all(emulator, source, monkeypatch):
    monkeypatch.setattr("airflow_provider_vectorize.sync.verify.LOOK_AGAIN_SECONDS", ())
    hook = VectorizeHook()
    hook.upsert(INDEX, source=source)
    assert hook.verify(INDEX, source=source).checked == 3
    assert hook.verify(INDEX, source=source, verify="all", ids=True).to_dict()["extra"] == 0
    hook.conn.delete_by_ids(INDEX, ["b"])
    with pytest.raises(VerificationError, match="'b': missing"):
        hook.verify(INDEX, vectors=vectors("a", "b", "c"))


def test_the_operator_syncs_waits_verifies_and_is_green_when_there_is_nothing_to_do(
    emulator, dag, run_dag, source, tmp_path
):
    with dag:
        sync = syncing(source, tmp_path, wait_for_completion=True, verify="all")
        sync >> VectorizeVerifyOperator(task_id="verify", index_name=INDEX, source=str(source), ids=True)
    first = run_dag(dag)
    assert first.state == "success"
    assert first.xcom("sync", "report")["added"] == 3
    assert first.xcom("sync", "verified")["checked"] == 3
    assert first.xcom("verify")["extra"] == 0
    again = run_dag(dag)
    assert again.state == "success"
    assert again.xcom("sync") is None
    assert again.xcom("sync", "report")["unchanged"] == 3


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_wait_that_failed_is_not_green_the_next_time_though_there_is_nothing_to_send(
    emulator, dag, run_dag, source, tmp_path, deferrable
):
    emulator.set_visibility("manual")
    with dag:
        syncing(
            source,
            tmp_path,
            wait_for_completion=True,
            deferrable=deferrable,
            completion_timeout=1,
            poll_interval=1,
        )
    assert [run_dag(dag).state for _ in range(2)] == ["failed", "failed"]
    emulator.set_visibility("immediate")
    assert run_dag(dag).state == "success"


@pytest.mark.parametrize("in_a_list", [False, True])
@pytest.mark.parametrize("by_report", [False, True])
def test_a_sensor_skips_after_a_sync_that_had_nothing_to_send(
    emulator, dag, run_dag, source, tmp_path, by_report, in_a_list
):
    with dag:
        sync = syncing(source, tmp_path)
        what = XComArg(sync, key="report") if by_report else sync.output
        what = [what] if in_a_list else what
        VectorizeMutationSensor(task_id="wait", mutation_id=what, poke_interval=0.1, timeout=20)
    states = [run_dag(dag).task_state("wait") for _ in range(2)]
    assert states == ["success", "skipped"]


def test_a_sensor_waits_for_the_others_of_a_list(emulator, dag, run_dag, source, tmp_path):
    other = tmp_path / "other.ndjson"
    other.write_text(ndjson(vectors("d")))
    with dag:
        syncs = [
            VectorizeSyncOperator(
                task_id=f"of_{path.stem}", index_name=INDEX, source=str(path), manifest=folder
            )
            for path, folder in ((source, str(tmp_path / "one")), (other, str(tmp_path / "two")))
        ]
        VectorizeMutationSensor(
            task_id="wait", mutation_id=[each.output for each in syncs], poke_interval=1, timeout=20
        )
    assert len(run_dag(dag).xcom("wait")) == 2
    other.write_text(ndjson(vectors("d", "e")))
    again = run_dag(dag)
    assert again.xcom("wait") == [again.xcom("of_other")]


def test_a_sensor_waits_for_the_others_of_a_list_when_one_was_skipped(emulator, dag, run_dag):
    with dag:
        loads = [
            VectorizeUpsertOperator(task_id=name, index_name=INDEX, vectors=records, on_empty="skip")
            for name, records in (("one", vectors("a")), ("none", []))
        ]
        VectorizeMutationSensor(
            task_id="wait",
            mutation_id=[each.output for each in loads],
            poke_interval=1,
            timeout=20,
            trigger_rule="none_failed_min_one_success",
        )
    ended = run_dag(dag)
    assert ended.task_state("none") == "skipped"
    assert ended.xcom("none", "report")["mutation_id"] is None
    assert ended.xcom("wait") == [ended.xcom("one")]


def test_a_sync_that_is_skipped_says_in_its_report_that_it_did_nothing(emulator, dag, run_dag, tmp_path):
    with dag:
        syncing(tmp_path / "*.ndjson", tmp_path, on_empty="skip")
    ended = run_dag(dag)
    assert ended.task_state("sync") == "skipped"
    report = ended.xcom("sync", "report")
    assert [report[each] for each in ("operation", "added", "deleted", "mutation_id")] == ["sync", 0, 0, None]


def test_one_that_forgot_is_not_excused_by_another_that_had_nothing_to_send(
    emulator, dag, run_dag, source, tmp_path
):
    @task
    def forgets_to_return():
        pass

    with dag:
        sync = syncing(source, tmp_path)
        VectorizeMutationSensor(
            task_id="wait", index_name=INDEX, mutation_id=[sync.output, forgets_to_return()], timeout=20
        )
    assert [run_dag(dag).task_state("wait") for _ in range(2)] == ["failed", "failed"]


@pytest.mark.parametrize("in_a_list", [False, True])
def test_none_of_an_upstream_that_says_nothing_of_it_is_an_error(emulator, dag, run_dag, in_a_list):
    @task
    def forgets_to_return():
        pass

    with dag:
        what = forgets_to_return()
        VectorizeMutationSensor(
            task_id="wait", index_name=INDEX, mutation_id=[what] if in_a_list else what, retries=0
        )
    ended = run_dag(dag)
    assert ended.task_state("wait") == "failed"
    assert "did the upstream task upload something?" in ended.log


def test_a_verification_reads_what_the_sync_has_read_and_compares_what_the_sync_compares(
    emulator, dag, run_dag, tmp_path, monkeypatch
):
    monkeypatch.setattr("airflow_provider_vectorize.sync.verify.LOOK_AGAIN_SECONDS", ())
    source, parquet = tmp_path / "rows.parquet", pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")

    def write(values):
        rows = [{"doc": each, "vec": [values] * 32, "sha": each, "note": None} for each in ("a", "b")]
        parquet.write_table(pyarrow.Table.from_pylist(rows), source)

    reading = {"columns": {"id": "doc", "values": "vec", "metadata": ["sha", "note"]}, "drop_nulls": True}
    write(1.0)
    VectorizeHook().sync(INDEX, source=source, manifest=tmp_path / "manifest", changed_by="sha", **reading)
    write(2.0)  # the same texts, embedded anew
    with dag:
        VectorizeVerifyOperator(
            task_id="verify", index_name=INDEX, source=str(source), changed_by="sha", **reading
        )
        VectorizeVerifyOperator(task_id="by_values", index_name=INDEX, source=str(source), **reading)
    ended = run_dag(dag)
    assert ended.xcom("verify")["checked"] == 2
    assert ended.task_state("by_values") == "failed"
    assert "'a': values differ" in ended.log


def test_the_operator_is_red_without_a_retry_when_a_guard_holds(emulator, dag, run_dag, source, tmp_path):
    VectorizeHook().sync(INDEX, source=source, manifest=tmp_path / "manifest")
    source.write_text(ndjson(vectors("a")))
    with dag:
        syncing(source, tmp_path, retries=3)
    ended = run_dag(dag)
    assert ended.state == "failed"
    assert "lacks 2 of the 3 ids" in ended.log


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"verify": "sample"}, "wait_for_completion"),
        ({"verify": "some", "wait_for_completion": True}, "verify must be"),
        ({"changed_by": "hash"}, "changed_by"),
        ({"max_delete_fraction": 2}, "max_delete_fraction"),
        ({"unparsable_behavior": "discard"}, "has to know what was accepted"),
        (
            {
                "verify": "all",
                "wait_for_completion": True,
                "deferrable": True,
                "source": None,
                "vectors": [],
            },
            "deferrable",
        ),
        ({"verify": "all", "wait_for_completion": True, "dry_run": True}, "dry_run sends nothing"),
    ],
)
def test_what_can_never_work_is_refused_when_the_dag_is_parsed(wrong, says):
    with pytest.raises(InvalidArgumentError, match=says):
        VectorizeSyncOperator(
            **{"task_id": "sync", "index_name": INDEX, "source": "/a", "manifest": "/m"} | wrong
        )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"vectors": []}, "exactly one of"),
        ({"id_prefix": "a"}, "needs ids=True"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"changed_by": "sha"}, "changed_by must be"),
        ({"changed_by": "sha", "columns": {"id": "doc"}}, "columns does not put such a column"),
        ({"format": "csv"}, "format must be"),
    ],
)
def test_a_verification_that_can_never_work_is_refused_when_the_dag_is_parsed(wrong, says):
    with pytest.raises(InvalidArgumentError, match=says):
        VectorizeVerifyOperator(**{"task_id": "verify", "index_name": INDEX, "source": "/a"} | wrong)
