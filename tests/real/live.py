"""A real Airflow: its components as processes of their own, and the little of its REST API that the tests need.

``airflow standalone`` runs the same four components; here they are started one by one, so that one of them can be
killed and started again.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import requests

HERE = Path(__file__).parent
COMPONENTS = {
    "api-server": ["--host", "127.0.0.1"],
    "scheduler": ["--skip-serve-logs"],
    "dag-processor": [],
    "triggerer": ["--skip-serve-logs"],
}
#: Imported by every component when it starts; it measures the loop of the triggerer.
LOCAL_SETTINGS = HERE / "loop_watch.py"
TAIL_LINES = 40

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """Wait for a condition, and give what it gave when it held."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)
    return value


def gone(pid: int) -> bool:
    """Tell whether a process has ended; nobody may have asked for its status yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Airflow:
    """An Airflow with a home and a database of its own.

    :param home: an empty directory.
    :param dags: folder with the DAGs.
    :param settings: variables of the environment that differ from what the tests use.
    """

    def __init__(
        self, home: Path, dags: Path = HERE / "dags", settings: Mapping[str, str] | None = None
    ) -> None:
        self.home = home
        self._dags = dags
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "8",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
            # So that a test need not wait long for what Airflow notices by and by.
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "5",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            **(settings or {}),
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._session = requests.Session()
        self._session.trust_env = False

    def start(self) -> None:
        """Start everything, and wait until it works."""
        shutil.copytree(self._dags, self.home / "dags")
        (self.home / "config").mkdir()
        shutil.copy(LOCAL_SETTINGS, self.home / "config" / "airflow_local_settings.py")
        self.command("db", "migrate")
        for name in COMPONENTS:
            self.start_component(name)
        wait_until(self._answers, "the API server answers", 300)
        token = self._session.get(f"{self.url}/auth/token", timeout=10).json()["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"
        wait_until(self._healthy, "all components are healthy", 300)
        expected = len(list(self._dags.glob("*.py")))
        wait_until(lambda: self._parsed() >= expected, "the DAG files were read", 180)

    def stop(self) -> None:
        """End everything that was started."""
        for name in list(self._processes):
            self.kill_component(name)

    def start_component(self, name: str, *command: str) -> None:
        """Start a component, in a session of its own.

        :param name: what it is called here.
        :param command: of Airflow, if it is none of :data:`COMPONENTS`.
        """
        with (self.home / f"{name}.out").open("ab") as output:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", *(command or (name, *COMPONENTS[name]))],
                cwd=self.home,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill_component(self, name: str) -> None:
        """Kill a component with all its processes, and wait until they are gone."""
        process = self._processes.pop(name)
        below = self.children(process)  # tasks may have a session of their own
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(15)
        for child in below:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        wait_until(lambda: all(gone(child.pid) for child in below), f"{name} has ended", 15)

    def children(self, process: subprocess.Popen[bytes]) -> list[psutil.Process]:
        """Give the processes below one."""
        try:
            return psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def pids(self) -> list[int]:
        """Give the processes of all components, those below them too."""
        started = self._processes.values()
        return [pid for one in started for pid in (one.pid, *(child.pid for child in self.children(one)))]

    def memory(self, name: str) -> int:
        """Give the resident bytes of a component with all its processes."""
        process = self._processes[name]
        return sum(one.memory_info().rss for one in [psutil.Process(process.pid), *self.children(process)])

    def command(self, *arguments: str) -> str:
        """Run an Airflow command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tails(self) -> Iterator[tuple[str, str]]:
        """Give the last lines of what each component has said."""
        for path in sorted(self.home.glob("*.out")):
            yield path.stem, "\n".join(path.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    def request(self, method: str, path: str, **kwargs: Any) -> Any:
        """Ask the REST API; once more while SQLite is locked, which it answers as a "Database error"."""

        def answers() -> list[requests.Response]:
            answer = self._session.request(method, f"{self.url}/api/v2{path}", timeout=90, **kwargs)
            return [] if answer.status_code == 500 and "Database error" in answer.text else [answer]

        [answer] = wait_until(answers, f"{method} {path} is answered", 30)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def set_connection(self, conn_id: str, *, port: int, account: str, token: str) -> None:
        """Store a connection in the metadata database, or replace it."""
        fields = {
            "connection_id": conn_id, "conn_type": "vectorize", "login": account, "password": token,
            "host": "127.0.0.1", "port": port, "schema": "http",
        }  # fmt: skip
        entity = {"action": "create", "action_on_existence": "overwrite", "entities": [fields]}
        done = self.request("PATCH", "/connections", json={"actions": [entity]})
        assert done["create"]["success"] == [conn_id], done

    def trigger(self, dag_id: str, **conf: Any) -> Run:
        """Start a DAG run."""
        self.request("PATCH", f"/dags/{dag_id}", json={"is_paused": False})
        body = {"logical_date": None, "conf": conf}
        run = self.request("POST", f"/dags/{dag_id}/dagRuns", json=body)
        return Run(self, dag_id, run["dag_run_id"])

    def set_slots(self, pool: str, slots: int, *, include_deferred: bool = False) -> None:
        """Make a pool of so many slots, or change it."""
        fields = {"name": pool, "slots": slots, "include_deferred": include_deferred}
        entity = {"action": "create", "action_on_existence": "overwrite", "entities": [fields]}
        done = self.request("PATCH", "/pools", json={"actions": [entity]})
        assert done["create"]["success"] == [pool], done

    def _answers(self) -> bool:
        for name, process in self._processes.items():
            assert process.poll() is None, f"{name} has ended"
        try:
            return self._session.get(f"{self.url}/api/v2/monitor/health", timeout=10).ok
        except requests.ConnectionError:
            return False

    def _healthy(self) -> bool:
        health = self.request("GET", "/monitor/health")
        return all(part["status"] == "healthy" for part in health.values() if part is not None)

    def _parsed(self) -> int:
        assert not (errors := self.request("GET", "/importErrors")["import_errors"]), errors
        return len({dag["fileloc"] for dag in self.request("GET", "/dags")["dags"]})


@dataclass(frozen=True)
class Run:
    """A DAG run."""

    airflow: Airflow
    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        return f"/dags/{self.dag_id}/dagRuns/{self.run_id}"

    def task(self, task_id: str) -> dict[str, Any]:
        """Give a task instance: its state, try_number, pid, ..."""
        return dict(self.airflow.request("GET", f"{self.path}/taskInstances/{task_id}"))

    def state(self, task_id: str) -> str | None:
        return self.task(task_id)["state"]

    def wait_for(self, task_id: str, *states: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until a task is in one of some states."""

        def reached() -> dict[str, Any] | None:
            task = self.task(task_id)
            ended = task["state"] in ("success", "failed", "skipped", "upstream_failed", "removed")
            if ended and task["state"] not in states:
                raise AssertionError(f"{task_id} is {task['state']}, not {states}:\n{self.log(task_id)}")
            return task if task["state"] in states else None

        return wait_until(reached, f"{task_id} of {self.dag_id} is {' or '.join(states)}", seconds)

    def wait_for_end(self, state: str, seconds: float = 60.0) -> None:
        """Wait until the whole run has ended so.

        A task must not be cleared between its end and that of its run: the scheduler, about to end the run by what it
        had read before, ends it over the cleared task, which nobody ever starts.
        """
        ended = ("success", "failed")
        found = wait_until(
            lambda: (now := self.airflow.request("GET", self.path)["state"]) in ended and now,
            f"the run of {self.dag_id} has ended",
            seconds,
        )
        assert found == state, f"the run of {self.dag_id} is {found}"

    def set_state(self, task_id: str, state: str) -> None:
        """Mark a task, as a user does."""
        self.airflow.request("PATCH", f"{self.path}/taskInstances/{task_id}", json={"new_state": state})

    def clear(self, task_id: str) -> None:
        """Clear a task, as a user does: one that waits, or one of a run that has ended, see :meth:`wait_for_end`."""
        body = {
            "dry_run": False, "dag_run_id": self.run_id, "task_ids": [task_id], "only_failed": False,
            "reset_dag_runs": True,
        }  # fmt: skip
        self.airflow.request("POST", f"/dags/{self.dag_id}/clearTaskInstances", json=body)

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        path = f"{self.path}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.airflow.request("GET", path, params={"deserialize": False})["value"]

    def stored_state(self, task_id: str) -> dict[str, Any]:
        """Give what the task keeps from one try to the next."""
        found = self.airflow.request("GET", f"{self.path}/taskInstances/{task_id}/state-store")
        return {row["key"]: row["value"] for row in found["task_state_store"]}

    def log(self, task_id: str) -> str:
        """Give what all tries of a task have logged, in the worker and in the triggerer."""
        return "".join(path.read_text(errors="replace") for path in self.log_files(task_id))

    def log_files(self, task_id: str) -> list[Path]:
        """Give the log files of a task, of the mapped ones too; a triggerer writes one of its own for each."""
        folder = self.airflow.home / "logs" / f"dag_id={self.dag_id}" / f"run_id={self.run_id}"
        return sorted((folder / f"task_id={task_id}").rglob("*.log"))

    def logged(self, task_id: str) -> list[dict[str, Any]]:
        """Give the same line by line."""
        return [json.loads(line) for line in self.log(task_id).splitlines() if line.startswith("{")]
