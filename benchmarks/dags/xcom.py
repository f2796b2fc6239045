"""What handing 5,000 vectors of 768 dimensions over by XCom costs beyond pulling and loading them; ``make bench-xcom``.

One DAG run in this process; the upload task times its own pull and its whole run, and a bare ingest of the same list,
on a warm emulator, is timed right after it. The figure is the median of 5 such runs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

if __name__ == "__main__":
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="vectorize-bench-")
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(Path(__file__).parent)
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

import numpy as np
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator

COUNT, DIMENSIONS = 5_000, 768
RUNS = 5
TIMES: dict[str, float] = {}


def make() -> list[dict[str, object]]:
    values = np.random.default_rng(0).standard_normal((COUNT, DIMENSIONS))
    return [{"id": f"v{number}", "values": row.tolist()} for number, row in enumerate(values)]


class TimedUpsert(VectorizeUpsertOperator):
    """Note how long the pull and the whole run take."""

    def execute(self, context):
        pulled = self.vectors.resolve
        begun = time.perf_counter()

        def resolve(context):
            begun = time.perf_counter()
            vectors = pulled(context)
            TIMES["pull"] = time.perf_counter() - begun
            return vectors

        object.__setattr__(self.vectors, "resolve", resolve)
        result = super().execute(context)
        TIMES["task"] = time.perf_counter() - begun
        return result


with DAG("xcom", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
    TimedUpsert(task_id="upsert", index_name="docs", vectors=task(make)())


def main() -> None:
    from airflow_provider_vectorize.client import VectorizeClient
    from airflow_provider_vectorize.emulator import Emulator
    from airflow_provider_vectorize.ingest import ingest

    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
    vectors = make()
    ratios = []
    with Emulator() as emulator:
        account, token = "0" * 32, "t" * 40
        os.environ["AIRFLOW_CONN_VECTORIZE_DEFAULT"] = (
            f"vectorize://{account}:{token}@127.0.0.1:{emulator.port}/http"
        )
        client = VectorizeClient(account, token, base_url=emulator.url)
        client.create_index("docs", dimensions=DIMENSIONS, metric="cosine")
        for _ in range(RUNS):
            assert dag.test().state == "success"
            begun = time.perf_counter()
            ingest(client, "docs", vectors)
            bare = time.perf_counter() - begun
            ratios.append(TIMES["task"] / (TIMES["pull"] + bare))
            print(
                f"task {TIMES['task']:.2f} s, of it pull {TIMES['pull']:.2f} s; bare ingest {bare:.2f} s; "
                f"ratio {ratios[-1]:.2f}",
                flush=True,
            )
    print(f"bench-xcom: median ratio of task to pull + bare ingest: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
