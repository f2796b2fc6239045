"""A load whose process is killed with SIGKILL goes on where it stopped, unless something has changed meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real.conftest import INDEX, Api
from tests.real.live import Airflow, Run, gone, wait_until
from tests.real.loads import (
    DIMENSIONS,
    MAX_IN_FLIGHT,
    ids_of,
    rejected,
    stall,
    uploads,
    write_source,
)

CHUNKS = 40


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "records.ndjson"
    write_source(source, CHUNKS)
    return source


@pytest.fixture
def rejects(tmp_path: Path) -> Path:
    return tmp_path / "rejects"


def start(airflow: Airflow, api: Api, source: Path, rejects: Path) -> Run:
    return airflow.trigger("load", conn_id=api.conn_id, source=str(source), rejects=str(rejects))


def kill(api: Api, run: Run) -> None:
    """Kill the process of the task; from here on the service answers again."""
    pid = run.task("load")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gone(pid), "the task process has ended")
    api.emulator.clear_faults()


def ended_complete(api: Api, run: Run, source: Path, rejects: Path, try_number: int = 2) -> None:
    """Wait for the end; then everything is there, and nothing else; the folder may have rejects of other loads."""
    assert run.wait_for("load", "success", seconds=120)["try_number"] == try_number
    good, bad = ids_of(source)
    assert set(api.client.list_vectors(INDEX)) == good
    assert set(rejected(rejects)) == bad
    report = run.xcom("load", "report")
    assert (report["accepted"], report["rejected"]) == (len(good), len(bad))


def recreate_index(api: Api) -> None:
    api.client.delete_index(INDEX)
    api.client.create_index(INDEX, dimensions=DIMENSIONS, metric="cosine")


@pytest.mark.parametrize("name", ["records.ndjson", "records.ndjson.gz"])
def test_it_goes_on_where_it_stopped(
    airflow: Airflow, api: Api, tmp_path: Path, rejects: Path, measured: Callable[[str], None], name: str
):
    source = tmp_path / name
    write_source(source, CHUNKS)
    run = start(airflow, api, source, rejects)
    stall(api)
    kill(api, run)
    ended_complete(api, run, source, rejects)
    assert run.xcom("load", "report")["resumed_from"] is not None
    assert "Going on at" in run.log("load")
    assert len(rejected(rejects)) == len(ids_of(source)[1]), "a reject is there twice"
    measured(f"{uploads(api)} requests for {CHUNKS} chunks")
    assert CHUNKS < uploads(api) <= CHUNKS + MAX_IN_FLIGHT


def test_it_starts_again_when_the_source_has_changed(
    airflow: Airflow, api: Api, source: Path, rejects: Path, tmp_path: Path
):
    run = start(airflow, api, source, rejects)
    stall(api)
    before, sent = set(api.client.list_vectors(INDEX)), uploads(api)
    write_source(source, CHUNKS, prefix="id2")
    kill(api, run)
    run.wait_for("load", "success", seconds=120)
    assert "so the load starts again: the sources changed" in run.log("load")
    assert uploads(api) - sent == CHUNKS
    assert set(api.client.list_vectors(INDEX)) == before | ids_of(source)[0]


def test_it_starts_again_when_the_index_is_another(airflow: Airflow, api: Api, source: Path, rejects: Path):
    run = start(airflow, api, source, rejects)
    stall(api)
    sent = uploads(api)
    recreate_index(api)
    kill(api, run)
    ended_complete(api, run, source, rejects)
    assert "so the load starts again: the index changed" in run.log("load")
    assert uploads(api) - sent == CHUNKS


def test_a_task_that_has_succeeded_and_is_cleared_loads_all_again(
    airflow: Airflow, api: Api, source: Path, rejects: Path
):
    run = start(airflow, api, source, rejects)
    ended_complete(api, run, source, rejects, try_number=1)
    assert uploads(api) == CHUNKS
    recreate_index(api)
    run.wait_for_end("success")
    run.clear("load")
    wait_until(lambda: run.task("load")["try_number"] == 2, "the second try has begun")
    ended_complete(api, run, source, rejects)
    assert uploads(api) == 2 * CHUNKS
