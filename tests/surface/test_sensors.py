"""The sensors: what they wait for, what they take, and that every mode means the same."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import nullcontext
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, XComArg, task

from airflow_provider_vectorize.client import VectorizeClient, limits
from airflow_provider_vectorize.client.errors import (
    IngestAbortedError,
    InvalidArgumentError,
    SourceError,
    WaitAbortedError,
)
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.runtime import storage
from airflow_provider_vectorize.runtime.task import TaskRun
from airflow_provider_vectorize.sensors.mutations import Awaited, pack, unpack
from airflow_provider_vectorize.sensors.vectorize import (
    VectorizeMutationSensor,
    VectorizeUpsertSensor,
)
from airflow_provider_vectorize.triggers import objects
from airflow_provider_vectorize.triggers import vectorize as triggers
from airflow_provider_vectorize.visibility import Probe, Target, digest
from airflow_provider_vectorize.waiting import Wait
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, Instance, ndjson, vectors
from tests.versions import AIRFLOW, ExecutorSafeguard

FOREIGN = '{"id": "theirs", "values": [' + ",".join(["1"] * 32) + "]}\n"
MODES = [{"mode": "poke"}, {"mode": "reschedule"}, {"deferrable": True}]


@pytest.fixture
def client(emulator):
    return VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)


def sensor(mutation_id, **kwargs):
    settings = {"task_id": "wait", "index_name": INDEX, "poke_interval": 0.1, "timeout": 20}
    return VectorizeMutationSensor(mutation_id=mutation_id, **(settings | kwargs))


class TestMutationSensor:
    @pytest.mark.parametrize("mode", MODES, ids=str)
    def test_it_waits_until_the_write_can_be_seen(self, emulator, client, dag, run_dag, mode):
        emulator.set_visibility("delay", 1.0)
        with dag:
            upsert = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
            sensor(upsert.output, **mode)
        started = time.monotonic()
        ended = run_dag(dag)
        assert ended.state == "success"
        assert time.monotonic() - started >= 1.0
        assert ended.xcom("wait") == ended.xcom("upsert")
        assert [vector.id for vector in client.get_by_ids(INDEX, ["a"])] == ["a"]

    @pytest.mark.parametrize("mode", MODES, ids=str)
    def test_a_foreign_watermark_is_no_proof_but_a_read_back_is(self, emulator, client, dag, run_dag, mode):
        emulator.set_visibility("manual")

        @task
        def another_writes(mutation_id):
            client.upsert(INDEX, FOREIGN.encode())
            threading.Timer(1.0, emulator.apply).start()

        with dag:
            upsert = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
            wait = sensor(upsert.output, **mode)
            another_writes(upsert.output) >> wait
        ended = run_dag(dag)
        assert ended.state == "success"
        assert client.index_info(INDEX).processed_up_to_mutation != ended.xcom("upsert")
        assert "record 'a' reads back as it was sent" in ended.log

    def test_by_a_template(self, emulator, dag, run_dag):
        with dag:
            upsert = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
            upsert >> sensor("{{ ti.xcom_pull(task_ids='upsert') }}")
        ended = run_dag(dag)
        assert ended.state == "success"
        assert ended.xcom("wait") == ended.xcom("upsert")

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_over_a_mapped_upstream(self, emulator, client, dag, run_dag, deferrable):
        emulator.set_visibility("delay", 0.5)
        with dag:
            upsert = VectorizeUpsertOperator.partial(task_id="upsert", index_name=INDEX).expand(
                vectors=[vectors("a"), vectors("b"), vectors("c")]
            )
            sensor(upsert.output, deferrable=deferrable)
        ended = run_dag(dag)
        assert ended.state == "success"
        assert len(set(ended.xcom("wait"))) == 3
        assert "No upstream task has a report" not in ended.log
        assert client.index_info(INDEX).vector_count == 3

    def test_rescheduled_it_sees_more_writes_than_one_look_can_read_back(
        self, emulator, client, dag, run_dag
    ):
        emulator.set_visibility("manual")
        [values] = [record["values"] for record in vectors("v")]
        records = [{"id": f"v{n}", "values": values} for n in range(60)]
        ids = [client.upsert(INDEX, ndjson([record]).encode()).id for record in records]
        client.upsert(INDEX, FOREIGN.encode())  # its watermark proves nothing

        @task
        def uploaded(n, ti=None):
            probe = Probe(f"v{n}", digest(values, None, None))
            ti.xcom_push(key="report", value=Target(ids[n], probes=(probe,)).to_dict())
            return ids[n]

        @task
        def become_visible():
            threading.Timer(1.0, emulator.apply).start()

        with dag:
            uploads = uploaded.expand(n=list(range(60)))
            wait = sensor(uploads, mode="reschedule")
            uploads >> become_visible() >> wait
        ended = run_dag(dag)
        assert ended.task_state("wait") == "success"
        assert ended.xcom("wait") == ids

    def test_it_finds_the_report_of_an_indirect_upstream(self, emulator, dag, run_dag):
        @task
        def between(mutation_id):
            return mutation_id

        with dag:
            upsert = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
            sensor(between(upsert.output))
        ended = run_dag(dag)
        assert ended.state == "success"
        assert "No upstream task has a report" not in ended.log

    def test_without_a_report_it_says_so_and_waits_for_the_mutation_itself(
        self, emulator, client, dag, run_dag
    ):
        mutation = client.upsert(INDEX, ndjson(vectors("a")).encode())
        with dag:
            sensor(mutation.id)
        ended = run_dag(dag)
        assert ended.state == "success"
        assert f"No upstream task has a report on 1 mutation(s), such as {mutation.id}" in ended.log

    @pytest.mark.parametrize("mode", MODES, ids=str)
    @pytest.mark.parametrize(
        ("option", "state"),
        [({}, "failed"), ({"soft_fail": True}, "skipped"), ({"never_fail": True}, "skipped")],
    )
    def test_the_deadline(self, emulator, dag, run_dag, mode, option, state):
        emulator.set_visibility("manual")
        with dag:
            upsert = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
            sensor(upsert.output, timeout=0.7, retries=2, **mode, **option)
        ended = run_dag(dag)
        assert ended.task_state("wait") == state
        [instance] = ended.tasks["wait"]
        assert instance.try_number == 1

    @pytest.mark.parametrize("mode", [{"mode": "poke"}, {"deferrable": True}], ids=str)
    def test_the_deadline_says_what_was_seen_and_that_a_sentinel_would_have_helped(
        self, emulator, client, dag, run_dag, mode
    ):
        client.upsert(INDEX, ndjson(vectors("a")).encode())
        emulator.set_visibility("manual")
        with dag:
            unchanged = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
            sensor(unchanged.output, timeout=0.7, **mode)
        ended = run_dag(dag)
        assert ended.task_state("wait") == "failed"
        watermark = client.index_info(INDEX).processed_up_to_mutation
        assert f"last seen processed up to mutation {watermark}" in ended.log
        assert "sentinel=True" in ended.log

    def test_records_that_a_later_load_has_written_again_are_proved_by_a_fence(
        self, emulator, client, dag, run_dag
    ):
        @task
        def another_loads_them(mutation_id):
            client.upsert(INDEX, ndjson([{"id": "a", "values": [7.0] * 32}]).encode())

        with dag:
            upsert = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
            another_loads_them(upsert.output) >> sensor(upsert.output)
        ended = run_dag(dag)
        assert ended.task_state("wait") == "success"
        assert "processed up to the fence" in ended.log

    @pytest.mark.parametrize("mode", MODES, ids=str)
    def test_passing_errors_do_not_fail_the_wait(self, emulator, dag, run_dag, mode):
        emulator.add_faults(
            [
                {"operation": "index_info", "times": 2, "kind": "status", "status": 503},
                {"operation": "index_info", "times": 1, "kind": "reset"},
                {"operation": "index_info", "times": 1, "kind": "status", "status": 408},
                {"operation": "index_info", "times": 1, "kind": "status", "status": 302},
                {"operation": "index_info", "times": 1, "kind": "status", "status": 200},  # success: false
                {"operation": "index_info", "times": 1, "kind": "status", "status": 429, "retry_after": 1},
            ]
        )
        with dag:
            upsert = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
            sensor(upsert.output, **mode)
        ended = run_dag(dag)
        assert ended.state == "success"
        assert ended.log.count("Could not look at index 'docs'") >= 7

    @pytest.mark.parametrize("mode", MODES, ids=str)
    @pytest.mark.parametrize(("option", "state"), [({}, "failed"), ({"soft_fail": True}, "skipped")])
    def test_a_missing_index_ends_the_wait_at_once_without_retries(
        self, emulator, dag, run_dag, mode, option, state
    ):
        with dag:
            sensor("00000000-0000-4000-8000-000000000000", index_name="nowhere", retries=2, **mode, **option)
        started = time.monotonic()
        ended = run_dag(dag)
        assert time.monotonic() - started < 10
        assert ended.task_state("wait") == state
        assert ended.tasks["wait"][0].try_number == 1
        assert "index 'nowhere'" in ended.log

    def test_a_template_of_an_xcom_that_is_missing_is_an_error_that_says_so(self, emulator, dag, run_dag):
        with dag:
            sensor("{{ ti.xcom_pull(task_ids='nothing_of_that_name') }}")
        ended = run_dag(dag)
        assert ended.task_state("wait") == "failed"
        assert "got 'None'" in ended.log

    def test_an_upstream_that_returned_nothing_is_an_error_that_says_so(self, emulator, dag, run_dag):
        @task
        def nothing():
            return None

        with dag:
            sensor(nothing())
        ended = run_dag(dag)
        assert ended.task_state("wait") == "failed"
        assert "did the upstream task upload something?" in ended.log

    def test_an_empty_list_is_a_skip(self, emulator, dag, run_dag):
        @task
        def nothing():
            return []

        with dag:
            sensor(nothing())
        assert run_dag(dag).task_state("wait") == "skipped"

    @pytest.mark.parametrize("mode", MODES, ids=str)
    def test_a_report_is_waited_for_on_its_own_index(self, emulator, dag, run_dag, mode):
        emulator.set_visibility("delay", 0.5)
        with dag:
            upsert = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
            report = XComArg(upsert, key="report")
            upsert >> sensor(report, index_name=None, **mode)
        ended = run_dag(dag)
        assert ended.state == "success"
        assert ended.xcom("wait") == ended.xcom("upsert")

    def test_a_list_of_one_gives_a_list_of_one(self, emulator, dag, run_dag):
        with dag:
            upsert = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
            sensor([upsert.output])
        ended = run_dag(dag)
        assert ended.xcom("wait") == [ended.xcom("upsert")]

    def test_another_index_than_the_reports_is_an_error_at_once(self, emulator, dag, run_dag):
        emulator.create_index("other", dimensions=32, metric="cosine")
        with dag:
            upsert = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
            sensor(upsert.output, index_name="other", retries=2)
        ended = run_dag(dag)
        assert ended.task_state("wait") == "failed"
        assert ended.tasks["wait"][0].try_number == 1
        assert "wait for each index by itself" in ended.log

    @pytest.mark.parametrize("mode", MODES, ids=str)
    def test_mapped_uploads_of_unchanged_vectors_are_proved_by_one_wait(
        self, emulator, client, dag, run_dag, mode
    ):
        if mode == {"mode": "reschedule"} and AIRFLOW < (3, 3):
            pytest.skip("in reschedule mode this Airflow remembers no fence")
        client.upsert(INDEX, ndjson(vectors("a")).encode())
        emulator.set_visibility("delay", 0.3)
        with dag:
            upsert = VectorizeUpsertOperator.partial(task_id="upsert", index_name=INDEX).expand(
                vectors=[vectors("a")] * 3
            )
            sensor(upsert.output, **mode)
        ended = run_dag(dag)
        assert ended.state == "success"
        assert len(ended.xcom("wait")) == 3

    def test_with_a_token_that_may_only_read_many_writes_are_proved_part_by_part(
        self, emulator, client, dag, run_dag, monkeypatch
    ):
        monkeypatch.setattr(triggers, "MAX_TARGET_BYTES", 1)
        emulator.add_faults([{"operation": "delete_by_ids", "times": 99, "kind": "status", "status": 403}])

        @task
        def another_writes(ids):
            emulator.set_visibility("polls", 8)
            client.upsert(INDEX, FOREIGN.encode())

        emulator.set_visibility("manual")
        with dag:
            upsert = VectorizeUpsertOperator.partial(task_id="upsert", index_name=INDEX).expand(
                vectors=[vectors(*"a"), vectors(*"b"), vectors(*"c")]
            )
            another_writes(upsert.output) >> sensor(upsert.output, deferrable=True)
        ended = run_dag(dag)
        assert ended.task_state("wait") == "success"
        assert len(ended.xcom("wait")) == 3


def test_a_kill_cuts_a_look_of_the_sensor(emulator):
    emulator.add_faults([{"operation": "index_info", "kind": "hang", "seconds": 60}])
    waits = sensor("m", timeout=120)
    threading.Timer(1, waits.on_kill).start()
    started = time.monotonic()
    with pytest.raises(WaitAbortedError, match="The write was accepted"):
        waits.execute({"ti": Instance(), "task": waits})
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("how", ["killed", "failed"])
def test_a_wait_that_is_ended_leaves_no_sentinel(emulator, client, how):
    emulator.set_visibility("manual")
    client.upsert(INDEX, ndjson(vectors("b")).encode())
    emulator.apply(INDEX)
    waits = sensor("m", sentinel=True, timeout=120)

    def end():
        while not any(row["operation"] == "upsert" and row["vectors"] == 1 for row in emulator.log()[1:]):
            time.sleep(0.05)
        if how == "killed":
            waits.on_kill()
        else:
            emulator.add_faults([{"operation": "index_info", "kind": "status", "status": 403}])

    waits.poke_interval = 30 if how == "killed" else 0.2
    threading.Thread(target=end).start()
    with pytest.raises((WaitAbortedError, AirflowFailException)):
        waits.execute({"ti": Instance(), "task": waits})
    emulator.set_visibility("immediate")
    assert list(client.list_vectors(INDEX)) == ["b"]


class TestTheSensorsDefaults:
    """Airflow's own are 7 days and a minute; they are for files."""

    def times(self, **kwargs):
        made = VectorizeMutationSensor(task_id="wait", mutation_id="m", **kwargs)
        return made.timeout, made.poke_interval

    def test_ten_minutes_and_ten_seconds(self):
        assert self.times() == (600, 10)

    def test_default_args_win(self):
        ours = {"timeout": timedelta(hours=1), "poke_interval": 30}
        assert self.times(default_args=ours) == (3600, 30)

    def test_what_is_given_wins_over_default_args(self):
        ours = {"timeout": 3600, "poke_interval": 30}
        given = {"timeout": timedelta(minutes=1), "poke_interval": timedelta(seconds=5)}
        assert self.times(default_args=ours, **given) == (60, 5)

    def test_a_mapped_sensor_has_them_too(self, dag):
        dag.default_args["timeout"] = 50
        with dag:
            mapped = VectorizeMutationSensor.partial(task_id="wait").expand(mutation_id=["a", "b"])
        made = mapped.unmap({"mutation_id": "a"})
        assert (made.timeout, made.poke_interval) == (50, 10)

    @pytest.mark.parametrize("option", ["timeout", "poke_interval"])
    @pytest.mark.parametrize("value", [0, timedelta(0)], ids=str)
    def test_they_are_above_0(self, option, value):
        with pytest.raises(InvalidArgumentError, match=f"task 'wait': {option} must be"):
            self.times(**{option: value})

    def test_an_index_is_not_looked_at_more_often_than_once_a_second(self, monkeypatch):
        monkeypatch.setattr(limits, "MIN_POLL_SECONDS", 1.0)
        with pytest.raises(InvalidArgumentError, match="task 'wait': poke_interval must be at least 1 s"):
            self.times(poke_interval=0.9)

    def test_waiting_for_files_keeps_airflows_own(self, dag):
        assert VectorizeUpsertSensor(task_id="upsert", source="x").timeout == 7 * 24 * 3600


