"""Every example DAG, run to its end."""

from __future__ import annotations

import gzip
import itertools
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from airflow.models.variable import Variable
from airflow.utils.session import create_session

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.triggers import objects
from tests.database import migrate
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, ndjson, vectors
from tests.versions import AIRFLOW, DagBag, answering, question

EXAMPLES = Path(__file__).parent.parent.parent / "example_dags"


@pytest.fixture(scope="module")
def bag():
    return DagBag(str(EXAMPLES))


@pytest.fixture
def client(emulator):
    return VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)


def test_every_example_imports(bag):
    assert bag.import_errors == {}
    needing_more = {EXAMPLES / "example_vectorize_approval.py"} if AIRFLOW < (3, 1) else set()
    files = {Path(dag.fileloc) for dag in bag.dags.values()}
    assert files == set(EXAMPLES.glob("*.py")) - needing_more
    assert len(bag.dags) == len(files)


def test_upsert(emulator, client, bag, run_dag):
    emulator.set_visibility("delay", 0.2)
    ended = run_dag(bag.dags["example_vectorize_upsert"])
    assert ended.state == "success"
    assert [match["id"] for match in ended.xcom("query")[:2]] == ["oceans-04", "oceans-03"]
    assert ended.xcom("wait") == ended.xcom("upsert")
    assert client.index_info("passages").processed_up_to_mutation == ended.xcom("upsert")
    assert ended.xcom("upsert", "report")["accepted"] == 300 == client.index_info("passages").vector_count


def test_index(emulator, client, bag, run_dag):
    ended = run_dag(bag.dags["example_vectorize_index"])
    assert ended.state == "success"
    assert len(ended.xcom("ask")) == 5
    assert ended.xcom("forget", "report")["accepted"] == 1
    assert {match["id"].split("-")[0] for match in ended.xcom("ask")} <= {"weather", "birds"}
    assert "scratch" not in {index.name for index in client.list_indexes()}


def test_backup_and_restore(emulator, client, bag, run_dag, tmp_path, monkeypatch):
    assert run_dag(bag.dags["example_vectorize_upsert"]).state == "success"
    monkeypatch.setenv("AIRFLOW_VAR_VECTORIZE_BACKUPS", str(tmp_path))
    ended = run_dag(bag.dags["example_vectorize_backup"])
    assert ended.state == "success"
    ids = sorted(client.list_vectors("passages"))
    assert len(ids) == ended.xcom("backup")["vectors"] == 300
    assert client.get_by_ids("passages-restored", ids) == client.get_by_ids("passages", ids)


