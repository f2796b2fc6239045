"""Deleting vectors by their ids: nothing before all of them are checked and counted."""

from __future__ import annotations

import gzip

import pytest
from airflow.providers.common.compat.sdk import task

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import (
    EmptySourceError,
    InvalidArgumentError,
    InvalidRecordError,
    TooManyRejectsError,
)
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.vectors import VectorizeDeleteOperator
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, ndjson, vectors

IDS = [f"v{n:03}" for n in range(250)]
FAST = 12_000


@pytest.fixture
def client(emulator):
    client = VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)
    client.upsert(INDEX, ndjson(vectors(*IDS, "keep")).encode())
    emulator.clear_log()
    return client


def deletes(emulator):
    return [row["vectors"] for row in emulator.log() if row["operation"] == "delete_by_ids"]


class Store:
    kept = None

    def load(self):
        return self.kept

    def save(self, state):
        self.kept = state


class TestTheHook:
    def test_a_list(self, emulator, client):
        report = VectorizeHook().delete(INDEX, IDS, requests_per_minute=FAST)
        assert list(client.list_vectors(INDEX)) == ["keep"]
        assert deletes(emulator) == [100, 100, 50]
        assert (report.accepted, report.batches, report.rejected) == (250, 3, 0)
        assert report.mutation_id == client.index_info(INDEX).processed_up_to_mutation

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("ids.txt", "v001\nv002\r\n\nv003\n"),
            ("ids.txt", "v001\nv002\nv003"),
            ("ids.ndjson", '{"id": "v001"}\n"v002"\n{"id": "v003", "values": [1]}\n'),
        ],
    )
    @pytest.mark.parametrize("packed", [False, True])
    def test_lines_of_a_file(self, client, tmp_path, name, text, packed):
        path = tmp_path / (name + ".gz" * packed)
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
        assert VectorizeHook().delete(INDEX, source=str(path)).accepted == 3
        assert {"v000", "v004"} <= set(client.list_vectors(INDEX))
        assert not {"v001", "v002", "v003"} & set(client.list_vectors(INDEX))

    def test_columns_and_parquet(self, client, tmp_path):
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(
            pa.table({"pre": ["v0", "v0"], "n": [11, 12], "x": [None, None]}), tmp_path / "a.parquet"
        )
        (tmp_path / "b.ndjson").write_text('{"doc": "v020"}\n')
        hook = VectorizeHook()
        assert hook.delete(INDEX, source=str(tmp_path / "b.ndjson"), columns={"id": "doc"}).accepted == 1
        with pytest.raises(InvalidArgumentError, match="there is no column 'id'; there are 'pre', 'n', 'x'"):
            hook.delete(INDEX, source=str(tmp_path / "a.parquet"))
        assert (
            hook.delete(INDEX, source=str(tmp_path / "a.parquet"), columns={"id": ["pre", "n"]}).accepted == 2
        )

    def test_more_than_max_deletes_deletes_nothing(self, emulator, client):
        with pytest.raises(
            InvalidArgumentError, match="250 ids of index 'docs' would be deleted, and max_deletes is 249"
        ):
            VectorizeHook().delete(INDEX, IDS, max_deletes=249)
        assert emulator.log() == []

    @pytest.mark.parametrize(
        ("bad", "says"),
        [
            ("", "ids, line 251: an id is a text that is not empty, got ''"),
            (None, "ids, line 251: an id is a text"),
            (7, "got 7"),
            ("x" * 65, "takes 65 bytes, at most 64"),
            ("\udc80", "lone surrogate"),
        ],
    )
    def test_what_is_no_id_deletes_nothing(self, emulator, client, bad, says):
        with pytest.raises(InvalidRecordError, match=says):
            VectorizeHook().delete(INDEX, [*IDS, bad])
        assert emulator.log() == []

    def test_rejects(self, emulator, client, tmp_path):
        hook, bad = VectorizeHook(), [*IDS[:2], "", "x" * 65]
        with pytest.raises(
            TooManyRejectsError, match="2 of the ids were refused, and max_rejects is 1: nothing was deleted"
        ):
            hook.delete(INDEX, bad, on_invalid="reject", max_rejects=1, rejects_path=tmp_path / "no")
        assert emulator.log() == []
        report = hook.delete(INDEX, bad, on_invalid="reject", max_rejects=2, rejects_path=tmp_path / "out")
        assert (report.accepted, report.rejected) == (2, 2)
        [file] = (tmp_path / "out").iterdir()
        assert "id_too_long" in file.read_text()

    def test_rejects_are_mended_and_given_again(self, client, tmp_path):
        ids = tmp_path / "ids.txt"
        ids.write_text(f"v001\n{'x' * 65}\n")
        VectorizeHook().delete(
            INDEX, source=str(ids), on_invalid="reject", max_rejects=1, rejects_path=tmp_path / "out"
        )
        [file] = (tmp_path / "out").iterdir()
        file.write_text(file.read_text().replace("x" * 65, "v002"))
        assert VectorizeHook().delete(INDEX, source=str(file)).accepted == 1
        assert not {"v001", "v002"} & set(client.list_vectors(INDEX))

    def test_nothing_at_all(self, client):
        with pytest.raises(EmptySourceError):
            VectorizeHook().delete(INDEX, [])

    def test_a_text_is_no_list(self, client):
        with pytest.raises(InvalidArgumentError, match="ids must be a list of ids, got 'v001'"):
            VectorizeHook().delete(INDEX, "v001")

    def test_the_quota_is_in_the_log_before_it_starts(self, client, caplog):
        caplog.set_level("INFO")
        VectorizeHook().delete(INDEX, IDS)
        assert "Deleting 250 ids of index 'docs': 3 requests, less than a minute at this pace" in caplog.text

    def test_a_try_that_failed_is_gone_on_with(self, emulator, client):
        emulator.add_faults([{"operation": "delete_by_ids", "kind": "status", "status": 400, "code": 49999}])
        ids, store = [f"v{n:04}" for n in range(1500)], Store()
        with pytest.raises(Exception, match="49999"):
            VectorizeHook().delete(INDEX, ids, requests_per_minute=FAST, checkpoint=store)
        report = VectorizeHook().delete(INDEX, ids, requests_per_minute=FAST, checkpoint=store)
        assert report.accepted == 1500
        assert sum(deletes(emulator)) <= 1500 + 4 * 100


