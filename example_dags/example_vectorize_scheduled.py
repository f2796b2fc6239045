"""Every day, wait for the day's file, upsert it, and wait until it can be seen.

The files are expected in the folder that the Airflow variable ``vectorize_inbox`` names, one a day; it may as well be
an ``s3://`` path. A file must be whole once it is there: an object store sees to that, elsewhere write it under another
name and rename it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_vectorize.sensors.vectorize import VectorizeMutationSensor, VectorizeUpsertSensor

INDEX = "daily"

with DAG(
    "example_vectorize_scheduled",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["example", "vectorize"],
):
    # [START howto_scheduled]
    upsert = VectorizeUpsertSensor(
        task_id="upsert",
        index_name=INDEX,
        source="{{ var.value.vectorize_inbox }}/{{ ds }}.ndjson.gz",
        mode="reschedule",
        poke_interval=300,
        timeout=6 * 60 * 60,
    )

    wait = VectorizeMutationSensor(
        task_id="wait",
        index_name=INDEX,
        mutation_id=upsert.output,
        mode="reschedule",
        poke_interval=30,
        timeout=30 * 60,
    )
    # [END howto_scheduled]

    upsert >> wait
