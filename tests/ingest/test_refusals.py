"""Chunks that the API refuses, and the folder for the records that made it do so."""

from __future__ import annotations

import errno
import io
import json
import threading
import time
import tracemalloc

import pytest

from airflow_provider_vectorize.client.errors import (
    AuthenticationError,
    IngestAbortedError,
    InvalidRecordError,
    InvalidVectorError,
    RejectsError,
    TooManyRejectsError,
    TransportError,
)
from airflow_provider_vectorize.ingest import IngestOptions, Reject, RejectsFolder, expand, ingest
from airflow_provider_vectorize.ingest import rejects as rejects_module
from airflow_provider_vectorize.ingest.refusals import MAX_EXTRA_REQUESTS
from airflow_provider_vectorize.ingest.rejects import Spool, listing
from tests.ingest.helpers import FS, FakeClient, Store, ndjson, record, records, source_file

MESSAGES = {
    "names the id": 'vectorize.upstream_error - invalid vector for id="{id}", expected 32 dimensions, and got 31',
    "names the line": "failed to parse upsert vectors request in ndjson format: line Some({line}) was not expected",
    "names nothing": "id too long; max is 64 bytes, got 74 bytes",
    "names a wrong id": 'invalid vector for id="id-0", expected 32 dimensions',
    "names an unknown id": 'invalid vector for id="nobody", expected 32 dimensions',
    "names a line that is not there": "line Some(99999) was not expected format",
}


def rejecting(max_rejects=1_000, **options):
    return IngestOptions(on_invalid="reject", max_rejects=max_rejects, **options)


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
@pytest.mark.parametrize(
    "refused",
    [{"id-7"}, {"id-0"}, {"id-99"}, {"id-3", "id-50", "id-51"}],
    ids=lambda ids: ",".join(sorted(ids)),
)
def test_all_but_the_refused_records_are_accepted(message, refused):
    client = FakeClient(refused, message)
    report = ingest(client, "docs", records(100), options=rejecting())
    assert set(client.vectors) == {f"id-{number}" for number in range(100)} - refused
    assert (report.accepted, report.rejected, report.superseded) == (100 - len(refused), len(refused), 0)
    assert report.mutation_ids == tuple(client.mutations)


def test_a_record_that_the_message_names_costs_two_extra_requests():
    client = FakeClient({"id-7"}, MESSAGES["names the id"])
    ingest(client, "docs", records(1_000), options=rejecting())
    assert client.requests == 3


def test_without_a_name_the_chunk_is_halved():
    client = FakeClient({"id-7"}, MESSAGES["names nothing"])
    ingest(client, "docs", records(1_024), options=rejecting())
    assert client.requests == 1 + 2 * 10


def test_the_pieces_of_a_chunk_go_in_file_order_one_after_another():
    client = FakeClient({"id-7"}, MESSAGES["names nothing"])
    ingest(client, "docs", records(64), options=rejecting())
    sent = [each for ids in client.ids_by_request for each in ids]
    assert sent == [f"id-{number}" for number in range(64) if number != 7]


def test_a_refusal_with_on_invalid_fail_names_the_record_and_stops():
    client = FakeClient({"id-7"}, MESSAGES["names the id"])
    text = b"\n" + ndjson(records(20))
    with pytest.raises(
        InvalidRecordError, match=r"vectors, line 9 \(id 'id-7'\): refused by the API: .*\[40012\]"
    ) as caught:
        ingest(client, "docs", text)
    assert caught.value.report.accepted == 0
    assert client.requests == 2


def test_the_load_stops_as_soon_as_max_rejects_is_passed():
    client = FakeClient({f"id-{number}" for number in range(10)}, MESSAGES["names the id"])
    with pytest.raises(TooManyRejectsError, match="max_rejects is 3") as caught:
        ingest(client, "docs", records(100), options=rejecting(3))
    assert client.requests == 1 + 2 * 3 + 1
    assert caught.value.report.rejected == 4
    assert "line 4 (id 'id-3')" in str(caught.value)


