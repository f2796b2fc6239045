"""Ask a person before vectors are deleted. Needs Airflow 3.1; on an older one this file holds no DAG.

What is asked about is what is deleted: both read the same list. Whoever says no, or nothing, keeps it all.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import DAG, task
from packaging.version import Version

from airflow_provider_vectorize.operators.vectors import VectorizeDeleteOperator

INDEX = "passages"
DATA = Path(__file__).parent / "data" / "passages.ndjson"

if Version(airflow_version) >= Version("3.1"):
    from airflow.providers.standard.operators.hitl import ApprovalOperator

    with DAG(
        "example_vectorize_approval",
        schedule=None,
        start_date=datetime(2026, 1, 1),
        catchup=False,
        max_active_runs=1,
        tags=["example", "vectorize"],
    ):
        # [START howto_approval]
        @task.short_circuit
        def find_stale() -> list[str]:
            """List what the index holds and the source has no more; nothing skips the rest."""
            from airflow_provider_vectorize.hooks.vectorize import VectorizeHook

            with DATA.open() as lines:
                wanted = {json.loads(line)["id"] for line in lines}
            return [each for each in VectorizeHook().conn.list_vectors(INDEX) if each not in wanted]

        stale = find_stale()

        approve = ApprovalOperator(
            task_id="approve",
            subject="Delete {{ ti.xcom_pull('find_stale') | length }} vectors of index " + INDEX + "?",
            body="{{ ti.xcom_pull('find_stale')[:20] | join(', ') }} ...",
        )

        delete = VectorizeDeleteOperator(
            task_id="delete",
            index_name=INDEX,
            ids=stale,
            max_deletes=1000,
            wait_for_completion=True,
            poll_interval=5,
        )

        stale >> approve >> delete
        # [END howto_approval]
