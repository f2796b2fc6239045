"""The load as a whole, with a client in memory."""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import pickle
import threading
import time
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest

from airflow_provider_vectorize.client.errors import (
    EmptySourceError,
    IngestAbortedError,
    InvalidArgumentError,
    InvalidRecordError,
    ServerError,
    SourceError,
    TooManyRejectsError,
    TransportError,
    VectorizeError,
)
from airflow_provider_vectorize.client.types import Mutation
from airflow_provider_vectorize.ingest import IngestOptions, ingest
from airflow_provider_vectorize.ingest import engine as engine_module
from airflow_provider_vectorize.ingest.chunks import Chunker
from airflow_provider_vectorize.ingest.records import Record
from airflow_provider_vectorize.ingest.rejects import Reject
from airflow_provider_vectorize.ingest.sources import Item, Position
from airflow_provider_vectorize.ingest.tables import mapped
from airflow_provider_vectorize.visibility import Probe, digest
from tests.ingest.helpers import DIMENSIONS, FakeClient, Store, ndjson, record, records, source_file


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("kind", ["str", "bytes", "list", "generator", "arrays", "file", "gz"])
def test_every_kind_of_input_is_loaded(kind, compact, tmp_path):
    items = records(25)
    path = tmp_path / ("in.gz" if kind == "gz" else "in.ndjson")
    path.write_bytes(gzip.compress(ndjson(items)) if kind == "gz" else ndjson(items))
    given = {
        "str": lambda: ndjson(items).decode(),
        "bytes": lambda: ndjson(items),
        "list": lambda: items,
        "generator": lambda: (each for each in items),
        "arrays": lambda: [each | {"values": np.asarray(each["values"], "<f4")} for each in items],
        "file": lambda: [source_file(path)],
        "gz": lambda: [source_file(path)],
    }[kind]()
    client = FakeClient()
    report = ingest(client, "docs", given, options=IngestOptions(compact=compact, max_batch_vectors=10))
    assert (report.accepted, report.batches) == (25, 3)
    for each in items:
        assert (
            np.float32(client.vectors[each["id"]]["values"]).tolist() == np.float32(each["values"]).tolist()
        )


def test_the_last_chunk_goes_alone_after_all_others_and_its_mutation_is_the_fence():
    under_way, together, lock = set(), [], threading.Lock()

    def before(body):
        with lock:
            under_way.add(body)
            together.append(len(under_way))
        time.sleep(0.02)
        with lock:
            under_way.discard(body)

    client = FakeClient(before=before)
    report = ingest(client, "docs", records(75), options=IngestOptions(max_batch_vectors=10))
    assert client.ids_by_request[-1] == [f"id-{number}" for number in range(70, 75)]
    assert together[-1] == 1
    assert 2 <= max(together) <= 4
    assert report.mutation_id == client.mutations[-1] == report.mutation_ids[-1]
    assert report.target().mutation_id == report.mutation_id


def test_the_last_write_of_an_id_wins_as_in_the_source():
    rounds = [record(number, id=f"id-{number % 7}", metadata={"n": number}) for number in range(200)]
    delays = iter([0.03, 0.0] * 100)
    client = FakeClient(before=lambda body: time.sleep(next(delays)))
    report = ingest(client, "docs", rounds, options=IngestOptions(max_batch_vectors=3))
    assert {each["id"]: each["metadata"]["n"] for each in client.vectors.values()} == {
        f"id-{number % 7}": number for number in range(193, 200)
    }
    assert report.accepted + report.superseded == 200


def test_an_insert_keeps_the_first_of_equal_ids():
    rounds = [record(number, id="same", metadata={"n": number}) for number in range(5)]
    client = FakeClient()
    report = ingest(client, "docs", rounds, options=IngestOptions(operation="insert"))
    assert client.vectors["same"]["metadata"] == {"n": 0}
    assert (report.operation, report.accepted, report.superseded) == ("insert", 1, 4)


