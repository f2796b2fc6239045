"""An index for as long as the run needs it: declared, loaded, asked, and deleted again, whatever happens in between."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_vectorize.operators.index import (
    VectorizeCreateIndexOperator,
    VectorizeDeleteIndexOperator,
)
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.operators.vectors import VectorizeDeleteOperator, VectorizeQueryOperator

INDEX = "scratch"
DATA = Path(__file__).parent / "data" / "passages.ndjson"

with DAG(
    "example_vectorize_index",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["example", "vectorize"],
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

    # [START howto_delete]
    forget = VectorizeDeleteOperator(
        task_id="forget", index_name=INDEX, ids=["birds-01"], wait_for_completion=True, poll_interval=5
    )
    # [END howto_delete]

    # [START howto_filter]
    ask = VectorizeQueryOperator(
        task_id="ask",
        index_name=INDEX,
        vector_id="oceans-04",
        filter={"topic": {"$in": ["weather", "birds"]}},
    )
    # [END howto_filter]

    create_index >> load >> forget >> ask >> delete_index.as_teardown(setups=create_index)
