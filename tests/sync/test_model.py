"""Random histories of an index and its source: after every green run the index is the source.

Sources grow, shrink and change; runs are killed before and after every request and every step of the storage, each of
which may also fail; others write to the index; the index is made anew; two runs meet, at any step of the first; what
was accepted can be seen some days later. Ways to do it wrong, which people have tried, fail the same test.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vectorize.client.errors import ManifestError, TransportError, VectorizeError
from airflow_provider_vectorize.client.types import Index, IndexInfo, Mutation, Vector
from airflow_provider_vectorize.ingest import IngestOptions
from airflow_provider_vectorize.sync import engine, leaving
from airflow_provider_vectorize.sync.difference import compare
from airflow_provider_vectorize.sync.folder import Folder
from airflow_provider_vectorize.sync.lease import Lease
from airflow_provider_vectorize.sync.manifest import Manifest, Session, _Pointer
from airflow_provider_vectorize.sync.marks import record_mark, stored
from airflow_provider_vectorize.sync.options import SyncOptions
from airflow_provider_vectorize.visibility import Target
from tests.ingest.helpers import DIMENSIONS
from tests.sync.helpers import FS, INDEX, vector

IDS = [f"m/{number:02}" for number in range(24)]


#: Of a run, about.
STEPS = 60


class Killed(BaseException):
    """The process is gone."""


class Fate:
    """Counts every step of I/O, and lets one of them be the last, or fail; at another one, something else happens."""

    def __init__(self, draw: random.Random, meeting: Callable[[str], None] | None = None) -> None:
        self.kill_at = draw.choice([None, None, draw.randint(0, STEPS)])
        self.fail_at = draw.choice([None, None, None, draw.randint(0, STEPS)])
        self.meet_at = draw.randint(0, STEPS) if meeting else None
        self.meeting = meeting
        #: "before" the run knows the manifest, "within", and "after" it has made it the next one.
        self.phase = "before"
        self.committing = False
        self.steps = 0
        self.dead = False
        self.lock = threading.Lock()

    def step(self, error: type[Exception], *, quiet: bool = True) -> None:
        """Take a step of I/O.

        :param quiet: no request is under way, so that another run may begin. A run that was held up for longer than its
            lease cuts its requests, and only what is on the line just then cannot be called back.
        """
        with self.lock:
            number = self.steps
            self.steps += 1
            self.dead = self.dead or number == self.kill_at
            if self.dead:
                raise Killed
            if number == self.fail_at:
                raise error("it fails once")
        if self.meet_at is not None and number >= self.meet_at and quiet and self.meeting is not None:
            self.meet_at = None
            self.meeting(self.phase)


class Service:
    """Vectorize in memory. It lives on when a client is killed."""

    def __init__(self) -> None:
        self.made = 0
        self.vectors: dict[str, dict[str, Any]] = {}
        self.last: str | None = None
        #: What can be seen of these.
        self.shown: dict[str, dict[str, Any]] = {}
        self.watermark: str | None = None
        self.lock = threading.Lock()

    def remake(self) -> None:
        self.made += 1
        self.vectors, self.last = {}, None
        self.apply()

    def apply(self) -> None:
        self.shown, self.watermark = dict(self.vectors), self.last


class Client:
    """A client of it, with a fate: before and after each request something may happen."""

    account_id = "a" * 32

    def __init__(self, service: Service, fate: Fate) -> None:
        self._service = service
        self._fate = fate

    def within(self, *_: Any, **__: Any) -> Client:
        return self

    def _call(self, work: Any) -> Any:
        self._fate.step(TransportError, quiet=False)
        with self._service.lock:
            result = work(self._service.vectors)
        self._fate.step(TransportError)
        return result

    def get_index(self, index_name: str) -> Index:
        made = f"made {self._service.made}"
        return self._call(lambda _: Index(index_name, DIMENSIONS, "cosine", "", made, made))

    def index_info(self, index_name: str) -> IndexInfo:
        return self._call(lambda vectors: IndexInfo(DIMENSIONS, len(vectors), self._service.watermark, None))

    def get_by_ids(self, index_name: str, ids: list[str]) -> list[Vector]:
        return self._call(
            lambda _: [
                Vector.from_result(shown[each]) for each in ids if each in (shown := self._service.shown)
            ]
        )

    def list_vectors(self, index_name: str) -> Any:
        return iter(self._call(sorted))

    def upsert(self, index_name: str, body: Any, unparsable_behavior: str = "error") -> Mutation:
        items = [json.loads(line) for line in b"".join(body).splitlines()]
        return self._write(lambda vectors: vectors.update({item["id"]: item for item in items}))

    insert = upsert

    def delete_by_ids(self, index_name: str, ids: Any) -> list[Mutation]:
        ids = list(ids)
        assert len(ids) <= 100
        return [self._write(lambda vectors: [vectors.pop(each, None) for each in ids])]

    def _write(self, change: Any) -> Mutation:
        mutation = uuid.uuid4().hex

        def work(vectors: Any) -> None:
            change(vectors)
            self._service.last = mutation

        self._call(work)
        return Mutation(mutation)


class Store(Folder):
    """A folder with a fate."""

    def __init__(self, path: Path, fate: Fate) -> None:
        super().__init__(FS, str(path), str(path))
        self._fate = fate

    def files(self) -> dict[str, int]:
        self._fate.step(ManifestError)
        return super().files()

    def read(self, file: str) -> bytes:
        self._fate.step(ManifestError)
        content = super().read(file)
        self._took_place(file)
        return content

    def _took_place(self, file: str) -> None:
        if file.startswith("manifest-"):
            self._fate.phase = "after" if self._fate.committing else "within"

    def blocks(self, file: str) -> Iterator[bytes]:
        self._fate.step(ManifestError)
        return super().blocks(file)

    def create(self, file: str, content: bytes) -> None:
        self._fate.step(ManifestError)
        super().create(file, content)
        self._took_place(file)
        self._fate.step(ManifestError)

    def replace(self, file: str, content: bytes) -> None:
        self._fate.step(ManifestError)
        super().replace(file, content)

    def write(self, file: str, blocks: Any) -> int:
        self._fate.step(ManifestError)
        size = super().write(file, blocks)
        self._fate.step(ManifestError)
        return size

    def delete(self, files: Any) -> None:
        for file in list(files):
            self._fate.step(ManifestError)
            super().delete([file])


def run(service: Service, path: Path, records: list[dict[str, Any]], fate: Fate, **how: Any) -> str:
    """Run once; tell how it ended."""
    store = Store(path, fate)
    options = IngestOptions(max_batch_vectors=4, max_in_flight=1 if fate.meeting else 2)
    chosen = SyncOptions(max_delete_fraction=1.0, min_records=0, **how)
    try:
        report = engine.sync(
            Client(service, fate),
            INDEX,
            records,
            Manifest(store, lease_seconds=0.0),
            options=options,
            how=chosen,
            requests_per_minute=12_000,
        )
    except Killed:
        return "killed"
    except VectorizeError:
        return "red"
    if report.mutation_id is None:
        assert service.shown == service.vectors, "it says that all can be seen"
    return "green"


class Unhurt(Fate):
    """Nothing happens."""

    def __init__(self) -> None:
        super().__init__(random.Random(0))
        self.kill_at = self.fail_at = None


class History:
    """What one index lives through, and its source beside it."""

    def __init__(self, seed: int, path: Path) -> None:
        self.draw = random.Random(seed)
        self.path = path
        self.service = Service()
        self.foreign: dict[str, dict[str, Any]] = {}
        self.versions = dict.fromkeys(self.draw.sample(IDS, 15), 0)
        self.ends: Counter[str] = Counter()

    def live(self, days: int = 14) -> Counter[str]:
        for self.day in range(days):
            self.disturb()
            self.change(self.draw.randint(0, 6))
            if self.draw.random() < 0.2:
                self.run_two()
            else:
                self.run_one()
        return self.ends

    def disturb(self) -> None:
        if self.draw.random() < 0.08:
            self.service.remake()
            self.foreign = {}
        if self.draw.random() < 0.3:
            other = f"x/{self.draw.randint(0, 9)}"
            foreign = self.foreign[other] = vector(other, self.day)
            self.service.vectors[other] = self.service.shown[other] = foreign
        if self.draw.random() < 0.5:
            self.service.apply()

    def change(self, count: int) -> None:
        for each in self.draw.sample(IDS, count):
            if each in self.versions and self.draw.random() < 0.4:
                del self.versions[each]
            else:
                self.versions[each] = self.versions.get(each, 0) + 1

    def source(self) -> list[dict[str, Any]]:
        return [vector(each, version) for each, version in sorted(self.versions.items())]

    def run_one(self) -> None:
        draw, source = self.draw, self.source()
        records = source
        if source and draw.random() < 0.3:  # an id comes again: the last record counts
            again, other = draw.choice(source)["id"], draw.choice(source)["id"]
            records = [vector(again, 99), *source, vector(other, 98), *source[-9:], *source]
        end = run(self.service, self.path, records, Fate(draw), reconcile=draw.random() < 0.15)
        self.ends[end] += 1
        if end == "green":
            self.check(source)
        else:
            self.mend()

    def run_two(self) -> None:
        """Let a second run of the same manifest begin and end while another one is under way."""
        met: list[tuple[str, str, list[dict[str, Any]]]] = []

        def meeting(phase: str) -> None:
            if self.draw.random() < 0.7:
                self.change(3)
            source = self.source()
            met.append((phase, run(self.service, self.path, source, Fate(self.draw)), source))

        source = self.source()
        end = run(self.service, self.path, source, Fate(self.draw, meeting))
        [(phase, other, its_source)] = met or [("never", "nothing", source)]
        self.ends[f"{end}, {other} {phase}"] += 1
        if phase == "within" and (end, other) == ("green", "green"):
            assert source == its_source  # neither had anything to do
        if end == "green" and phase != "after":
            self.check(source)
        elif other == "green" and phase == "after":
            # What the first one notes as it fails comes too late to be believed, but not to be doubted.
            self.check(its_source, doubts=True)
        self.mend()

    def mend(self) -> None:
        """One more run mends it, with whatever the source has by then."""
        for each in self.draw.sample(IDS, self.draw.choice([0, 3])):
            self.versions.pop(each, None)
        assert run(self.service, self.path, self.source(), Unhurt()) == "green"
        self.check(self.source())

    def check(self, source: list[dict[str, Any]], *, doubts: bool = False) -> None:
        """The index is the source, foreign vectors are untouched, and the manifest says so.

        :param doubts: it may be unsure of some, which the next run sends or deletes once more.
        """
        holds = {
            each: record_mark(stored(Vector.from_result(item))) for each, item in self.service.vectors.items()
        }
        assert holds == {item["id"]: record_mark(item) for item in [*source, *self.foreign.values()]}
        known = known_in(self.path, self.service)
        wanted = {item["id"]: record_mark(item) for item in source}
        if doubts:
            known = {each: state or wanted.get(each) for each, state in known.items()}
            known = {each: state for each, state in known.items() if state is not None}
        assert known == wanted


def history(seed: int, path: Path) -> Counter[str]:
    """Let one index live through 14 days."""
    told = History(seed, path)
    try:
        return told.live()
    except AssertionError as error:
        error.add_note(f"seed {seed}, day {told.day}")
        raise


def known_in(path: Path, service: Service) -> dict[str, bytes]:
    index = Client(service, Unhurt()).get_index(INDEX)
    identity = engine.identity_of("a" * 32, index, SyncOptions())
    with Manifest(Store(path, Unhurt())).look(identity) as known:
        return {each: state for each, state, _ in known.rows()}


@pytest.fixture(autouse=True)
def a_lease_runs_out_when_another_run_wants_it(monkeypatch):
    def check(lease: Lease) -> None:
        """By the clock it would have run out before it was taken over."""
        if max(int(file.stem[-8:]) for file in Path(lease._folder._path).glob("lease-*")) > lease.epoch:
            raise ManifestError("the lease is lost")

    monkeypatch.setattr(Lease, "_keep", lambda lease: None)
    monkeypatch.setattr(Lease, "check", check)
    monkeypatch.setattr(os, "fsync", lambda number: None)  # no power fails here


@pytest.fixture(autouse=True)
def deletes_take_several_requests(monkeypatch):
    monkeypatch.setattr(engine, "DELETES", replace(engine.DELETES, max_batch_vectors=2))
    monkeypatch.setattr(leaving, "NOTED_IDS", 4)


@pytest.fixture(autouse=True)
def a_run_is_over_once_it_has_published_or_found_nothing_to_do(monkeypatch):
    publish, commit = _Pointer.publish, Session.commit

    def publishing(pointer: _Pointer, folder: Store) -> None:
        folder._fate.committing = pointer.base is not None
        publish(pointer, folder)

    def committed(session: Session, fence: Target | None) -> dict[str, int]:
        extent = commit(session, fence)
        session._folder._fate.phase = "after"
        return extent

    monkeypatch.setattr(_Pointer, "publish", publishing)
    monkeypatch.setattr(Session, "commit", committed)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_after_every_green_run_the_index_is_the_source_and_after_every_kill_one_more_run_mends_it(tmp_path):
    ends: Counter[str] = Counter()
    for seed in range(25):
        ends += history(seed, tmp_path / str(seed))
    assert min(ends["green"], ends["killed"], ends["red"]) > 20, ends
    assert sum(count for end, count in ends.items() if end.endswith("within")) > 20, ends
    assert ends["red, green within"] > 5, ends


@pytest.mark.soak
def test_the_same_over_many_more_histories(tmp_path):
    ends: Counter[str] = Counter()
    for seed in range(1_000, 2_000):
        ends += history(seed, tmp_path / str(seed))
        shutil.rmtree(tmp_path / str(seed))
    print(dict(ends))


def test_the_model_catches_a_manifest_that_is_written_first(tmp_path, monkeypatch):
    def intend(session: Session, ids: Any) -> None:
        """Claim, before the request leaves, that it will be accepted: the digests of the run."""
        marks = session.wrong_marks
        rows = [(each, marks.get(each)) for each in ids]
        session.known.apply([(each, b"") for each in ids])
        session._write(rows)

    def wants(changes: Any, record: Any, original: Any = engine.Changes.wants) -> bool:
        changes._notes.wrong_marks = {**getattr(changes._notes, "wrong_marks", {}), record.id: record.mark}
        return original(changes, record)

    monkeypatch.setattr(Session, "intend", intend)
    monkeypatch.setattr(Session, "wrong_marks", {}, raising=False)
    monkeypatch.setattr(engine.Changes, "wants", wants)
    is_caught(tmp_path)


def test_the_model_catches_deletes_from_the_manifest_alone(tmp_path, monkeypatch):
    def look(changes: Any, record_id: str, mark: bytes) -> Any:
        """Take for gone whatever the manifest has and this run does not send."""
        return (
            engine.Change.CHANGED
            if record_id in changes._given
            else compare(changes._known.get(record_id)[0], mark)
        )

    monkeypatch.setattr(engine.Changes, "_look", look)
    is_caught(tmp_path)


def test_the_model_catches_a_run_that_takes_nothing_down_before_it_sends(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Session, "intend", lambda session, ids: session.known.apply((each, b"") for each in ids)
    )
    is_caught(tmp_path)


def test_the_model_catches_deletes_that_are_forgotten_before_they_arrive(tmp_path, monkeypatch):
    original = Session.intend

    def intend(session: Session, ids: Any) -> None:
        if all(number >= 0 and number not in session.known.seen for _, number in map(session.known.get, ids)):
            session._write([(each, None) for each in ids])
        else:
            original(session, ids)

    monkeypatch.setattr(Session, "intend", intend)
    is_caught(tmp_path)


def test_the_model_catches_a_run_that_looks_for_nothing_that_was_sent_before(tmp_path, monkeypatch):
    monkeypatch.setattr(engine._Sync, "look_for", lambda *_: None)
    is_caught(tmp_path)


def test_the_model_catches_a_run_that_forgets_what_others_sent_that_were_not_green(tmp_path, monkeypatch):
    monkeypatch.setattr(Session, "has_loose_ends", False)
    is_caught(tmp_path)


def is_caught(path: Path) -> None:
    with pytest.raises(AssertionError):
        [history(seed, path / str(seed)) for seed in range(40)]
