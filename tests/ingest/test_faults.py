"""Nothing is lost, whatever the network and the service do: random loads under random faults, on the emulator."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.client.errors import VectorizeError
from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.ingest import IngestOptions, Report, ingest
from tests.fake_time import FakeTime
from tests.ingest.helpers import DIMENSIONS

MAX_ATTEMPTS = 4
IDS = [f"id-{number}" for number in range(12)]

FAULTS: list[Mapping[str, Any]] = [
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 429},
    {"kind": "status", "status": 429, "retry_after": 7},
    {"kind": "status", "status": 400, "code": 40041},
    {"kind": "status", "status": 429, "code": 40041},
    {"kind": "reset"},
    {"kind": "hang", "seconds": 0.05},  # closed without an answer
    {"kind": "accept-then-reset"},
]
#: Longer than the client waits. It waits so long that a busy machine does not make it give up where no fault was
#: ordered: such a request may be carried out later, and then nobody can tell the order of the writes.
TIMEOUT = 1.0
TOO_SLOW: Mapping[str, Any] = {"kind": "hang", "seconds": 1.3}

FATAL: list[Mapping[str, Any]] = [
    {"kind": "status", "status": 200},
    {"kind": "status", "status": 403, "code": 10000},
]

transient = st.tuples(st.sampled_from(FAULTS), st.sampled_from([1, 1, 1, 2, 3]))
stubborn = st.tuples(st.sampled_from(FAULTS), st.sampled_from([MAX_ATTEMPTS, 9]))
fatal = st.tuples(st.sampled_from([*FATAL, TOO_SLOW, TOO_SLOW]), st.just(1))


class BrokenError(Exception):
    """Whatever may go wrong beside the API."""


#: How a load may end early: who ends it, and with what.
EXITS = st.sampled_from(
    [
        *[None] * 6,
        ("source", BrokenError),
        ("source", KeyboardInterrupt),
        ("progress", BrokenError),
        ("progress", KeyboardInterrupt),
        ("store", SystemExit),
        ("sender", MemoryError),
        ("sender", SystemExit),
        ("stop", None),
    ]
)


class Watched(VectorizeClient):
    """A client that remembers how many attempts its writes took, and may break down at one of them."""

    attempts: list[int]
    breaks: list[type[BaseException]]

    def upsert(self, *args: Any) -> Any:
        mutation = super().upsert(*args)
        self.attempts.append(mutation.attempts)
        if self.breaks and len(self.attempts) > 1:
            raise self.breaks.pop()
        return mutation


class Loads(RuleBasedStateMachine):
    """Loads one after another. The model knows for each id which of its records the index may hold."""

    emulator: Emulator

    @initialize()
    def create(self) -> None:
        self.possible: dict[str, set[int]] = {each: {0} for each in IDS}  # 0: absent
        self.version = 0
        self.emulator.clear_faults()
        client = self.client(attempts=8)
        for index in client.list_indexes():
            client.delete_index(index.name)
        self.emulator.create_index("docs", dimensions=DIMENSIONS)

    def client(self, attempts: int = MAX_ATTEMPTS) -> Watched:
        fake = FakeTime()
        client = Watched(
            self.emulator.account,
            self.emulator.token,
            base_url=self.emulator.url,
            timeout=TIMEOUT,
            max_attempts=attempts,
            sleep=fake.sleep,
            clock=fake.clock,
        )
        client.attempts, client.breaks = [], []
        return client

    @rule(
        faults=st.lists(st.one_of(transient, transient, transient, stubborn | fatal), max_size=4),
        ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=60),
        vectors=st.integers(1, 5),
        in_flight=st.integers(1, 4),
        way_out=EXITS,
        at=st.integers(0, 20),
        pauses=st.sets(st.integers(0, 20), max_size=2),
    )
    def load(
        self,
        faults: list[tuple[Mapping[str, Any], int]],
        ids: list[str],
        vectors: int,
        in_flight: int,
        way_out: tuple[str, type[BaseException]] | None,
        at: int,
        pauses: set[int],
    ) -> None:
        who, error = way_out or (None, BrokenError)
        stop, client, items, versions = threading.Event(), self.client(), *self.records(ids)
        if who == "sender":
            client.breaks.append(error)

        def source() -> Iterator[dict[str, Any]]:
            for number, item in enumerate(items):
                if number in pauses:
                    time.sleep(0.004)  # what is due goes out
                if number == at and who == "source":
                    raise error
                if number == at and who == "stop":
                    stop.set()
                yield item

        class Store:
            def load(self) -> None:
                return None

            def save(self, _state: object) -> None:
                if who == "store" and len(client.attempts) >= at // 4:
                    raise error

        def progress(report: Report) -> None:
            if who == "progress" and report.batches >= at // 4:
                raise error

        options = IngestOptions(
            max_batch_vectors=vectors, max_in_flight=in_flight, flush_seconds=0.001 if pauses else 30
        )
        self.emulator.clear_log()
        self.emulator.add_faults({**fault, "operation": "upsert", "times": times} for fault, times in faults)
        report = None
        try:
            report = ingest(
                client, "docs", source(), options=options, checkpoint=Store(), progress=progress, stop=stop
            )
        except VectorizeError as raised:
            report = raised.report
            assert report.stopped_at is not None
            failed = True
        except (BrokenError, MemoryError, KeyboardInterrupt, SystemExit):
            failed = True
        else:
            assert report.accepted + report.superseded == len(items)
            assert report.unsettled == ()
            failed = False
        assert [each for each in threading.enumerate() if each.name.startswith("vectorize")] == []
        writes = [row for row in self.emulator.log() if row["operation"] == "upsert"]
        broke = who == "sender" and not client.breaks  # with fewer than two requests nobody breaks down
        if report is not None and not broke:
            used = sum(times for _, times in faults) - sum(each["times"] for each in self.emulator.faults())
            assert len(writes) == report.batches + used, (
                "each request was accepted or met a fault, and none was made up"
            )
        throttled = any(row["status"] == 429 or row.get("code") == 40041 for row in writes)
        if not throttled and not any(fault.get("code") == 40041 for fault, _ in faults):
            # Throttled ones are waited out, however many they are.
            assert all(attempts <= MAX_ATTEMPTS for attempts in client.attempts)
        self.emulator.clear_faults()
        if report is not None and not broke:
            self.learn(ids, versions, report)
            self.compare()
        if failed:
            # Nothing of the failed load may come after the next one.
            again, versions = self.records(ids)
            report = ingest(self.client(attempts=8), "docs", again, options=options)
            self.learn(ids, versions, report)
            self.compare()

    def records(self, ids: list[str]) -> tuple[list[dict[str, Any]], range]:
        versions = range(self.version + 1, self.version + len(ids) + 1)
        self.version += len(ids)
        items = [
            {"id": each, "values": [1.0] * DIMENSIONS, "metadata": {"version": version}}
            for each, version in zip(ids, versions, strict=True)
        ]
        return items, versions

    def learn(self, ids: list[str], versions: range, report: Report) -> None:
        """Enter what the report says is in, and what may be."""
        unsettled = {line for span in report.unsettled for line in range(span.first, span.last + 1)}
        end = len(ids) + 1 if report.stopped_at is None else report.stopped_at[1]
        for line, (each, version) in enumerate(zip(ids, versions, strict=True), 1):
            if line in unsettled:
                self.possible[each].add(version)
            elif line < end:
                self.possible[each] = {version}

    def compare(self) -> None:
        stored = {
            vector.id: int((vector.metadata or {})["version"])
            for vector in self.client(attempts=8).get_by_ids("docs", IDS)
        }
        for each in IDS:
            assert stored.get(each, 0) in self.possible[each]
            self.possible[each] = {stored.get(each, 0)}


def run(examples: int) -> None:
    with Emulator() as emulator:
        Loads.emulator = emulator
        run_state_machine_as_test(
            Loads,
            settings=settings(
                max_examples=examples,
                stateful_step_count=6,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_nothing_is_lost_in_50_schedules_of_faults():
    run(50)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_nothing_is_lost_in_500_schedules_of_faults():
    run(500)
