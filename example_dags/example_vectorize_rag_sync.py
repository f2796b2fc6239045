"""Documents that change: only new and changed text is embedded, and what went away is deleted.

Here the embeddings are looked up among stored ones; in a DAG of your own, call the model instead.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_vectorize.decorators.vectorize import vectorize_sync_task
from airflow_provider_vectorize.operators.index import VectorizeCreateIndexOperator

INDEX = "rag_synced"
#: In production a folder of your object storage, such as s3://my_conn@bucket/manifests.
MANIFEST = "{{ var.value.get('vectorize_manifest', '" + tempfile.gettempdir() + "/vectorize-manifest') }}/rag"
DATA = Path(__file__).parent / "data" / "passages.ndjson"


def embed(text: str) -> list[float]:
    """Stand in for a call of an embedding model."""
    print(f"Embedding: {text[:40]}")
    values: list[float]
    [values] = [each["values"] for each in map(json.loads, DATA.open()) if each["metadata"]["text"] == text]
    return values


with DAG(
    "example_vectorize_rag_sync",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["example", "vectorize"],
):
    create_index = VectorizeCreateIndexOperator(
        task_id="create_index", index_name=INDEX, dimensions=384, metric="cosine"
    )

    # [START howto_rag_sync]
    @task
    def chunk() -> list[dict[str, Any]]:
        """Stand in for the task that reads documents and cuts them."""
        records = [json.loads(line) for line in DATA.open()]
        return [{"id": each["id"], "text": each["metadata"]["text"]} for each in records[:60]]

    # The same as @task.vectorize_sync(...); imported, editors know its parameters.
    @vectorize_sync_task(
        index_name=INDEX,
        manifest=MANIFEST,
        changed_by="metadata.content_hash",
        wait_for_completion=True,
        poll_interval=5,
        verify="sample",
    )
    def sync(chunks: list[dict[str, Any]], known: Any = None) -> Iterator[dict[str, Any]]:
        for each in chunks:
            content_hash = sha256(each["text"].encode()).hexdigest()
            if not known.unchanged(each["id"], content_hash):
                yield {
                    "id": each["id"],
                    "values": embed(each["text"]),
                    "metadata": {"text": each["text"], "content_hash": content_hash},
                }

    # [END howto_rag_sync]

    create_index >> sync(chunk())