def test_a_file_in_which_every_record_is_refused_stops_at_the_brake():
    client = FakeClient({f"id-{number}" for number in range(5_000)}, MESSAGES["names the id"])
    with pytest.raises(TooManyRejectsError, match=f"{MAX_EXTRA_REQUESTS} extra requests") as caught:
        ingest(client, "docs", records(5_000), options=rejecting(5_000))
    assert client.requests == 1 + MAX_EXTRA_REQUESTS
    assert caught.value.report.rejected == MAX_EXTRA_REQUESTS // 2
    assert caught.value.report.accepted == 0


def test_any_other_error_of_the_api_is_no_refusal():
    def deny(body):
        raise AuthenticationError("no", status=403)

    client = FakeClient(before=deny)
    with pytest.raises(AuthenticationError):
        ingest(client, "docs", records(10), options=rejecting())
    assert client.requests == 1


def test_a_chunk_that_is_being_taken_apart_is_finished_though_another_one_fails():
    failed = threading.Event()

    def before(body):
        if b'"id-15"' in body:
            failed.set()
            raise AuthenticationError("no", status=403)
        failed.wait(5)
        time.sleep(0.02)

    client = FakeClient({"id-3"}, MESSAGES["names nothing"], before)
    with pytest.raises(AuthenticationError) as caught:
        ingest(client, "docs", records(30), options=rejecting(max_batch_vectors=10, max_in_flight=2))
    assert set(client.vectors) == {f"id-{number}" for number in range(10)} - {"id-3"}
    assert [tuple(span) for span in caught.value.report.unsettled] == [("vectors", 11, 20)]


def test_a_stop_amid_the_pieces_begins_no_further_request():
    stop = threading.Event()
    client = FakeClient({"id-3"}, MESSAGES["names nothing"], lambda body: stop.set())
    with pytest.raises(IngestAbortedError, match="told to stop"):
        ingest(client, "docs", records(16), options=rejecting(), stop=stop)
    assert client.requests == 1


def test_a_load_that_fails_amid_the_pieces_tells_what_is_in_and_what_is_not():
    client = FakeClient({"id-7"}, MESSAGES["names nothing"])

    def deny(body):
        if client.requests == 4:
            raise AuthenticationError("no", status=403)

    client._before = deny
    with pytest.raises(AuthenticationError) as caught:
        ingest(client, "docs", records(16), options=rejecting())
    report = caught.value.report
    assert set(client.vectors) == {f"id-{number}" for number in range(report.accepted)}
    assert [tuple(span) for span in report.unsettled] == [("vectors", report.accepted + 1, 16)]


def test_when_nothing_of_the_last_chunk_is_accepted_the_last_accepted_record_is_sent_again_alone():
    client = FakeClient({"id-4", "id-5"}, MESSAGES["names nothing"])
    report = ingest(client, "docs", records(6), options=rejecting(max_batch_vectors=2))
    assert client.ids_by_request[-1] == ["id-3"]
    assert sorted(map(sorted, client.ids_by_request[:-1])) == [["id-0", "id-1"], ["id-2", "id-3"]]
    assert report.mutation_id == client.mutations[-1]
    assert (report.accepted, report.rejected) == (4, 2)
    assert report.probes == ()


def test_a_load_of_which_nothing_is_accepted_fails():
    client = FakeClient({"id-0"}, MESSAGES["names nothing"])
    with pytest.raises(TooManyRejectsError, match="All 2 records were refused"):
        ingest(client, "docs", [record(0), record(1, values=[])], options=rejecting())


def same(*metadata):
    return [record(0, id="same", metadata={"n": number}) for number in metadata]


class Picky(FakeClient):
    """Refuses the records of one id with some metadata."""

    def __init__(self, *refused):
        super().__init__(before=self.check)
        self.refused = refused

    def check(self, body):
        for line in body.splitlines():
            item = json.loads(line)
            if item["id"] == "same" and item["metadata"]["n"] in self.refused:
                reason = MESSAGES["names the id"].format(id="same")
                raise InvalidVectorError(f"upsert failed: {reason}", status=400, code=40012, reason=reason)