class TestTheOperator:
    def test_ids_of_a_task_and_the_wait(self, emulator, client, dag, run_dag):
        @task
        def choose():
            return ["v001", "v002"]

        with dag:
            operator = VectorizeDeleteOperator(
                task_id="delete", index_name=INDEX, ids=choose(), wait_for_completion=True, poll_interval=1
            )
        assert operator.upstream_task_ids == {"choose"}
        emulator.set_visibility("polls", 1)
        ended = run_dag(dag)
        assert ended.state == "success"
        assert ended.xcom("delete") == ended.xcom("delete", "report")["mutation_id"]
        assert ended.xcom("delete", "report")["accepted"] == 2
        assert not {"v001", "v002"} & set(client.list_vectors(INDEX))

    def test_the_wait_may_be_deferred(self, emulator, client, dag, run_dag):
        emulator.set_visibility("polls", 1)
        with dag:
            VectorizeDeleteOperator(
                task_id="delete",
                index_name=INDEX,
                ids=["v001"],
                wait_for_completion=True,
                deferrable=True,
                poll_interval=1,
            )
        ended = run_dag(dag)
        assert ended.state == "success"
        assert "running trigger in line" in ended.log

    def test_too_many_is_red_and_uses_no_retry(self, client, dag, run_dag):
        with dag:
            VectorizeDeleteOperator(task_id="delete", index_name=INDEX, ids=IDS, max_deletes=10, retries=2)
        ended = run_dag(dag)
        assert ended.state == "failed"
        assert "max_deletes is 10: nothing was" in ended.log
        assert ended.tasks["delete"][0].try_number == 1

    def test_nothing_may_skip(self, client, dag, run_dag):
        with dag:
            VectorizeDeleteOperator(task_id="delete", index_name=INDEX, ids=[], on_empty="skip")
        assert run_dag(dag).task_state("delete") == "skipped"

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({}, "exactly one of ids and source"),
            ({"ids": ["a"], "source": "/x"}, "exactly one of ids and source"),
            ({"ids": ["a"], "columns": {"id": "x"}}, "columns without effect: it needs source"),
            ({"ids": ["a"], "max_rejects": 2}, "max_rejects without effect"),
            ({"ids": ["a"], "sentinel": True}, "sentinel without effect: it needs wait_for_completion"),
            ({"ids": ["a"], "max_in_flight": 0}, "max_in_flight must be"),
            ({"source": "a", "columns": {"key": "x"}}, "columns: unknown field 'key'"),
            ({"ids": ["a"], "on_empty": "no"}, "on_empty must be fail or skip"),
            ({"ids": ["a"], "requests_per_minute": 0}, "requests_per_minute must be"),
        ],
    )
    def test_what_can_never_work_is_refused_at_parse_time(self, wrong, says):
        with pytest.raises(InvalidArgumentError, match=f"task 'delete': {says}"):
            VectorizeDeleteOperator(task_id="delete", index_name=INDEX, **wrong)
