"""Deferred waits in a real triggerer: what ends them, what does not, and what is left of them."""

from __future__ import annotations

import time

import pytest

from tests.real.conftest import INDEX, Api
from tests.real.live import Airflow, Run, wait_until

POLLS = ("index_info", "get_by_ids")
#: Several intervals of the waits, which are a second.
QUIET_SECONDS = 4.0
#: The pool of the DAG one_wait.
ONE_POOL = "one"


def polls(api: Api) -> int:
    return api.count(*POLLS)


def polled(api: Api, times: int = 2) -> None:
    """Wait for some more polls."""
    before = polls(api)
    wait_until(lambda: polls(api) >= before + times, "the triggerer polls")


def quiet(api: Api) -> None:
    """Wait until nobody polls any more."""
    wait_until(
        lambda: time.time() - api.emulator.log()[-1]["time"] > QUIET_SECONDS, "nobody polls any more", 30
    )


def waiting(airflow: Airflow, dag_id: str, *task_ids: str, **conf: str) -> Run:
    """Start a run, and wait until these tasks of it wait in the triggerer."""
    run = airflow.trigger(dag_id, **conf)
    for task_id in task_ids:
        run.wait_for(task_id, "deferred")
    return run


def ends_at_first_try(run: Run, task_id: str, state: str) -> None:
    assert run.wait_for(task_id, state)["try_number"] == 1


def test_the_sensor_and_the_operator_wait_in_the_triggerer(airflow: Airflow, api: Api):
    api.emulator.set_visibility("manual")
    run = waiting(airflow, "waits", "sensor", "operator", conn_id=api.conn_id)
    polled(api)
    api.emulator.apply()
    ends_at_first_try(run, "sensor", "success")
    ends_at_first_try(run, "operator", "success")
    assert run.xcom("sensor") == run.xcom("upsert")
    assert api.client.index_info(INDEX).vector_count == 3
    quiet(api)


def test_the_deadline_uses_no_retries_and_soft_fail_skips(airflow: Airflow, api: Api):
    api.emulator.set_visibility("manual")
    run = airflow.trigger("deadlines", conn_id=api.conn_id)
    ends_at_first_try(run, "sensor", "failed")
    ends_at_first_try(run, "operator", "failed")
    ends_at_first_try(run, "soft_sensor", "skipped")
    for task_id in ("sensor", "operator", "soft_sensor"):
        assert "could not be seen within 5 s" in run.log(task_id)
    quiet(api)


def test_waits_outlive_the_triggerer(airflow: Airflow, api: Api):
    api.emulator.set_visibility("manual")
    run = waiting(airflow, "waits", "sensor", "operator", conn_id=api.conn_id)
    polled(api)
    airflow.kill_component("triggerer")
    api.emulator.clear_log()
    airflow.start_component("triggerer")
    polled(api)
    api.emulator.apply()
    ends_at_first_try(run, "sensor", "success")
    ends_at_first_try(run, "operator", "success")
    quiet(api)


def test_a_deadline_that_passes_while_no_triggerer_runs(airflow: Airflow, api: Api):
    api.emulator.set_visibility("manual")
    airflow.kill_component("triggerer")
    run = waiting(airflow, "deadlines", "sensor", "operator", "soft_sensor", conn_id=api.conn_id)
    api.client.upsert(INDEX, b'{"id": "theirs", "values": [' + b",".join([b"1"] * 32) + b"]}\n")
    deadline = time.time() + 5
    wait_until(lambda: time.time() > deadline, "the deadline has passed")
    airflow.start_component("triggerer")
    ends_at_first_try(run, "sensor", "failed")
    ends_at_first_try(run, "operator", "failed")
    ends_at_first_try(run, "soft_sensor", "skipped")
    for task_id in ("sensor", "operator", "soft_sensor"):
        assert "could not be seen within 5 s" in run.log(task_id)


def test_what_became_visible_while_no_triggerer_ran_is_seen_although_the_deadline_has_passed(
    airflow: Airflow, api: Api
):
    api.emulator.set_visibility("manual")
    airflow.kill_component("triggerer")
    run = waiting(airflow, "deadlines", "sensor", "operator", conn_id=api.conn_id)
    api.emulator.apply()
    deadline = time.time() + 5
    wait_until(lambda: time.time() > deadline, "the deadline has passed")
    airflow.start_component("triggerer")
    ends_at_first_try(run, "sensor", "success")
    ends_at_first_try(run, "operator", "success")


def test_a_token_that_is_rotated_while_they_wait(airflow: Airflow, api: Api):
    api.emulator.set_visibility("manual")
    conn_id = api.connect(airflow, "rotated", "tok_before_0123456789abcdefghijklmnopqrst")
    run = waiting(airflow, "waits", "sensor", "operator", conn_id=conn_id)
    polled(api)
    api.connect(airflow, conn_id, "tok_after_0123456789abcdefghijklmnopqrstu")
    api.emulator.revoke("tok_before_0123456789abcdefghijklmnopqrst")
    wait_until(lambda: 401 in statuses(api), "the old token was refused")
    wait_until(lambda: statuses(api)[-1] == 200, "the new token is used")
    api.emulator.apply()
    ends_at_first_try(run, "sensor", "success")
    ends_at_first_try(run, "operator", "success")


def test_a_revoked_token_fails_its_wait_and_disturbs_no_other(airflow: Airflow, api: Api):
    api.emulator.set_visibility("manual")
    conn_id = api.connect(airflow, "revoked", "tok_revoked_0123456789abcdefghijklmnopqrs")
    disturbed = waiting(airflow, "waits", "sensor", "operator", conn_id=conn_id)
    others = waiting(airflow, "waits", "sensor", "operator", conn_id=api.conn_id)
    api.emulator.revoke("tok_revoked_0123456789abcdefghijklmnopqrs")
    for task_id in ("sensor", "operator"):
        ends_at_first_try(disturbed, task_id, "failed")
        assert "Check the connection: login is the account ID" in disturbed.log(task_id)
        assert "tok_revoked" not in disturbed.log(task_id)
        assert others.state(task_id) == "deferred"
    polled(api)
    api.emulator.apply()
    ends_at_first_try(others, "sensor", "success")
    ends_at_first_try(others, "operator", "success")


@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_wait_that_is_marked_leaves_no_poller(airflow: Airflow, api: Api, state: str):
    api.emulator.set_visibility("manual")
    run = waiting(airflow, "waits", "sensor", "operator", conn_id=api.conn_id)
    polled(api)
    run.set_state("sensor", state)
    polled(api)  # the other goes on
    run.set_state("operator", state)
    quiet(api)


def test_a_wait_that_is_cleared_leaves_no_poller_and_begins_again(airflow: Airflow, api: Api):
    api.emulator.set_visibility("manual")
    mutation = api.client.upsert(INDEX, b'{"id": "a", "values": [' + b",".join([b"1"] * 32) + b"]}\n")
    airflow.set_slots(ONE_POOL, 1)
    run = waiting(airflow, "one_wait", "sensor", conn_id=api.conn_id, mutation_id=mutation.id)
    polled(api)
    airflow.set_slots(ONE_POOL, 0)  # the next try has to wait
    run.clear("sensor")
    run.wait_for("sensor", "scheduled")
    quiet(api)
    airflow.set_slots(ONE_POOL, 1)
    polled(api)
    api.emulator.apply()
    run.wait_for("sensor", "success")
    quiet(api)


def statuses(api: Api) -> list[int]:
    return [row["status"] for row in api.emulator.log() if row["operation"] == "index_info"]
