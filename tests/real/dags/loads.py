"""Loads from a source. The run's conf names the connection, the source and the folder for the rejects."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator


def load(dag_id: str, **kwargs: Any) -> None:
    with DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False):
        VectorizeUpsertOperator(
            task_id="load",
            index_name="docs",
            conn_id="{{ dag_run.conf.conn_id }}",
            source="{{ dag_run.conf.source }}",
            rejects_path="{{ dag_run.conf.rejects }}",
            on_invalid="reject",
            max_rejects=1_000,
            max_batch_vectors=50,
            max_in_flight=4,
            retry_delay=timedelta(0),
            **kwargs,
        )


load("load", retries=1)
load("limited_load", execution_timeout=timedelta(seconds=10))
load("tested_load")
