"""A load that is told to end does so within 4 seconds, sends nothing any more, and leaves its checkpoint.

``stalled``: it waits for answers that do not come. ``busy``: it is in full flow.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from airflow_provider_vectorize.runtime.task import PROGRESS_KEY
from tests.real.conftest import Api
from tests.real.live import Airflow, Run, gone, wait_until
from tests.real.loads import CHUNK, MAX_IN_FLIGHT, stall, uploads, write_source

SECONDS = 4.0
#: So many take far longer than a test lets them.
CHUNKS = 1_600
CONDITIONS = ["stalled", "busy"]


@pytest.fixture
def conf(api: Api, tmp_path: Path) -> dict[str, str]:
    source = tmp_path / "records.ndjson"
    write_source(source, CHUNKS)
    return {"conn_id": api.conn_id, "source": str(source), "rejects": str(tmp_path / "rejects")}


def bring_about(api: Api, condition: str) -> None:
    """Wait until the load is in this condition."""
    if condition == "stalled":
        stall(api)
    else:
        wait_until(lambda: uploads(api) >= 10, "the load has begun", 120)


def nothing_follows(api: Api) -> None:
    """Wait a while: no request may arrive any more."""
    before, end = len(api.emulator.log()), time.monotonic() + 3
    wait_until(lambda: time.monotonic() > end, "a while has passed")
    assert len(api.emulator.log()) == before


def settled(run: Run) -> int:
    """How many records the stored checkpoint says were accepted."""
    [note] = [value for key, value in run.stored_state("load").items() if key != PROGRESS_KEY]
    return int(note["state"]["account"]["accepted"])


def has_its_checkpoint(api: Api, run: Run) -> None:
    """Of what was accepted, the checkpoint knows all but what was under way."""
    accepted = sum(row["vectors"] for row in api.emulator.log() if row["operation"] == "upsert")
    assert 0 <= accepted - settled(run) <= MAX_IN_FLIGHT * CHUNK


def logged_at(run: Run, text: str) -> float:
    """Give the time of the first line of the task's log with a text."""
    [line, *_] = [line for line in run.logged("load") if text in line["event"]]
    return datetime.fromisoformat(line["timestamp"]).timestamp()


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_task_that_is_marked_failed(
    airflow: Airflow, api: Api, conf: dict[str, str], condition: str, measured: Callable[[str], None]
):
    run = airflow.trigger("load", **conf)
    bring_about(api, condition)
    pid = run.task("load")["pid"]
    run.set_state("load", "failed")
    wait_until(lambda: gone(pid), "the task process has ended", 20)
    ended = time.time()
    # Airflow sends SIGTERM when the heartbeat of the task is told so.
    told = logged_at(run, "Server indicated the task shouldn't be running anymore")
    measured(f"{ended - told:.1f} s after SIGTERM")
    assert ended - told <= SECONDS
    assert "The load was told to stop" in run.log("load")
    nothing_follows(api)
    has_its_checkpoint(api, run)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_task_that_gets_sigterm_goes_on_at_its_next_try(
    airflow: Airflow, api: Api, conf: dict[str, str], condition: str, measured: Callable[[str], None]
):
    write_source(Path(conf["source"]), 200)
    run = airflow.trigger("load", **conf)
    bring_about(api, condition)
    pid = run.task("load")["pid"]
    os.kill(pid, signal.SIGTERM)
    told = time.monotonic()
    wait_until(lambda: gone(pid), "the task process has ended", 20)
    took = time.monotonic() - told
    api.emulator.clear_faults()
    measured(f"{took:.1f} s")
    assert took <= SECONDS
    assert run.wait_for("load", "success", seconds=120)["try_number"] == 2
    assert "Going on at" in run.log("load")
    assert uploads(api) <= 200 + MAX_IN_FLIGHT


@pytest.mark.parametrize("condition", CONDITIONS)
def test_execution_timeout(
    airflow: Airflow, api: Api, conf: dict[str, str], condition: str, measured: Callable[[str], None]
):
    run = airflow.trigger("limited_load", **conf)
    bring_about(api, condition)
    pid = run.task("load")["pid"]
    wait_until(lambda: gone(pid), "the task process has ended", 30)
    ended = time.time()
    told = logged_at(run, "Process timed out")
    measured(f"{ended - told:.1f} s")
    assert ended - told <= SECONDS
    nothing_follows(api)
    has_its_checkpoint(api, run)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_ctrl_c(
    airflow: Airflow, api: Api, conf: dict[str, str], condition: str, measured: Callable[[str], None]
):
    said = airflow.home / f"dags-test-{condition}.out"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "dags", "test", "tested_load", "--conf", json.dumps(conf)],
            cwd=airflow.home,
            env=airflow.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A shell's job in the background ignores it, and so would this.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
    try:
        bring_about(api, condition)
        os.killpg(process.pid, signal.SIGINT)
        told = time.monotonic()
        wait_until(lambda: "[DAG TEST] end task" in said.read_text(), "the task has ended", 20)
        took = time.monotonic() - told
        process.wait(20)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    measured(f"{took:.1f} s, and the command {time.monotonic() - told:.1f} s")
    assert took <= SECONDS
    assert process.returncode != 0
    nothing_follows(api)
