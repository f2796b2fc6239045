"""What a task and its wait live through: a clear, a second run, a kill, another token, a run in one process."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.real.conftest import INDEX, Api
from tests.real.live import Airflow, Run, gone, wait_until
from tests.real.loads import DIMENSIONS, ids_of, uploads, write_source
from tests.real.test_resume import recreate_index
from tests.real.test_waits import polled

FILES = 6


def write_records(path: Path, *ids: str) -> str:
    records = [{"id": id_, "values": [float(len(id_) + place) for place in range(DIMENSIONS)]} for id_ in ids]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write_records(tmp_path / "records.ndjson", "a", "b")


def test_a_load_whose_wait_timed_out_loads_again_once_it_is_cleared(airflow: Airflow, api: Api, source: str):
    api.emulator.set_visibility("manual")
    run = airflow.trigger("short_wait", conn_id=api.conn_id, source=source)
    assert run.wait_for("load", "failed")["try_number"] == 1
    run.wait_for_end("failed")
    assert run.xcom("load", "report")["accepted"] == 2
    recreate_index(api)  # none of it has come to be seen
    api.emulator.set_visibility("immediate")
    run.clear("load")
    assert run.wait_for("load", "success")["try_number"] == 2
    assert set(api.client.list_vectors(INDEX)) == {"a", "b"}
    assert "The task was cleared since a load was noted" in run.log("load")


def test_mapped_uploads_of_unchanged_files_are_seen_in_their_second_run(
    airflow: Airflow, api: Api, tmp_path: Path
):
    api.emulator.set_visibility("delay", 2.0)
    sources = [write_records(tmp_path / f"{n}.ndjson", f"v{n}", f"w{n}") for n in range(FILES)]
    for _ in range(2):
        run = airflow.trigger("mapped", conn_id=api.conn_id, sources=sources)
        assert run.wait_for("sensor", "success", seconds=180)["try_number"] == 1
        assert len(run.xcom("sensor")) == FILES
    assert uploads(api) == 2 * FILES


def waiting_in_the_worker(airflow: Airflow, api: Api, source: str) -> tuple[Run, int]:
    """Give a run whose task has loaded and waits, and the process of that."""
    api.emulator.set_visibility("manual")
    run = airflow.trigger("worker_wait", conn_id=api.conn_id, source=source)
    wait_until(lambda: uploads(api) == 1, "the load is sent")
    polled(api)
    return run, int(run.task("load")["pid"])


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_a_wait_in_the_worker_that_is_killed_goes_on_and_loads_nothing_again(
    airflow: Airflow, api: Api, source: str, how: str
):
    run, pid = waiting_in_the_worker(airflow, api, source)
    os.kill(pid, signal.Signals[how])
    told = time.monotonic()
    wait_until(lambda: gone(pid), "the task process has ended", 20)
    assert time.monotonic() - told <= 4.0
    api.emulator.apply()
    assert run.wait_for("load", "success", seconds=120)["try_number"] == 2
    assert uploads(api) == 1
    assert set(api.client.list_vectors(INDEX)) == {"a", "b"}
    if how == "SIGTERM":
        assert "The wait was told to stop" in run.log("load")
        assert "The write was accepted" in run.log("load")


def test_a_token_that_is_rotated_during_a_load(airflow: Airflow, api: Api, tmp_path: Path):
    source = tmp_path / "many.ndjson"
    write_source(source, 100)
    before, after = "tok_load_before_0123456789abcdefghijklmn", "tok_load_after_0123456789abcdefghijklmno"
    conn_id = api.connect(airflow, "rotated_load", before)
    run = airflow.trigger("load", conn_id=conn_id, source=str(source), rejects=str(tmp_path / "rejects"))
    wait_until(lambda: uploads(api) >= 5, "the load has begun", 120)
    api.connect(airflow, conn_id, after)
    api.emulator.revoke(before)
    assert run.wait_for("load", "success", seconds=120)["try_number"] == 1
    assert 401 in {row["status"] for row in api.emulator.log()}
    assert set(api.client.list_vectors(INDEX)) == ids_of(source)[0]
    assert not [token for token in (before, after) if token in run.log("load")]


def test_deferred_waits_of_dags_test_find_a_connection_of_the_database(airflow: Airflow, api: Api):
    api.emulator.set_visibility("polls", 2)
    mutation = api.client.upsert(INDEX, json.dumps({"id": "a", "values": [1.0] * DIMENSIONS}).encode())
    conf = {"conn_id": api.conn_id, "mutation_id": mutation.id}
    said = airflow.command("dags", "test", "one_wait", "--conf", json.dumps(conf))
    assert said.count("running trigger in line") == 1
    said = airflow.command("dags", "test", "waits", "--conf", json.dumps(conf))
    # Where the operator's wait comes first, it is one of the sensor's load as well.
    assert said.count("running trigger in line") >= 1
    assert set(api.client.list_vectors(INDEX)) == {"a", "v0", "v1", "v2"}
