"""Load the whole export every night, and end only once it can be seen, even if it changes nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator

with DAG(
    "example_vectorize_nightly",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["example", "vectorize"],
):
    # [START howto_nightly]
    VectorizeUpsertOperator(
        task_id="load",
        index_name="nightly",
        source="{{ var.value.vectorize_export }}",
        on_invalid="reject",
        max_rejects=100,
        rejects_path="{{ var.value.vectorize_rejects }}/{{ ds }}",
        wait_for_completion=True,
        sentinel=True,
        deferrable=True,
        poll_interval=10,
        completion_timeout=30 * 60,
    )
    # [END howto_nightly]
