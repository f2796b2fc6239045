"""What Airflow's versions spell differently, as far as the tests need it. The package itself needs none of this."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import airflow
from airflow.providers.common.compat.sdk import DAG
from airflow.utils.session import create_session

AIRFLOW = tuple(int(part) for part in airflow.__version__.split(".")[:2])

if AIRFLOW >= (3, 2):
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization
else:
    from airflow.models.dagbag import DagBag
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization

if AIRFLOW >= (3,):
    from airflow.sdk._shared.secrets_masker import SecretsMasker
    from airflow.sdk.bases.operator import ExecutorSafeguard
else:
    from airflow.models.baseoperator import ExecutorSafeguard
    from airflow.utils.log.secrets_masker import SecretsMasker

ExecutorSafeguard.test_mode = True  # tests execute operators by themselves

if (3,) <= AIRFLOW < (3, 3):
    # `dag.test()` makes an API server for each task, in two seconds; from 3.3 on it keeps the first, as here.
    from airflow.sdk.execution_time import supervisor

    supervisor.in_process_api_server = cache(supervisor.in_process_api_server)

__all__ = [
    "AIRFLOW",
    "DagBag",
    "ExecutorSafeguard",
    "SecretsMasker",
    "run",
    "serialize",
    "serialized",
    "xcoms",
]


def run(dag: DAG, logical_date: datetime | None = None) -> Any:
    """Run a DAG in this process, and give its run."""
    _register(dag)
    if logical_date is None:
        return dag.test()
    return dag.test(**{"logical_date" if AIRFLOW >= (3,) else "execution_date": logical_date})


def serialize(kwargs: dict[str, Any]) -> str:
    """Give the arguments of a trigger as the metadata database keeps them at their longest."""
    from airflow.models.trigger import Trigger

    return str(Trigger(classpath="of no matter", kwargs=kwargs).encrypted_kwargs)


def _register(dag: DAG) -> None:
    # Airflow 3 runs what it knows from a bundle only; Airflow 2 runs any DAG, but emits no event of an asset that it
    # does not know.
    if AIRFLOW < (3,):
        dag.sync_to_db()
        return
    if AIRFLOW >= (3, 2):
        from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    else:
        from airflow.models.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    DagBundlesManager().sync_bundles_to_db()
    home = Path(os.environ["AIRFLOW_HOME"])
    bag = BundleDagBag(dag_folder=os.devnull, bundle_path=home)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)


def serialized(dag: DAG) -> str:
    """Give the DAG as it is stored in the metadata database."""
    return json.dumps(DagSerialization.to_dict(dag))


def xcoms(instance: Any) -> dict[str, Any]:
    """Give the XComs of a task instance from the metadata database, by key."""
    if AIRFLOW >= (3,):
        from airflow.models.xcom import XComModel
    else:
        from airflow.models.xcom import BaseXCom as XComModel

    names = ("dag_id", "run_id", "task_id", "map_index")
    with create_session() as session:
        where = {name: getattr(instance, name) for name in names}
        rows = session.query(XComModel).filter_by(**where).all()
        return {row.key: XComModel.deserialize_value(row) if AIRFLOW >= (3,) else row.value for row in rows}


@contextmanager
def answering(dag_id: str, option: str) -> Iterator[None]:
    """Answer what a run of a DAG asks a person."""
    if AIRFLOW < (3, 3):  # its `dag.test()` runs the trigger, and has no answer for it
        name = "airflow.providers.standard.triggers.hitl.get_hitl_detail_content_detail"
        answer = SimpleNamespace(
            response_received=True,
            chosen_options=[option],
            params_input={},
            responded_at=datetime.now(UTC),
            responded_by_user=SimpleNamespace(id="1", name="tests"),
        )
        with patch(name, lambda ti_id: answer):
            yield
        return
    with ThreadPoolExecutor(1) as somebody:
        answered = somebody.submit(_answer, dag_id, option)
        yield
    answered.result()


def _answer(dag_id: str, option: str) -> None:
    """As Airflow's API does, once the task waits."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import handle_event_submit
    from airflow.triggers.base import TriggerEvent

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with create_session() as session:
            waiting = session.query(TaskInstance).filter_by(dag_id=dag_id, state="awaiting_input")
            if instance := waiting.one_or_none():
                detail = session.get(HITLDetail, instance.id)
                detail.chosen_options, detail.responded_at = [option], datetime.now(UTC)
                event = TriggerEvent(detail.as_resume_event_payload())
                handle_event_submit(event, task_instance=instance, session=session)
                return
        time.sleep(0.1)
    raise TimeoutError(f"{dag_id} has asked nothing")


def question(instance: Any) -> tuple[str, str]:
    """Give the subject and the body of what a task instance has asked a person."""
    from airflow.models.hitl import HITLDetail

    with create_session() as session:
        detail = session.get(HITLDetail, instance.id)
        return detail.subject, detail.body


def asset_events(instance: Any) -> list[dict[str, Any]]:
    """Give the extras of the asset events that a task instance has emitted."""
    if AIRFLOW >= (3,):
        from airflow.models.asset import AssetEvent
    else:
        from airflow.models.dataset import DatasetEvent as AssetEvent

    where = {
        "source_dag_id": instance.dag_id,
        "source_run_id": instance.run_id,
        "source_task_id": instance.task_id,
    }
    with create_session() as session:
        return [event.extra for event in session.query(AssetEvent).filter_by(**where)]