@pytest.mark.parametrize(
    ("operation", "refused", "stored", "superseded"),
    [
        ("upsert", {3}, 2, 1),
        ("upsert", {3, 2}, 1, 0),
        ("upsert", {1}, 3, 2),
        ("insert", {1}, 2, 1),
        ("insert", {1, 2}, 3, 0),
        ("insert", {3}, 1, 2),
    ],
)
def test_a_record_that_gave_way_to_a_refused_one_has_its_turn(operation, refused, stored, superseded):
    client = Picky(*refused)
    items = [record(1), *same(1, 2, 3), record(2)]
    report = ingest(client, "docs", items, options=rejecting(operation=operation))
    assert client.vectors["same"]["metadata"] == {"n": stored}
    rejected = len(refused) if superseded != 2 else 0
    assert (report.accepted, report.rejected, report.superseded) == (3, rejected, superseded)
    assert all(probe.id != "same" for probe in report.probes) or not rejected


def test_a_record_whose_turn_fails_is_unsettled():
    client = Picky(3)

    def upsert(index_name, body, unparsable_behavior="error"):
        if client.requests == 1:
            raise TransportError("gone")
        return FakeClient.upsert(client, index_name, body, unparsable_behavior)

    client.upsert = upsert
    with pytest.raises(TransportError) as caught:
        ingest(client, "docs", same(1, 2, 3), options=rejecting())
    report = caught.value.report
    assert (report.accepted, report.rejected, report.superseded) == (0, 1, 0)
    assert [tuple(span) for span in report.unsettled] == [("vectors", 1, 2)]


# The rejects folder


def folder(tmp_path):
    return RejectsFolder(FS, f"{tmp_path}/rejects", "file:///rejects")


BROKEN = (
    ndjson([record(0), record(1, values=[1.0]), record(2)])
    + b'{"id": "id-3", "values\n'
    + ndjson(records(8)[4:])
)


def kept(tmp_path):
    return [
        json.loads(line)
        for path in sorted((tmp_path / "rejects").iterdir())
        for line in path.read_bytes().splitlines()
    ]


def test_each_refused_record_is_kept_with_its_place_and_reason(tmp_path):
    path = tmp_path / "in.ndjson"
    path.write_bytes(BROKEN)
    client = FakeClient({"id-5"}, MESSAGES["names the id"])
    report = ingest(client, "docs", [source_file(path)], options=rejecting(), rejects=folder(tmp_path))
    assert report.rejected == 3
    rows = sorted(kept(tmp_path), key=lambda row: row["line"])
    assert [(row["source"], row["line"], row["id"], row["code"]) for row in rows] == [
        (str(path), 2, "id-1", "wrong_dimensions"),
        (str(path), 4, None, "not_json"),
        (str(path), 6, "id-5", "40012"),
    ]
    assert rows[0]["reason"] == "the index has 32 dimensions, the vector 1"
    assert rows[0]["record"] == record(1, values=[1.0])
    assert rows[1]["record"] == '{"id": "id-3", "values'
    assert rows[2]["record"]["id"] == "id-5"


def test_a_mended_rejects_folder_loads(tmp_path):
    client = FakeClient()
    ingest(client, "docs", BROKEN, options=rejecting(), rejects=folder(tmp_path))
    mended = [row | {"record": record(row["line"] - 1)} for row in kept(tmp_path)]
    for path in (tmp_path / "rejects").iterdir():
        path.write_bytes(ndjson(mended))
    report = ingest(client, "docs", expand(FS, f"{tmp_path}/rejects/*", "rejects"))
    assert report.accepted == 2
    assert set(client.vectors) == {f"id-{number}" for number in range(8)}