REPORT = {"mutation_id": "m-1", "index_name": "docs", "probes": [["a", "d"]]}


class TestWhatAMutationIdIs:
    @pytest.mark.parametrize(
        ("value", "result"),
        [
            ("m-1", "m-1"),
            (" m-1\n", "m-1"),
            (["m-1"], ["m-1"]),
            (["m-1", "m-2", "m-1"], ["m-1", "m-2"]),
            (("m-1", ["m-2", "m-1"]), ["m-1", "m-2"]),
            (REPORT, "m-1"),
            ([REPORT, "m-2"], ["m-1", "m-2"]),
        ],
    )
    def test_one_or_a_list_in_and_the_same_out(self, value, result):
        assert Awaited.read(value).result == result

    def test_a_report_is_kept(self):
        awaited = Awaited.read([REPORT, "m-2"])
        assert awaited.reports == {"m-1": REPORT}
        assert awaited.missing == ["m-2"]

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "x" * 37,
            "a/b",
            5,
            b"m-1",
            {"mutation_id": "m-1"},
            {"report": REPORT},
            "None",
            "null",
            "m-1, m-2",
            "['m-1', 'm-2']",
            "LazySelectSequence([3 items])",
        ],
        ids=str,
    )
    def test_anything_else_is_refused_with_what_to_write_instead(self, value):
        with pytest.raises(InvalidArgumentError, match=r"mutation_id=upload\.output") as refused:
            Awaited.read(value)
        assert str(value) in str(refused.value)

    def test_the_index_is_the_reports(self):
        assert Awaited.read(REPORT).index_name(None) == "docs"
        assert Awaited.read(REPORT).index_name("docs") == "docs"
        assert Awaited.read("m-1").index_name("docs") == "docs"
        assert Awaited.read("m-1").index_name(None) is None

    @pytest.mark.parametrize(
        ("value", "given"),
        [(REPORT, "other"), ([REPORT, REPORT | {"mutation_id": "m", "index_name": "o"}], None)],
    )
    def test_another_index_is_a_conflict(self, value, given):
        with pytest.raises(InvalidArgumentError, match="docs, o"):
            Awaited.read(value).index_name(given)

    def test_what_was_seen_is_noted_in_little_room(self):
        ids = [f"m-{n}" for n in range(1_000)]
        packed = pack(ids, ids[::3])
        assert unpack(ids, packed) == ids[::3]
        assert len(packed) <= 250
        assert unpack(ids, "") == []


