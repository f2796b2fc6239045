"""Keep an index true to its source: load what changed, delete what went away, and read a sample back."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_vectorize.operators.index import VectorizeCreateIndexOperator
from airflow_provider_vectorize.operators.sync import VectorizeSyncOperator, VectorizeVerifyOperator

INDEX = "synced"
DATA = Path(__file__).parent / "data" / "passages.ndjson"
#: In production a folder of your object storage, such as s3://my_conn@bucket/manifests/passages.
MANIFEST = "{{ var.value.get('vectorize_manifest', '" + tempfile.gettempdir() + "/vectorize-manifest') }}"

with DAG(
    "example_vectorize_sync",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["example", "vectorize"],
):
    create_index = VectorizeCreateIndexOperator(
        task_id="create_index", index_name=INDEX, dimensions=384, metric="cosine"
    )

    # [START howto_sync]
    sync = VectorizeSyncOperator(
        task_id="sync",
        index_name=INDEX,
        source=str(DATA),
        manifest=MANIFEST,
        wait_for_completion=True,
        verify="sample",
        verify_sample=100,
    )
    # [END howto_sync]

    # [START howto_verify]
    verify = VectorizeVerifyOperator(
        task_id="verify", index_name=INDEX, source=str(DATA), verify="all", ids=True
    )
    # [END howto_verify]

    create_index >> sync >> verify