def test_a_rejects_folder_that_is_not_mended_is_refused_again_with_the_same_records(tmp_path):
    ingest(FakeClient(), "docs", BROKEN, options=rejecting(), rejects=folder(tmp_path))
    before = kept(tmp_path)
    files = expand(FS, f"{tmp_path}/rejects/*", "rejects")
    again = RejectsFolder(FS, f"{tmp_path}/again/rejects", "again")
    with pytest.raises(TooManyRejectsError, match=r"Refused records \(2, all of them in again\):"):
        ingest(FakeClient(), "docs", files, options=rejecting(0), rejects=again)
    assert [row["record"] for row in kept(tmp_path / "again")] == [row["record"] for row in before]


def test_rejects_are_closed_before_the_checkpoint_passes_them(tmp_path):
    seen = []

    class Watching(Store):
        def save(self, state):
            super().save(state)
            written = list((tmp_path / "rejects").glob("*")) if (tmp_path / "rejects").exists() else []
            seen.append((state["account"]["rejected"], len(written)))

    items = [record(number, **({"id": ""} if number % 3 == 1 else {})) for number in range(9)]
    options = rejecting(max_batch_vectors=2)
    report = ingest(
        FakeClient(), "docs", items, options=options, rejects=folder(tmp_path), checkpoint=Watching()
    )
    assert report.rejected == 3
    assert all(rejected == files for rejected, files in seen), "one file for each checkpoint that has rejects"


def test_mappings_that_json_cannot_hold_are_kept_as_well_as_it_can(tmp_path):
    items = [
        record(0),
        record(1, metadata={"when": object()}),
        None,
        record(2, id=2**70),
        {1: {2}},
        {"id": "\ud800"},
    ]
    ingest(FakeClient(), "docs", items, options=rejecting(), rejects=folder(tmp_path))
    rows = kept(tmp_path)
    assert [row["line"] for row in rows] == [2, 3, 4, 5, 6]
    assert "object object" in rows[0]["record"]["metadata"]["when"]


def test_a_folder_that_cannot_be_written_fails_the_load(tmp_path):
    (tmp_path / "rejects").write_text("a file is in the way")
    with pytest.raises(
        RejectsError, match=r"1 refused records cannot be written to file:///rejects/rejects-"
    ):
        ingest(FakeClient(), "docs", [record(0), {}], options=rejecting(), rejects=folder(tmp_path))


def test_a_load_that_cannot_keep_its_rejects_tells_what_was_accepted_all_the_same(tmp_path):
    (tmp_path / "rejects").write_text("a file is in the way")
    client = FakeClient(before=lambda body: time.sleep(0.05))
    items = [record(0), {}, *records(100)[1:]]
    options, store = rejecting(max_batch_vectors=10, max_in_flight=3), Store()
    with pytest.raises(RejectsError) as caught:
        ingest(client, "docs", items, options=options, rejects=folder(tmp_path), checkpoint=store)
    report = caught.value.report
    assert 10 <= report.accepted == len(client.vectors) <= 30
    assert report.stopped_at == ("vectors", report.accepted + 2)
    assert store.state["account"]["accepted"] == 0, "a retry writes them again"
    assert client.requests == len(client.bodies), "nothing goes on in the background"


def test_memory_does_not_grow_with_the_refused_records_that_are_kept(tmp_path):
    def peak(count):
        bad = ndjson([{"id": "", "metadata": {"text": "x" * 40_000}}])
        tracemalloc.start()
        try:
            with pytest.raises(TooManyRejectsError):
                ingest(
                    FakeClient(),
                    "docs",
                    (bad for _ in range(count)),
                    options=rejecting(2_000),
                    rejects=RejectsFolder(FS, f"{tmp_path}/{count}", "rejects"),
                )
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak(200), peak(1_200)
    assert sum(path.stat().st_size for path in (tmp_path / "1200").iterdir()) > 48_000_000
    assert many < few + (1 << 20)
    assert many < 6 << 20


def test_refused_records_that_find_no_room_to_wait_in_are_named_with_the_place(tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, _data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rejects_module.tempfile, "TemporaryFile", Full)
    with pytest.raises(RejectsError, match=r"cannot be kept in \S+, .*No space left on device.*set TMPDIR"):
        ingest(FakeClient(), "docs", [record(0), {}], options=rejecting(), rejects=folder(tmp_path))