def test_records_read_are_accepted_rejected_or_superseded():
    items = [*records(50), record(3), record(4), {}, None, record(51, values=[])]
    options = IngestOptions(on_invalid="reject", max_rejects=9, max_batch_vectors=20)
    report = ingest(FakeClient({"id-7"}), "docs", items, options=options)
    assert (report.accepted, report.rejected) == (51, 4)
    assert report.accepted + report.rejected + report.superseded == len(items)


def test_the_report_is_json_and_tells_what_was_done(tmp_path):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson(records(25)))
    report = ingest(FakeClient(), "docs", [source_file(path)], options=IngestOptions(max_batch_vectors=10))
    data = json.loads(json.dumps(report.to_dict()))
    assert data["index_name"] == "docs"
    assert data["mutation_ids"] == list(report.mutation_ids)
    assert data["sources"] == [str(path)]
    assert data["bytes_read"] == path.stat().st_size > data["bytes_sent"] > 0
    assert data["seconds"] > 0
    assert data["probes"] == [[probe.id, probe.digest] for probe in report.probes]
    assert (data["retries"], data["stopped_at"], data["unsettled"]) == (0, None, [])


def test_in_the_report_counts_come_first_and_ids_last():
    names = list(ingest(FakeClient(), "docs", records(1)).to_dict())
    assert names[:4] == ["accepted", "rejected", "superseded", "rejects"]
    assert names[-3:] == ["mutation_id", "mutation_ids", "probes"]


def test_messages_and_retries_of_the_api_are_in_the_report():
    class Chatty(FakeClient):
        def upsert(self, *args):
            super().upsert(*args)
            return Mutation("m", attempts=3, messages=("be quick",))

    report = ingest(Chatty(), "docs", records(20), options=IngestOptions(max_batch_vectors=10))
    assert report.retries == 4
    assert report.messages == ("be quick",)


def test_only_the_last_20_mutation_ids_are_kept():
    client = FakeClient()
    report = ingest(client, "docs", records(30), options=IngestOptions(max_batch_vectors=1, max_in_flight=1))
    assert (report.batches, report.mutation_ids) == (30, tuple(client.mutations[-20:]))
    assert report.mutation_ids[-1] == report.mutation_id


def test_with_discard_the_number_of_accepted_records_is_unknown_and_a_warning_says_so(caplog):
    report = ingest(FakeClient(), "docs", records(3), options=IngestOptions(unparsable_behavior="discard"))
    assert report.accepted is None
    assert "does not tell how many records it dropped" in caplog.text
    assert "does not tell how many" in report.messages[0]


def test_undocumented_fields_are_remarked():
    report = ingest(FakeClient(), "docs", [record(1, text="x"), record(2, texts="y")])
    assert report.messages == (
        "sent as they are, though the API does not document them: the fields text, texts",
    )


@pytest.mark.parametrize("nothing", ["", b"\n\n", [], iter(())])
def test_nothing_to_load_is_an_error(nothing):
    client = FakeClient()
    with pytest.raises(EmptySourceError, match="nothing to load"):
        ingest(client, "docs", nothing)
    assert client.requests == 0


def test_a_failed_load_names_the_place_from_which_on_nothing_was_accepted(tmp_path):
    good, bad = tmp_path / "a.ndjson", tmp_path / "b.ndjson"
    good.write_bytes(ndjson(records(15)))
    bad.write_bytes(ndjson([record(20), record(21), record(22, values=[1])]))
    with pytest.raises(InvalidRecordError) as caught:
        ingest(
            FakeClient(),
            "docs",
            [source_file(good), source_file(bad)],
            options=IngestOptions(max_batch_vectors=10),
        )
    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error).startswith(f"{bad}, line 3 (id 'id-22'): the index has 32 dimensions, the vector 1")
    assert "Accepted: 10 records in 1 requests." in str(error)
    assert f"From {good}, line 11 on, nothing was accepted." in str(error)
    assert error.report.stopped_at == (str(good), 11)
    assert (error.source, error.line, error.record_id, error.code) == (
        str(bad),
        3,
        "id-22",
        "wrong_dimensions",
    )


