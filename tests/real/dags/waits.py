"""Waits in the triggerer. The run's conf names the connection and the mutation."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.sensors.vectorize import VectorizeMutationSensor

VECTORS = [{"id": f"v{n}", "values": [float(n + place) for place in range(32)]} for n in range(3)]
# More than enough for a triggerer to be killed and started again.
LONG = 120


def upsert(task_id: str, **kwargs: Any) -> VectorizeUpsertOperator:
    return VectorizeUpsertOperator(
        task_id=task_id, index_name="docs", conn_id="{{ dag_run.conf.conn_id }}", vectors=VECTORS, **kwargs
    )


def sensor(task_id: str, mutation_id: Any, **kwargs: Any) -> VectorizeMutationSensor:
    settings: dict[str, Any] = {
        "index_name": "docs",
        "conn_id": "{{ dag_run.conf.conn_id }}",
        "poke_interval": 1,
        "timeout": LONG,
        "deferrable": True,
        "retries": 2,
        "retry_delay": timedelta(0),
    }
    return VectorizeMutationSensor(task_id=task_id, mutation_id=mutation_id, **(settings | kwargs))


def dag(dag_id: str) -> DAG:
    return DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False)


def load(dag_id: str, **kwargs: Any) -> None:
    """Load the run's source, and wait for it in the worker."""
    with dag(dag_id):
        VectorizeUpsertOperator(
            task_id="load",
            index_name="docs",
            conn_id="{{ dag_run.conf.conn_id }}",
            source="{{ dag_run.conf.source }}",
            wait_for_completion=True,
            deferrable=False,
            poll_interval=1,
            retry_delay=timedelta(0),
            **kwargs,
        )


@task
def sources(dag_run: Any = None) -> list[str]:
    return list(dag_run.conf["sources"])


load("worker_wait", completion_timeout=LONG, retries=1)
load("short_wait", completion_timeout=3)

with dag("mapped"):
    mapped = VectorizeUpsertOperator.partial(
        task_id="upsert", index_name="docs", conn_id="{{ dag_run.conf.conn_id }}"
    ).expand(source=sources())
    sensor("sensor", mapped.output)

with dag("waits"):
    first = upsert("upsert")
    sensor("sensor", first.output)
    upsert(
        "operator",
        wait_for_completion=True,
        deferrable=True,
        poll_interval=1,
        completion_timeout=LONG,
        retries=2,
        retry_delay=timedelta(0),
    )

with dag("one_wait"):
    sensor("sensor", "{{ dag_run.conf.mutation_id }}", pool="one")

with dag("deadlines"):
    first = upsert("upsert")
    sensor("sensor", first.output, timeout=5)
    sensor("soft_sensor", first.output, timeout=5, soft_fail=True)
    upsert(
        "operator",
        wait_for_completion=True,
        deferrable=True,
        poll_interval=1,
        completion_timeout=5,
        retries=2,
        retry_delay=timedelta(0),
    )
