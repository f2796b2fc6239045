"""A delete is a load of ids: the same window, fence, checkpoint, probes and dead letters."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vectorize.client.errors import IngestAbortedError, VectorizeError
from airflow_provider_vectorize.client.limits import MAX_DELETE_IDS, MAX_ID_BYTES
from airflow_provider_vectorize.index.delete import delete
from airflow_provider_vectorize.index.pace import Pace
from airflow_provider_vectorize.ingest.ids import IdChecker, Ids
from airflow_provider_vectorize.ingest.rejects import RejectsFolder
from airflow_provider_vectorize.visibility import Probe
from tests.ingest.helpers import FS, FakeClient, Store, record

FAST = 12_000


def run(client, ids, requests_per_minute=FAST, **options):
    stop = options.setdefault("stop", threading.Event())
    return delete(client, "docs", Ids(ids), Pace(requests_per_minute, stop), **options)


def names(count):
    return [f"id-{number}" for number in range(count)]


def test_four_requests_are_under_way_at_once_and_the_last_goes_alone():
    together, under_way = threading.Barrier(4, timeout=20), []

    def before(body):
        ids = len(body.splitlines())
        under_way.append(ids)
        if ids == MAX_DELETE_IDS:
            together.wait()
        assert ids == MAX_DELETE_IDS or len(client.mutations) == 8

    client = FakeClient(before=before)
    report = run(client, names(850))
    assert sorted(under_way) == [50] + [MAX_DELETE_IDS] * 8
    assert report.mutation_id == client.mutations[-1]
    assert (report.operation, report.batches, report.accepted) == ("delete", 9, 850)


def test_every_request_waits_for_its_turn():
    turns = []
    delete(FakeClient(), "docs", Ids(names(350)), _Turns(turns))
    assert len(turns) == 4


class _Turns:
    limit = 120

    def __init__(self, turns):
        self._turns = turns

    def __call__(self):
        self._turns.append(True)


def test_told_to_stop_it_begins_no_request_and_the_next_try_goes_on():
    stop, store = threading.Event(), Store()
    client = FakeClient(before=lambda body: stop.set() if len(client.mutations) == 5 else None)
    with pytest.raises(IngestAbortedError):
        run(client, names(2_000), stop=stop, checkpoint=store, max_in_flight=1)
    assert client.requests == 6
    report = run(client, names(2_000), checkpoint=store, max_in_flight=1)
    assert report.resumed_from == ("ids", 601)
    assert client.requests == 20
    assert [each for ids in client.ids_by_request for each in ids] == names(2_000)
    assert report.accepted == 2_000


def test_other_ids_are_not_gone_on_with():
    store = Store()
    run(FakeClient(), names(200), checkpoint=store)
    client = FakeClient()
    assert run(client, [*names(199), "other"], checkpoint=store).resumed_from is None
    assert client.requests == 2


def test_a_finished_delete_sends_nothing_again():
    store, client = Store(), FakeClient()
    first = run(client, names(300), checkpoint=store)
    again = run(client, names(300), checkpoint=store, tried_before=True)
    assert client.requests == 3
    assert (again.mutation_id, again.accepted) == (first.mutation_id, 300)


def test_an_id_that_is_there_twice_is_counted_once():
    report = run(FakeClient(), [*names(10), *names(5)])
    assert (report.accepted, report.superseded) == (10, 5)


def test_it_is_recognised_by_ids_that_were_there():
    client = FakeClient()
    client.vectors = {f"id-{number}": record(number) for number in (1, 3, 5, 7)}
    report = run(client, [*names(9), "never"])
    assert set(report.probes) <= {Probe(f"id-{number}", None) for number in (1, 3, 5, 7)}
    assert len(report.probes) == 3


def test_an_id_that_the_api_refuses_is_a_dead_letter(tmp_path):
    client = FakeClient(refuses=["id-7"])
    folder = RejectsFolder(FS, str(tmp_path), str(tmp_path))
    report = run(client, names(150), on_invalid="reject", max_rejects=1, rejects=folder)
    assert (report.accepted, report.rejected) == (149, 1)
    [file] = tmp_path.iterdir()
    note = json.loads(file.read_text())
    assert (note["source"], note["line"], note["id"], note["record"]) == ("ids", 8, "id-7", '"id-7"')
    assert IdChecker().check(file.read_bytes()).id == "id-7"


def test_a_red_one_says_what_was_deleted_and_from_where_on_nothing_was():
    def before(body):
        if len(client.mutations) == 2:
            raise VectorizeError("no more")

    client = FakeClient(before=before)
    with pytest.raises(VectorizeError, match="From ids, line 201 on, nothing was accepted") as raised:
        run(client, names(500), max_in_flight=1)
    assert raised.value.report.accepted == 200


@given(st.text(min_size=1))
def test_every_id_that_is_allowed_is_sent_as_it_is(name):
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return
    if size <= MAX_ID_BYTES:
        client = FakeClient()
        run(client, [name])
        assert client.ids_by_request == [[name]]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("a b", "a b"),
        (b"  plain text \r\n", "plain text"),
        (b'{"id": "x", "values": [1, 2]}\n', "x"),
        (b'"quo\\"ted"\n', 'quo"ted'),
        (b'"not JSON\n', '"not JSON'),
        (b"{not-json}\n", "{not-json}"),
        (b"[1]\n", "[1]"),
        ({"id": "x"}, "x"),
        (b'{"reason": "too long", "record": "mended"}\n', "mended"),
        (b'{"reason": "no id", "record": {"id": "mended"}}\n', "mended"),
    ],
)
def test_what_an_id_is_read_from(data, name):
    assert IdChecker().check(data).id == name
