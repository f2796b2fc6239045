"""Run DAGs with OpenLineage switched on, in a process of their own: its settings are read once in each.

Arguments: a folder for the data. Its events go where the environment says.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_vectorize.assets import vectorize_index
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from tests import versions
from tests.surface.conftest import ACCOUNT, INDEX, ndjson, vectors

OUTLET = vectorize_index(ACCOUNT, INDEX)


def upsert(dag_id: str, folder: Path, records: list[dict], **kwargs) -> DAG:
    source = folder / f"{dag_id} 1.ndjson"
    source.write_text(ndjson(records))
    with DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        VectorizeUpsertOperator(
            task_id="load", index_name=INDEX, source=str(source), outlets=[OUTLET], **kwargs
        )
    return dag


def main(folder: Path) -> None:
    wait = {"wait_for_completion": True, "poll_interval": 1, "deferrable": True}
    bad = {"id": "c", "values": [1.0]}
    for dag in (
        upsert("green", folder, vectors("a", "b")),
        upsert("deferred", folder, vectors("d"), **wait),
        upsert("red", folder, [*vectors("a", "b"), bad], max_batch_vectors=1, max_in_flight=1),
    ):
        print(dag.dag_id, versions.run(dag).state)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
