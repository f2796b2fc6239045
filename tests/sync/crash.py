"""SIGKILL a task that syncs, at random moments: ``make crash-sync``, 50 times or ``KILLS=5``.

Each run is a real Airflow task in a process of its own, forked as Airflow's executors do, that syncs over a slow line
to the emulator. The clock starts when it has taken the lease of its manifest. After every kill comes one more run, of
the same source or the next one: it must be green, and the index must hold the source, and what others wrote, by digest.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from airflow_provider_vectorize.client import VectorizeClient
from tests.hard_days.run import Emulator
from tests.ingest.helpers import DIMENSIONS, ndjson
from tests.sync.helpers import INDEX, contents, vector, wanted

KILLS = 50
ACCOUNT, TOKEN = "0123456789abcdef0123456789abcdef", "token-of-the-sweep-0123456789abcdefghijk"
LEASE_SECONDS = 2.0
#: Of the line, for the bodies of uploads and of deletes.
SLOW = {"upsert": 60_000, "delete_by_ids": 4_000}
#: What is imported before the forks, so that no run has to.
ONCE = (
    "tests.versions",
    "airflow_provider_vectorize.hooks.vectorize",
    "airflow_provider_vectorize.operators.sync",
    "airflow.api_fastapi.app",
    "airflow.api_fastapi.execution_api.app",
    "airflow.sdk.execution_time.task_runner",
)
IDS = [f"document-{number:03}" for number in range(500)]
FORK = multiprocessing.get_context("fork")


def sync(source: Path, manifest: Path, log: Path) -> None:
    """Be the process of the task."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from airflow.providers.common.compat.sdk import DAG

    from airflow_provider_vectorize.operators.sync import VectorizeSyncOperator
    from airflow_provider_vectorize.sync import lease
    from tests import versions

    lease.LEASE_SECONDS = LEASE_SECONDS
    with DAG("crash_sync", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        VectorizeSyncOperator(
            task_id="sync",
            index_name=INDEX,
            source=str(source),
            manifest=str(manifest),
            max_delete_fraction=1.0,
            max_batch_vectors=25,
            max_in_flight=2,
        )
    os._exit(versions.run(dag).state != "success")


class Sweep:
    """One index, its source and its manifest, through many runs."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self._emulator = emulator
        self._client = VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)
        self._draw = random.Random(14)
        self._source = folder / "source.ndjson"
        self._manifest = folder / "manifest"
        self._log = folder / "task.log"
        self._foreign = vector("foreign")
        self._versions: dict[str, int] = {}
        self._seconds = 2.0
        self.fell: Counter[str] = Counter()
        self._client.create_index(INDEX, dimensions=DIMENSIONS, metric="cosine")
        self._client.upsert(INDEX, ndjson([self._foreign]))

    def change(self, count: int, version: int) -> None:
        """Let documents come, change and go."""
        for each in self._draw.sample(IDS, count):
            if self._draw.random() < 0.5:
                self._versions.pop(each, None)
            else:
                self._versions[each] = version
        self._source.write_bytes(ndjson(vector(each, version) for each, version in self._versions.items()))

    def begin(self) -> None:
        """Let one run end."""
        self.change(300, 0)
        self._end(self._begin())
        self._check()

    def kill(self, number: int) -> str | None:
        """Kill a run, and see that one more mends it; tell in the midst of what it was, None if it was over."""
        self.change(300, number)
        process, before = self._begin(), self._requests()
        time.sleep(self._draw.uniform(0, self._seconds))
        process.kill()
        process.join()
        uploads, deletes = (now - then for now, then in zip(self._requests(), before, strict=True))
        hit = json.loads((self._manifest / self._lease()).read_text())["expires"] > 0
        # A tenth of the moments should come too late: then they are spread over all of a run, however fast it is.
        self._seconds *= 1.05 if hit else 0.7
        if self._draw.random() < 0.5:
            self.change(20, number)
        time.sleep(LEASE_SECONDS if hit else 0)
        self._end(self._begin())
        self._check()
        if not hit:
            return None
        fell = (
            "after the first delete" if deletes else "among the uploads" if uploads else "before any request"
        )
        self.fell[fell] += 1
        return f"{fell} ({uploads} uploads, {deletes} deletes)"

    def _begin(self) -> Any:
        lease = self._lease()
        process = FORK.Process(target=sync, args=(self._source, self._manifest, self._log))
        process.start()
        while self._lease() == lease:
            if not process.is_alive():
                self._end(process)
            time.sleep(0.002)
        return process

    def _end(self, process: Any) -> None:
        process.join(300)
        if process.exitcode != 0:
            raise SystemExit(
                f"{self._log.read_text()[-3000:]}\ncrash-sync: FAILED: a run ended with {process.exitcode}"
            )

    def _check(self) -> None:
        records = [vector(each, version) for each, version in self._versions.items()]
        if contents(self._client) != wanted([*records, self._foreign]):
            raise SystemExit("crash-sync: FAILED: after a kill and one more run the index is not the source")

    def _lease(self) -> str:
        return max((file.name for file in self._manifest.glob("lease-*")), default="")

    def _requests(self) -> tuple[int, int]:
        stats: Any = self._emulator.order("GET", "stats")
        return tuple(stats.get(each, {}).get("requests", 0) for each in SLOW)  # type: ignore[return-value]  # two


@contextmanager
def _emulator(folder: Path) -> Iterator[Emulator]:
    running = Emulator(folder)
    try:
        yield running
    finally:
        running.kill()


def main(kills: int) -> None:
    with tempfile.TemporaryDirectory() as name, _emulator(Path(name)) as emulator:
        os.environ |= {
            "AIRFLOW_HOME": name,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW_CONN_VECTORIZE_DEFAULT": f"vectorize://{ACCOUNT}:{TOKEN}@127.0.0.1:{emulator.port}/http",
        }
        subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
        for module in ONCE:
            with suppress(ImportError):  # of another version of Airflow
                import_module(module)
        logging.disable(logging.CRITICAL)
        sweep = Sweep(Path(name), emulator)
        slow = [
            {"operation": each, "kind": "slow-body", "bytes_per_second": rate, "times": 10**9}
            for each, rate in SLOW.items()
        ]
        emulator.order("PUT", "visibility", {"mode": "immediate"})
        emulator.order("POST", "faults", slow)
        sweep.begin()
        for number in range(1, kills + 1):
            while (fell := sweep.kill(number)) is None:
                pass
            print(f"{number:3}. killed {fell}; one more run: index = source", flush=True)
    fell = ", ".join(f"{count} {when}" for when, count in sweep.fell.most_common())
    print(f"crash-sync: ok: {kills} SIGKILLs ({fell}); after each one more run made the index the source")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else KILLS)
