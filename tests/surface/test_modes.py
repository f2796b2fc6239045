"""One DAG in every mode: the same states, tries and XComs. What is expected is written out, so that every Airflow
that these tests run on is held to the same.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import task

from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.sensors.vectorize import VectorizeMutationSensor, VectorizeUpsertSensor
from tests.surface.conftest import INDEX, Run, ndjson, vectors
from tests.versions import xcoms

MODES = [{"mode": "poke"}, {"mode": "reschedule"}, {"deferrable": True}]


def build(dag, source, mode, **options):
    """Upload in three ways, wait for each, and go on."""
    waiting = {"index_name": INDEX, "poke_interval": 0.1} | mode

    @task
    def after(seen):
        return list(seen)

    with dag:
        plain = VectorizeUpsertOperator(task_id="plain", index_name=INDEX, vectors=vectors("a"))
        mapped = VectorizeUpsertOperator.partial(task_id="mapped", index_name=INDEX).expand(
            vectors=[vectors("b"), vectors("c")]
        )
        arrived = VectorizeUpsertSensor(task_id="arrived", source=source, timeout=20, **waiting)
        one = VectorizeMutationSensor(
            task_id="one", mutation_id=plain.output, **({"timeout": 20} | waiting | options)
        )
        both = VectorizeMutationSensor(
            task_id="both", mutation_id=mapped.output, **({"timeout": 20} | waiting | options)
        )
        plain >> mapped >> arrived >> one >> both
        after([one.output, both.output])


def results(instance: Any) -> dict[str, Any]:
    """Give the XComs of a task instance but for those of its extra links."""
    links = ("index_url", "rejects_url", "_link_")
    return {key: value for key, value in xcoms(instance).items() if not key.startswith(links)}


def outcome(ended: Run) -> dict[str, list]:
    """Give state, tries and XComs of every task instance; mutation ids by where they come from."""
    found = {
        task_id: [[str(instance.state), instance.try_number, results(instance)] for instance in instances]
        for task_id, instances in ended.tasks.items()
    }
    for _, _, values in (row for rows in found.values() for row in rows):
        if "report" in values:
            report = values["report"]
            values["report"] = {
                name: report[name] for name in ("index_name", "mutation_id", "accepted", "batches", "retries")
            }
    text = json.dumps(found)
    for task_id in ("plain", "mapped", "arrived"):
        for place, (_, _, values) in enumerate(found[task_id]):
            text = text.replace(values["return_value"], f"{task_id}/{place}")
    return json.loads(text)


def uploaded(name: str, accepted: int = 1) -> list:
    report = {"index_name": INDEX, "mutation_id": name, "accepted": accepted, "batches": 1, "retries": 0}
    return ["success", 1, {"return_value": name, "report": report}]


UPLOADS = {
    "plain": [uploaded("plain/0")],
    "mapped": [uploaded("mapped/0"), uploaded("mapped/1")],
    "arrived": [uploaded("arrived/0", accepted=2)],
}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text(ndjson(vectors("d", "e")))
    return str(path)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_writes_that_become_visible(emulator, dag, run_dag, source, mode):
    emulator.set_visibility("polls", 2)
    build(dag, source, mode)
    both = ["mapped/0", "mapped/1"]
    ended = run_dag(dag)
    assert ("running trigger in line" in ended.log) == ("deferrable" in mode)
    assert outcome(ended) == UPLOADS | {
        "one": [["success", 1, {"return_value": "plain/0"}]],
        "both": [["success", 1, {"return_value": both}]],
        "after": [["success", 1, {"return_value": ["plain/0", both]}]],
    }


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize(
    ("option", "state", "downstream"),
    [
        ({}, "failed", "upstream_failed"),
        ({"soft_fail": True}, "skipped", "skipped"),
        ({"never_fail": True}, "skipped", "skipped"),
    ],
    ids=["fail", "soft_fail", "never_fail"],
)
def test_writes_that_do_not_become_visible_in_time(
    emulator, dag, run_dag, source, mode, option, state, downstream
):
    emulator.set_visibility("manual")
    build(dag, source, mode, timeout=0.5, retries=2, **option)
    assert outcome(run_dag(dag)) == UPLOADS | {
        "one": [[state, 1, {}]],
        # Nothing runs behind the first wait.
        "both": [[downstream, 0, {}]],
        "after": [[downstream, 0, {}]],
    }
