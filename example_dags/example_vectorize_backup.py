"""Save an index to files, and load them into another one: a backup, a move, a copy to try things on.

The folder is named by the Airflow variable ``vectorize_backups``; it may as well be an ``s3://`` path.
"""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_vectorize.operators.index import VectorizeCreateIndexOperator
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.operators.vectors import VectorizeExportOperator

with DAG(
    "example_vectorize_backup",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["example", "vectorize"],
):
    # [START howto_backup]
    backup = VectorizeExportOperator(
        task_id="backup",
        index_name="passages",
        output_path="{{ var.value.vectorize_backups }}/{{ run_id }}",
        retries=3,
    )

    create_index = VectorizeCreateIndexOperator(
        task_id="create_index",
        index_name="passages-restored",
        dimensions=384,
        metric="cosine",
        metadata_indexes={"topic": "string"},
    )

    restore = VectorizeUpsertOperator(
        task_id="restore",
        index_name="passages-restored",
        source="{{ ti.xcom_pull('backup')['source'] }}",
        wait_for_completion=True,
        poll_interval=5,
    )
    # [END howto_backup]

    [backup, create_index] >> restore
