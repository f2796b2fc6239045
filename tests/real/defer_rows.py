"""Put the mapped tasks of a run that have not begun into the state that deferring brings about.

Run by the tests with the environment of their Airflow: ``defer_rows.py dag_id run_id targets.json``. It does what the
API server does when a task defers, without the second of CPU time that each task process costs.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

from airflow._shared.timezones import timezone
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select

from airflow_provider_vectorize.triggers.vectorize import VectorizeMutationTrigger


def main(dag_id: str, run_id: str, path: str) -> None:
    order = json.loads(Path(path).read_text())
    with create_session() as session:
        waiting = session.scalars(
            select(TaskInstance).where(
                TaskInstance.dag_id == dag_id,
                TaskInstance.run_id == run_id,
                TaskInstance.task_id == "wait",
                TaskInstance.state == TaskInstanceState.SCHEDULED,
            )
        ).all()
        for instance in waiting:
            row = Trigger.from_object(
                VectorizeMutationTrigger(
                    conn_id=order["conn_id"],
                    index_name=order["index_name"],
                    targets=[order["targets"][instance.map_index]],
                    deadline=time.time() + order["timeout"],
                    poll_interval=order["poll_interval"],
                    timeout=order["timeout"],
                )
            )
            session.add(row)
            session.flush()
            instance.state = TaskInstanceState.DEFERRED
            instance.trigger_id = row.id
            instance.next_method = "execute_complete"
            instance.next_kwargs = {}
            instance.trigger_timeout = timezone.utcnow() + timedelta(seconds=order["timeout"] + 60)
        print(len(waiting))


if __name__ == "__main__":
    main(*sys.argv[1:])
