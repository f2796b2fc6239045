"""One task makes vectors, the next upserts what it returned, the last takes the mutation id."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_vectorize.operators.index import VectorizeCreateIndexOperator
from airflow_provider_vectorize.operators.vectorize import VectorizeInsertOperator, VectorizeUpsertOperator

INDEX = "colours"

with DAG(
    "example_vectorize_xcom",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["example", "vectorize"],
):
    create_index = VectorizeCreateIndexOperator(
        task_id="create_index", index_name=INDEX, dimensions=32, metric="cosine"
    )

    # [START howto_xcom]
    @task
    def make_vectors() -> list[dict[str, Any]]:
        """Stand in for the task that calls an embedding model."""
        return [
            {
                "id": name,
                "values": [random.Random(f"{name}-{n}").uniform(-1, 1) for n in range(32)],
                "metadata": {"name": name},
            }
            for name in ("red", "green", "blue")
        ]

    vectors = make_vectors()
    upsert = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors)

    @task
    def note(mutation_id: str) -> str:
        print(f"accepted as mutation {mutation_id}")
        return mutation_id

    note(upsert.output)
    # [END howto_xcom]

    # [START howto_insert]
    # Adds what is new and leaves the colours that are there as they are.
    insert = VectorizeInsertOperator(
        task_id="insert",
        index_name=INDEX,
        vectors='{"id": "white", "values": [' + ", ".join(["1"] * 32) + "]}\n",
    )
    # [END howto_insert]

    create_index >> vectors
    upsert >> insert