def test_too_many_rejects_name_each_refused_record_after_all_others_were_accepted():
    items = [*records(5), {}, record(6, values=[])]
    client = FakeClient()
    with pytest.raises(TooManyRejectsError) as caught:
        ingest(client, "docs", items, options=IngestOptions(on_invalid="reject", max_rejects=1))
    assert len(client.vectors) == 5
    text = str(caught.value)
    assert "2 records were refused, and max_rejects is 1" in text
    assert "vectors, line 6: there is no id [invalid_id]" in text
    assert "vectors, line 7 (id 'id-6'): the index has 32 dimensions, the vector 0 [wrong_dimensions]" in text
    assert caught.value.report.stopped_at is None


def test_a_source_that_breaks_off_fails_the_load_and_what_was_under_way_counts():
    def broken():
        yield from records(25)
        raise RuntimeError("gone")

    client = FakeClient()
    with pytest.raises(SourceError, match="broke off after record 25") as caught:
        ingest(client, "docs", broken(), options=IngestOptions(max_batch_vectors=10))
    assert caught.value.report.accepted == len(client.vectors) == 20
    assert caught.value.report.stopped_at == ("vectors", 21)


@pytest.mark.parametrize("error", [TransportError("gone"), ServerError("down", status=503)])
def test_records_without_an_answer_are_named_as_such(error):
    def before(body):
        if b'"id-10"' in body:
            time.sleep(0.1)
            raise error

    client = FakeClient(before=before)
    with pytest.raises(type(error)) as caught:
        ingest(client, "docs", records(100), options=IngestOptions(max_batch_vectors=10, max_in_flight=2))
    assert "some may be in the index: vectors, lines 11 to 20." in str(caught.value)
    report = caught.value.report
    assert report.accepted == len(client.vectors)
    assert report.stopped_at == ("vectors", report.accepted + 10 + 1)


def test_a_record_that_gave_way_to_one_without_an_answer_is_not_settled_either():
    def before(body):
        raise TransportError("gone")

    items = [record(0), record(1), record(0, metadata={"again": True})]
    with pytest.raises(TransportError) as caught:
        ingest(FakeClient(before=before), "docs", items)
    assert [tuple(span) for span in caught.value.report.unsettled] == [("vectors", 1, 3)]
    assert (caught.value.report.accepted, caught.value.report.superseded) == (0, 0)


def test_an_error_that_nobody_expects_is_raised_as_it_is():
    def before(body):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ingest(FakeClient(before=before), "docs", records(3))


def test_a_stop_ends_the_load_though_a_request_hangs():
    stop, release = threading.Event(), threading.Event()

    def before(body):
        stop.set()
        release.wait(30)

    begun = time.monotonic()
    with pytest.raises(IngestAbortedError, match="told to stop") as caught:
        ingest(FakeClient(before=before), "docs", records(10), stop=stop)
    assert time.monotonic() - begun < 3
    assert caught.value.report.accepted == 0
    assert [tuple(span) for span in caught.value.report.unsettled] == [("vectors", 1, 10)]
    release.set()


def test_a_stop_that_is_set_before_sends_nothing():
    stop = threading.Event()
    stop.set()
    client = FakeClient()
    with pytest.raises(IngestAbortedError):
        ingest(client, "docs", records(10), stop=stop)
    assert client.requests == 0


def test_a_stop_right_before_the_last_chunk_does_not_send_it():
    stop = threading.Event()

    class Late(FakeClient):
        def get_by_ids(self, index_name, ids):
            stop.set()
            return []

    client = Late()
    with pytest.raises(IngestAbortedError):
        ingest(client, "docs", records(15), options=IngestOptions(max_batch_vectors=10), stop=stop)
    assert client.ids_by_request == [[f"id-{number}" for number in range(10)]]


def test_progress_is_told_whenever_more_is_settled():
    seen = []
    ingest(
        FakeClient(), "docs", records(25), options=IngestOptions(max_batch_vectors=10), progress=seen.append
    )
    assert [each.accepted for each in seen] == [10, 20, 25]


def test_a_line_of_progress_is_logged_at_most_every_5_seconds(monkeypatch, caplog):
    clock = iter(range(0, 10_000, 2))
    monkeypatch.setattr(engine_module.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO):
        ingest(
            FakeClient(), "docs", records(100), options=IngestOptions(max_batch_vectors=10, max_in_flight=1)
        )
    lines = [each.message for each in caplog.records if "MB/s" in each.message]
    assert 1 <= len(lines) < 10
    assert "MB sent" in lines[0]
    assert "MB/s" in lines[0]