class TestLookingForReports:
    """A task that is mapped beside its upstream asks for its own report alone."""

    class Instance:
        def __init__(self, map_index, reports):
            self.map_index = map_index
            self.reports = reports
            self.asked = []

        def xcom_pull(self, *, task_ids, key, map_indexes=None):
            self.asked.append((task_ids, map_indexes))
            return [
                self.report(mutation)
                for task_id in task_ids
                for index, mutation in enumerate(self.reports[task_id])
                if map_indexes in (None, index)
            ]

        def report(self, mutation):
            return {"mutation_id": mutation, "index_name": "docs", "probes": []}

    def test_its_own_is_enough(self):
        ti = self.Instance(7, {"upsert": [f"m-{n}" for n in range(1_000)], "above": []})
        awaited = Awaited.read("m-7")
        awaited.look_up(ti, ["upsert"], ["above"])
        assert awaited.missing == []
        assert ti.asked == [(["upsert"], 7)]

    def test_a_none_is_excused_by_as_many_that_wrote_nothing(self):
        for nones, reports, excused in ((1, [None], True), (2, [None], False), (2, [None, None], True)):
            ti = self.Instance(-1, {"sync": reports, "above": []})
            awaited = Awaited.read([None] * nones)
            with nullcontext() if excused else pytest.raises(InvalidArgumentError, match="did the upstream"):
                awaited.look_up(ti, ["sync"], ["above"])
            assert ti.asked == [(["sync"], None)]

    def test_in_a_mapped_group_the_upstream_may_be_outside_of_it(self):
        ti = self.Instance(1, {"sync": [None], "above": []})
        Awaited.read(None).look_up(ti, ["sync"], ["above"])
        assert ti.asked == [(["sync"], 1), (["sync"], None)]

    def test_only_what_is_missing_is_looked_for_further(self):
        ti = self.Instance(0, {"upsert": ["m-0"], "above": ["m-1"]})
        awaited = Awaited.read(["m-0", "m-1", "m-2"])
        awaited.look_up(ti, ["upsert"], ["above"])
        assert awaited.missing == ["m-2"]
        assert ti.asked == [(["upsert"], 0), (["upsert"], None), (["above"], None)]


