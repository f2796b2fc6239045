"""``verify`` on uploads and syncs: green speaks of the index, also after a deferral, a retry and a mishap."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import task

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import (
    InvalidArgumentError,
    ServerError,
    SourceError,
    VerificationError,
)
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.sync import VectorizeSyncOperator
from airflow_provider_vectorize.operators.vectorize import VectorizeInsertOperator, VectorizeUpsertOperator
from airflow_provider_vectorize.sensors.vectorize import VectorizeUpsertSensor
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, ndjson, vectors
from tests.surface.test_retries import HAS_STORE

NAMES = tuple("abcdefghij")


@pytest.fixture(autouse=True)
def no_looking_again(monkeypatch):
    monkeypatch.setattr("airflow_provider_vectorize.sync.verify.LOOK_AGAIN_SECONDS", ())


@pytest.fixture
def client(emulator):
    return VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in" / "ten.ndjson"
    path.parent.mkdir()
    path.write_text(ndjson(vectors(*NAMES)))
    return path


def loading(kind, tmp_path, **kwargs):
    settings = {
        "task_id": "load",
        "index_name": INDEX,
        "wait_for_completion": True,
        "poll_interval": 0.05,
        "verify": "all",
    }
    if kind is VectorizeSyncOperator:
        settings["manifest"] = str(tmp_path / "manifest")
    return kind(**settings | kwargs)


KINDS = [VectorizeUpsertOperator, VectorizeInsertOperator, VectorizeUpsertSensor, VectorizeSyncOperator]


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_load_without_damage_is_green_and_one_that_lost_a_vector_is_red_and_names_it(
    emulator, client, dag, run_dag, source, tmp_path, kind, deferrable
):
    emulator.set_visibility("polls", 1)  # in vain for the worker, not for the trigger
    with dag:
        loading(kind, tmp_path, source=str(source), deferrable=deferrable)
    good = run_dag(dag)
    assert good.state == "success"
    assert good.xcom("load", "verified")["checked"] == 10
    assert ("running trigger in line" in good.log) == deferrable
    emulator.set_visibility("immediate")
    client.delete_by_ids(INDEX, list(NAMES))
    source.write_text(ndjson(vectors(*NAMES, namespace="n")))  # others, so that a sync has something to do
    emulator.set_visibility("polls", 1)
    emulator.add_faults([{"operation": "*", "kind": "drop", "share": 0.001}])
    bad = run_dag(dag)
    assert bad.task_state("load") == "failed"
    [lost] = set(NAMES) - set(client.list_vectors(INDEX))
    assert f"'{lost}': missing" in bad.log
    assert bad.xcom("load", "verified")["differences"] == [[lost, "missing"]]


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_value_that_was_stored_otherwise_is_named(emulator, dag, run_dag, source, tmp_path, kind):
    emulator.add_faults([{"operation": "*", "kind": "corrupt"}])
    with dag:
        loading(kind, tmp_path, source=str(source), verify="sample")
    ended = run_dag(dag)
    assert ended.task_state("load") == "failed"
    assert "'a': values differ" in ended.log


def test_what_a_generator_has_made_is_compared_and_not_made_again(emulator, dag, run_dag):
    made = []

    @task.vectorize_upsert(index_name=INDEX, wait_for_completion=True, verify="sample", verify_sample=3)
    def load():
        for each in vectors(*NAMES):
            made.append(each["id"])
            yield each

    with dag:
        load()
    ended = run_dag(dag)
    assert ended.state == "success"
    assert ended.xcom("load", "verified")["checked"] == 3
    assert made == list(NAMES)


def test_of_an_id_that_comes_again_an_upsert_leaves_the_last_record_and_an_insert_the_first(emulator, client):
    twice = [*vectors("a", "b"), *vectors("a", "b", namespace="second")]
    for options in ({}, {"max_batch_vectors": 1}):
        client.delete_by_ids(INDEX, ["a", "b"])
        VectorizeHook().insert(INDEX, vectors=twice, verify="all", **options)
        VectorizeHook().insert(INDEX, vectors=twice, verify="sample", verify_sample=1, **options)
        VectorizeHook().upsert(INDEX, vectors=twice, verify="all", **options)
    assert {vector.namespace for vector in client.get_by_ids(INDEX, ["a", "b"])} == {"second"}


def test_an_insert_over_other_vectors_is_red(emulator):
    hook = VectorizeHook()
    hook.upsert(INDEX, vectors=vectors("a", namespace="before"))
    with pytest.raises(VerificationError, match="'a': namespace differ"):
        hook.insert(INDEX, vectors=vectors("a", "b"), verify="all")


def test_records_are_taken_as_the_load_takes_them(emulator):
    rows = [
        {"doc": number, "embedding": values["values"], "title": None}
        for number, values in enumerate(vectors(*NAMES))
    ]
    options = {
        "columns": {"id": "doc", "values": "embedding", "metadata": ["title"]},
        "drop_nulls": True,
        "namespace": "n",
        "on_invalid": "reject",
        "max_rejects": 1,
    }
    hook = VectorizeHook()
    report = hook.upsert(INDEX, vectors=[*rows, {"doc": "bad", "embedding": []}], verify="all", **options)
    assert (report.accepted, report.rejected) == (10, 1)
    assert hook.verify(INDEX, vectors=rows, verify="all", ids=True, **options).checked == 10
    assert hook.plan(INDEX, vectors=rows, **options).stored == 10


@pytest.mark.skipif(not HAS_STORE, reason="the state store came with Airflow 3.3")
def test_a_retry_that_goes_on_in_the_middle_verifies_all(
    emulator, dag, run_dag, source, tmp_path, monkeypatch
):
    upsert = VectorizeClient.upsert
    calls = iter(range(100))

    def break_at_the_sixth(self, *args):
        if next(calls) == 5:
            raise ServerError("no more today", status=503)
        return upsert(self, *args)

    monkeypatch.setattr(VectorizeClient, "upsert", break_at_the_sixth)
    with dag:
        loading(
            VectorizeUpsertOperator,
            tmp_path,
            source=str(source),
            max_batch_vectors=1,
            max_in_flight=1,
            retries=1,
        )
    ended = run_dag(dag)
    assert ended.state == "success"
    assert ended.xcom("load", "report")["resumed_from"] == [f"file://{source}", 6]
    assert ended.xcom("load", "verified")["checked"] == 10


@pytest.mark.parametrize("kind", [VectorizeUpsertOperator, VectorizeSyncOperator])
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_retry_after_a_red_verification_sends_what_is_missing(
    emulator, client, dag, run_dag, source, tmp_path, kind, deferrable
):
    emulator.set_visibility("polls", 1)
    emulator.add_faults([{"operation": "*", "kind": "drop", "share": 0.001, "times": 1}])
    with dag:
        loading(kind, tmp_path, source=str(source), deferrable=deferrable, retries=1)
    ended = run_dag(dag)
    assert ended.state == "success"
    assert "missing" in ended.log
    emulator.set_visibility("immediate")
    assert sorted(client.list_vectors(INDEX)) == list(NAMES)


def test_a_source_that_was_written_again_meanwhile_is_said(emulator, source):
    hook = VectorizeHook()
    before = hook.mark_of(source)
    report = hook.upsert(INDEX, source=source).to_dict()
    options = {"operation": "upsert", "verify": "all", "verify_sample": 1, "source": source}
    assert hook.verify_load(report, None, source_mark=before, **options).checked == 10
    source.write_text(ndjson(vectors("x")))
    with pytest.raises(SourceError, match="written again since it was loaded"):
        hook.verify_load(report, None, source_mark=before, **options)


def test_records_that_the_api_refused_are_not_missed(emulator, source, caplog):
    caplog.set_level("INFO")
    hook = VectorizeHook()
    hook.upsert(INDEX, vectors=vectors(*NAMES[:9]))
    report = {"index_name": INDEX, "resumed_from": None, "rejected": 1}
    options = {
        "operation": "upsert",
        "verify": "all",
        "verify_sample": 1,
        "source": source,
        "on_invalid": "reject",
        "max_rejects": 1,
    }
    assert hook.verify_load(report, None, **options).different == 1
    assert "Of the 1 records that the API refused these 1 seem to be: 'j'" in caplog.text
    hook.conn.delete_by_ids(INDEX, ["a"])
    with pytest.raises(VerificationError, match="'a': missing"):
        hook.verify_load(report, None, **options)


class TestASync:
    @pytest.fixture
    def sync(self, emulator, tmp_path):
        def run(given, **options):
            return VectorizeHook().sync(
                INDEX, vectors=given, manifest=tmp_path / "m", verify="all", **options
            )

        return run

    def test_what_it_finds_missing_is_sent_by_the_next(self, client, sync):
        sync(vectors(*NAMES))
        client.delete_by_ids(INDEX, ["c"])
        with pytest.raises(
            VerificationError, match=r"'c': missing\n1 ids are taken down as unknown in .*/m: the next"
        ):
            sync(vectors(*NAMES))
        assert sync(vectors(*NAMES)).changed == 1

    def test_what_was_not_made_since_it_is_unchanged_is_read_back_too(self, client, sync):
        def texts(known):
            for each in vectors(*NAMES, metadata={"hash": "h"}):
                if not known.unchanged(each["id"], "h"):
                    yield each

        how = {"changed_by": "metadata.hash"}
        sync(texts, **how)
        assert sync(texts, **how).unchanged == 10
        client.delete_by_ids(INDEX, ["d"])
        client.upsert(INDEX, ndjson(vectors("e", metadata={"hash": "other"})).encode())
        with pytest.raises(VerificationError, match=r"'d': missing\n'e': metadata.hash differs"):
            sync(texts, **how)
        assert sync(texts, **how).changed == 2

    def test_where_a_field_decides_other_floats_under_the_same_field_do_not_count(self, sync):
        how = {"changed_by": "metadata.hash"}
        sync(vectors(*NAMES, metadata={"hash": "h"}), **how)
        others = [{**each, "values": [0.5] * 32} for each in vectors(*NAMES, metadata={"hash": "h"})]
        assert sync(others, **how).unchanged == 10

    def test_a_deferred_one_goes_by_that_field_too(self, emulator, dag, run_dag, source, tmp_path):
        with dag:
            loading(
                VectorizeSyncOperator,
                tmp_path,
                source=str(source),
                changed_by="metadata.hash",
                deferrable=True,
            )
        for number in range(2):
            emulator.set_visibility("polls", 1)
            new = vectors("new", metadata={"hash": str(number)})
            old = [
                {**each, "values": [1.0 + number] * 32} for each in vectors(*NAMES, metadata={"hash": "h"})
            ]
            source.write_text(ndjson([*old, *new]))
            ended = run_dag(dag)
            assert ended.state == "success"
            assert ended.xcom("load", "report")["unchanged"] == 10 * number
            assert ended.xcom("load", "verified")["checked"] == 11

    def test_a_column_may_name_what_decides(self, client, sync):
        def rows(version, hashed):
            return [{"doc": "a", "vec": [version] * 32, "sha": hashed}]

        how = {"changed_by": "sha", "columns": {"id": "doc", "values": "vec", "metadata": {"hash": "sha"}}}
        sync(rows(1.0, "x"), **how)
        assert sync(rows(2.0, "x"), **how).unchanged == 1
        assert sync(rows(2.0, "y"), **how).changed == 1
        assert client.get_by_ids(INDEX, ["a"])[0].metadata == {"hash": "y"}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"wait_for_completion": False}, r"verify without effect: it needs wait_for_completion=True"),
        ({"verify": "some"}, "verify must be 'none' or 'sample' or 'all', got 'some'"),
        ({"verify_sample": 0, "verify": "sample"}, "verify_sample must be"),
        ({"verify_sample": 5}, r'verify_sample without effect: it needs verify="sample"'),
        (
            {"source": None, "vectors": [], "deferrable": True},
            "deferrable without effect: vectors are not made",
        ),
    ],
)
@pytest.mark.parametrize("kind", [VectorizeUpsertOperator, VectorizeSyncOperator])
def test_what_would_do_nothing_is_refused_when_the_dag_is_parsed(tmp_path, kind, wrong, says):
    with pytest.raises(InvalidArgumentError, match=says):
        loading(kind, tmp_path, **{"source": "/a"} | wrong)


def test_with_vectors_the_worker_waits_where_waits_are_deferred_by_default(tmp_path):
    defaults = {"default_args": {"deferrable": True}, "deferrable": True}
    assert not loading(VectorizeUpsertOperator, tmp_path, vectors=[], **defaults).deferrable
    assert loading(VectorizeUpsertOperator, tmp_path, source="/a", **defaults).deferrable
