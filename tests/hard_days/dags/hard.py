"""A load and a sync that have to stand hard days. The run's conf names the source, and the folder for what is kept."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_vectorize.operators.sync import VectorizeSyncOperator
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator

START = datetime(2026, 1, 1, tzinfo=UTC)

with DAG("hard", schedule=None, start_date=START):
    VectorizeUpsertOperator(
        task_id="load",
        index_name="docs",
        source="{{ dag_run.conf.source }}",
        rejects_path="{{ dag_run.conf.folder }}",
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

with DAG("hard_sync", schedule=None, start_date=START):
    VectorizeSyncOperator(
        task_id="load",
        index_name="docs",
        source="{{ dag_run.conf.source }}",
        manifest="{{ dag_run.conf.folder }}",
        on_invalid="reject",
        max_rejects=1_000,
    )
