"""Checkpoint and resume."""

from __future__ import annotations

import gzip
import logging
import threading
import time
from contextlib import suppress

import pytest

from airflow_provider_vectorize.client.errors import (
    IngestAbortedError,
    InvalidRecordError,
    TooManyRejectsError,
    TransportError,
)
from airflow_provider_vectorize.ingest import IngestOptions, RejectsFolder, ingest
from tests.ingest.helpers import FS, FakeClient, Store, ndjson, record, records, source_file

IN_FLIGHT = 3
OPTIONS = IngestOptions(max_batch_vectors=10, max_in_flight=IN_FLIGHT)


class Killed(BaseException):
    """Stands for SIGKILL: nothing is cleaned up after it."""


class Dying(Store):
    """A store whose process dies at its n-th save, before or after it has happened."""

    def __init__(self, at: int, *, after: bool) -> None:
        super().__init__()
        self._at, self._after = at, after

    def save(self, state):
        self._at -= 1
        if self._at > 0 or (self._at == 0 and self._after):
            super().save(state)
        if self._at <= 0:
            raise Killed

    def revive(self):
        self._at = 1_000


@pytest.fixture(params=["plain", "gz"])
def source(request, tmp_path):
    """A file of 40 chunks, with refused and superseded records and odd lines in it."""
    items = []
    for number in range(400):
        items.append(record(number))
        if number % 37 == 5:
            items.append(record(number, values=[number]))
        if number % 41 == 7:
            items.append(record(number, metadata={"again": True}))
    text = b"\xef\xbb\xbf" + ndjson(items).replace(b'"id-20"', b'"id-20"\r', 1).replace(b"}\n", b"}\n\n", 3)
    path = tmp_path / ("in.ndjson.gz" if request.param == "gz" else "in.ndjson")
    path.write_bytes(gzip.compress(text) if request.param == "gz" else text)
    return source_file(path)


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("at", [1, 2, 5, 20, 39, 40, 41])
def test_a_load_that_is_killed_goes_on_where_it_stopped(source, tmp_path, at, after):
    rejects = RejectsFolder(FS, f"{tmp_path}/rejects", "rejects")
    options = IngestOptions(
        max_batch_vectors=10, max_in_flight=IN_FLIGHT, on_invalid="reject", max_rejects=99
    )
    whole = FakeClient()
    expected = ingest(whole, "docs", [source], options=options, rejects=rejects)
    names = {path.name: path.read_bytes() for path in (tmp_path / "rejects").iterdir()}
    assert expected.batches == 40
    for path in (tmp_path / "rejects").iterdir():
        path.unlink()

    client, store = FakeClient(), Dying(at, after=after)
    with suppress(Killed):
        ingest(client, "docs", [source], options=options, rejects=rejects, checkpoint=store)
    store.revive()
    report = ingest(client, "docs", [source], options=options, rejects=rejects, checkpoint=store)
    assert client.vectors == whole.vectors
    # A thread of the first try may still end its request, as the service would when the process is gone.
    assert len(client.bodies) <= expected.batches + IN_FLIGHT
    assert (report.accepted, report.rejected, report.superseded) == (
        expected.accepted,
        expected.rejected,
        expected.superseded,
    )
    assert report.bytes_read == expected.bytes_read
    assert {path.name: path.read_bytes() for path in (tmp_path / "rejects").iterdir()} == names


def test_a_load_that_goes_on_says_where(source, caplog):
    store = Dying(8, after=True)
    options = IngestOptions(max_batch_vectors=10, max_in_flight=1, on_invalid="reject", max_rejects=99)
    with pytest.raises(Killed):
        ingest(FakeClient(), "docs", [source], options=options, checkpoint=store)
    store.revive()
    with caplog.at_level(logging.INFO):
        report = ingest(FakeClient(), "docs", [source], options=options, checkpoint=store)
    assert report.resumed_from is not None
    name, line = report.resumed_from
    assert name == source.name
    assert f"Going on at {name}, line {line}" in caplog.text
    assert report.to_dict()["resumed_from"] == [name, line]


