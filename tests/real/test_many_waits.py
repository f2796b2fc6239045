"""900 waits on one index in one real triggerer.

A task process costs about a second of CPU time, so on two cores 900 sensors would take some ten minutes to defer: the
first ones defer by themselves, as real tasks; the others are put into the state that deferring brings about, by rows in
the metadata database (``defer_rows.py``). The triggerer cannot tell them apart.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorize.visibility import Probe, Target, digest
from tests.real import live
from tests.real.conftest import INDEX, Api
from tests.real.live import Airflow, Run, wait_until

WAITS = 900
REAL_TASKS = 10
SECONDS = 60
INTERVAL = 10
#: What all the waits of one index may ask in that time.
MOST_REQUESTS = (3 + 1 / 3) * (SECONDS / INTERVAL + 2)
MOST_CPU_SECONDS = 0.050
#: So many kinds of callbacks are shown.
SHOWN = 6
#: The steps of a task that runs a trigger carry the name of Airflow's coroutine, or of the library it runs that in.
RUNS_TRIGGERS = ("TriggerRunner.run_trigger", "greenback")
FENCE = {"id": "fence", "values": [0.5] * 32}


def target(number: int) -> dict[str, Any]:
    """A wait with two records of its own that are never written, and one that all have."""
    own = [Probe(f"{number}-{n}", "0" * 32) for n in range(2)]
    common = Probe("fence", digest(FENCE["values"], None, None))
    return Target(str(uuid.uuid4()), probes=(*own, common)).to_dict()


def count(run: Run, state: str) -> int:
    found = run.airflow.request("GET", f"{run.path}/taskInstances", params={"state": state, "limit": 1})
    return int(found["total_entries"])


def started_triggers(run: Run) -> int:
    return sum(".trigger." in path.name for path in run.log_files("wait"))


def report_since(airflow: Airflow, moment: float) -> dict[str, Any] | None:
    """Give what was seen in the process of the triggerer in which our code runs, once that is written."""
    for path in airflow.home.glob("loop-*.json"):
        if path.stat().st_mtime > moment:
            report = dict(json.loads(path.read_text()))
            if any(is_ours(name) for name in report["callbacks"]):
                return report
    return None


def is_ours(name: str) -> bool:
    return "airflow_provider_vectorize" in name


@pytest.fixture
def idle(airflow: Airflow) -> int:
    """The resident bytes of the triggerer before there are any waits."""
    return airflow.memory("triggerer")


@pytest.fixture
def run(airflow: Airflow, api: Api, tmp_path: Path, idle: int) -> Iterator[Run]:
    # Somebody else writes all the time, so that no fence is seen: the waits stay.
    api.emulator.foreign(INDEX, writes=100_000, every=0.5)
    airflow.set_slots("many", REAL_TASKS, include_deferred=True)
    targets = [target(number) for number in range(WAITS)]
    ids = [one["mutation_id"] for one in targets]
    run = airflow.trigger("many_waits", conn_id=api.conn_id, mutation_ids=ids)
    try:
        wait_until(lambda: count(run, "deferred") == REAL_TASKS, "the real tasks are deferred", 120)
        wait_until(lambda: count(run, "scheduled") == WAITS - REAL_TASKS, "the others are scheduled")
        # From here on no task begins.
        airflow.set_slots("many", 0, include_deferred=True)
        order = tmp_path / "order.json"
        order.write_text(
            json.dumps(
                {
                    "conn_id": api.conn_id,
                    "index_name": INDEX,
                    "targets": targets,
                    "poll_interval": INTERVAL,
                    "timeout": 600,
                }
            )
        )
        subprocess.run(
            [sys.executable, live.HERE / "defer_rows.py", run.dag_id, run.run_id, order],
            env=airflow.environment,
            check=True,
            timeout=120,
        )
        yield run
    finally:
        airflow.request("PATCH", run.path, json={"state": "failed"})


def test_they_cost_what_one_costs(
    airflow: Airflow, api: Api, idle: int, run: Run, measured: Callable[[str], None]
):
    wait_until(lambda: started_triggers(run) == WAITS, "the triggerer runs all", 120)
    started = time.time()
    wait_until(lambda: time.time() > started + SECONDS, "the time is over", SECONDS + 10)

    asked = [row["operation"] for row in api.emulator.log() if started < row["time"] <= started + SECONDS]
    polls = sum(map(asked.count, ("index_info", "get_by_ids", "delete_by_ids")))
    measured(f"{WAITS} waits asked {polls} times in {SECONDS} s, at most {MOST_REQUESTS:.0f} are allowed")
    memory = airflow.memory("triggerer")
    measured(f"resident memory of the triggerer: {memory >> 20} MiB, {idle >> 20} MiB before")
    assert count(run, "deferred") == WAITS
    assert 0 < polls <= MOST_REQUESTS

    # All the waits that know the record end by one look.
    api.client.upsert(INDEX, json.dumps(FENCE).encode() + b"\n")
    wait_until(lambda: count(run, "scheduled") == WAITS - REAL_TASKS, "all that can end have ended", 120)

    ended = time.time()
    report = wait_until(lambda: report_since(airflow, ended), "what was seen is written")
    by_longest = sorted(report["callbacks"].items(), key=lambda item: -item[1][2])
    for name, (number, total, longest) in by_longest[:SHOWN]:
        measured(f"{longest * 1e3:6.1f} ms at most, {total:6.2f} s in {number:6.0f} callbacks: {name}")
    collections = report["collections"]
    measured(f"{max(collections) * 1e3:6.1f} ms at most in {len(collections)} runs of the garbage collector")
    longest = {
        name: longest
        for name, (_, _, longest) in report["callbacks"].items()
        if is_ours(name) or any(text in name for text in RUNS_TRIGGERS)
    }
    assert max(longest.values()) <= MOST_CPU_SECONDS, longest
    assert report["blocking"] == []


CAUGHT = """
import asyncio, json, socket, sys, time
sys.argv = ["airflow", "triggerer"]
from tests.real import loop_watch

async def airflow_provider_vectorize():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.send(b"x")
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        pass

async def main():
    await asyncio.create_task(airflow_provider_vectorize())

asyncio.run(main())
print(json.dumps([loop_watch.callbacks, loop_watch.blocking]))
"""


def test_the_watch_sees_what_blocks_the_loop(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", CAUGHT],
        env=os.environ | {"AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(live.HERE.parents[1])},
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    callbacks, blocking = json.loads(done.stdout)
    assert max(longest for name, (_, _, longest) in callbacks.items() if is_ours(name)) >= 0.1
    assert len(blocking) == 2, "connect and send"
