"""Wait in the triggerer for files that somebody writes in place, then upsert them: no worker is held meanwhile.

The folder is the one that the Airflow variable ``vectorize_inbox`` names. Where nobody renames a file once it is whole,
``settled_seconds`` waits until size and time of change have been the same for that long.
"""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_vectorize.sensors.vectorize import VectorizeUpsertSensor

INDEX = "arriving"

with DAG(
    "example_vectorize_arriving",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["example", "vectorize"],
):
    # [START howto_arriving]
    upsert = VectorizeUpsertSensor(
        task_id="upsert",
        index_name=INDEX,
        source="{{ var.value.vectorize_inbox }}/{{ ds }}*.ndjson",
        deferrable=True,
        settled_seconds=60,
        poke_interval=20,
        timeout=6 * 60 * 60,
    )
    # [END howto_arriving]