def test_a_load_that_is_complete_gives_its_report_again_and_sends_nothing(tmp_path):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson(records(25)))
    store = Store()
    first = ingest(FakeClient(), "docs", [source_file(path)], options=OPTIONS, checkpoint=store)
    client = FakeClient()
    again = ingest(client, "docs", [source_file(path)], options=OPTIONS, checkpoint=store)
    assert client.requests == 0
    assert (again.mutation_id, again.mutation_ids, again.probes, again.accepted) == (
        first.mutation_id,
        first.mutation_ids,
        first.probes,
        25,
    )


def test_a_complete_load_with_too_many_rejects_fails_again_until_more_are_allowed(tmp_path):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson([*records(5), {}]))
    store, client = Store(), FakeClient()

    def load(max_rejects):
        options = IngestOptions(on_invalid="reject", max_rejects=max_rejects)
        return ingest(client, "docs", [source_file(path)], options=options, checkpoint=store)

    for _ in range(2):
        with pytest.raises(TooManyRejectsError, match="1 records were refused, and max_rejects is 0"):
            load(0)
    assert load(1).accepted == 5
    assert client.requests == 1


def killed_in_the_middle(path, client, **options):
    store = Dying(3, after=True)
    with pytest.raises(Killed):
        ingest(
            client,
            "docs",
            [source_file(path)],
            options=IngestOptions(max_batch_vectors=10, max_in_flight=1, **options),
            checkpoint=store,
        )
    store.revive()
    return store


@pytest.mark.parametrize(
    ("change", "says"),
    [("contents", "sources changed"), ("index", "index changed"), ("options", "options changed")],
)
def test_after_a_change_the_load_starts_again_and_says_so(tmp_path, caplog, change, says):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson(records(50)))
    store = killed_in_the_middle(path, FakeClient())
    client, options = FakeClient(), OPTIONS
    if change == "contents":
        path.write_bytes(ndjson(records(51)))
    elif change == "index":
        client.created_on = "2027-01-01"
    else:
        options = IngestOptions(max_batch_vectors=10, namespace="n")
    report = ingest(client, "docs", [source_file(path)], options=options, checkpoint=store)
    assert report.resumed_from is None
    assert len(client.vectors) == report.accepted >= 50
    assert f"starts again: the {says}" in caplog.text
    assert report.probes == ()


@pytest.mark.parametrize(
    "options",
    [{"max_batch_vectors": 7}, {"max_batch_bytes": 2_000}, {"max_in_flight": 2}, {"max_rejects": 5}],
    ids=str,
)
def test_sizes_may_change_between_two_tries(tmp_path, options):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson(records(50)))
    client = FakeClient()
    store = killed_in_the_middle(path, client)
    report = ingest(client, "docs", [source_file(path)], options=IngestOptions(**options), checkpoint=store)
    assert report.resumed_from is not None
    assert report.accepted == len(client.vectors) == 50


def test_values_cannot_be_entered_in_the_middle_and_start_again(caplog):
    store = Store()
    for _ in range(2):
        client = FakeClient()
        report = ingest(client, "docs", iter(records(25)), options=OPTIONS, checkpoint=store)
        assert len(client.vectors) == report.accepted == 25
    assert "starts again" in caplog.text


def test_a_checkpoint_of_another_version_is_not_continued(tmp_path, caplog):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson(records(5)))
    store = Store()
    store.state = {"version": 0, "something": "else"}
    assert ingest(FakeClient(), "docs", [source_file(path)], checkpoint=store).accepted == 5
    assert "another version" in caplog.text


@pytest.mark.parametrize("broken", ["load", "save"])
def test_a_store_that_fails_is_logged_and_the_load_goes_on(tmp_path, caplog, broken):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson(records(25)))

    def fail(*args):
        raise ConnectionError("no store today")

    store = Store()
    setattr(store, broken, fail)
    report = ingest(FakeClient(), "docs", [source_file(path)], options=OPTIONS, checkpoint=store)
    assert report.accepted == 25
    assert "no store today" in caplog.text
    # Whether an earlier try has sent something is unknown when nothing can be read.
    assert bool(report.probes) == (broken == "save")


def test_only_an_accepted_prefix_is_stored(tmp_path):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson(records(50)))
    second_is_in = threading.Event()

    def before(body):
        if b'"id-0"' in body:
            second_is_in.wait(5)
            raise TransportError("gone")
        second_is_in.set()

    store, client = Store(), FakeClient(before=before)
    with pytest.raises(TransportError) as caught:
        ingest(client, "docs", [source_file(path)], options=OPTIONS, checkpoint=store)
    assert store.state["account"]["accepted"] == 0
    assert caught.value.report.accepted == len(client.vectors) > 0
    assert [tuple(span) for span in caught.value.report.unsettled] == [(str(path), 1, 10)]


