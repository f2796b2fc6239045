"""Chunks of documents, embedded and loaded as they come: a generator that is a task.

Here the embeddings are looked up among stored ones; in a DAG of your own, call the model instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_vectorize.decorators.vectorize import vectorize_upsert_task
from airflow_provider_vectorize.operators.index import VectorizeCreateIndexOperator
from airflow_provider_vectorize.operators.vectors import VectorizeQueryOperator

INDEX = "rag"
DATA = Path(__file__).parent / "data" / "passages.ndjson"


def embed(texts: list[str]) -> list[list[float]]:
    """Stand in for a call of an embedding model."""
    stored = {record["metadata"]["text"]: record["values"] for record in map(json.loads, DATA.open())}
    return [stored[text] for text in texts]


with DAG(
    "example_vectorize_rag",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["example", "vectorize"],
):
    create_index = VectorizeCreateIndexOperator(
        task_id="create_index",
        index_name=INDEX,
        dimensions=384,
        metric="cosine",
        metadata_indexes={"topic": "string"},
    )

    # [START howto_rag]
    @task
    def chunk() -> list[dict[str, Any]]:
        """Stand in for the task that reads documents and cuts them: small texts go by XCom, vectors never do."""
        records = [json.loads(line) for line in DATA.open()]
        return [{"id": each["id"], **each["metadata"]} for each in records]

    # The same as @task.vectorize_upsert(...); imported, editors know its parameters.
    @vectorize_upsert_task(index_name=INDEX, wait_for_completion=True, poll_interval=5)
    def load(chunks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for start in range(0, len(chunks), 16):
            batch = list(chunks[start : start + 16])
            for each, values in zip(batch, embed([each["text"] for each in batch]), strict=True):
                yield {
                    "id": each["id"],
                    "values": values,
                    "metadata": {"text": each["text"], "topic": each["topic"]},
                }

    # [END howto_rag]

    ask = VectorizeQueryOperator(
        task_id="ask", index_name=INDEX, vector_id="oceans-04", top_k=3, return_metadata="all"
    )

    loaded = load(chunk())
    create_index >> loaded >> ask
