"""The trigger, and the poll that all waits on an index share."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest
from airflow.models.connection import Connection
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
)
from airflow.utils.session import create_session

from airflow_provider_vectorize.client import VectorizeClient, limits
from airflow_provider_vectorize.client.errors import MutationTimeoutError
from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from airflow_provider_vectorize.sensors.vectorize import VectorizeMutationSensor
from airflow_provider_vectorize.triggers import poller
from airflow_provider_vectorize.triggers import vectorize as triggers
from airflow_provider_vectorize.triggers.vectorize import (
    VectorizeMutationTrigger,
    check_event,
    deferral,
    raise_for_status,
)
from airflow_provider_vectorize.visibility import Probe, Target, digest
from airflow_provider_vectorize.waiting import Sentinel, Wait
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, ndjson, vectors
from tests.versions import serialize


@pytest.fixture
def client(emulator):
    return VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)


def write(client, *ids):
    """Write vectors, and give what to wait for."""
    records = vectors(*ids)
    mutation = client.upsert(INDEX, ndjson(records).encode())
    probes = tuple(Probe(record["id"], digest(record["values"], None, None)) for record in records[:3])
    return Target(mutation.id, probes=probes)


def trigger(*targets, timeout=20.0, **kwargs):
    settings = {"conn_id": "vectorize_default", "index_name": INDEX, "poll_interval": 0.1}
    return VectorizeMutationTrigger(
        targets=[target.to_dict() for target in targets],
        deadline=time.time() + timeout,
        **(settings | kwargs),
    )


def late(target):
    """What is stored of a wait whose deadline has passed meanwhile."""
    _, stored = trigger(target).serialize()
    return stored | {"deadline": time.time() - 5, "timeout": 600.0}


async def first(trigger):
    async for event in trigger.run():
        return event.payload
    raise AssertionError("no event")


def run(*triggers):
    async def all_of_them():
        events = await asyncio.gather(*map(first, triggers))
        assert not poller._polls, "a poll is left"
        return events

    return asyncio.run(all_of_them())


class TestSerialization:
    def test_it_survives_json(self):
        path, kwargs = trigger(
            Target("m", (Probe("a", "d"),)), sentinel=("id", "mark"), fences=["f"], more=3
        ).serialize()
        copy = VectorizeMutationTrigger(**json.loads(json.dumps(kwargs)))
        assert path == f"{type(copy).__module__}.{type(copy).__qualname__}"
        assert copy.serialize() == (path, kwargs)

    def test_arguments_of_another_version_are_accepted(self):
        assert trigger(Target("m"), new_in_a_later_version=1).serialize()[1].keys() == {
            "conn_id",
            "index_name",
            "targets",
            "deadline",
            "poll_interval",
            "timeout",
            "more",
            "fences",
            "sentinel",
        }

    def test_it_holds_neither_the_token_nor_values(self, emulator, client):
        text = json.dumps(trigger(write(client, "a")).serialize())
        assert TOKEN not in text
        assert "values" not in text


class TestRow:
    """What is stored of a trigger, whose column is small in some databases."""

    def row(self, *targets, **kwargs):
        wait = Wait(INDEX, targets, sentinel=Sentinel.of("dag/run/task/-1", targets), **kwargs)
        return deferral("vectorize_default", wait, 10.0, 600.0)["trigger"].serialize()[1]

    def test_it_is_under_8_kb_for_1000_uploads_and_so_is_the_event(self):
        probes = tuple(Probe("é" * 32, "0" * 32) for _ in range(3))
        targets = [Target(f"{n:036}", probes) for n in range(1_000)]
        row = self.row(*targets, fences=[f"f{n:035}" for n in range(100)])
        assert row["more"] + len(row["targets"]) == 1_000
        for encode in (json.dumps, serialize):
            assert len(encode(row).encode()) < 8_000
        event = VectorizeMutationTrigger(**row)._event("timeout", message="x" * 1_000)
        assert len(json.dumps(event.payload)) < 8_000

    def test_a_fence_proves_those_that_had_no_room_too(self, emulator, client):
        targets = [Target(write(client, "same").mutation_id) for _ in range(3)]
        [event] = run(trigger(targets[0], more=997))
        assert event["status"] == "visible"

    def test_without_one_it_proves_those_in_it_and_says_that_it_is_a_part(self, emulator, client):
        target = write(client, "a")
        emulator.add_faults([{"operation": "delete_by_ids", "times": 99, "kind": "status", "status": 403}])
        client.upsert(INDEX, ndjson(vectors("foreign")).encode())
        [event] = run(trigger(target, more=1))
        assert (event["status"], event["mutation_ids"]) == ("part", [target.mutation_id])

    def test_a_fence_of_the_worker_is_taken_along(self, emulator, client):
        target = Target(write(client, "same").mutation_id)
        [fence] = client.delete_by_ids(INDEX, ["airflow-fence"])
        emulator.clear_log()
        [event] = run(trigger(target, fences=[fence.id]))
        assert event["status"] == "visible"
        assert [row["operation"] for row in emulator.log()] == ["index_info"]


class TestEvent:
    @pytest.mark.parametrize("status", ["visible", "part"])
    def test_visible_passes(self, status):
        raise_for_status({"status": status})

    def test_timeout_is_the_error_of_a_wait(self):
        with pytest.raises(MutationTimeoutError, match="too late"):
            raise_for_status({"status": "timeout", "message": "too late"})

    @pytest.mark.parametrize(("permanent", "kind"), [(True, AirflowFailException), (False, AirflowException)])
    def test_failed_tells_whether_a_retry_can_help(self, permanent, kind):
        with pytest.raises(AirflowException, match="gone") as caught:
            raise_for_status({"status": "failed", "message": "gone", "permanent": permanent})
        assert type(caught.value) is kind

    def test_an_unknown_status_never_passes_for_success(self):
        with pytest.raises(AirflowException, match="does not know: 'done'"):
            raise_for_status({"status": "done"})

    @pytest.mark.parametrize("event", [None, {}, "visible"])
    def test_no_event_never_passes_for_success(self, event):
        with pytest.raises(AirflowException, match="no event"):
            check_event(event)


class TestRun:
    def test_visible(self, emulator, client):
        emulator.set_visibility("delay", 0.5)
        target = write(client, "a")
        [event] = run(trigger(target))
        assert event["status"] == "visible"
        assert event["mutation_ids"] == [target.mutation_id]

    def test_the_deadline(self, emulator, client):
        emulator.set_visibility("manual")
        [event] = run(trigger(write(client, "a"), timeout=0.5))
        assert event["status"] == "timeout"
        assert "could not be seen within" in event["message"]

    def test_a_deadline_that_passed_while_no_triggerer_ran(self, emulator, client):
        emulator.set_visibility("manual")
        [event] = run(VectorizeMutationTrigger(**late(write(client, "a"))))
        assert event["status"] == "timeout"
        assert "could not be seen within 600 s" in event["message"]

    def test_what_became_visible_while_no_triggerer_ran_is_seen(self, emulator, client):
        [event] = run(VectorizeMutationTrigger(**late(write(client, "a"))))
        assert event["status"] == "visible"

    def test_a_connection_that_is_given_late_costs_the_wait_nothing(self, emulator, client, monkeypatch):
        given = triggers.get_async_connection

        async def late(conn_id):
            await asyncio.sleep(1.0)
            return await given(conn_id)

        monkeypatch.setattr(triggers, "get_async_connection", late)
        [event] = run(trigger(write(client, "a"), timeout=0.5))
        assert event["status"] == "visible"

    def test_a_missing_index_is_final(self, emulator):
        [event] = run(trigger(Target("m"), index_name="nowhere"))
        assert (event["status"], event["permanent"]) == ("failed", True)
        assert "index 'nowhere'" in event["message"]

    def test_an_unknown_connection_is_final(self, emulator):
        started = time.monotonic()
        [event] = run(trigger(Target("m"), conn_id="nowhere"))
        assert (event["status"], event["permanent"]) == ("failed", True)
        assert "there is no connection 'nowhere'" in event["message"]
        assert time.monotonic() - started < 5

    @pytest.mark.parametrize("kind", ["upload", "sensor"])
    def test_an_unknown_one_ends_the_task_at_once_without_retries(self, emulator, dag, run_dag, kind):
        options = {
            "task_id": "wait",
            "index_name": INDEX,
            "conn_id": "nowhere",
            "deferrable": True,
            "retries": 2,
        }
        with dag:
            if kind == "upload":
                VectorizeUpsertOperator(vectors=vectors("a"), wait_for_completion=True, **options)
            else:
                VectorizeMutationSensor(mutation_id="m", **options)
        ended = run_dag(dag)
        assert ended.task_state("wait") == "failed"
        assert ended.tasks["wait"][0].try_number == 1
        assert "nowhere" in ended.log

    def test_a_connection_that_cannot_work_is_final(self, emulator, monkeypatch):
        monkeypatch.setenv("AIRFLOW_CONN_VECTORIZE_DEFAULT", f"vectorize://{ACCOUNT}:@")
        [event] = run(trigger(Target("m")))
        assert (event["status"], event["permanent"]) == ("failed", True)
        assert "field password" in event["message"]

    def test_errors_in_a_row_are_tolerated_up_to_the_deadline_which_names_the_last(self, emulator, client):
        target = write(client, "a")
        emulator.add_faults([{"operation": "index_info", "times": 10_000, "kind": "status", "status": 503}])
        [event] = run(trigger(target, timeout=1.0))
        assert event["status"] == "timeout"
        assert "HTTP 503" in event["message"]

    def test_an_error_that_is_no_answer_of_the_api_ends_the_wait(self, emulator, client, monkeypatch):
        def broken(*args):
            raise RuntimeError("a bug")

        monkeypatch.setattr(poller, "look", broken)
        with pytest.raises(RuntimeError, match="a bug"):
            run(trigger(write(client, "a")))


class TestDeadline:
    """The look that finds the deadline passed is the last: it counts, and all that end before it share it."""

    def test_what_can_be_seen_by_the_last_look_is_seen(self, emulator, client):
        emulator.set_visibility("manual")
        target = write(client, "a")
        threading.Timer(1.4, emulator.apply).start()  # between the first look and the deadline
        [event] = run(trigger(target, poll_interval=1.0, timeout=1.6))
        assert event["status"] == "visible"

    @pytest.mark.parametrize("timeout", [None, 0.8])
    def test_an_interval_longer_than_the_wait_is_cut(self, emulator, client, timeout):
        emulator.set_visibility("delay", 0.3)
        target = write(client, "a")
        stored = {**trigger(target).serialize()[1], "deadline": time.time() + 0.8, "timeout": timeout}
        started = time.monotonic()
        [event] = run(VectorizeMutationTrigger(**stored | {"poll_interval": 30}))
        assert event["status"] == "visible"
        assert time.monotonic() - started < 5

    def test_waits_that_end_one_after_the_other_cost_one_look_an_interval(self, emulator, client):
        emulator.set_visibility("manual")
        targets = [write(client, f"v{n}") for n in range(20)]
        client.upsert(INDEX, ndjson(vectors("foreign")).encode())
        emulator.clear_log()
        started = time.monotonic()
        events = run(
            *(trigger(target, poll_interval=1.0, timeout=1 + n / 20) for n, target in enumerate(targets))
        )
        looks = time.monotonic() - started
        assert {event["status"] for event in events} == {"timeout"}
        operations = [row["operation"] for row in emulator.log()]
        assert operations.count("index_info") <= looks
        assert operations.count("get_by_ids") <= 2 * looks

    def test_a_look_that_hangs_holds_up_no_deadline(self, emulator, client, monkeypatch):
        monkeypatch.setattr(triggers, "grace", lambda interval: 0.5)
        target = write(client, "a")
        emulator.add_faults([{"operation": "index_info", "kind": "hang", "seconds": 20}])
        started = time.monotonic()
        [event] = run(trigger(target, timeout=0.3))
        assert event["status"] == "timeout"
        assert time.monotonic() - started < 5

    @pytest.mark.parametrize("interval", [1, 10, 600])
    def test_airflows_own_timeout_leaves_room_for_a_late_beginning_and_the_last_look(self, interval):
        arguments = deferral("vectorize_default", Wait(INDEX, [Target("m")]), interval, 600.0)
        assert arguments["timeout"].total_seconds() >= 600 + 60 + 3 * interval

    def test_the_sensor_defers_with_it(self, emulator, dag, run_dag):
        emulator.set_visibility("delay", 0.5)
        with dag:
            upsert = VectorizeUpsertOperator(task_id="upsert", index_name=INDEX, vectors=vectors("a"))
            VectorizeMutationSensor(
                task_id="wait",
                index_name=INDEX,
                mutation_id=upsert.output,
                deferrable=True,
                poke_interval=30,
                timeout=1,
            )
        assert run_dag(dag).task_state("wait") == "success"


class TestConnectionOfTheDatabase:
    """The look-up of a trigger that runs in the process of ``dag.test()`` may see none of those."""

    @pytest.fixture
    def conn_id(self, emulator):
        stored = Connection(
            conn_id="of_the_database",
            conn_type="vectorize",
            login=ACCOUNT,
            password=TOKEN,
            host="127.0.0.1",
            port=emulator.port,
            schema="http",
        )
        with create_session() as session:
            session.add(stored)
        yield "of_the_database"
        with create_session() as session:
            session.query(Connection).filter_by(conn_id="of_the_database").delete()

    @pytest.mark.parametrize("kind", ["upload", "sensor"])
    def test_a_deferred_wait_of_dag_test_finds_it(self, emulator, conn_id, dag, run_dag, kind):
        emulator.set_visibility("polls", 2)
        waits = {"deferrable": True, "conn_id": conn_id, "index_name": INDEX}
        with dag:
            if kind == "upload":
                VectorizeUpsertOperator(
                    task_id="wait", vectors=vectors("a"), wait_for_completion=True, poll_interval=0.1, **waits
                )
            else:
                given = VectorizeUpsertOperator(task_id="given", vectors=vectors("a"), index_name=INDEX)
                VectorizeMutationSensor(
                    task_id="wait", mutation_id=given.output, poke_interval=0.1, timeout=20, **waits
                )
        ended = run_dag(dag)
        assert "running trigger in line" in ended.log
        assert ended.task_state("wait") == "success"

    def test_it_is_looked_up_once_more_beside_the_loop_which_goes_on(self, emulator, client, monkeypatch):
        given, threads, ticks = triggers.BaseHook.get_connection, [], []

        async def unseen(conn_id):
            raise AirflowNotFoundException(conn_id)

        def slow(conn_id):
            threads.append(threading.current_thread())
            time.sleep(0.5)
            return given(conn_id)

        monkeypatch.setattr(triggers, "get_async_connection", unseen)
        monkeypatch.setattr(triggers.BaseHook, "get_connection", slow)

        async def tick():
            while True:
                ticks.append(time.monotonic())
                await asyncio.sleep(0.05)

        async def wait():
            ticking = asyncio.create_task(tick())
            event = await first(trigger(write(client, "a")))
            ticking.cancel()
            return event

        assert asyncio.run(wait())["status"] == "visible"
        assert threads
        assert threading.main_thread() not in threads
        assert len(ticks) >= 5


class TestLookUp:
    """Looking up the connection may fail for a while, as when a secrets backend is down."""

    @pytest.fixture
    def backend(self, monkeypatch):
        """Answer with these errors, one after the other, before the connection is given; None gives it."""
        given = triggers.get_async_connection
        answers = []

        async def look_up(conn_id):
            error = answers.pop(0) if answers else None
            if error is not None:
                raise error
            return await given(conn_id)

        monkeypatch.setattr(triggers, "get_async_connection", look_up)
        return answers

    @pytest.mark.parametrize("error", [OSError("vault is sealed"), TimeoutError("vault")], ids=repr)
    def test_it_is_tried_again_every_interval(self, emulator, client, backend, error):
        backend += [error] * 3
        started = time.monotonic()
        [event] = run(trigger(write(client, "a")))
        assert event["status"] == "visible"
        assert time.monotonic() - started >= 0.4
        assert backend == []

    @pytest.mark.parametrize("error", [OSError("vault is sealed"), TimeoutError("vault")], ids=repr)
    def test_it_ends_with_the_deadline_which_names_the_error(self, emulator, client, backend, error):
        backend += [error] * 1000
        started = time.monotonic()
        [event] = run(trigger(write(client, "a"), timeout=0.7))
        assert event["status"] == "timeout"
        assert 0.7 <= time.monotonic() - started < 5
        assert f"connection 'vectorize_default' could not be looked up: {error!r}" in event["message"]

    def test_one_error_after_a_time_without_a_triggerer_is_not_the_end(self, emulator, client, backend):
        backend += [OSError("vault is sealed")]
        [event] = run(VectorizeMutationTrigger(**late(write(client, "a"))))
        assert event["status"] == "visible"

    def test_a_cancelled_wait_stops_looking_up(self, emulator, client, backend):
        backend += [OSError("vault is sealed")] * 1000

        async def cancel():
            waiting = asyncio.ensure_future(first(trigger(Target("m"))))
            await asyncio.sleep(0.3)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(waiting, 5)

        asyncio.run(cancel())

    def test_a_cancelled_look_up_is_passed_on(self, emulator, client, backend):
        backend += [asyncio.CancelledError()]
        with pytest.raises(asyncio.CancelledError):
            run(trigger(Target("m")))

    def test_before_a_refusal_is_final_it_is_tried_again_too(self, emulator, client, backend):
        emulator.add_faults([{"operation": "index_info", "times": 1, "kind": "status", "status": 403}])
        backend += [None, OSError("vault is sealed")]
        [event] = run(trigger(write(client, "a")))
        assert (event["status"], event["permanent"]) == ("failed", True)
        assert "HTTP 403" in event["message"]
        assert backend == []

    def test_a_refused_token_is_not_used_while_it_is_looked_up(self, emulator, client, backend):
        emulator.add_faults([{"operation": "index_info", "times": 1000, "kind": "status", "status": 403}])
        backend += [None] + [OSError("vault is sealed")] * 10
        run(trigger(write(client, "a")))
        assert [row["operation"] for row in emulator.log()].count("index_info") == 1


class TestToken:
    """The connection is read once, and once more before a refusal is final."""

    @pytest.fixture
    def strict(self, monkeypatch):
        with Emulator(token=TOKEN) as emulator:
            emulator.create_index(INDEX, dimensions=32, metric="cosine")
            emulator.set_visibility("manual")
            yield emulator

    def connect(self, monkeypatch, emulator, token):
        uri = f"vectorize://{ACCOUNT}:{token}@127.0.0.1:{emulator.port}/http"
        monkeypatch.setenv("AIRFLOW_CONN_VECTORIZE_DEFAULT", uri)

    def test_a_token_replaced_during_the_wait_goes_on(self, strict, monkeypatch):
        target = write(VectorizeClient(ACCOUNT, TOKEN, base_url=strict.url), "a")
        self.connect(monkeypatch, strict, "the-old-token-that-was-revoked-just-now")

        def replace():
            self.connect(monkeypatch, strict, TOKEN)
            strict.apply()

        async def replace_while_waiting():
            waiting = asyncio.ensure_future(first(trigger(target, poll_interval=0.5)))
            await asyncio.sleep(0.2)
            await asyncio.to_thread(replace)
            return await waiting

        assert asyncio.run(replace_while_waiting())["status"] == "visible"

    def test_a_revoked_one_fails_and_does_not_disturb_the_others(self, strict, monkeypatch):
        target = write(VectorizeClient(ACCOUNT, TOKEN, base_url=strict.url), "a")
        self.connect(monkeypatch, strict, TOKEN)
        monkeypatch.setenv(
            "AIRFLOW_CONN_REVOKED", f"vectorize://{ACCOUNT}:revoked@127.0.0.1:{strict.port}/http"
        )
        threading.Timer(1.0, strict.apply).start()
        revoked, good = run(trigger(target, conn_id="revoked"), trigger(target))
        assert (revoked["status"], revoked["permanent"]) == ("failed", True)
        assert "Check the connection" in revoked["message"]
        assert good["status"] == "visible"


class TestSharedPoll:
    def test_many_waits_cost_one_info_and_two_reads_an_interval(self, emulator, client):
        emulator.set_visibility("manual")
        targets = [write(client, f"v{n}") for n in range(60)]
        client.upsert(INDEX, ndjson(vectors("foreign")).encode())  # its watermark proves nothing
        emulator.clear_log()

        def apply_all():
            time.sleep(1.0)
            emulator.set_visibility("immediate")

        threading.Thread(target=apply_all).start()
        started = time.monotonic()
        events = run(*(trigger(target, poll_interval=0.2) for target in targets))
        looks = (time.monotonic() - started) / 0.2 + 2
        assert {event["status"] for event in events} == {"visible"}
        operations = [row["operation"] for row in emulator.log()]
        assert operations.count("index_info") <= looks
        assert operations.count("get_by_ids") <= 2 * looks
        assert operations.count("get_by_ids") >= 3, "60 waits cannot be read back in two requests"

    def test_waits_that_only_a_fence_can_prove_share_one(self, emulator, client):
        targets = [Target(write(client, "same").mutation_id) for _ in range(50)]
        emulator.clear_log()
        events = run(*(trigger(target) for target in targets))
        assert {event["status"] for event in events} == {"visible"}
        operations = [row["operation"] for row in emulator.log()]
        assert operations.count("delete_by_ids") <= 2

    def test_beside_another_writer_sentinels_prove_all_of_them(self, emulator, client):
        emulator.set_visibility("delay", 0.2)
        targets = [Target(write(client, "same").mutation_id) for _ in range(5)]
        emulator.foreign(INDEX, writes=100_000, every=0.02)
        sentinels = [Sentinel.of(f"wait {n}", [target]) for n, target in enumerate(targets)]
        events = run(
            *(
                trigger(target, sentinel=(sentinel.id, sentinel.mark), timeout=30)
                for target, sentinel in zip(targets, sentinels, strict=True)
            )
        )
        assert {event["status"] for event in events} == {"visible"}

    def test_the_fences_of_a_poll_are_one_in_three_looks(self, emulator, client):
        emulator.set_visibility("manual")
        client.upsert(INDEX, ndjson(vectors("first")).encode())
        emulator.apply()
        targets = [Target(write(client, "same").mutation_id) for _ in range(10)]
        emulator.clear_log()
        run(*(trigger(target, timeout=3.0) for target in targets))
        operations = [row["operation"] for row in emulator.log()]
        assert 0 < operations.count("delete_by_ids") <= operations.count("index_info") / 3 + 1

    def test_it_looks_at_most_once_a_second(self, emulator, client, monkeypatch):
        monkeypatch.setattr(limits, "MIN_POLL_SECONDS", 1.0)
        emulator.set_visibility("manual")
        target = write(client, "a")
        emulator.clear_log()
        run(trigger(target, poll_interval=0, timeout=2.0))
        assert [row["operation"] for row in emulator.log()].count("index_info") <= 3

    def test_connections_that_differ_in_anything_share_no_poll(self, emulator, client, monkeypatch):
        emulator.set_visibility("manual")
        base = f"vectorize://{ACCOUNT}:{TOKEN}@127.0.0.1:{emulator.port}/http"
        for name, extra in {"PLAIN": "", "LAX": "?verify=false", "HASTY": "?timeout=5"}.items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{name}", base + extra)

        async def three():
            waits = [
                asyncio.ensure_future(first(trigger(Target("m"), timeout=0.6, conn_id=conn_id)))
                for conn_id in ("plain", "lax", "hasty")
            ]
            await asyncio.sleep(0.3)
            assert len(poller._polls) == 3
            await asyncio.gather(*waits)

        asyncio.run(three())

    def test_one_that_cannot_be_proved_does_not_hold_up_the_others(self, emulator, client):
        emulator.set_visibility("manual")
        stuck = [Target(f"m{n}", probes=(Probe(f"never{n}", "x"),)) for n in range(45)]
        emulator.add_faults([{"operation": "delete_by_ids", "times": 99, "kind": "status", "status": 403}])
        good = write(client, "a")
        client.upsert(INDEX, ndjson(vectors("foreign")).encode())
        emulator.set_visibility("immediate")
        *lost, found = run(*(trigger(target, timeout=3.0) for target in stuck), trigger(good, timeout=3.0))
        assert {event["status"] for event in lost} == {"timeout"}
        assert found["status"] == "visible"

    def test_the_shortest_interval_counts_from_when_it_joins(self, emulator, client):
        emulator.set_visibility("manual")
        slow, fast = write(client, "a"), write(client, "b")

        async def join():
            first_wait = asyncio.ensure_future(first(trigger(slow, poll_interval=30)))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(emulator.set_visibility, "immediate")
            second_wait = asyncio.ensure_future(first(trigger(fast, poll_interval=0.1)))
            return await asyncio.wait_for(asyncio.gather(first_wait, second_wait), 10)

        assert {event["status"] for event in asyncio.run(join())} == {"visible"}

    def test_a_cancelled_wait_leaves_no_poll(self, emulator, client):
        emulator.set_visibility("manual")
        target = write(client, "a")

        async def cancel():
            waiting = asyncio.ensure_future(first(trigger(target, poll_interval=0.1)))
            await asyncio.sleep(0.5)
            assert len(poller._polls) == 1
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not poller._polls
            await asyncio.to_thread(emulator.clear_log)
            await asyncio.sleep(0.5)

        asyncio.run(cancel())
        assert emulator.log() == []

    def test_another_index_has_another_poll(self, emulator, client):
        emulator.set_visibility("manual")
        emulator.create_index("other", dimensions=32, metric="cosine")

        async def two():
            waits = [
                asyncio.ensure_future(first(trigger(Target("m"), timeout=0.6, index_name=name)))
                for name in (INDEX, "other")
            ]
            await asyncio.sleep(0.2)
            assert len(poller._polls) == 2
            await asyncio.gather(*waits)

        asyncio.run(two())