def test_lines_as_an_open_file_gives_them_are_loaded_whatever_their_ends(tmp_path):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson(records(3))[:-1])  # without its last newline
    pretty = json.dumps(record(3), indent=1).encode()
    client = FakeClient()
    with path.open("rb") as stream:
        lines = itertools.chain(stream, [pretty])
        report = ingest(client, "docs", lines, options=IngestOptions(compact=False))
    assert report.accepted == 4
    assert set(client.vectors) == {f"id-{number}" for number in range(4)}


# Probes


def probes_of(client, items, **options):
    return [probe.id for probe in ingest(client, "docs", items, options=IngestOptions(**options)).probes]


def test_probes_are_records_of_the_last_chunk_that_the_index_shows_otherwise():
    client = FakeClient()
    assert probes_of(client, records(14), max_batch_vectors=10) == ["id-13", "id-12", "id-11"]
    assert client.read == [["id-13", "id-12", "id-11", "id-10"]]
    assert probes_of(client, records(14)) == [], "all of it is there already"
    changed = [*records(13), record(13, metadata={"new": True})]
    assert probes_of(client, changed) == ["id-13"]


def test_a_probe_has_the_digest_of_what_was_sent():
    client = FakeClient()
    report = ingest(client, "docs", [record(1, metadata={"a": 1})], options=IngestOptions(namespace="n"))
    values = record(1)["values"]
    assert report.probes == (Probe("id-1", digest(values, "n", {"a": 1})),)


def test_at_most_20_ids_are_looked_at():
    client = FakeClient()
    probes_of(client, records(100))
    assert [len(ids) for ids in client.read] == [20]


def test_ids_that_this_load_has_sent_before_are_no_probes():
    client = FakeClient()
    items = [*records(10), *(record(number, metadata={"again": 1}) for number in range(9)), record(77)]
    assert probes_of(client, items, max_batch_vectors=10) == ["id-77"]


def test_an_insert_has_only_absent_ids_as_probes():
    client = FakeClient()
    ingest(client, "docs", [record(1)])
    items = [record(1, metadata={"new": True}), record(2)]
    assert probes_of(client, items, operation="insert") == ["id-2"]


def test_a_record_that_the_api_refuses_is_no_probe():
    client = FakeClient({"id-0"})
    assert probes_of(client, records(3), on_invalid="reject", max_rejects=1) == ["id-2", "id-1"]


def test_of_a_chunk_that_was_taken_apart_only_the_last_piece_has_probes():
    client = FakeClient({"id-61"}, "names nothing")
    probes = probes_of(client, records(64), on_invalid="reject", max_rejects=1)
    assert client.ids_by_request[-1] == ["id-62", "id-63"]
    assert probes == ["id-63", "id-62"], "id-60 is seen before the fence is"


def test_a_later_try_has_no_probes():
    assert ingest(FakeClient(), "docs", records(3), tried_before=True).probes == ()


def test_without_a_look_at_the_index_there_are_no_probes_and_the_load_goes_on(caplog):
    class Blind(FakeClient):
        def get_by_ids(self, index_name, ids):
            raise ServerError("down", status=503)

    report = ingest(Blind(), "docs", records(3))
    assert (report.accepted, report.probes) == (3, ())
    assert "No record could be chosen" in caplog.text


