"""Loads to look at in a browser: a mapped one that is green, and one that is red."""

from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_vectorize.assets import vectorize_index
from airflow_provider_vectorize.emulator.instance import ANY_ACCOUNT
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator

START = datetime(2026, 1, 1, tzinfo=UTC)
DATA = Path(__file__).parent / "data"

with DAG("mapped_load", schedule=None, start_date=START, tags=["vectorize"]):
    VectorizeUpsertOperator.partial(
        task_id="load",
        index_name="passages",
        wait_for_completion=True,
        deferrable=True,
        poll_interval=1,
        outlets=[vectorize_index(ANY_ACCOUNT, "passages")],
    ).expand(source=[str(path) for path in sorted((DATA / "parts").glob("*.ndjson"))])

with DAG("red_load", schedule=None, start_date=START, tags=["vectorize"]):
    VectorizeUpsertOperator(task_id="load", index_name="passages", source=str(DATA / "bad.ndjson"))
