"""An index for as long as the run needs it: declared, loaded, asked, and deleted again, whatever happens in between."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.index import (
    VectorizeCreateIndexOperator,
    VectorizeDeleteIndexOperator,
)
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator

INDEX = "scratch"
DATA = Path(__file__).parent / "data" / "passages.ndjson"

with DAG(
    "example_vectorize_index",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["vectorize"],
):
    # [START howto_index]
    create_index = VectorizeCreateIndexOperator(
        task_id="create_index",
        index_name=INDEX,
        dimensions=384,
        metric="cosine",
        metadata_indexes={"topic": "string"},
    )

    delete_index = VectorizeDeleteIndexOperator(task_id="delete_index", index_name=INDEX)
    # [END howto_index]

    load = VectorizeUpsertOperator(
        task_id="load", index_name=INDEX, source=str(DATA), wait_for_completion=True, poll_interval=5
    )

    @task
    def ask() -> list[str]:
        matches = VectorizeHook().conn.query(INDEX, vector_id="oceans-04", filter={"topic": "weather"})
        return [match.id for match in matches]

    create_index >> load >> ask() >> delete_index.as_teardown(setups=create_index)