def test_when_only_bad_records_are_left_the_fence_is_the_last_accepted_record_read_again(tmp_path):
    path = tmp_path / "in.ndjson"
    rejects = RejectsFolder(FS, f"{tmp_path}/rejects", "rejects")
    store = Dying(3, after=True)
    options = IngestOptions(
        max_batch_vectors=10,
        max_batch_bytes=5_000,
        on_invalid="reject",
        max_rejects=99,
        max_in_flight=1,
    )
    path.write_bytes(ndjson([*records(20), *({"id": "x" * 3_000, "values": []} for _ in range(4))]))
    client = FakeClient()
    with pytest.raises(Killed):
        ingest(client, "docs", [source_file(path)], options=options, rejects=rejects, checkpoint=store)
    store.revive()
    assert len(client.vectors) == 20
    report = ingest(client, "docs", [source_file(path)], options=options, rejects=rejects, checkpoint=store)
    assert client.ids_by_request[-1] == ["id-19"]
    assert report.mutation_id == client.mutations[-1]
    assert (report.accepted, report.rejected) == (20, 4)


def test_what_an_earlier_try_refused_is_named_as_well(tmp_path):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson([record(0, values=[]), *records(30)]))
    client, store = FakeClient(), Dying(3, after=True)
    options = IngestOptions(on_invalid="reject", max_batch_vectors=10, max_in_flight=1)
    with pytest.raises(Killed):
        ingest(client, "docs", [source_file(path)], options=options, checkpoint=store)
    store.revive()
    with pytest.raises(
        TooManyRejectsError, match=r"in\.ndjson, line 1 \(id 'id-0'\): .*\[wrong_dimensions\]"
    ):
        ingest(client, "docs", [source_file(path)], options=options, checkpoint=store)


def test_a_load_that_is_told_to_stop_stores_its_checkpoint_and_goes_on_later(tmp_path):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson(records(200)))
    stop = threading.Event()
    client, store = FakeClient(), Store()

    def before(body):
        if len(client.bodies) == 6:
            stop.set()

    client._before = before
    with pytest.raises(IngestAbortedError) as caught:
        ingest(client, "docs", [source_file(path)], options=OPTIONS, checkpoint=store, stop=stop)
    sent = len(client.bodies)
    assert sent < 12
    assert store.state["account"]["accepted"] == caught.value.report.accepted == 10 * sent
    report = ingest(client, "docs", [source_file(path)], options=OPTIONS, checkpoint=store)
    assert len(client.bodies) == 20
    assert report.accepted == len(client.vectors) == 200


def failing_at_the_first_chunk(client):
    """Let all but the first chunk be accepted."""
    others = threading.Event()

    def before(body):
        if b'"id-0"' in body:
            others.wait(5)
            raise TransportError("gone")
        if len(client.bodies) == IN_FLIGHT - 2:
            others.set()

    client._before = before


def test_a_red_retry_claims_nothing_of_what_an_earlier_try_has_sent(tmp_path):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson(records(100)))
    store, client = Store(), FakeClient()
    failing_at_the_first_chunk(client)
    with pytest.raises(TransportError) as caught:
        ingest(client, "docs", [source_file(path)], options=OPTIONS, checkpoint=store)
    assert caught.value.report.stopped_at == (str(path), 31)
    assert set(client.vectors) == {f"id-{number}" for number in range(10, 30)}

    def deny(body):
        raise TransportError("still gone")

    client._before = deny
    with pytest.raises(TransportError) as caught:
        ingest(
            client,
            "docs",
            [source_file(path)],
            options=IngestOptions(max_batch_vectors=10, max_in_flight=1),
            checkpoint=store,
        )
    report = caught.value.report
    assert report.stopped_at == (str(path), 31)
    assert [tuple(span) for span in report.unsettled] == [(str(path), 1, 10), (str(path), 11, 30)]
    assert f"From {path}, line 31 on, nothing was accepted." in str(caught.value)
    assert "line 1 on" not in str(caught.value)


