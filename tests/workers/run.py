"""Many workers: Celery with Redis and PostgreSQL, and MariaDB, against the emulator. Run by ``make celery``.

It prints a row for each part as it ends, and at the end one line that says whether all of them held.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.emulator import Emulator
from tests.real.live import Airflow, Run, wait_until
from tests.workers.services import mariadb, postgres, redis

DAGS = Path(__file__).parent / "dags"
INDEX, TOKEN = "docs", "tok_0123456789abcdefghijklmnopqrstuvwxyz"
FILES, VECTORS, REQUESTS = 32, 400, 8  # of a file
#: A slot each for two tasks; see docs/sizing.md.
POOL_SLOTS = 2
#: The API's 4 requests a second, in a window that is short enough for a test.
LIMIT = {"requests": 120, "seconds": 30}
SETTINGS = {
    "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
    "AIRFLOW__CORE__PARALLELISM": "32",
    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "32",
    "AIRFLOW__CELERY__WORKER_CONCURRENCY": "4",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "5",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
}


def say(text: str) -> None:
    print(f"workers: {text}", flush=True)


def write_files(folder: Path) -> None:
    for number in range(FILES):
        lines = [
            json.dumps(
                {"id": f"{number}-{line}", "values": [float(number + line + place) for place in range(32)]}
            )
            for line in range(VECTORS)
        ]
        (folder / f"part-{number:02}.ndjson").write_text("\n".join(lines) + "\n")


class System:
    """An Airflow, an emulator, and what is asked of both."""

    def __init__(self, airflow: Airflow, emulator: Emulator, folder: Path) -> None:
        self.airflow = airflow
        self.emulator = emulator
        self.folder = folder
        self.client = VectorizeClient(emulator.account, TOKEN, base_url=emulator.url)

    def start_worker(self, name: str) -> None:
        self.airflow.start_component(name, "celery", "worker", "--skip-serve-logs", "--celery-hostname", name)

    def fresh(self) -> None:
        """Empty the index."""
        if INDEX in [index.name for index in self.client.list_indexes()]:
            self.client.delete_index(INDEX)
        self.emulator.create_index(INDEX)
        self.emulator.clear_log()

    def limit(self, limit: dict[str, int]) -> None:
        requests.put(f"{self.emulator.url}/_emulator/rate_limit", json=limit, timeout=10).raise_for_status()

    def ended(self, run: Run, seconds: float) -> float:
        """Wait for the end of a run, which must be green; give the seconds that it took."""
        started = time.monotonic()

        def state() -> str | None:
            found = self.airflow.request("GET", run.path)["state"]
            assert found != "failed", f"{run.dag_id} failed:\n{run.log('load')[-3000:]}"
            return found if found == "success" else None

        wait_until(state, f"{run.dag_id} is green", seconds)
        return time.monotonic() - started

    def load(self, dag_id: str = "free", seconds: float = 600) -> float:
        """Load all files, and check that the index holds exactly them."""
        took = self.ended(self.airflow.trigger(dag_id, folder=str(self.folder)), seconds)
        self.check()
        return took

    def check(self) -> None:
        expected = {f"{number}-{line}" for number in range(FILES) for line in range(VECTORS)}
        assert set(self.client.list_vectors(INDEX)) == expected

    def refused(self) -> int:
        return sum(row["status"] == 429 for row in self.emulator.log())

    def uploads(self) -> int:
        return sum(row["operation"] == "upsert" and row["status"] == 200 for row in self.emulator.log())


@contextmanager
def system(settings: dict[str, str]) -> Iterator[System]:
    with (
        tempfile.TemporaryDirectory(prefix="vectorize-workers-") as home,
        tempfile.TemporaryDirectory(prefix="vectorize-files-") as folder,
        Emulator(visibility=("delay", 1.0)) as emulator,
    ):
        write_files(Path(folder))
        airflow = Airflow(Path(home), DAGS, settings)
        try:
            airflow.start()
            airflow.set_connection(
                "vectorize_default", port=emulator.port, account=emulator.account, token=TOKEN
            )
            airflow.set_slots("vectorize", POOL_SLOTS, include_deferred=False)
            yield System(airflow, emulator, Path(folder))
        except BaseException:
            for name, tail in airflow.tails():
                print(f"--- {name}\n{tail}", file=sys.stderr)
            raise
        finally:
            airflow.stop()


def celery(rows: list[tuple[str, str]]) -> None:
    def row(what: str, result: str) -> None:
        rows.append((what, result))
        say(f"{what}: {result}")

    with redis() as broker, postgres() as database:
        settings = SETTINGS | {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{database}",
            "AIRFLOW__CELERY__BROKER_URL": broker,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2://{database}",
        }
        with system(settings) as it:
            it.start_worker("first")
            it.fresh()
            one = it.load()
            row(f"{FILES} mapped files, one worker", f"{one:.0f} s")
            it.start_worker("second")
            it.fresh()
            time.sleep(15)  # a worker takes a while to come up
            two = it.load()
            row(f"{FILES} mapped files, two workers", f"{two:.0f} s ({one / two:.1f} times as fast)")
            before = it.uploads()
            again = it.load()
            row(
                "the same again, unchanged",
                f"{again:.0f} s, {it.uploads() - before} requests, every wait proved",
            )

            it.fresh()
            run = it.airflow.trigger("free", folder=str(it.folder))
            wait_until(lambda: it.uploads() >= FILES, "loads are under way", 300)
            it.airflow.kill_component("second")
            took = it.ended(run, 900)
            it.check()
            tries = [run_try["try_number"] for run_try in instances(it.airflow, run)]
            retried = sum(number > 1 for number in tries)
            row(
                "one of two workers killed in the middle",
                f"{took:.0f} s more, {retried} tasks tried again, green",
            )

            it.start_worker("second")
            time.sleep(15)
            for dag_id, name in {"free": "without a pool", "pooled": f"a pool of {POOL_SLOTS} slots"}.items():
                it.fresh()
                it.limit(LIMIT)
                took = it.load(dag_id, seconds=1200)
                row(f"rate limit on, {name}", f"{took:.0f} s, {it.refused()} requests refused")
                it.limit({})

            it.fresh()
            big = it.folder.parent / f"{it.folder.name}-big.ndjson"
            big.write_text("".join(path.read_text() for path in sorted(it.folder.glob("*.ndjson"))))
            try:
                took = it.ended(it.airflow.trigger("one_big_file", file=str(big)), 600)
            finally:
                big.unlink()
            it.check()
            row("one file of the same size in 8 pieces", f"{took:.0f} s")


def instances(airflow: Airflow, run: Run) -> list[dict[str, int]]:
    found = airflow.request("GET", f"{run.path}/taskInstances", params={"task_id": "load", "limit": 100})
    return list(found["task_instances"])


def waits(rows: list[tuple[str, str]]) -> None:
    """400 deferred uploads with MariaDB, whose column for a trigger's arguments takes 65,535 bytes."""
    with mariadb() as database:
        settings = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"mysql+mysqldb://{database}",
            # With MariaDB the statement of that cleanup ends the scheduler.
            "AIRFLOW__SCHEDULER__PARSING_CLEANUP_INTERVAL": "1000000",
        }
        with system(settings) as it:
            it.emulator.set_visibility("delay", 20.0)
            it.fresh()
            run = it.airflow.trigger("many_waits")
            run.wait_for("wait", "deferred", seconds=300)
            [size] = trigger_sizes(settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
            took = it.ended(run, 300)
            rows.append(
                ("MariaDB, one deferred wait for 400 uploads", f"{took:.0f} s, a row of {size:,} bytes")
            )
            say(": ".join(rows[-1]))
            assert size < 8_192


def trigger_sizes(url: str) -> list[int]:
    from sqlalchemy import create_engine, text

    with create_engine(url).connect() as connection:
        return [size for (size,) in connection.execute(text("SELECT LENGTH(kwargs) FROM `trigger`"))]


def main() -> None:
    rows: list[tuple[str, str]] = []
    parts = {"celery": celery, "mariadb": waits}
    for name in sys.argv[1:] or parts:
        parts[name](rows)
    print("\n".join(["| what | result |", "|---|---|", *(f"| {what} | {result} |" for what, result in rows)]))
    say(f"ok: {len(rows)} parts held")


if __name__ == "__main__":
    main()
