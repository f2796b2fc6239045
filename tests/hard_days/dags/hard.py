"""A load that has to stand hard days. The run's conf names its source and the folder for the rejects."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator

with DAG("hard", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
    VectorizeUpsertOperator(
        task_id="load",
        index_name="docs",
        source="{{ dag_run.conf.source }}",
        rejects_path="{{ dag_run.conf.rejects }}",
        on_invalid="reject",
        max_rejects=1_000,
        max_batch_vectors=20,
        wait_for_completion=True,
        deferrable=True,
        poll_interval=1,
        completion_timeout=90,
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
