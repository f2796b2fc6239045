"""Many waits on one index. The run's conf names the connection and the mutations."""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_vectorize.sensors.vectorize import VectorizeMutationSensor


@task
def mutation_ids(dag_run: Any = None) -> list[str]:
    return list(dag_run.conf["mutation_ids"])


with DAG("many_waits", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False):
    VectorizeMutationSensor.partial(
        task_id="wait",
        index_name="docs",
        conn_id="{{ dag_run.conf.conn_id }}",
        deferrable=True,
        poke_interval=10,
        timeout=600,
        pool="many",
    ).expand(mutation_id=mutation_ids())