def test_what_an_earlier_try_has_sent_of_several_files_is_named_by_file(tmp_path):
    paths = [tmp_path / f"{letter}.ndjson" for letter in "abc"]
    for number, path in enumerate(paths):
        path.write_bytes(ndjson(record(10 * number + each) for each in range(10)))
    files = [source_file(path) for path in paths]
    store, client = Store(), FakeClient()
    failing_at_the_first_chunk(client)
    options = IngestOptions(max_batch_vectors=8, max_in_flight=IN_FLIGHT)
    with pytest.raises(TransportError):
        ingest(client, "docs", files, options=options, checkpoint=store)
    with pytest.raises(InvalidRecordError) as caught:
        ingest(
            client,
            "docs",
            files,
            options=IngestOptions(max_batch_vectors=8, max_batch_bytes=50),
            checkpoint=store,
        )
    assert [tuple(span) for span in caught.value.report.unsettled] == [
        (str(paths[0]), 1, None),
        (str(paths[1]), 1, None),
        (str(paths[2]), 1, 4),
    ]
    assert f"{paths[0]}, from line 1 on" in str(caught.value)


def test_without_a_checkpoint_a_red_retry_speaks_of_itself_alone():
    with pytest.raises(InvalidRecordError) as caught:
        ingest(FakeClient(), "docs", [{}], tried_before=True)
    assert "nothing was accepted" not in str(caught.value)
    assert "this try has loaded nothing; what an earlier try has sent may be in the index" in str(
        caught.value
    )


def test_what_is_known_to_be_accepted_counts_once_when_a_later_try_goes_on(tmp_path):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson(records(100)))
    store, client = Store(), FakeClient()
    failing_at_the_first_chunk(client)
    with pytest.raises(TransportError) as caught:
        ingest(client, "docs", [source_file(path)], options=OPTIONS, checkpoint=store)
    assert caught.value.report.accepted == 20
    client._before = lambda body: None
    report = ingest(client, "docs", [source_file(path)], options=OPTIONS, checkpoint=store)
    assert (report.accepted, report.batches, len(client.vectors)) == (100, 10, 100)


def test_seconds_are_those_of_all_tries(tmp_path):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson(records(50)))
    client = FakeClient(before=lambda body: time.sleep(0.05))
    store = killed_in_the_middle(path, client)
    before = store.state["account"]["seconds"]
    assert before >= 0.1
    report = ingest(client, "docs", [source_file(path)], options=OPTIONS, checkpoint=store)
    assert report.seconds >= before + 0.05


# Probes of a later try


def last_chunk_killed(path, client, *, begun):
    """Kill a load right before or after it has noted that the last chunk is about to be sent."""
    store = Dying(3, after=begun)
    with pytest.raises(Killed):
        ingest(
            client,
            "docs",
            [source_file(path)],
            options=IngestOptions(max_batch_vectors=10, max_in_flight=1),
            checkpoint=store,
        )
    store.revive()
    return store


@pytest.mark.parametrize("begun", [True, False])
def test_a_later_try_has_no_probes_since_the_earlier_may_have_sent_any_of_them(tmp_path, begun):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson([*records(24), record(0)]))  # the last line is in the first chunk, too
    client = FakeClient()
    store = last_chunk_killed(path, client, begun=begun)
    client.vectors.clear()  # what was sent cannot be seen yet
    report = ingest(client, "docs", [source_file(path)], options=OPTIONS, checkpoint=store, tried_before=True)
    assert report.accepted == 25
    assert report.probes == ()


def test_a_later_try_whose_checkpoint_was_never_stored_has_no_probes(tmp_path):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson(records(25)))
    report = ingest(
        FakeClient(), "docs", [source_file(path)], options=OPTIONS, checkpoint=Store(), tried_before=True
    )
    assert report.probes == ()


@pytest.mark.parametrize("account", [None, {}, [], {"position": 3}, "x"])
def test_a_checkpoint_of_another_shape_is_not_continued(tmp_path, caplog, account):
    path = tmp_path / "in.ndjson"
    path.write_bytes(ndjson(records(25)))
    store = killed_in_the_middle(path, FakeClient())
    store.state["account"] = account
    assert ingest(FakeClient(), "docs", [source_file(path)], options=OPTIONS, checkpoint=store).accepted == 25
    assert "starts again: what it left cannot be read" in " ".join(caplog.text.split())
