"""What a load leaves behind in log, metrics and lineage; and what it never does: the token."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import traceback
from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    Stats,
    TaskDeferred,
    task,
)

from airflow_provider_vectorize import waiting
from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.hooks import loads as loads_module
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.sync import VectorizeSyncOperator
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.operators.vectors import VectorizeDeleteOperator
from airflow_provider_vectorize.sensors.vectorize import VectorizeMutationSensor, VectorizeUpsertSensor
from airflow_provider_vectorize.wording import LOG_LENGTH
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, Instance, ndjson, vectors
from tests.versions import AIRFLOW, SecretsMasker, xcoms


@pytest.fixture
def said(caplog, capfd):
    """What tasks and modules have logged: where it goes to depends on the version of Airflow."""
    caplog.set_level(logging.INFO)

    def text():
        parts = [caplog.text, *capfd.readouterr()]
        caplog.clear()
        return "\n".join(parts if AIRFLOW >= (3,) else parts[:1])  # Airflow 2 prints once more what it logs

    return text


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text(ndjson([*vectors("a", "b"), {"id": "bad"}]))
    return path


def load(file):
    return VectorizeHook().upsert(INDEX, source=str(file), on_invalid="reject", max_rejects=1)


def test_the_log_sums_up(emulator, file, dag, run_dag):
    with dag:
        VectorizeUpsertOperator(
            task_id="upsert", index_name=INDEX, source=str(file), on_invalid="reject", max_rejects=1
        )
    ended = run_dag(dag)
    assert "Loaded into index 'docs': 2 accepted, 1 rejected, 0 superseded; 1 requests" in ended.log
    assert f"mutation {ended.xcom('upsert')}" in ended.log


def test_metrics_count_vectors_and_bytes(emulator, file, monkeypatch):
    counted = {}
    monkeypatch.setattr(Stats, "incr", lambda name, count, tags: counted.update({name: (count, tags)}))
    report = load(file)
    tags = {"index_name": INDEX, "operation": "upsert"}
    assert counted == {
        "vectorize.accepted_vectors": (2, tags),
        "vectorize.rejected_vectors": (1, tags),
        "vectorize.bytes_sent": (report.bytes_sent, tags),
    }


def test_lineage_names_what_was_read_and_written(emulator, file, monkeypatch):
    seen = []

    class Collector:
        def add_input_asset(self, context, uri):
            seen.append(("input", uri))

        def add_output_asset(self, context, uri):
            seen.append(("output", uri))

    monkeypatch.setattr(loads_module, "get_hook_lineage_collector", Collector)
    load(file)
    assert seen == [("input", f"file://{file}"), ("output", f"vectorize://{ACCOUNT}/{INDEX}")]


class TestTheTokenIsNeverSeen:
    """Airflow masks secrets in logs by itself; what is asked for here is that there is nothing to mask."""

    @pytest.fixture(autouse=True)
    def no_masking(self, monkeypatch):
        monkeypatch.setattr(SecretsMasker, "filter", lambda self, record: True)

    def leaks(self, ended):
        stored = [xcoms(instance) for instances in ended.tasks.values() for instance in instances]
        return [
            text for text in (ended.log, json.dumps(stored, default=str), repr(ended.tasks)) if TOKEN in text
        ]

    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "status", "status": 403, "code": 10000},
            {"kind": "status", "status": 400, "code": 40012},
            {"kind": "status", "status": 500},
            {"kind": "reset"},
        ],
        ids=str,
    )
    def test_after_a_failing_upload(self, emulator, dag, run_dag, monkeypatch, fault):
        uri = f"vectorize://{ACCOUNT}:{TOKEN}@127.0.0.1:{emulator.port}/http?max_attempts=2"
        monkeypatch.setenv("AIRFLOW_CONN_VECTORIZE_DEFAULT", uri)
        emulator.add_faults([{"operation": "upsert", "times": 99, **fault}])
        with dag:
            VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
        ended = run_dag(dag)
        assert ended.state == "failed"
        assert not self.leaks(ended)

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_after_a_failing_wait(self, emulator, dag, run_dag, deferrable):
        emulator.set_visibility("manual")
        with dag:
            upsert = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
            VectorizeMutationSensor(
                task_id="wait",
                index_name=INDEX,
                mutation_id=upsert.output,
                poke_interval=0.1,
                timeout=0.5,
                deferrable=deferrable,
            )
        ended = run_dag(dag)
        assert ended.state == "failed"
        assert not self.leaks(ended)

    def test_after_a_failing_task_of_the_users(self, emulator, dag, run_dag):
        @task
        def own():
            hook = VectorizeHook()
            print(hook, hook.conn, hook.settings, vars(hook.conn))
            hook.conn.get_index("nowhere")

        with dag:
            own()
        ended = run_dag(dag)
        assert ended.state == "failed"
        assert not self.leaks(ended)

    def test_the_test_would_notice(self, emulator, dag, run_dag):
        @task
        def careless():
            print("leak", VectorizeHook().settings.secret)

        with dag:
            careless()
        assert self.leaks(run_dag(dag))


def test_a_wrong_token_is_red_and_says_where_to_look(emulator, dag, run_dag):
    emulator.add_faults([{"operation": "*", "times": 99, "kind": "status", "status": 403, "code": 10000}])
    with dag:
        VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"), retries=3)
    ended = run_dag(dag)
    assert ended.state == "failed"
    assert "Check the connection: login is the account ID, password an API token" in ended.log
    assert ended.tasks["upsert"][0].try_number == 1


def test_metrics_and_lineage_that_fail_do_not_fail_the_load(emulator, file, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise RuntimeError("statsd is gone")

    monkeypatch.setattr(loads_module, "get_hook_lineage_collector", fail)
    monkeypatch.setattr(loads_module.Stats, "incr", fail)
    report = VectorizeHook().upsert(INDEX, source=str(file), on_invalid="reject", max_rejects=1)
    assert report.accepted


@pytest.mark.parametrize("push", [True, False])
def test_red_pushes_its_report_too_unless_told_not_to(emulator, dag, run_dag, push):
    records = [*vectors(*"abc"), {"id": "bad"}]
    with dag:
        VectorizeUpsertOperator(task_id="load", index_name=INDEX, vectors=records, do_xcom_push=push)
    ended = run_dag(dag)
    assert ended.task_state("load") == "failed"
    report = ended.xcom("load", "report")
    assert report["stopped_at"] if push else report is None


def execute(task_, **context):
    """Run a task by itself, and give what it pushed."""
    ti = Instance()
    task_.execute({"ti": ti, "task": task_, **context})
    return ti.pushed


def rejecting(file, **kwargs):
    return VectorizeUpsertOperator(
        task_id="load", index_name=INDEX, source=str(file), on_invalid="reject", max_rejects=1, **kwargs
    )


def test_green_with_refused_records_warns_of_them_and_names_the_folder(emulator, file, tmp_path, caplog):
    report = execute(rejecting(file, rejects_path=str(tmp_path / "rejects")))["report"]
    folder = f"file://{tmp_path}/rejects"
    assert report["rejects"] == {"folder": folder, "codes": {"invalid_values": 1}}
    [warning] = [row.getMessage() for row in caplog.records if row.levelname == "WARNING"]
    assert f"all of them in {folder}" in warning
    assert f"file://{file}, line 3 (id 'bad')" in warning
    assert "[invalid_values]" in warning


def test_the_first_line_of_a_load_names_the_connection(emulator, file, caplog):
    with caplog.at_level(logging.INFO):
        execute(rejecting(file))
    assert (
        "Loading 1 file, 0.0 MB into index 'docs', 32 dimensions, by connection 'vectorize_default'"
        in caplog.messages
    )


@pytest.mark.parametrize("kind", ["upsert", "sync", "delete", "sensor"])
@pytest.mark.parametrize("push", [True, False])
def test_nothing_is_pushed_that_is_not_to_be(emulator, file, tmp_path, kind, push):
    common = {"task_id": "load", "index_name": INDEX, "do_xcom_push": push}
    good = {**common, "source": str(tmp_path / "good.ndjson")}
    (tmp_path / "good.ndjson").write_text(ndjson(vectors("a", "b")))
    emulator.set_visibility("immediate")
    task_ = {
        "upsert": lambda: VectorizeUpsertOperator(**good),
        "sync": lambda: VectorizeSyncOperator(
            **good, manifest=str(tmp_path / "manifest"), verify="all", wait_for_completion=True
        ),
        "delete": lambda: VectorizeDeleteOperator(**common, ids=["a"]),
        "sensor": lambda: VectorizeUpsertSensor(**good, timeout=5),
    }[kind]()
    pushed = execute(task_)
    assert ("report" in pushed) == push
    assert push or pushed == {}


class TestWhatAWaitSays:
    """What is waited for, until when, and where the index is: at first and then once a minute."""

    SAYS = re.compile(r"Waiting until \d\d:\d\d:\d\d for (\S+); the index is at (\S+)")

    @pytest.fixture
    def lines(self, emulator, said):
        VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url).upsert(INDEX, ndjson(vectors("z")).encode())
        self.watermark = emulator.log()[-1]["mutation_id"]
        emulator.set_visibility("manual")
        return lambda: self.SAYS.findall(said())

    def test_the_hook(self, emulator, lines):
        hook = VectorizeHook()
        report = hook.upsert(INDEX, vectors=vectors("a"))
        with pytest.raises(Exception, match="could not be seen"):
            hook.wait_for_mutation(INDEX, report, poll_interval=0.05, timeout=0.5)
        assert lines() == [(report.mutation_id, self.watermark)]

    @pytest.mark.parametrize("write", ["upload", "sync", "delete"])
    def test_the_own_wait_of_what_writes(self, emulator, lines, tmp_path, write):
        (tmp_path / "a.ndjson").write_text(ndjson(vectors("a")))
        common = {
            "task_id": "write",
            "index_name": INDEX,
            "wait_for_completion": True,
            "poll_interval": 0.05,
            "completion_timeout": 0.5,
        }
        source = {"source": str(tmp_path / "a.ndjson")}
        task_ = {
            "upload": lambda: VectorizeUpsertOperator(**common, **source),
            "sync": lambda: VectorizeSyncOperator(**common, **source, manifest=str(tmp_path / "manifest")),
            "delete": lambda: VectorizeDeleteOperator(**common, ids=["a"]),
        }[write]()
        ti = Instance()
        with pytest.raises(Exception, match="could not be seen"):
            task_.execute({"ti": ti, "task": task_})
        assert lines() == [(ti.pushed["report"]["mutation_id"], self.watermark)]

    @pytest.mark.parametrize("mode", ["poke", "reschedule"])
    def test_the_sensor(self, emulator, lines, mode):
        sensor = VectorizeMutationSensor(
            task_id="wait", index_name=INDEX, mutation_id="m", poke_interval=0.05, timeout=0.5, mode=mode
        )
        if mode == "poke":
            with pytest.raises(AirflowSensorTimeout):
                execute(sensor)
        else:
            context = {"ti": Instance(), "task": sensor}
            sensor._prepare(context, sensor.begin(context), look_up=False)
            sensor._until = datetime.now(UTC) + timedelta(minutes=1)
            assert not sensor.poke({})
        assert lines() == [("m", self.watermark)]

    def test_the_trigger(self, emulator, lines, monkeypatch):
        monkeypatch.setattr(waiting, "STATUS_SECONDS", 0.4)
        upload = VectorizeUpsertOperator(
            task_id="load",
            index_name=INDEX,
            vectors=vectors("a"),
            wait_for_completion=True,
            deferrable=True,
            poll_interval=0.1,
            completion_timeout=1.5,
        )
        with pytest.raises(TaskDeferred) as deferred:
            execute(upload)

        async def run():
            return [event async for event in deferred.value.trigger.run()]

        lines()  # of the worker
        [event] = asyncio.run(run())
        assert event.payload["status"] == "timeout"
        assert 2 <= len(found := lines()) <= 4  # not at every one of its fifteen looks
        assert {watermark for _, watermark in found} == {self.watermark}

    def test_before_the_first_mutation_it_says_so(self, emulator, said):
        emulator.set_visibility("manual")
        hook = VectorizeHook()
        with pytest.raises(Exception, match="could not be seen"):
            hook.wait_for_mutation(INDEX, "m", poll_interval=0.05, timeout=1)
        assert "for m; the index is at (no mutation yet)" in said()


class TestTheTextOfARedTask:
    """It is there once, without the tracebacks of libraries, in lines that are seen whole."""

    def upsert(self, **kwargs):
        return VectorizeUpsertOperator(**{"task_id": "load", "index_name": INDEX, **kwargs})

    def red(self, task_):
        with pytest.raises(Exception) as raised:  # any
            execute(task_)
        return "".join(traceback.format_exception(raised.value)), str(raised.value)

    @pytest.mark.parametrize("retry_policy", [None, object()])
    @pytest.mark.parametrize(
        ("cause", "says"),
        [
            ("a bad record", "(id 'bad')"),
            ("no such index", "nowhere"),
            ("no such file", "gone.ndjson"),
            ("a file that breaks off", "ends in the middle"),
            ("the service", "HTTP 503"),
            ("no server", "Connection refused"),
            ("no folder for rejects", "cannot be written"),
            ("the deadline of a sensor", "could not be seen"),
            ("the deadline of a wait for a source", "gone.ndjson"),
            ("the deadline of an upload", "could not be seen"),
            ("no such index to wait for", "nowhere"),
        ],
    )
    def test_once(self, emulator, file, tmp_path, monkeypatch, said, cause, says, retry_policy):
        broken = tmp_path / "broken.ndjson"
        broken.write_text(ndjson(vectors("a"))[:-9])
        uri = f"vectorize://{ACCOUNT}:{TOKEN}@127.0.0.1:{emulator.port}/http?max_attempts=1"
        if cause == "no server":
            uri = uri.replace(str(emulator.port), "9")
        monkeypatch.setenv("AIRFLOW_CONN_VECTORIZE_DEFAULT", uri)
        if cause == "the service":
            emulator.add_faults([{"operation": "upsert", "times": 9, "kind": "status", "status": 503}])
        if "deadline" in cause:
            emulator.set_visibility("manual")
        wait = {"task_id": "wait", "poke_interval": 0.1, "timeout": 0.3}
        task_ = {
            "a bad record": lambda: self.upsert(source=str(file)),
            "no such index": lambda: self.upsert(index_name="nowhere", source=str(file)),
            "no such file": lambda: self.upsert(source=str(tmp_path / "gone.ndjson")),
            "a file that breaks off": lambda: self.upsert(source=str(broken)),
            "the service": lambda: self.upsert(vectors=vectors("a")),
            "no server": lambda: self.upsert(vectors=vectors("a")),
            "no folder for rejects": lambda: rejecting(file, rejects_path=f"{broken}/rejects"),
            "the deadline of a sensor": lambda: VectorizeMutationSensor(
                index_name=INDEX, mutation_id="m", **wait
            ),
            "the deadline of a wait for a source": lambda: VectorizeUpsertSensor(
                index_name=INDEX, source=str(tmp_path / "gone.ndjson"), **wait
            ),
            "the deadline of an upload": lambda: self.upsert(
                vectors=vectors("a"), wait_for_completion=True, poll_interval=0.1, completion_timeout=0.3
            ),
            "no such index to wait for": lambda: VectorizeMutationSensor(
                index_name="nowhere", mutation_id="m", **wait
            ),
        }[cause]()
        task_.retry_policy = retry_policy
        trace, text = self.red(task_)
        assert trace.count("Traceback (most recent call last)") == 1
        last = text.strip().splitlines()[-1]
        assert says in text
        assert (trace.count(last), said().count(last)) == (1, 0)

    def test_what_code_of_the_users_has_raised_keeps_its_traceback(self, emulator):
        def embed():
            yield from vectors("a")
            raise KeyError("no such model")

        trace, _ = self.red(self.upsert(vectors=embed))
        assert "in embed" in trace

    @pytest.mark.parametrize("kind", ["upload", "sensor"])
    def test_also_when_it_was_deferred(self, emulator, said, kind):
        emulator.set_visibility("manual")
        wait = {"deferrable": True, "index_name": INDEX}
        task_ = (
            self.upsert(vectors=vectors("a"), wait_for_completion=True, poll_interval=0.1, **wait)
            if kind == "upload"
            else VectorizeMutationSensor(task_id="wait", mutation_id="m", poke_interval=0.1, **wait)
        )
        with pytest.raises(TaskDeferred) as deferred:
            execute(task_)
        emulator.add_faults(
            [{"operation": "index_info", "times": 9, "kind": "status", "status": 403, "code": 10000}]
        )

        async def run():
            return [event async for event in deferred.value.trigger.run()]

        ti = Instance()
        ti.xcom_pull = lambda **_: None
        [event] = asyncio.run(run())
        with pytest.raises(AirflowFailException) as raised:
            task_.execute_complete({"ti": ti, "task": task_}, event.payload)
        last = str(raised.value).splitlines()[-1]
        assert "".join(traceback.format_exception(raised.value)).count(last) == 1
        assert said().count(last) == 0


def test_the_lines_of_the_log_are_seen_whole(emulator, file, tmp_path, said):
    """Of all that a load with repetitions and refusals, a wait and a retry say, nothing has to be scrolled sideways."""
    emulator.add_faults(
        [
            {"operation": "upsert", "times": 1, "kind": "status", "status": 500},
            {"operation": "upsert", "times": 1, "kind": "status", "status": 429, "retry_after": 0},
            {"operation": "index_info", "times": 1, "kind": "status", "status": 500},
            {"operation": "get_by_ids", "times": 1, "kind": "reset"},
        ]
    )
    emulator.set_visibility("polls", 2)
    long = tmp_path / "a-folder-whose-name-is-long" / "and-another-one-in-it" / "passages.ndjson"
    long.parent.mkdir(parents=True)
    long.write_text(file.read_text())
    execute(
        rejecting(
            long,
            rejects_path=str(tmp_path / "rejects"),
            wait_for_completion=True,
            poll_interval=0.05,
            unparsable_behavior="discard",
        )
    )
    seen = 0
    for line in said().splitlines():
        text = re.sub(r" \[airflow.*|^(\S+ +\[|[A-Z]+ +)\S+ *(\]|\S+:\d+) ", "", line)
        seen += bool(text)
        places = [place for place in range(len(text)) if text[place : place + 2] in (". ", "; ")]
        assert len(text) <= LOG_LENGTH or not places, text
    assert seen > 12