class TestMemoryOfAWait:
    """A store that is down costs a proof, and never the wait."""

    class Down:
        def get(self, key):
            raise OSError("the store is down")

        set = delete = lambda self, *_: self.get("")

    def test_a_store_that_is_down_is_logged_only(self, caplog):
        wait = Wait(INDEX, [Target("m")])
        memory = TaskRun({"task_state_store": self.Down()}).memory(wait)
        memory.restore()
        wait.fences.append("f")
        memory.save()
        wait.pending = []
        memory.save()
        assert caplog.text.count("the store is down") == 3


class TestUpsertSensor:
    def run(self, dag, run_dag, source, **kwargs):
        settings = {"task_id": "upsert", "index_name": INDEX, "poke_interval": 0.1, "timeout": 20}
        with dag:
            VectorizeUpsertSensor(source=source, **(settings | kwargs))
        return run_dag(dag)

    @pytest.mark.parametrize("mode", ["poke", "reschedule"])
    @pytest.mark.parametrize("pattern", ["late.ndjson", "*.ndjson"])
    def test_it_waits_for_the_object_and_pushes_it(
        self, emulator, client, dag, run_dag, tmp_path, mode, pattern
    ):
        def arrive():
            part = tmp_path / "part"
            part.write_text(ndjson(vectors("a", "b")))
            part.rename(tmp_path / "late.ndjson")

        threading.Timer(1.0, arrive).start()
        ended = self.run(dag, run_dag, str(tmp_path / pattern), mode=mode)
        assert ended.state == "success"
        assert ended.xcom("upsert") == client.index_info(INDEX).processed_up_to_mutation
        assert ended.xcom("upsert", "report")["accepted"] == 2

    def test_every_path_of_a_list_must_be_there(self, emulator, dag, run_dag, tmp_path):
        (tmp_path / "a.ndjson").write_text(ndjson(vectors("a")))
        ended = self.run(dag, run_dag, [str(tmp_path / "a.ndjson"), str(tmp_path / "b.ndjson")], timeout=0.5)
        assert ended.state == "failed"
        assert not any(row["operation"] == "upsert" for row in emulator.log())

    @pytest.mark.parametrize(("option", "state"), [({}, "failed"), ({"soft_fail": True}, "skipped")])
    def test_the_timeout_covers_the_waiting(self, emulator, dag, run_dag, tmp_path, option, state):
        ended = self.run(dag, run_dag, str(tmp_path / "never.ndjson"), timeout=0.5, **option)
        assert ended.task_state("upsert") == state

    @pytest.mark.parametrize("option", ["soft_fail", "never_fail"])
    def test_a_failed_push_is_red_whatever_the_options_of_the_sensor(
        self, emulator, dag, run_dag, tmp_path, option
    ):
        (tmp_path / "bad.ndjson").write_text("{oops\n")
        ended = self.run(dag, run_dag, str(tmp_path / "bad.ndjson"), **{option: True})
        assert ended.task_state("upsert") == "failed"
        assert "not_json" in ended.log

    def test_the_push_may_take_longer_than_the_timeout(self, emulator, dag, run_dag, tmp_path):
        (tmp_path / "a.ndjson").write_text(ndjson(vectors("a")))
        emulator.add_faults([{"operation": "upsert", "times": 2, "kind": "status", "status": 503}])
        assert self.run(dag, run_dag, str(tmp_path / "a.ndjson"), timeout=0).state == "success"

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_wait_for_completion(self, emulator, client, dag, run_dag, tmp_path, deferrable):
        (tmp_path / "a.ndjson").write_text(ndjson(vectors("a")))
        emulator.set_visibility("delay", 1.0)
        ended = self.run(
            dag,
            run_dag,
            str(tmp_path / "a.ndjson"),
            wait_for_completion=True,
            deferrable=deferrable,
            poll_interval=0.1,
            soft_fail=True,
        )
        assert ended.state == "success"
        assert ended.xcom("upsert") == client.index_info(INDEX).processed_up_to_mutation

    def test_a_push_that_cannot_be_seen_is_red_although_the_sensor_may_fail_softly(
        self, emulator, dag, run_dag, tmp_path
    ):
        (tmp_path / "a.ndjson").write_text(ndjson(vectors("a")))
        emulator.set_visibility("manual")
        ended = self.run(
            dag,
            run_dag,
            str(tmp_path / "a.ndjson"),
            wait_for_completion=True,
            deferrable=True,
            completion_timeout=0.5,
            poll_interval=0.1,
            soft_fail=True,
        )
        assert ended.task_state("upsert") == "failed"

    def test_a_kill_while_it_looks_is_not_forgotten_when_it_uploads(self, emulator, tmp_path, monkeypatch):
        (tmp_path / "a.ndjson").write_text(ndjson(vectors("a")))
        waits = VectorizeUpsertSensor(task_id="upsert", index_name=INDEX, source=str(tmp_path / "a.ndjson"))
        look = storage.snapshot

        def look_while_it_is_killed(places):
            waits.on_kill()
            return look(places)

        monkeypatch.setattr(storage, "snapshot", look_while_it_is_killed)
        with pytest.raises(IngestAbortedError, match="told to stop"):
            waits.execute({"ti": Instance()})
        assert emulator.log() == []

    @pytest.mark.parametrize("mode", MODES, ids=str)
    def test_one_that_never_fails_skips_at_its_deadline(self, emulator, dag, run_dag, tmp_path, mode):
        with dag:
            VectorizeUpsertSensor(
                task_id="upsert",
                index_name=INDEX,
                source=str(tmp_path / "never.ndjson"),
                never_fail=True,
                poke_interval=1,
                timeout=0.5,
                **mode,
            )
        assert run_dag(dag).task_state("upsert") == "skipped"

    def test_a_kill_ends_the_waiting_at_once(self, tmp_path):
        waits = VectorizeUpsertSensor(task_id="upsert", source=str(tmp_path / "never"), poke_interval=60)
        looked = threading.Timer(0.5, waits.on_kill)
        looked.start()
        with pytest.raises(WaitAbortedError, match=r"told to stop\. Nothing was uploaded"):
            waits.execute({"ti": Instance()})

    def test_vectors_are_for_the_operator(self, dag):
        with dag, pytest.raises(InvalidArgumentError, match="for vectors use the operator"):
            VectorizeUpsertSensor(task_id="upsert", source="x", vectors=[])


