"""Load a file of embeddings, wait until they can be seen, and ask for the nearest passages."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_vectorize.operators.index import VectorizeCreateIndexOperator
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.operators.vectors import VectorizeQueryOperator
from airflow_provider_vectorize.sensors.vectorize import VectorizeMutationSensor

INDEX = "passages"
DATA = Path(__file__).parent / "data" / "passages.ndjson"

with DAG(
    "example_vectorize_upsert",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["example", "vectorize"],
):
    create_index = VectorizeCreateIndexOperator(
        task_id="create_index", index_name=INDEX, dimensions=384, metric="cosine"
    )

    # [START howto_upsert]
    upsert = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, source=str(DATA))

    wait = VectorizeMutationSensor(
        task_id="wait", index_name=INDEX, mutation_id=upsert.output, poke_interval=5, timeout=600
    )
    # [END howto_upsert]

    # [START howto_query]
    # Ask with a stored vector: which passages are nearest to this one?
    query = VectorizeQueryOperator(
        task_id="query", index_name=INDEX, vector_id="oceans-04", top_k=5, return_metadata="all"
    )
    # [END howto_query]

    create_index >> upsert >> wait >> query
