"""Deferred waits in a real triggerer: what ends them, what does not, and what is left of them."""

from __future__ import annotations

import time

import pytest

from tests.real.conftest import INDEX, TOKEN, Api
from tests.real.live import Airflow, wait_until

POLLS = ("index_info", "get_by_ids")


def polled(api: Api, times: int = 2) -> None:
    """Wait for some more polls."""
    before = api.count(*POLLS)
    wait_until(lambda: api.count(*POLLS) >= before + times, "the triggerer polls")


def test_the_sensor_and_the_operator_wait_in_the_triggerer(airflow: Airflow, api: Api):
    api.emulator.set_visibility("manual")
    run = airflow.trigger("waits", conn_id=api.conn_id)
    for task_id in ("sensor", "operator"):
        run.wait_for(task_id, "deferred")
    polled(api)
    api.emulator.apply()
    for task_id in ("sensor", "operator"):
        assert run.wait_for(task_id, "success")["try_number"] == 1
    assert run.xcom("sensor") == run.xcom("upsert")
    assert api.client.index_info(INDEX).vector_count == 3
