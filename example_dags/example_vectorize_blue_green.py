"""Change a model, a dimension or a metric without an hour of wrong answers: blue and green.

Every run loads an index of its own and verifies it. Only then the pointer is switched, an Airflow Variable that names
the index in use and the one before, in one write: whoever asks reads it. The last task deletes what is neither. To go
back, write the Variable by hand, with the two names exchanged.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG, Variable, task

from airflow_provider_vectorize.operators.index import VectorizeCreateIndexOperator
from airflow_provider_vectorize.operators.sync import VectorizeVerifyOperator
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.operators.vectors import VectorizeQueryOperator

DATA = Path(__file__).parent / "data" / "passages.ndjson"
#: The Variable: {"active": "passages-...", "before": "passages-..."}.
POINTER = "vectorize_passages"
#: Of the indexes that belong to this DAG, and to nobody else.
PREFIX = "passages-"

with DAG(
    "example_vectorize_blue_green",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["example", "vectorize"],
):
    # [START howto_blue_green]
    @task
    def new_name() -> str:
        return f"{PREFIX}{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"

    @task
    def switch(index_name: str) -> None:
        active = Variable.get(POINTER, {}, deserialize_json=True).get("active")
        if active != index_name:  # a retry finds it done
            Variable.set(POINTER, {"active": index_name, "before": active}, serialize_json=True)

    @task
    def clean_up() -> list[str]:
        from airflow_provider_vectorize.hooks.vectorize import VectorizeHook

        hook = VectorizeHook()
        names = [index.name for index in hook.conn.list_indexes() if index.name.startswith(PREFIX)]
        # Read after the list, and red without a pointer: what is in use can never be among the stale.
        kept = Variable.get(POINTER, deserialize_json=True).values()
        stale = [name for name in names if name not in kept]
        for name in stale:
            hook.delete_index(name)
        return stale

    green = new_name()

    create_index = VectorizeCreateIndexOperator(
        task_id="create_index", index_name=green, dimensions=384, metric="cosine"
    )

    load = VectorizeUpsertOperator(
        task_id="load", index_name=green, source=str(DATA), wait_for_completion=True, poll_interval=5
    )

    verify = VectorizeVerifyOperator(
        task_id="verify", index_name=green, source=str(DATA), verify="all", ids=True
    )

    ask = VectorizeQueryOperator(
        task_id="ask", index_name="{{ var.json." + POINTER + ".active }}", vector_id="oceans-04"
    )

    create_index >> load >> verify >> switch(green) >> ask >> clean_up()
    # [END howto_blue_green]