# Options


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("operation", "remove", "operation must be one of 'upsert', 'insert', 'delete', got 'remove'"),
        ("on_invalid", "skip", "on_invalid must be one of 'fail', 'reject', got 'skip'"),
        ("unparsable_behavior", "drop", "unparsable_behavior must be one of 'error', 'discard'"),
        ("compact", "yes", "compact must be one of True, False, got 'yes'"),
        ("max_rejects", -1, "max_rejects must be at least 0, got -1"),
        ("max_rejects", "3", "max_rejects must be a whole number, got '3'"),
        ("max_batch_vectors", 0, "max_batch_vectors must be 1 to 5000, got 0"),
        ("max_batch_vectors", 5_001, "max_batch_vectors must be 1 to 5000, got 5001"),
        ("max_batch_bytes", 100_000_001, "max_batch_bytes must be 1 to 100000000, got 100000001"),
        ("max_batch_bytes", True, "max_batch_bytes must be a whole number, got True"),
        ("max_in_flight", 65, "max_in_flight must be 1 to 64, got 65"),
        ("namespace", "", "namespace must be a string that is not empty, or None, got ''"),
        ("namespace", "x" * 65, "namespace takes 65 bytes, at most 64 are allowed"),
    ],
)
def test_an_option_that_can_never_work_is_named_with_its_limits(name, value, says):
    with pytest.raises(InvalidArgumentError, match=says):
        IngestOptions(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_batch_vectors", 5_000),
        ("max_batch_bytes", 100_000_000),
        ("max_in_flight", 64),
        ("namespace", "€" * 21 + "x"),
        ("max_rejects", 0),
    ],
)
def test_an_option_at_its_limit_is_fine(name, value):
    assert getattr(IngestOptions(**{name: value}), name) == value


def test_a_line_that_is_too_long_is_an_invalid_record():
    text = ndjson(records(2)) + b'{"id":"x","pad":"' + b"x" * 2**20 + b'"}\n' + ndjson([record(4)])
    client = FakeClient()
    options = IngestOptions(on_invalid="reject", max_rejects=1)
    report = ingest(client, "docs", text, options=options)
    assert (report.accepted, report.rejected) == (3, 1)
    with pytest.raises(InvalidRecordError, match=r"line 3: the line takes 1048595 bytes.*\[line_too_long\]"):
        ingest(FakeClient(), "docs", text)


def test_the_vectors_dimensions_are_those_of_the_index():
    with pytest.raises(InvalidRecordError, match=f"the index has {DIMENSIONS} dimensions, the vector 33"):
        ingest(FakeClient(), "docs", [{"id": "a", "values": [0.5] * 33}])


def test_a_report_of_nothing_has_nothing_to_wait_for():
    with pytest.raises(InvalidRecordError) as caught:
        ingest(FakeClient(), "docs", [{}])
    with pytest.raises(ValueError, match="nothing to wait for"):
        caught.value.report.target()


# How a load ends


def threads_of_a_load():
    return [each for each in threading.enumerate() if each.name.startswith("vectorize-chunk")]


def slow_client():
    """Take a moment for every request, so that some are under way when the load ends."""
    return FakeClient(before=lambda body: time.sleep(0.1))


class OtherError(Exception):
    pass