def test_a_spool_gives_what_it_took_while_more_is_added():
    spool, lines = Spool(), [bytes([number]) * 700_000 for number in range(4)]
    for line in lines[:3]:
        spool.add(line)
    blocks = iter(spool)
    first = next(blocks)
    spool.add(lines[3])
    assert first + b"".join(blocks) == b"".join(lines)
    assert (spool.count, spool.size) == (4, 2_800_000)


def test_two_loads_of_values_keep_their_rejects_beside_each_other(tmp_path):
    for number in (1, 2):
        ingest(
            FakeClient(), "docs", [record(0), {"id": number}], options=rejecting(), rejects=folder(tmp_path)
        )
    assert sorted(row["record"]["id"] for row in kept(tmp_path)) == [1, 2]


def test_an_error_names_the_first_refused_records_and_counts_the_rest():
    named = [Reject("s", line, None, "c", "r") for line in range(1, 21)]
    text = listing(named, 25)
    assert text.splitlines()[0] == "s, line 1: r [c]"
    assert text.endswith("... and 5 more")
    assert len(text.splitlines()) == 21


class TestGreenWithRefusedRecords:
    def load(self, folder=None, **more):
        items = [*records(5), *({"id": f"bad-{number}"} for number in range(25)), record(6, values=[1.0])]
        rejects = None if folder is None else RejectsFolder(FS, str(folder), f"file://{folder}")
        return ingest(FakeClient({"id-3"}), "docs", items, options=rejecting(), rejects=rejects, **more)

    @pytest.mark.parametrize("kept", [True, False])
    def test_a_warning_names_the_first_20_and_the_folder(self, tmp_path, caplog, kept):
        self.load(tmp_path if kept else None)
        [text] = [row.getMessage() for row in caplog.records if row.levelname == "WARNING"]
        where = f", all of them in file://{tmp_path}" if kept else ""
        assert text.replace("\n", " ").startswith(
            f"Load into docs: green without these. Refused records (27{where}): vectors, line 6 (id 'bad-0')"
        )
        lines = text.splitlines()[-21:]
        assert [f"bad-{number}" in line for number, line in enumerate(lines[:20])] == [True] * 20
        assert lines[20:] == ["... and 7 more"]
        assert lines[0].endswith("[invalid_values]")

    @pytest.mark.parametrize("kept", [True, False])
    def test_the_report_has_the_folder_and_a_count_for_each_code(self, tmp_path, kept):
        assert self.load(tmp_path if kept else None).to_dict()["rejects"] == {
            "folder": f"file://{tmp_path}" if kept else None,
            "codes": {"invalid_values": 25, "wrong_dimensions": 1, "40012": 1},
        }

    def test_without_any_there_is_neither(self, tmp_path, caplog):
        report = ingest(FakeClient(), "docs", records(3), rejects=RejectsFolder(FS, str(tmp_path), "x"))
        assert report.rejects == {"folder": None, "codes": {}}
        assert not [row for row in caplog.records if row.levelname == "WARNING"]

    def test_the_next_try_counts_those_of_the_earlier_ones_as_well(self, tmp_path):
        path, store = tmp_path / "in.ndjson", Store()
        path.write_bytes(ndjson([{"id": "bad"}, *records(3), record(9, values=[1.0])]))

        def fail_on_the_second(body):
            if b"id-1" in body:
                raise TransportError("no answer")

        options = rejecting(max_batch_vectors=1, max_in_flight=1)
        with pytest.raises(TransportError) as raised:
            ingest(
                FakeClient(before=fail_on_the_second),
                "docs",
                [source_file(path)],
                options=options,
                checkpoint=store,
            )
        assert raised.value.report.rejects["codes"] == {"invalid_values": 1}
        report = ingest(FakeClient(), "docs", [source_file(path)], options=options, checkpoint=store)
        assert report.resumed_from is not None
        assert report.rejects["codes"] == {"invalid_values": 1, "wrong_dimensions": 1}
