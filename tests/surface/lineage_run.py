"""Run DAGs with OpenLineage switched on, in a process of their own: its settings are read once in each.

Arguments: a folder for the data. Its events go where the environment says.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import requests
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_vectorize.assets import vectorize_index
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.sync import VectorizeSyncOperator
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.operators.vectors import VectorizeDeleteOperator, VectorizeExportOperator
from tests import versions
from tests.surface.conftest import ACCOUNT, INDEX, ndjson, vectors

WAIT = {"wait_for_completion": True, "poll_interval": 1, "deferrable": True}
PERMANENT = {"kind": "status", "status": 400}


class Bench:
    """Makes DAGs of one task, and runs them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.client = VectorizeHook().conn

    def run(self, dag_id: str, operator: type, records: list | None = None, **kwargs) -> None:
        if records is not None:
            source = self._folder / f"{dag_id} 1.ndjson"
            source.write_text(ndjson(records))
            kwargs["source"] = str(source)
        with DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
            operator(task_id="load", index_name=INDEX, outlets=[vectorize_index(ACCOUNT, INDEX)], **kwargs)
        print(dag.dag_id, versions.run(dag).state)

    def upload(self, *ids: str) -> None:
        VectorizeHook().wait_for_mutation(INDEX, VectorizeHook().upsert(INDEX, vectors=vectors(*ids)))

    def fail_second(self, operation: str) -> None:
        """Let the second request of an operation be refused for good."""
        url = f"{self.client.base_url.removesuffix('/client/v4')}/_emulator/faults"
        first = {"kind": "slow-body", "bytes_per_second": 10**9}
        orders = [order | {"operation": operation} for order in (first, PERMANENT)]
        requests.post(url, json=orders, timeout=10).raise_for_status()

    def folder(self, name: str) -> str:
        return str(self._folder / name)


def main(folder: Path) -> None:
    bench, bad = Bench(folder), {"id": "c", "values": [1.0]}
    manifest = {"manifest": bench.folder("manifest"), "max_delete_fraction": 1}
    # Airflow's own lineage, which counts where ours is silent, gathers in a process: nothing was loaded yet.
    bench.run("sync_dry", VectorizeSyncOperator, vectors("s"), dry_run=True, **manifest)

    bench.run("green", VectorizeUpsertOperator, vectors("a", "b"))
    bench.run("deferred", VectorizeUpsertOperator, vectors("d"), **WAIT)
    alone = {"max_batch_vectors": 1, "max_in_flight": 1}
    bench.run("red", VectorizeUpsertOperator, [*vectors("a", "b"), bad], **alone)

    many = [f"m{number:03}" for number in range(150)]
    bench.upload(*many)
    bench.run("export", VectorizeExportOperator, output_path=folder / "export", requests_per_minute=12_000)
    bench.fail_second("get_by_ids")
    bench.run(
        "export_red", VectorizeExportOperator, output_path=folder / "export red", requests_per_minute=12_000
    )

    bench.run("delete", VectorizeDeleteOperator, [{"id": "a"}, {"id": "b"}])
    bench.run("delete_deferred", VectorizeDeleteOperator, [{"id": "d"}], **WAIT)
    bench.fail_second("delete_by_ids")
    bench.run("delete_red", VectorizeDeleteOperator, [{"id": id_} for id_ in many], max_in_flight=1)

    bench.run("sync", VectorizeSyncOperator, vectors("s", "t"), **manifest)
    bench.run("sync_deferred", VectorizeSyncOperator, vectors("t", "u"), **manifest, **WAIT)
    bench.run("sync_red", VectorizeSyncOperator, [*vectors("v", "w"), bad], **manifest, **alone)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
