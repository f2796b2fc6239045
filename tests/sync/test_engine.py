"""The sync against the emulator: what is sent, what is deleted, what is refused."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace

import pytest

from airflow_provider_vectorize.client.errors import (
    AuthenticationError,
    EmptySourceError,
    IngestAbortedError,
    InvalidArgumentError,
    InvalidRecordError,
    ManifestError,
    SourceError,
    SyncGuardError,
    TooManyRejectsError,
)
from airflow_provider_vectorize.emulator import Emulator
from airflow_provider_vectorize.ingest import IngestOptions
from airflow_provider_vectorize.sync import engine, leaving
from airflow_provider_vectorize.sync.engine import sync
from tests.ingest.helpers import DIMENSIONS
from tests.sync.helpers import INDEX, client_of, contents, manifest_in, run_sync, vector, vectors, wanted


@pytest.fixture
def emulator():
    with Emulator() as running:
        running.create_index(INDEX, dimensions=DIMENSIONS)
        yield running


@pytest.fixture
def client(emulator):
    return client_of(emulator)


def names(count):
    return [f"doc-{number:03}" for number in range(count)]


def counts(report):
    return report.added, report.changed, report.unchanged, report.deleted


def writes(emulator):
    stats = emulator.stats()
    return sum(stats.get(each, {}).get("requests", 0) for each in ("upsert", "insert", "delete_by_ids"))


def test_only_what_changed_is_sent_and_what_went_away_is_deleted(emulator, client, tmp_path):
    source = vectors(*names(50))
    first = run_sync(client, tmp_path, source)
    assert counts(first) == (50, 0, 0, 0)
    assert contents(client) == wanted(source)
    emulator.clear_log()
    today = [*source[5:], vector("new"), vector("doc-010", 1)]
    second = run_sync(client, tmp_path, today)
    assert counts(second) == (1, 1, 44, 5)
    assert contents(client) == wanted(today)
    assert [row["operation"] for row in emulator.log() if row["operation"] == "upsert"] == ["upsert"]
    assert second.mutation_id == second.deletes.mutation_id
    assert second.to_dict()["deleted"] == 5


def test_nothing_to_do_is_green_sends_nothing_and_says_that_it_looked(emulator, client, tmp_path, caplog):
    caplog.set_level("INFO")
    run_sync(client, tmp_path, vectors(*names(20)))
    before = writes(emulator)
    report = run_sync(client, tmp_path, vectors(*names(20)))
    assert counts(report) == (0, 0, 20, 0)
    assert writes(emulator) == before
    assert report.mutation_id is None
    assert "20 checked and unchanged" in caplog.text


def test_nothing_to_do_is_only_said_once_what_was_sent_can_be_seen(emulator, client, tmp_path):
    emulator.set_visibility("manual")
    source = vectors(*names(20))
    first = run_sync(client, tmp_path, source)
    sent = writes(emulator)
    again = run_sync(client, tmp_path, source)
    assert again.target() == first.target()
    assert again.to_dict()["mutation_id"] == first.mutation_id
    assert again.to_dict()["probes"] == first.to_dict()["probes"]
    emulator.apply(INDEX)
    assert run_sync(client, tmp_path, source).mutation_id is None
    assert writes(emulator) == sent


def test_by_a_record_it_is_known_to_be_seen_beside_other_writers_too(emulator, client, tmp_path):
    source = vectors(*names(20))
    run_sync(client, tmp_path, source)
    client.delete_by_ids(INDEX, ["somebody else's"])
    assert run_sync(client, tmp_path, source).mutation_id is None


@pytest.mark.parametrize("visible", [False, True])
def test_after_a_run_that_was_not_green_a_fence_says_when_it_can_be_seen(emulator, client, tmp_path, visible):
    run_sync(client, tmp_path, vectors(*names(20)))
    if not visible:
        emulator.set_visibility("manual")
    changed = vectors(*names(10), version=1)
    with pytest.raises(SyncGuardError):
        run_sync(client, tmp_path, changed)  # which has loaded, and deletes nothing
    changed += vectors(*names(20)[10:])
    sent = writes(emulator)
    report = run_sync(client, tmp_path, changed)
    assert counts(report) == (0, 0, 20, 0)
    assert writes(emulator) == sent + 1
    if visible:
        assert report.mutation_id is None
        assert writes(emulator) == sent + 1
    else:
        assert report.mutation_id not in (None, *report.load.mutation_ids)
        while emulator.apply(INDEX):
            pass
        assert client.index_info(INDEX).processed_up_to_mutation == report.mutation_id
        assert run_sync(client, tmp_path, changed).mutation_id is None


def test_foreign_ids_are_never_touched(client, tmp_path):
    run_sync(client, tmp_path / "other", vectors("theirs-1", "theirs-2"))
    run_sync(client, tmp_path / "mine", vectors(*names(10)))
    run_sync(client, tmp_path / "mine", vectors(*names(9)))
    assert contents(client) == wanted(vectors(*names(9), "theirs-1", "theirs-2"))


def test_of_an_id_that_comes_again_the_last_record_counts(client, tmp_path):
    for version, load in enumerate([{}, {"max_batch_vectors": 1}, {"max_batch_vectors": 2}]):
        a, b = vector("a", 10 + version), vector("a", 20 + version)
        for source in (
            [a, b],
            [a, b, a],
            [b, *vectors(*names(5)), a],
            [a, b, b, a],
            [b, a, b, a, *vectors("z"), b],
        ):
            for _ in range(2):
                run_sync(client, tmp_path, source, load=load, max_delete_fraction=1.0)
                assert contents(client) == wanted(source)


def test_a_chunk_that_failed_is_sent_again_and_one_that_arrived_is_not(emulator, client, tmp_path):
    source = vectors(*names(50))

    def failing():
        for number, each in enumerate(source):
            if number == 30:
                emulator.add_faults([{"operation": "upsert", "kind": "status", "status": 403}])
            yield each

    with pytest.raises(AuthenticationError):
        run_sync(client, tmp_path, failing(), load={"max_in_flight": 1})
    report = run_sync(client, tmp_path, source)
    assert report.unchanged >= 14
    assert contents(client) == wanted(source)


def test_a_source_that_broke_off_deletes_nothing(client, tmp_path):
    source = vectors(*names(30))
    run_sync(client, tmp_path, source)

    def broken():
        yield from source[:29]
        raise OSError("gone")

    with pytest.raises(SourceError, match="broke off"):
        run_sync(client, tmp_path, broken())
    assert contents(client) == wanted(source)


@pytest.mark.parametrize(
    ("source", "how", "says"),
    [
        (vectors(*names(10)), {}, r"lacks 20 of the 30 .*'doc-010'.*set max_delete_fraction=0\.67"),
        (vectors(*names(25)), {"max_delete_fraction": 0.1}, r"lacks 5 of the 30"),
        (vectors(*names(28)), {"min_records": 29}, r"has 28 records.*min_records=28"),
    ],
)
def test_a_source_that_may_be_partial_deletes_nothing_and_says_what_to_set(
    client, tmp_path, source, how, says
):
    run_sync(client, tmp_path, vectors(*names(30)))
    with pytest.raises(SyncGuardError, match=says):
        run_sync(client, tmp_path, source, **how)
    assert contents(client) == wanted(vectors(*names(30)))


def test_an_empty_source_deletes_nothing_unless_it_is_meant(client, tmp_path):
    run_sync(client, tmp_path, vectors(*names(10)))
    with pytest.raises(EmptySourceError, match="min_records=0"):
        run_sync(client, tmp_path, [])
    assert len(contents(client)) == 10
    report = run_sync(client, tmp_path, [], min_records=0, max_delete_fraction=1.0)
    assert counts(report) == (0, 0, 0, 10)
    assert contents(client) == {}


def test_an_id_without_the_prefix_is_refused_before_it_is_sent(emulator, client, tmp_path):
    run_sync(client, tmp_path, vectors("a/1", "a/2"), id_prefix="a/")
    before = writes(emulator)
    with pytest.raises(SyncGuardError, match=r"'b/1' does not begin with id_prefix 'a/'"):
        run_sync(client, tmp_path, vectors("a/1", "b/1"), id_prefix="a/", max_delete_fraction=1.0)
    assert writes(emulator) == before


def test_a_refused_record_is_one_of_the_source_all_the_same(client, tmp_path):
    load = {"on_invalid": "reject", "max_rejects": 5}
    run_sync(client, tmp_path, vectors(*names(10)))
    bad = {"id": "doc-003", "values": [1.0]}
    source = [*vectors(*names(10))[:3], bad, *vectors(*names(10))[4:9]]
    report = run_sync(client, tmp_path, source, load=load)
    assert counts(report) == (0, 0, 8, 1)
    assert "doc-003" in contents(client)
    with pytest.raises(SyncGuardError, match="id cannot be read"):
        run_sync(client, tmp_path, [*source[:8], {"values": [1.0]}], load=load)
    with pytest.raises(InvalidRecordError):
        run_sync(client, tmp_path, source)
    with pytest.raises(TooManyRejectsError):
        run_sync(client, tmp_path, source, load=load | {"max_rejects": 0})


def test_what_the_api_refuses_stays_unknown_and_is_tried_again(emulator, client, tmp_path):
    emulator.add_faults([{"operation": "upsert", "kind": "status", "status": 400, "code": 40012}])
    run_sync(client, tmp_path, vectors("a"), load={"on_invalid": "reject", "max_rejects": 1})
    assert contents(client) == {}
    report = run_sync(client, tmp_path, vectors("a"))
    assert counts(report) == (0, 1, 0, 0)
    assert contents(client) == wanted(vectors("a"))


def test_an_index_that_was_made_anew_is_loaded_again(emulator, client, tmp_path, caplog):
    run_sync(client, tmp_path, vectors(*names(10)))
    client.delete_index(INDEX)
    emulator.create_index(INDEX, dimensions=DIMENSIONS)
    report = run_sync(client, tmp_path, vectors(*names(5)))
    assert counts(report) == (5, 0, 0, 0)
    assert "created_on was" in caplog.text
    assert "spoke of something else" in report.messages[0]
    assert contents(client) == wanted(vectors(*names(5)))


def test_by_a_field_only_that_field_is_compared(client, tmp_path):
    def source(version, hashed):
        return [vector("a", version, metadata={"content_hash": hashed})]

    how = {"changed_by": "metadata.content_hash"}
    run_sync(client, tmp_path, source(0, "x"), **how)
    assert counts(run_sync(client, tmp_path, source(1, "x"), **how)) == (0, 0, 1, 0)
    assert contents(client) == wanted(source(0, "x"))
    assert counts(run_sync(client, tmp_path, source(1, "y"), **how)) == (0, 1, 0, 0)
    assert contents(client) == wanted(source(1, "y"))
    with pytest.raises(InvalidRecordError, match="no such field"):
        run_sync(client, tmp_path, vectors("a"), **how)


def test_a_generator_asks_before_it_embeds(client, tmp_path):
    texts = {name: f"text of {name}" for name in names(20)}
    embedded = []

    def chunks(known):
        for name, text in texts.items():
            if known.unchanged(name, text):
                continue
            embedded.append(name)
            yield vector(name, metadata={"text": text})

    def run():
        embedded.clear()
        return run_sync(client, tmp_path, chunks, changed_by="metadata.text")

    assert counts(run()) == (20, 0, 0, 0)
    assert counts(run()) == (0, 0, 20, 0)
    assert embedded == []
    texts["doc-004"] = "new"
    del texts["doc-005"]
    assert counts(run()) == (0, 1, 18, 1)
    assert embedded == ["doc-004"]


def test_what_a_generator_has_made_is_sent_while_it_stalls_and_it_may_ask_on(emulator, client, tmp_path):
    run_sync(client, tmp_path, vectors(*names(20)))
    emulator.clear_log()
    before = writes(emulator)

    def stalling(known):
        yield vector("doc-000", 1)
        until = time.monotonic() + 20
        while writes(emulator) == before and time.monotonic() < until:
            assert all(known.unchanged(each["id"], each) for each in vectors(*names(20)[1:]))
        assert writes(emulator) == before + 1
        yield vector("doc-000", 2)

    report = run_sync(client, tmp_path, stalling, load={"flush_seconds": 0.05})
    assert counts(report) == (0, 1, 19, 0)
    assert contents(client) == wanted([*vectors(*names(20)), vector("doc-000", 2)])
    assert counts(run_sync(client, tmp_path, [*vectors(*names(20)[1:]), vector("doc-000", 2)])) == (
        0,
        0,
        20,
        0,
    )


def test_a_whole_record_can_be_asked_for_too(client, tmp_path):
    def source(known):
        return [each for each in vectors("a", "b") if not known.unchanged(each["id"], each)]

    assert counts(run_sync(client, tmp_path, source)) == (2, 0, 0, 0)
    assert counts(run_sync(client, tmp_path, source)) == (0, 0, 2, 0)
    assert counts(run_sync(client, tmp_path, source, force=True)) == (0, 2, 0, 0)


def test_force_sends_all(client, tmp_path):
    run_sync(client, tmp_path, vectors(*names(20)))
    client.delete_by_ids(INDEX, ["doc-001"])
    assert counts(run_sync(client, tmp_path, vectors(*names(20)), force=True)) == (0, 20, 0, 0)
    assert contents(client) == wanted(vectors(*names(20)))


def test_an_index_that_lost_vectors_is_suspected(client, tmp_path, caplog):
    run_sync(client, tmp_path, vectors(*names(20)))
    client.delete_by_ids(INDEX, names(20)[:5])
    report = run_sync(client, tmp_path, vectors(*names(20)))
    assert "counts 15 vectors" in report.messages[0]
    assert "reconcile=True" in caplog.text


def test_reconcile_sends_what_is_missing_and_deletes_what_nobody_manages_under_the_prefix_only(
    client, tmp_path, caplog
):
    caplog.set_level("INFO")
    mine = [f"mine/{number}" for number in range(30)]
    run_sync(client, tmp_path, vectors(*mine))
    client.delete_by_ids(INDEX, mine[:3])
    run_sync(client, tmp_path / "other", vectors("mine/stray", "theirs/1"))
    kept = run_sync(client, tmp_path, vectors(*mine), reconcile=True)
    assert counts(kept) == (0, 3, 27, 0)
    assert contents(client) == wanted(vectors(*mine, "mine/stray", "theirs/1"))
    report = run_sync(client, tmp_path, vectors(*mine), reconcile=True, id_prefix="mine/")
    assert counts(report) == (0, 0, 30, 1)
    assert contents(client) == wanted(vectors(*mine, "theirs/1"))
    assert "1 requests, less than a minute at" in caplog.text


def test_a_dry_run_sends_nothing_leaves_the_manifest_and_reports_what_the_run_then_does(
    emulator, client, tmp_path
):
    run_sync(client, tmp_path, vectors(*names(30)))
    today = [*vectors(*names(28)), vector("new"), vector("doc-003", 1)]
    files, before = {file.name for file in tmp_path.iterdir()}, writes(emulator)
    dry = run_sync(client, tmp_path, today, dry_run=True)
    assert {file.name for file in tmp_path.iterdir()} == files
    assert writes(emulator) == before
    assert dry.to_dict()["dry_run"]
    real = run_sync(client, tmp_path, today)
    assert counts(dry) == counts(real) == (1, 1, 27, 2)
    assert (dry.requests, dry.bytes_sent) == (real.requests, real.bytes_sent) == (2, real.bytes_sent)
    assert dry.deletes.bytes_sent > 0


def test_a_dry_run_counts_ids_that_look_like_lines_as_the_run_does(client, tmp_path):
    strange = [" a", "a ", "  ", '"a"', '{"id": "a"}', "[1]", "\t"]
    run_sync(client, tmp_path, vectors("a", "b", *strange))
    how = {"max_delete_fraction": 1.0}
    dry = run_sync(client, tmp_path, vectors("b"), dry_run=True, **how)
    real = run_sync(client, tmp_path, vectors("b"), **how)
    assert counts(dry) == counts(real) == (0, 0, 1, 8)
    assert (dry.requests, dry.bytes_sent) == (real.requests, real.bytes_sent)
    assert contents(client) == wanted(vectors("b"))


def test_a_dry_run_reconciles_too(client, tmp_path):
    run_sync(client, tmp_path, vectors("a", "b"), id_prefix=None)
    client.delete_by_ids(INDEX, ["a"])
    run_sync(client, tmp_path / "other", vectors("stray"))
    how = {"reconcile": True, "id_prefix": "s", "dry_run": True, "max_delete_fraction": 1.0}
    files = sorted(tmp_path.rglob("*"))
    assert counts(run_sync(client, tmp_path, vectors("s1"), **how)) == (1, 0, 0, 3)
    assert contents(client) == wanted(vectors("b", "stray"))
    assert sorted(tmp_path.rglob("*")) == files


def test_a_dry_run_says_what_would_be_refused(client, tmp_path):
    run_sync(client, tmp_path, vectors(*names(30)))
    report = run_sync(client, tmp_path, vectors(*names(3)), dry_run=True)
    assert "it would be refused: the source lacks 27 of the 30" in report.messages[0]


def test_two_syncs_of_one_manifest_at_once_are_not_both_green(emulator, client, tmp_path):
    inside, go_on = threading.Event(), threading.Event()

    def slow():
        yield vector("a")
        inside.set()
        go_on.wait(20)

    ended = []
    thread = threading.Thread(target=lambda: ended.append(run_sync(client_of(emulator), tmp_path, slow())))
    thread.start()
    assert inside.wait(20)
    before = writes(emulator)
    with pytest.raises(ManifestError, match="in use by"):
        run_sync(client, tmp_path, vectors("b"))
    assert writes(emulator) == before
    go_on.set()
    thread.join()
    assert len(ended) == 1
    assert contents(client) == wanted(vectors("a"))


def test_deletes_are_taken_down_before_they_leave(client, tmp_path):
    run_sync(client, tmp_path, vectors(*names(10)))

    def cut(call, ids):
        with manifest_in(tmp_path).look(identity(client)) as known:
            assert {known.get(each)[0] for each in ids} == {b""}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sync(Watched(client, cut), tmp_path, vectors(*names(9)))
    assert counts(run_sync(client, tmp_path, vectors(*names(9)))) == (0, 0, 9, 1)
    assert contents(client) == wanted(vectors(*names(9)))


class Watched:
    """A client whose deletes and upserts something happens to."""

    def __init__(self, client, before=None, after=None):
        self._client = client
        self._before = before or (lambda call, ids: None)
        self._after = after or (lambda call: None)

    def __getattr__(self, name):
        return getattr(self._client, name)

    def within(self, *_, **__):
        return self

    def upsert(self, *args):
        mutation = self._client.upsert(*args)
        self._after("upsert")
        return mutation

    def delete_by_ids(self, index_name, ids):
        self._before("delete_by_ids", ids)
        mutations = self._client.delete_by_ids(index_name, ids)
        self._after("delete_by_ids")
        return mutations


def test_deletes_go_through_the_window_of_the_loads_and_are_all_counted(
    emulator, client, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    monkeypatch.setattr(engine, "DELETES", replace(engine.DELETES, max_batch_vectors=2))
    monkeypatch.setattr(leaving, "NOTED_IDS", 10)
    run_sync(client, tmp_path, vectors(*names(60)))
    together = threading.Barrier(2, timeout=20)  # two at a time, as max_in_flight says
    calls = itertools.count()

    def meet(call, ids):
        if next(calls) < 10:
            together.wait()

    report = run_sync(Watched(client, meet), tmp_path, vectors(*names(7)), max_delete_fraction=1.0)
    assert contents(client) == wanted(vectors(*names(7)))
    assert emulator.stats()["delete_by_ids"]["requests"] == report.deletes.batches == 27
    assert (report.deleted, report.requests, report.to_dict()["batches"]) == (53, 27, 27)
    assert len(report.to_dict()["mutation_ids"]) == 20
    assert "53 deleted, 7 checked and unchanged; 27 requests" in caplog.text


def test_a_delete_that_fails_leaves_the_rest_to_the_next_run_and_reports_what_went(
    client, tmp_path, monkeypatch
):
    monkeypatch.setattr(engine, "DELETES", replace(engine.DELETES, max_batch_vectors=2))
    run_sync(client, tmp_path, vectors(*names(60)))
    calls = itertools.count()

    def fail(call, ids):
        if next(calls) == 4:
            raise AuthenticationError("revoked", status=403)

    source = vectors(*names(40), "new")
    with pytest.raises(AuthenticationError) as failed:
        run_sync(Watched(client, fail), tmp_path, source, max_delete_fraction=1.0)
    data = failed.value.report.to_dict()
    assert (data["operation"], data["added"], data["unchanged"]) == ("sync", 1, 40)
    assert 0 < data["deleted"] < 20
    report = run_sync(client, tmp_path, source, max_delete_fraction=1.0)
    assert counts(report) == (0, 0, 41, 20 - data["deleted"])
    assert contents(client) == wanted(source)


def test_a_run_that_has_lost_its_lease_cuts_what_is_under_way(emulator, client, tmp_path):
    emulator.add_faults([{"operation": "upsert", "kind": "hang", "seconds": 60}])
    ended = []

    def run():
        with pytest.raises(ManifestError, match="another run has taken it over") as failed:
            run_sync(client, manifest_in(tmp_path, lease_seconds=3.0), vectors(*names(3)))
        ended.append(failed.value.report.to_dict()["accepted"])

    thread = threading.Thread(target=run)
    thread.start()
    while emulator.faults():  # until the request hangs
        time.sleep(0.01)
    (tmp_path / "lease-00000002.json").write_text("{}")
    thread.join(20)
    assert ended == [0]
    assert contents(client) == {}


@pytest.mark.parametrize("call", ["upsert", "delete_by_ids"])
def test_what_a_run_that_was_cut_may_have_sent_is_no_probe_of_the_next(emulator, client, tmp_path, call):
    run_sync(client, tmp_path, vectors(*names(20)))
    emulator.set_visibility("manual")
    source = [*vectors(*names(18)), vector("doc-003", 1)]

    def cut(done):
        if done == call:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sync(Watched(client, after=cut), tmp_path, source)
    report = run_sync(client, tmp_path, source)
    assert report.mutation_id is not None
    assert report.to_dict()["probes"] == []


def identity(client):
    index = client.get_index(INDEX)
    return {
        "account": client.account_id,
        "index": INDEX,
        "created_on": index.created_on,
        "dimensions": DIMENSIONS,
        "metric": "cosine",
        "changed_by": "record",
    }


def test_what_hides_what_was_accepted_is_refused(client, tmp_path):
    with pytest.raises(InvalidArgumentError, match="discard"):
        run_sync(client, tmp_path, vectors("a"), load={"unparsable_behavior": "discard"})


def test_a_stop_ends_it_and_the_next_run_goes_on_by_content(client, tmp_path):
    stop = threading.Event()

    def source():
        for number, name in enumerate(names(50)):
            if number == 30:
                stop.set()
            yield vector(name)

    options = IngestOptions(max_batch_vectors=5, max_in_flight=1)
    with pytest.raises(IngestAbortedError):
        sync(client, INDEX, source(), manifest_in(tmp_path), options=options, stop=stop)
    report = run_sync(client, tmp_path, vectors(*names(50)))
    assert report.unchanged >= 15
    assert contents(client) == wanted(vectors(*names(50)))
