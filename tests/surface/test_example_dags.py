"""Every example DAG, run to its end."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_provider_vectorize.client import VectorizeClient
from tests.database import migrate
from tests.surface.conftest import ACCOUNT, TOKEN, ndjson, vectors
from tests.versions import DagBag

EXAMPLES = Path(__file__).parent.parent.parent / "example_dags"


@pytest.fixture(scope="module")
def bag():
    return DagBag(str(EXAMPLES))


@pytest.fixture
def client(emulator):
    return VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)


def test_every_example_imports(bag):
    assert bag.import_errors == {}
    assert len(bag.dags) == len(list(EXAMPLES.glob("*.py")))


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
