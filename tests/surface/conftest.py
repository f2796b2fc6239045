"""Real Airflow against the emulator: tasks run by ``dag.test()``."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_vectorize.client import limits
from airflow_provider_vectorize.emulator import Emulator
from tests import versions
from tests.database import migrate
from tests.versions import xcoms

ACCOUNT = "0123456789abcdef0123456789abcdef"
TOKEN = "tok_0123456789abcdefghijklmnopqrstuvwxyz"  # 40 characters: Airflow's masker skips short ones
INDEX = "docs"


@pytest.fixture(scope="session", autouse=True)
def airflow_database():
    migrate(Path(os.environ["AIRFLOW_HOME"]))


@pytest.fixture(autouse=True)
def fast_polls(monkeypatch):
    """Let tests look more often than a second, which is refused otherwise."""
    monkeypatch.setattr(limits, "MIN_POLL_SECONDS", 0.01)


@pytest.fixture
def emulator(monkeypatch):
    with Emulator() as emulator:
        emulator.create_index(INDEX, dimensions=32, metric="cosine")
        monkeypatch.setenv(
            "AIRFLOW_CONN_VECTORIZE_DEFAULT", f"vectorize://{ACCOUNT}:{TOKEN}@127.0.0.1:{emulator.port}/http"
        )
        yield emulator


@dataclass
class Run:
    """A DAG run that has ended."""

    state: str
    tasks: dict[str, list[Any]]  # task instances by task id, in the order of their map index
    log: str

    def task_state(self, task_id: str) -> str:
        [instance] = self.tasks[task_id]
        return str(instance.state)

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        [instance] = self.tasks[task_id]
        return xcoms(instance).get(key)


@pytest.fixture
def run_dag(caplog, capfd) -> Callable[..., Run]:
    """Run a DAG to its end."""

    def execute(dag: DAG, **kwargs: Any) -> Run:
        caplog.set_level(logging.INFO)
        dag_run = versions.run(dag, **kwargs)
        tasks: dict[str, list[Any]] = {}
        for instance in sorted(dag_run.get_task_instances(), key=lambda instance: instance.map_index):
            tasks.setdefault(instance.task_id, []).append(instance)
        out, err = capfd.readouterr()
        return Run(str(dag_run.state), tasks, "\n".join([caplog.text, out, err]))

    return execute


@pytest.fixture
def dag(request):
    name = re.sub(r"[^\w-]+", "-", request.node.name)[:200]
    return DAG(
        name,
        default_args={"retry_delay": timedelta(0)},
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
    )


def vectors(*ids: str, dimensions: int = 32, **fields: Any) -> list[dict[str, Any]]:
    """Make records that differ from each other."""
    return [
        {"id": id_, "values": [float(len(id_) + n + place) for place in range(dimensions)], **fields}
        for n, id_ in enumerate(ids)
    ]


def ndjson(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


class Store(dict):
    """A state store of a task, whatever Airflow this is."""

    def set(self, key, value):
        self[key] = json.loads(json.dumps(value))

    def delete(self, key):
        self.pop(key, None)


class Instance:
    """A task instance that keeps what is pushed, and finds nothing to pull."""

    dag_id, run_id, task_id, map_index = "dag", "run", "load", -1

    def __init__(self, try_number=1, max_tries=0):
        self.try_number = try_number
        self.max_tries = max_tries
        self.pushed = {}

    def xcom_push(self, key, value):
        self.pushed[key] = value

    def xcom_pull(self, **_):
        return None
