"""Loads for many workers. The run's conf names the folder of the files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.sensors.vectorize import VectorizeMutationSensor

START = datetime(2026, 1, 1, tzinfo=UTC)


@task
def files(dag_run: Any = None) -> list[str]:
    return sorted(map(str, Path(dag_run.conf["folder"]).glob("*.ndjson")))


@task
def pieces(dag_run: Any = None) -> list[dict[str, Any]]:
    return VectorizeHook().split(dag_run.conf["file"], parts=8)


@task
def many_uploads() -> list[dict[str, Any]]:
    hook = VectorizeHook()
    return [
        hook.upsert("docs", vectors=[{"id": f"many-{number}", "values": [float(number)] * 32}]).to_dict()
        for number in range(400)
    ]


def uploads(source: Any, pool: str = "default_pool") -> None:
    VectorizeUpsertOperator.partial(
        task_id="load",
        index_name="docs",
        max_batch_vectors=50,
        wait_for_completion=True,
        deferrable=True,
        poll_interval=2,
        retries=3,
        retry_delay=timedelta(0),
        pool=pool,
    ).expand(source=source)


with DAG("free", schedule=None, start_date=START):
    uploads(files())

with DAG("pooled", schedule=None, start_date=START):
    uploads(files(), pool="vectorize")

with DAG("one_big_file", schedule=None, start_date=START):
    uploads(pieces())

with DAG("many_waits", schedule=None, start_date=START):
    VectorizeMutationSensor(
        task_id="wait",
        index_name="docs",
        mutation_id=many_uploads(),
        deferrable=True,
        poke_interval=2,
        timeout=300,
    )