def test_sync_twice(emulator, client, bag, run_dag, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_VECTORIZE_MANIFEST", str(tmp_path))
    for day, added in ((1, 300), (2, 0)):
        ended = run_dag(bag.dags["example_vectorize_sync"], logical_date=datetime(2026, 3, day, tzinfo=UTC))
        assert ended.state == "success"
        assert ended.xcom("sync", "report")["added"] == added
        assert ended.xcom("verify")["checked"] == client.index_info("synced").vector_count == 300


def test_rag(emulator, client, bag, run_dag):
    ended = run_dag(bag.dags["example_vectorize_rag"])
    assert ended.state == "success"
    assert client.index_info("rag").vector_count == 300
    assert ended.xcom("ask")[0]["id"] == "oceans-04"


def test_rag_by_sync_embeds_nothing_when_nothing_has_changed(
    emulator, client, bag, run_dag, tmp_path, monkeypatch
):
    monkeypatch.setenv("AIRFLOW_VAR_VECTORIZE_MANIFEST", str(tmp_path))
    for day, embedded in ((1, 60), (2, 0)):
        ended = run_dag(
            bag.dags["example_vectorize_rag_sync"], logical_date=datetime(2026, 3, day, tzinfo=UTC)
        )
        assert ended.state == "success"
        assert ended.xcom("sync", "report")["added"] == embedded
        assert ended.xcom("sync", "verified")["checked"] == client.index_info("rag_synced").vector_count == 60
        assert ended.log.count("Embedding: ") == embedded


class TestBlueAndGreen:
    @pytest.fixture
    def load(self, emulator, bag, run_dag, monkeypatch):
        monkeypatch.setattr("airflow_provider_vectorize.sync.verify.LOOK_AGAIN_SECONDS", ())
        days = itertools.count(1)
        yield lambda: run_dag(
            bag.dags["example_vectorize_blue_green"], logical_date=datetime(2026, 3, next(days), tzinfo=UTC)
        )
        with create_session() as session:
            session.query(Variable).filter_by(key="vectorize_passages").delete()

    @staticmethod
    def pointer():
        return Variable.get("vectorize_passages", deserialize_json=True)

    def test_only_what_is_verified_is_used_and_all_but_the_last_two_are_deleted(self, emulator, client, load):
        emulator.create_index("passages", dimensions=32, metric="cosine")  # of somebody else

        def names():
            return {index.name for index in client.list_indexes()} - {INDEX, "passages"}

        first = load()
        assert first.state == "success"
        one = first.xcom("new_name")
        assert self.pointer() == {"active": one, "before": None}
        assert names() == {one}
        assert client.index_info(one).vector_count == first.xcom("verify")["checked"] == 300

        emulator.add_faults([{"operation": "upsert", "kind": "drop", "share": 0.001, "times": 1}])
        red = load()
        assert red.task_state("verify") == "failed"
        assert red.task_state("switch") == red.task_state("clean_up") == "upstream_failed"
        assert self.pointer() == {"active": one, "before": None}
        assert names() == {one, red.xcom("new_name")}

        second = load()
        assert second.xcom("clean_up") == [red.xcom("new_name")]
        two = second.xcom("new_name")
        assert self.pointer() == {"active": two, "before": one}
        assert names() == {one, two}

        third = load()
        assert third.xcom("clean_up") == [one]
        assert self.pointer() == {"active": third.xcom("new_name"), "before": two}
        assert names() == {two, third.xcom("new_name")}

    @pytest.fixture
    def function(self, bag, load, monkeypatch):
        """Give the function of a task, to call it without a run."""

        def of(task_id):
            function = bag.dags["example_vectorize_blue_green"].get_task(task_id).python_callable
            monkeypatch.setitem(function.__globals__, "Variable", Variable)
            return function

        return of

    def test_a_switch_that_is_repeated_keeps_the_one_before(self, function):
        for index_name in ("passages-1", "passages-2", "passages-2"):
            function("switch")(index_name)
        assert self.pointer() == {"active": "passages-2", "before": "passages-1"}

    def test_without_a_pointer_nothing_is_deleted(self, emulator, client, function):
        emulator.create_index("passages-1", dimensions=32, metric="cosine")
        with pytest.raises(KeyError, match="vectorize_passages"):
            function("clean_up")()
        assert "passages-1" in {index.name for index in client.list_indexes()}


@pytest.mark.skipif(AIRFLOW < (3, 1), reason="approvals came with Airflow 3.1")
class TestApproval:
    @pytest.fixture
    def index(self, emulator, client):
        emulator.create_index("passages", dimensions=32, metric="cosine")
        return lambda *ids: client.upsert("passages", ndjson(vectors(*ids)).encode())

    @pytest.mark.parametrize(
        ("option", "state", "left"), [("Approve", "success", 1), ("Reject", "skipped", 3)]
    )
    def test_what_is_asked_about_is_deleted_if_it_is_approved(
        self, index, client, bag, run_dag, option, state, left
    ):
        index("oceans-04", "old-1", "old-2")
        with answering("example_vectorize_approval", option):
            ended = run_dag(bag.dags["example_vectorize_approval"])
        [approve] = ended.tasks["approve"]
        assert question(approve) == ("Delete 2 vectors of index passages?", "old-1, old-2 ...")
        assert ended.state == "success"
        assert ended.task_state("delete") == state
        assert len(list(client.list_vectors("passages"))) == left

    def test_nobody_is_asked_about_nothing(self, index, bag, run_dag):
        index("oceans-04")
        ended = run_dag(bag.dags["example_vectorize_approval"])
        assert [ended.task_state(task) for task in ("approve", "delete")] == ["skipped", "skipped"]


def test_xcom(emulator, client, bag, run_dag):
    ended = run_dag(bag.dags["example_vectorize_xcom"])
    assert ended.state == "success"
    assert ended.xcom("note") == ended.xcom("upsert")
    assert sorted(client.list_vectors("colours")) == ["blue", "green", "red", "white"]


@pytest.mark.parametrize("day", ["2026-03-01", "2026-03-02"])
def test_scheduled(emulator, client, bag, run_dag, day, tmp_path, monkeypatch):
    emulator.create_index("daily", dimensions=32, metric="cosine")
    monkeypatch.setenv("AIRFLOW_VAR_VECTORIZE_INBOX", str(tmp_path))
    for name, ids in {"2026-03-01": ("a", "b"), "2026-03-02": ("c",)}.items():
        with gzip.open(tmp_path / f"{name}.ndjson.gz", "wt") as file:
            file.write(ndjson(vectors(*ids)))
    ended = run_dag(
        bag.dags["example_vectorize_scheduled"],
        logical_date=datetime.fromisoformat(day).replace(tzinfo=UTC),
    )
    assert ended.state == "success"
    assert sorted(client.list_vectors("daily")) == {"2026-03-01": ["a", "b"], "2026-03-02": ["c"]}[day]


def test_arriving(emulator, client, bag, run_dag, tmp_path, monkeypatch):
    emulator.create_index("arriving", dimensions=32, metric="cosine")
    monkeypatch.setenv("AIRFLOW_VAR_VECTORIZE_INBOX", str(tmp_path))
    dag, records = bag.dags["example_vectorize_arriving"], vectors(*"abcdefgh")
    dag.get_task("upsert").settled_seconds = 1.0
    dag.get_task("upsert").poke_interval = 0.1
    file = (tmp_path / "2026-03-01-1.ndjson").open("w")
    left = iter(records)

    def grow():  # at every look of the sensor and its trigger
        if (record := next(left, None)) is not None:
            file.write(ndjson([record]))
            file.flush()

    def looked(places):
        found = snapshot(places)
        grow()
        return found

    snapshot = objects.snapshot
    monkeypatch.setattr(objects, "snapshot", looked)
    grow()
    ended = run_dag(dag, logical_date=datetime(2026, 3, 1, tzinfo=UTC))
    file.close()
    assert ended.state == "success"
    assert "running trigger in line" in ended.log
    assert sorted(client.list_vectors("arriving")) == list("abcdefgh")


def test_upsert_by_the_command_line(emulator, tmp_path):
    environment = os.environ | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES)}
    migrate(tmp_path)
    command = [sys.executable, "-m", "airflow", "dags", "test", "example_vectorize_upsert"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert emulator.stats()["upsert"]["vectors"] == 300
    assert TOKEN not in done.stdout + done.stderr


def test_deferrable(emulator, client, bag, run_dag):
    emulator.set_visibility("polls", 1)  # in vain for the worker, not for the trigger
    ended = run_dag(bag.dags["example_vectorize_deferrable"])
    assert ended.state == "success"
    assert client.index_info("mapped").vector_count == 300
    assert "running trigger in line" in ended.log


def test_nightly_twice(emulator, client, bag, run_dag, tmp_path, monkeypatch):
    emulator.create_index("nightly", dimensions=32, metric="cosine")
    export = tmp_path / "export.ndjson"
    export.write_text(ndjson([*vectors("a", "b"), {"id": "bad"}]))
    monkeypatch.setenv("AIRFLOW_VAR_VECTORIZE_EXPORT", str(export))
    monkeypatch.setenv("AIRFLOW_VAR_VECTORIZE_REJECTS", str(tmp_path / "rejects"))
    for day in (1, 2):
        ended = run_dag(
            bag.dags["example_vectorize_nightly"], logical_date=datetime(2026, 3, day, tzinfo=UTC)
        )
        assert ended.state == "success"
        assert len(list((tmp_path / "rejects" / f"2026-03-0{day}").iterdir())) == 1
    assert sorted(client.list_vectors("nightly")) == ["a", "b"]


def test_the_dag_of_the_readme(emulator, client, run_dag, tmp_path):
    readme = (EXAMPLES.parent / "README.md").read_text()
    source = readme.split("```python\n")[1].split("```")[0]
    (tmp_path / "first_vectors.py").write_text(source)
    bag = DagBag(str(tmp_path))
    assert bag.import_errors == {}
    for _ in range(2):
        assert run_dag(bag.dags["first_vectors"]).state == "success"
    assert client.index_info("first").vector_count == 32


@pytest.mark.parametrize("page", ["operators.md", "waiting.md", "vectors.md"])
def test_code_on_a_page_that_is_said_to_be_from_an_example_is(page):
    text = (EXAMPLES.parent / "docs" / page).read_text()
    examples = "".join(path.read_text() for path in EXAMPLES.glob("*.py"))
    squeeze = lambda code: "".join(code.split()).replace(",)", ")")  # noqa: E731
    block = text.split("```python\n")[1].split("```")[0]
    for statement in block.strip().split("\n\n"):
        code = statement.replace('"/data/passages.ndjson"', "str(DATA)")
        for name in ('"passages"', '"scratch"'):
            code = code.replace(name, "INDEX")
        assert squeeze(code) in squeeze(examples), statement