@pytest.mark.parametrize("error", [OtherError, MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("where", ["source", "progress", "checkpoint", "request"])
def test_however_a_load_ends_nothing_of_it_goes_on(where, error):
    client = slow_client()

    def source():
        for number, item in enumerate(records(100)):
            if where == "source" and number == 45:
                raise error
            yield item

    def break_down(*args):
        raise error

    class Broken(Store):
        save = break_down

    if where == "request":
        client._before = break_down
    expected = VectorizeError if where == "source" and issubclass(error, Exception) else error
    survives = where == "checkpoint" and issubclass(error, Exception)
    with nullcontext() if survives else pytest.raises(expected):
        ingest(
            client,
            "docs",
            source(),
            options=IngestOptions(max_batch_vectors=10),
            progress=break_down if where == "progress" else None,
            checkpoint=Broken() if where == "checkpoint" else None,
        )
    sent = client.requests
    assert threads_of_a_load() == []
    time.sleep(0.15)
    assert client.requests == sent


def test_what_is_under_way_when_the_source_breaks_off_counts_and_comes_before_the_next_load():
    client = slow_client()

    def source(version):
        yield from (record(number, metadata={"version": version}) for number in range(40))
        if version == 1:
            raise RuntimeError("gone")

    with pytest.raises(SourceError) as caught:
        ingest(client, "docs", source(1), options=IngestOptions(max_batch_vectors=10))
    assert caught.value.report.accepted == len(client.vectors) == 30
    ingest(client, "docs", source(2), options=IngestOptions(max_batch_vectors=10))
    time.sleep(0.15)
    assert {each["metadata"]["version"] for each in client.vectors.values()} == {2}


def test_choosing_probes_is_one_attempt_of_ten_seconds():
    seen = []

    class Bounded(FakeClient):
        def within(self, ending=None, **bounds):
            seen.append(bounds)
            return self

    ingest(Bounded(), "docs", records(3))
    assert seen == [{}, {"seconds": 10.0, "max_attempts": 1}]


# Slow producers


FLUSHED = IngestOptions(flush_seconds=0.05)


def stalling(client, before=10, after=3):
    """Give records, then none until all of these are in the index, then the rest."""
    yield from (record(number) for number in range(before))
    until = time.monotonic() + 20
    while len(client.vectors) < before and time.monotonic() < until:
        time.sleep(0.01)
    assert len(client.vectors) == before, "the producer is still at it"
    yield from (record(number) for number in range(before, before + after))


@pytest.mark.parametrize("after", [3, 0])
def test_a_chunk_goes_out_when_its_first_record_has_waited_for_flush_seconds(after):
    client = FakeClient()
    report = ingest(client, "docs", stalling(client, after=after), options=FLUSHED)
    assert report.accepted == 10 + after == len(client.vectors)
    assert report.mutation_id == client.mutations[-1], "the fence is the last request all the same"
    assert client.ids_by_request[-1][-1] == f"id-{9 + after}"


def test_what_was_flushed_is_settled_while_the_source_is_waited_for():
    client, told = FakeClient(), threading.Event()

    def source():
        yield record(0)
        assert told.wait(20)
        yield record(1)

    report = ingest(client, "docs", source(), options=FLUSHED, progress=lambda report: told.set())
    assert report.accepted == 2


def test_what_fails_while_the_source_is_waited_for_ends_the_load_with_the_next_record():
    failed, after = threading.Event(), []

    def before(body):
        failed.set()
        raise ServerError("broken", status=500)

    def source():
        yield record(0)
        assert failed.wait(20)
        yield from itertools.repeat(record(1))
        after.append("the end")

    with pytest.raises(ServerError) as caught:
        ingest(FakeClient(before=before), "docs", source(), options=FLUSHED)
    assert caught.value.report.accepted == 0
    assert [str(span) for span in caught.value.report.unsettled]
    assert after == []


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_what_progress_raises_while_the_source_is_waited_for_is_raised_by_the_load(error):
    raised = threading.Event()

    def progress(report):
        raised.set()
        raise error

    def source():
        yield record(0)
        assert raised.wait(20)
        yield record(1)

    client = FakeClient()
    with pytest.raises(error):
        ingest(client, "docs", source(), options=FLUSHED, progress=progress)
    assert len(client.vectors) == 1
    assert [each for each in threading.enumerate() if each.name.startswith("vectorize")] == []


def test_a_source_that_raises_while_a_flush_is_under_way_waits_for_it():
    begun = threading.Event()

    def before(body):
        begun.set()
        time.sleep(0.1)

    def source():
        yield record(0)
        assert begun.wait(20)
        raise KeyboardInterrupt

    client = FakeClient(before=before)
    with pytest.raises(KeyboardInterrupt):
        ingest(client, "docs", source(), options=FLUSHED)
    assert len(client.vectors) == 1
    assert [each for each in threading.enumerate() if each.name.startswith("vectorize")] == []


def test_loop_and_flushes_never_run_at_the_same_time_and_nothing_is_lost():
    client, inside, met = FakeClient(), threading.Lock(), []

    class Follower:
        partial = False

        def _alone(self, *_):
            met.append(inside.acquire(blocking=False))
            time.sleep(0)
            inside.release()
            return True

        mark = staticmethod(lambda record: b"")
        wants = sending = settled = _alone

    def source():
        for number in range(400):
            if number % 20 == 0:
                time.sleep(0.003)
            yield record(number)

    options = IngestOptions(flush_seconds=0.001, max_batch_vectors=30)
    report = ingest(client, "docs", source(), options=options, follower=Follower())
    assert all(met)
    assert (report.accepted, len(client.vectors)) == (400, 400)
    assert report.batches > 400 / 30 + 1, "some were flushed"
    assert report.mutation_id == client.mutations[-1]


def test_requests_are_no_smaller_because_the_way_is_slow(monkeypatch):
    now, given, numbers = [0.0], [0], itertools.count()
    monkeypatch.setattr(engine_module, "Chunker", partial(Chunker, clock=lambda: now[0]))

    def before(body):
        if (wanted := 10 * next(numbers) + 21) < 60:
            while given[0] < wanted:  # the next chunk is full, and waits for this one
                time.sleep(0.001)
            now[0] += 1

    def source():
        for number in range(60):
            given[0] = number + 1
            yield record(number)
            if number % 10 == 2:
                time.sleep(0.1)  # time for a flush

    options = IngestOptions(flush_seconds=0.05, max_batch_vectors=10, max_in_flight=1)
    report = ingest(FakeClient(before=before), "docs", source(), options=options)
    assert report.batches == 6


def test_the_longest_flush_seconds_is_for_ever():
    report = ingest(FakeClient(), "docs", iter(records(3)), options=IngestOptions(flush_seconds=float("inf")))
    assert report.batches == 1


@pytest.mark.parametrize("value", [0, -1, True, "30", None])
def test_flush_seconds_must_be_a_number_above_0(value):
    with pytest.raises(InvalidArgumentError, match="flush_seconds must be a number of seconds above 0"):
        IngestOptions(flush_seconds=value)


# Memory


def test_text_and_rejects_of_a_chunk_have_one_budget():
    chunker = Chunker(max_vectors=5_000, max_bytes=1_000, keep="last")
    sizes = []
    for number in range(100):
        item = Item(None, Position(0, number), Position(0, number + 1))
        if number % 2:
            full = chunker.add(Record(str(number), b"x" * 99 + b"\n"), item)
        else:
            full = chunker.reject(Reject("s", number, None, "c", "r"), b"r" * 100, item)
        if full is not None:
            sizes.append(full.kept.size + sum(len(full.line(each)) for each in full.entries.values()))
    assert set(sizes) == {1_000}


@pytest.mark.parametrize("connection", [None, "mine"])
@pytest.mark.parametrize("kind", ["files", "text", "iterable"])
def test_the_first_line_of_the_log_says_what_is_loaded_where_to_and_by_what(
    tmp_path, caplog, kind, connection
):
    text = ndjson(records(200))
    paths = [tmp_path / "a.ndjson", tmp_path / "b.ndjson"]
    for path in paths:
        path.write_bytes(text)
    given, extent = {
        "files": (list(map(source_file, paths)), f"2 files, {2 * len(text) / 1e6:.1f} MB"),
        "text": (text, f"text, {len(text) / 1e6:.1f} MB"),
        "iterable": (iter(records(3)), "vectors"),
    }[kind]
    with caplog.at_level("INFO"):
        ingest(FakeClient(), "docs", given, connection=connection)
    by = "" if connection is None else ", by connection 'mine'"
    assert caplog.messages[0] == f"Loading {extent} into index 'docs', 32 dimensions{by}"


@pytest.mark.parametrize("columns", [None, {"metadata": []}])
@pytest.mark.parametrize("wrong", ["record", "request", "read further"])
def test_of_a_gz_that_is_left_in_the_middle_no_thread_is_alive(tmp_path, columns, wrong):
    good = ndjson(records(20)) * 500
    path = tmp_path / "a.ndjson.gz"
    path.write_bytes(gzip.compress(good + (b"wrong\n" if wrong == "record" else b"") + good, 1))

    def before(body):
        if wrong == "request":
            raise ServerError("broken", status=500)

    def progress(report):
        if wrong == "read further":
            raise RuntimeError

    running = threading.enumerate()
    source = mapped([source_file(path)], columns)
    options = IngestOptions(max_batch_vectors=100, max_in_flight=2)
    with pytest.raises((InvalidRecordError, ServerError, RuntimeError)) as caught:
        ingest(FakeClient(before=before), "docs", source, options=options, progress=progress)
    assert caught.value.__traceback__ is not None  # which keeps alive whatever is not closed
    assert threading.enumerate() == running
