"""Load many files side by side, and wait for all of them in the triggerer, without a worker."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_vectorize.operators.index import VectorizeCreateIndexOperator
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.sensors.vectorize import VectorizeMutationSensor

INDEX = "mapped"
DATA = Path(__file__).parent / "data"

with DAG(
    "example_vectorize_deferrable",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["example", "vectorize"],
):
    create_index = VectorizeCreateIndexOperator(
        task_id="create_index", index_name=INDEX, dimensions=384, metric="cosine"
    )

    @task
    def list_files() -> list[str]:
        return [str(path) for path in sorted(DATA.glob("*.ndjson"))]

    files = list_files()

    # [START howto_deferrable]
    upsert = VectorizeUpsertOperator.partial(task_id="upsert", index_name=INDEX).expand(source=files)

    # One wait for all of them, in the triggerer: no worker is held.
    wait = VectorizeMutationSensor(
        task_id="wait",
        index_name=INDEX,
        mutation_id=upsert.output,
        deferrable=True,
        poke_interval=10,
        timeout=600,
    )
    # [END howto_deferrable]

    create_index >> upsert >> wait