class TestWaitingForTheSourceInTheTriggerer:
    def arrive(self, path, *ids):
        part = path.with_suffix(".part")
        part.write_text(ndjson(vectors(*ids)))
        part.rename(path)

    def sensor(self, source, **kwargs):
        settings = {"task_id": "upsert", "index_name": INDEX, "poke_interval": 0.1, "timeout": 30}
        return VectorizeUpsertSensor(source=source, deferrable=True, **(settings | kwargs))

    def test_the_output_of_a_mapped_task_is_a_list_of_paths(self, emulator, client, dag, run_dag, tmp_path):
        @task
        def name(number):
            return str(tmp_path / f"{number}.ndjson")

        with dag:
            self.sensor(name.expand(number=[0, 1]))
        for number in range(2):
            threading.Timer(3, self.arrive, (tmp_path / f"{number}.ndjson", f"v{number}")).start()
        assert run_dag(dag).state == "success"
        assert sorted(client.list_vectors(INDEX)) == ["v0", "v1"]

    @pytest.mark.parametrize("waits", [False, True])
    def test_it_is_uploaded_once_it_is_there(
        self, emulator, client, dag, run_dag, tmp_path, waits, monkeypatch
    ):
        look = objects.snapshot

        def look_after_it_has_arrived(places):
            self.arrive(tmp_path / "late.ndjson", "a", "b")
            return look(places)

        monkeypatch.setattr(objects, "snapshot", look_after_it_has_arrived)
        emulator.set_visibility("delay", 0.5)
        with dag:
            self.sensor(str(tmp_path / "*.ndjson"), wait_for_completion=waits, poll_interval=0.1)
        ended = run_dag(dag)
        assert ended.state == "success"
        assert "running trigger in line" in ended.log
        assert ended.xcom("upsert", "report")["accepted"] == 2

    @pytest.mark.parametrize(
        ("option", "state"),
        [({}, "failed"), ({"soft_fail": True}, "skipped"), ({"never_fail": True}, "skipped")],
    )
    def test_its_deadline_is_that_of_a_sensor_and_names_the_source(
        self, emulator, dag, run_dag, tmp_path, option, state
    ):
        with dag:
            self.sensor(str(tmp_path / "never.ndjson"), timeout=0.5, retries=2, **option)
        ended = run_dag(dag)
        assert ended.task_state("upsert") == state
        assert ended.tasks["upsert"][0].try_number == 1
        assert "never.ndjson" in ended.log

    def test_more_paths_than_the_row_of_a_trigger_has_room_for_are_waited_for_in_the_worker(
        self, emulator, dag, run_dag, tmp_path
    ):
        with dag:
            self.sensor([str(tmp_path / f"{number:0200}") for number in range(200)], timeout=0.5)
        ended = run_dag(dag)
        assert ended.task_state("upsert") == "failed"
        assert "The triggerer cannot be given 200 paths" in ended.log
        assert "running trigger in line" not in ended.log

    def test_an_upload_that_fails_is_red_whatever_the_options_of_the_sensor(
        self, emulator, dag, run_dag, tmp_path
    ):
        part = tmp_path / "part"
        part.write_text("{oops\n")
        threading.Timer(1.5, part.rename, [tmp_path / "bad.ndjson"]).start()
        with dag:
            self.sensor(str(tmp_path / "bad.ndjson"), soft_fail=True)
        assert run_dag(dag).task_state("upsert") == "failed"

    def events(self, *triggers_):
        async def first(trigger):
            async for event in trigger.run():
                return event.payload
            raise AssertionError("no event")

        async def all_of_them():
            found = await asyncio.gather(*map(first, triggers_))
            assert not objects._stores
            return found

        return asyncio.run(all_of_them())

    def trigger(self, source, timeout=10.0, **kwargs):
        return objects.VectorizeObjectTrigger(
            **({"source": source, "deadline": time.time() + timeout, "poll_interval": 0.1} | kwargs)
        )

    def test_what_is_stored_survives_json(self, tmp_path):
        path, kwargs = self.trigger(["a", "b"], settled_seconds=5).serialize()
        copy = objects.VectorizeObjectTrigger(**json.loads(json.dumps(kwargs)), new_in_a_later_version=1)
        assert copy.serialize() == (path, kwargs)
        assert path == f"{type(copy).__module__}.{type(copy).__qualname__}"

    def test_a_file_that_grows_is_waited_for(self, tmp_path):
        path = tmp_path / "grows.ndjson"
        stop = threading.Event()

        def grow():
            for _ in range(5):
                with path.open("a") as file:
                    file.write("x\n")
                stop.wait(0.3)

        grower = threading.Thread(target=grow)
        grower.start()
        [event] = self.events(self.trigger(str(path), settled_seconds=1.0))
        assert event == {"status": "found"}
        assert not grower.is_alive()

    def test_waits_for_one_source_share_the_looks(self, tmp_path, monkeypatch):
        asked = []
        look = objects.snapshot
        monkeypatch.setattr(
            objects, "snapshot", lambda places: (asked.append(1), time.sleep(0.2), look(places))[2]
        )
        source = str(tmp_path / "never.ndjson")
        events = self.events(*(self.trigger(source, timeout=0.5) for _ in range(20)))
        assert {event["status"] for event in events} == {"timeout"}
        assert len(asked) < 20

    def test_a_storage_that_cannot_say_is_asked_again_and_named_at_the_deadline(self, tmp_path, monkeypatch):
        def fail(places):
            raise SourceError("storage is down")

        monkeypatch.setattr(objects, "snapshot", fail)
        [event] = self.events(self.trigger(str(tmp_path / "x"), timeout=0.5))
        assert event["status"] == "timeout"
        assert "the last look failed: storage is down" in event["message"]

    def test_a_storage_that_is_not_installed_ends_it_at_once(self):
        [event] = self.events(self.trigger("nope://bucket/key"))
        assert event["status"] == "failed"
        assert "nope" in event["message"]

    def test_settled_seconds_are_of_no_use_in_reschedule_mode(self, dag):
        with dag, pytest.raises(InvalidArgumentError, match="settled_seconds without effect"):
            VectorizeUpsertSensor(task_id="x", source="x", mode="reschedule", settled_seconds=60)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_sensor_is_no_operator_that_another_calls(emulator, dag, run_dag, tmp_path, monkeypatch, mode):
    """Its loop is Airflow's, called from within it: 2.11 took that for a call from outside, and may refuse it."""
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", False)
    (tmp_path / "a.ndjson").write_text(ndjson(vectors("a")))
    with dag:
        upload = VectorizeUpsertSensor(
            task_id="upsert",
            index_name=INDEX,
            source=str(tmp_path / "a.ndjson"),
            poke_interval=0.1,
            allow_nested_operators=False,
            **mode,
        )
        sensor(upload.output, allow_nested_operators=False, **mode)
    ended = run_dag(dag)
    assert ended.state == "success"
    assert "cannot be called outside" not in ended.log
